"""Predicted beside measured: a run that the simulator itself made must agree with its own prediction."""

import numpy as np
import pytest

from edgecloud.envs import TERMS, Measurements, compile_problem
from edgecloud.errors import InputError
from edgecloud.runtime.sim_to_real import CutError, HeldCuts, cut_name, ranking


def test_held_cuts_goes_through_the_cuts_in_turn() -> None:
    problem = compile_problem("demo")
    policy = HeldCuts([(6, 6), (0, 6)], hold=2)
    policy.reset(problem, 3, np.ones((3, 3)) / 3, 0)
    seen = [policy.act(Measurements(np.zeros((3, 1)))) for _ in range(5)]
    assert [problem.placements[action[0, 0]].tolist() for action in seen] == [[6, 6], [6, 6], [0, 6], [0, 6], [6, 6]]
    assert all(action.shape == (3, 4) and (action == action[0]).all() for action in seen)
    assert all(action[0, 1] == len(problem.thresholds) - 1 for action in seen)


def test_errors_are_relative_to_what_was_measured() -> None:
    row = CutError(0, 50, 1, 0.5, 0.100, 0.110, 0.200, 0.150)
    assert row.median_error == pytest.approx(0.10)
    assert row.p95_error == pytest.approx(-0.25)


def test_ranking_is_by_what_was_measured() -> None:
    at = TERMS.index("reward")
    measured, predicted = {}, {}
    for name, real, guess in (("a", -2.0, -1.0), ("b", -1.0, -3.0)):
        measured[name] = np.zeros((4, len(TERMS)))
        predicted[name] = np.zeros((4, 2, len(TERMS)))
        measured[name][:, at], predicted[name][..., at] = real, guess + np.array([-0.5, 0.5])
    rows = ranking(measured, predicted)
    assert [(row.policy, row.measured, row.predicted) for row in rows] == [("b", -1.0, -3.0), ("a", -2.0, -1.0)]
    assert (rows[0].low, rows[0].high) == pytest.approx((-3.475, -2.525))
    with pytest.raises(InputError, match="same policies"):
        ranking(measured, {})


def test_names_of_cuts() -> None:
    problem = compile_problem("demo")
    names = [cut_name(problem, k) for k in range(len(problem.placements))]
    assert len(set(names)) == len(names)
    assert "device 0-2, edge 2-4, cloud 4-6" in names
