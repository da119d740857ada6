import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from edgecloud.baselines import AlwaysDevice, AlwaysEdge, FixedAction, load_policy
from edgecloud.envs import Problem, evaluation_windows, rollout
from edgecloud.evaluation import analyse, branch, load_of
from edgecloud.evaluation.branching import BestActions
from edgecloud.traces import LinkTrace

Traces = tuple[LinkTrace, ...]
WEIGHTS = (0.34, 0.33, 0.33)


def test_a_trial_is_what_would_have_happened(problem: Problem, traces: Traces) -> None:
    windows = evaluation_windows(traces, problem)
    policy = FixedAction(problem.action(1, 2, 1, "spill", 2))
    found = branch(policy, problem, traces, windows, WEIGHTS, 5, hold=1, points=10**6)
    rewards = rollout(policy, problem, traces, windows, WEIGHTS, 5).term("reward")
    assert_allclose(found.own.reshape(rewards.shape), rewards, rtol=1e-12)
    best = np.array([scores.max() for scores in found.rewards])
    assert (best >= found.own - 1e-12).all()


def test_held_actions_are_held(problem: Problem, traces: Traces) -> None:
    windows = evaluation_windows(traces, problem)
    policy = AlwaysEdge()
    found = branch(policy, problem, traces, windows, WEIGHTS, 5, hold=4, points=10**6)
    rewards = rollout(policy, problem, traces, windows, WEIGHTS, 5).term("reward")
    starts = len(rewards) - 4 + 1
    means = np.stack([rewards[t : t + 4].mean(axis=0) for t in range(starts)])
    assert_allclose(found.own.reshape(means.shape), means, rtol=1e-12)


def test_points_are_thinned(problem: Problem, traces: Traces) -> None:
    windows = evaluation_windows(traces, problem)
    found = branch(AlwaysEdge(), problem, traces, windows, WEIGHTS, points=20)
    assert 10 <= len(found.actions) <= 40


def test_continuations_take_luck_away(problem: Problem, traces: Traces) -> None:
    windows = evaluation_windows(traces, problem)

    def own(continuations: int) -> NDArray[np.float64]:
        policy = FixedAction(problem.action(0, 0, 0, "faas", 0))
        return branch(policy, problem, traces, windows, WEIGHTS, 5, points=10**6, continuations=continuations).own

    one, sixteen = own(1), own(16)
    assert_allclose(own(16), sixteen, rtol=0)
    second = 2.0 * own(2) - one  # the first continuation is the policy's own world, the second another one
    assert (np.abs(second - one) > 1e-9).mean() > 0.5
    assert sixteen.std() < 0.8 * one.std()
    assert abs(sixteen.mean() - one.mean()) < 4.0 * one.std() / np.sqrt(len(one))


def test_ties_go_to_the_most_frequent_kind(problem: Problem) -> None:
    device, edge, cloud = (problem.action(*cuts, 0, "faas", 0) for cuts in ((6, 6), (0, 6), (0, 0)))
    actions = np.stack([device, edge, cloud])
    rewards = ([-1.0, -1.0, -2.0], [-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0], [-3.0, -1.0, -3.0], [-5.0, -5.0, -1.0])
    found = BestActions(1, 1, (actions,) * 5, tuple(np.array(r) for r in rewards), np.zeros(5), problem)
    assert found.shares() == {(6, 6, ""): 0.6, (0, 0, "faas"): 0.2, (0, 6, ""): 0.2}
    assert found.inclusive_shares() == {(6, 6, ""): 0.6, (0, 6, ""): 0.4, (0, 0, "faas"): 0.2}
    assert found.shares(tolerance=10.0) == {(0, 0, "faas"): 1.0}
    assert_allclose(found.part_shares(0, len(problem.placements)).sum(), 1.0)


def test_load_of_the_simple_policies(problem: Problem, traces: Traces) -> None:
    windows = evaluation_windows(traces, problem)

    def load(name: str):  # type: ignore[no-untyped-def]
        return load_of(rollout(load_policy(name), problem, traces, windows, WEIGHTS, 1, keep_rows=True), problem)

    device, edge = load("always-device"), load("always-edge")
    assert device.uplink_used == device.edge_busy == 0.0
    assert 0.05 < device.device_busy <= 1.0
    assert device.queue_mean["uplink"] == device.queue_mean["edge"] == 0.0
    assert edge.device_busy == pytest.approx(0.0, abs=1e-9)
    assert 0.0 < edge.uplink_used <= 1.0
    assert 0.0 < edge.edge_busy <= 1.0
    assert 0.0 <= edge.clear_share <= 1.0


def test_the_analysis_is_consistent_and_machine_readable(problem: Problem, traces: Traces) -> None:
    policies = [AlwaysDevice(), AlwaysEdge(), load_policy("dp"), load_policy("random")]
    found = analyse(problem, traces, policies, seed=2, holds=(1, 3), points=30, exhaustive=True)
    rewards = {row.method: row.reward.mean for row in found.rows}
    named = [name for name in rewards if name != "best-fixed"]
    assert found.best == max(named, key=lambda name: rewards[name])
    assert found.gap == pytest.approx((rewards[found.best] - rewards["best-fixed"]) / abs(rewards[found.best]))
    assert set(found.loads) == set(rewards)
    assert set(found.reasons) == set(rewards) - {found.best}
    assert "against" in found.reasons["random"]
    assert len(found.findings()) == 5
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [entry["hold"] for entry in content["intervals"]] == [1, 3]
    for entry in content["intervals"]:
        assert sum(kind["share"] for kind in entry["best_kinds"]) == pytest.approx(1.0)
