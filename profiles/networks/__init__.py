"""Early-exit networks: what they are, how they are trained, and the run folder that training leaves.

All but `calibration` needs torch. `runs` writes the folder of a training run and reads it again.
"""
