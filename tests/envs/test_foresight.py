"""Foreseen inputs against what then happens."""

from __future__ import annotations

import numpy as np
import pytest

from edgecloud.envs import TERMS, Problem, Simulator
from edgecloud.envs.foresight import INPUTS, foresee

from .support import TRAIN, compile_problem, random_actions, run, with_params

INTERVALS, NUM_ENVS = 40, 6


def recorded() -> Problem:
    return with_params(compile_problem("camera-lte"), arrival_counts=np.arange(37) % 11)


@pytest.mark.parametrize("problem", [compile_problem("camera-burst"), recorded()], ids=["markov", "recorded"])
def test_what_is_foreseen_happens_whatever_is_done_and_the_state_is_left_alone(problem):
    simulator = Simulator(problem, TRAIN, NUM_ENVS)
    simulator.reset(5)
    run(simulator, random_actions(problem, 7, NUM_ENVS, seed=1))
    before = simulator.get_state()
    foreseen = foresee(problem.params, simulator.bank, simulator.state, INTERVALS)
    for name, old, new in zip(before._fields, before, simulator.state, strict=True):
        assert np.array_equal(old, new, equal_nan=old.dtype.kind == "f"), name
    assert foreseen.shape == (NUM_ENVS, INTERVALS, len(INPUTS))
    ahead = {name: foreseen[:, :, column].T for column, name in enumerate(INPUTS)}

    for seed in (2, 3):
        simulator.set_state(before)
        for t, action in enumerate(random_actions(problem, INTERVALS, NUM_ENVS, seed=seed)):
            share = 1.0 / (1.0 + np.exp(-1.7 * simulator.state.regime))  # NumPy's exp may round otherwise than numba's
            np.testing.assert_allclose(ahead["hard_share"][t], share, rtol=1e-13)
            measured = simulator.step(action)
            assert np.array_equal(measured.rate_bps[:, 0], ahead["rate_bps"][t])
            assert np.array_equal(simulator.terms[:, TERMS.index("arrived")], ahead["arrivals"][t])
            assert np.array_equal(measured.edge_load, ahead["edge_load"][t])
    assert np.ptp(ahead["arrivals"], axis=0).min() > 0
    assert np.ptp(ahead["edge_load"]) > 0
