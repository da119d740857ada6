"""What a network costs on the machine that runs this, and from that the profile of a finished training run.

`timing` times and counts any call, for `machines` and `profiler` too; `measured_profile` joins the measured costs with
the run's exits and attacks.
"""
