"""How long layers take on which machine: layers and their features, and platform models fitted to measured layers.

Predicting needs no torch; measuring layers, tracing a network and checking against one of our own do. The folder
`platforms` has the fitted models that are shipped.
"""
