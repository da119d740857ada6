"""What crosses a cut reveals, and what a defence there changes.

Distance correlation (`leakage`) and the model-inversion attack measure what is revealed, under each of `protections`;
`accuracy` is what the defence costs. All but `leakage` and `image_quality` needs torch.
"""
