"""Platform models serve Neurosurgeon: predicted stages give the arrays that its rule works on."""

import numpy as np
import pytest

from edgecloud.baselines.neurosurgeon import StagePredictor, split_latency_s
from edgecloud.profiles import load_profile
from edgecloud.profiles.machines.platform_model import load_platform
from edgecloud.profiles.machines.predictors import scaled
from edgecloud.profiles.machines.stage_check import network_of


def test_a_cut_is_chosen_from_predicted_layers_alone() -> None:
    profile = load_profile("cifar10-ee-224")
    found = network_of(profile)
    stages = [*found.stages[:-1], found.stages[-1] + found.heads[-1]]  # the classifier counts with the last stage
    server = load_platform("xeon-torch-channels-last")
    device = scaled(server, 8.0, "a slow board", "a guess")
    predictor = StagePredictor({p: m.predict_stages_s(stages) for p, m in (("device", device), ("edge", server))})
    sent = np.array([*profile.cut_bytes[:-1], 0.0])
    rates = np.array([1e5, 2e6, 1e9])
    latency = split_latency_s(predictor.before_s("device"), predictor.after_s("edge"), sent, rates, np.zeros(3))
    for row, rate in enumerate(rates):
        for cut in range(profile.n_stages + 1):
            here = sum(device.predict_s(stage).sum() for stage in stages[:cut])
            there = sum(server.predict_s(stage).sum() for stage in stages[cut:])
            assert latency[row, cut] == pytest.approx(here + there + 8 * sent[cut] / rate)
    assert latency[0].argmin() == profile.n_stages  # hardly a link: everything on the device
    assert latency[2].argmin() == 0  # a fast link: everything on the server
