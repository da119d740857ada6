"""Every policy runs episodes with legal actions, reproducibly, and does what its name says."""

from __future__ import annotations

import baselines_generated as generated
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecloud.baselines import FixedAction, list_policies, load_policy
from edgecloud.envs import Problem, Simulator, compile_problem
from edgecloud.envs.rollout import Episodes, evaluation_windows, rollout
from edgecloud.errors import InputError
from edgecloud.traces import LinkTrace, generated_split

EQUAL = np.full(3, 1 / 3)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return compile_problem("camera-lte")


@pytest.fixture(scope="module")
def traces() -> tuple[LinkTrace, ...]:
    return tuple(generated_split(0).validation[:3])


def run(spec: str, problem: Problem, traces: tuple[LinkTrace, ...], seed: int = 0) -> Episodes:
    windows = evaluation_windows(traces, problem)[:3]
    return rollout(load_policy(spec), problem, traces, windows, EQUAL, seed)


@pytest.mark.parametrize("name", list(list_policies()))
def test_episodes_are_legal_and_repeat(problem: Problem, traces: tuple[LinkTrace, ...], name: str):
    first, again = (run(name, problem, traces) for _ in range(2))
    assert np.isfinite(first.terms).all()
    assert (first.actions == again.actions).all()
    assert (first.terms == again.terms).all()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(generated.problems(), st.sampled_from(sorted(list_policies())), st.integers(0, 1000))
def test_any_problem(problem: Problem, name: str, seed: int):
    rng = np.random.default_rng(seed)
    link = LinkTrace("x", "car", np.arange(31.0), rng.uniform(0, 4e7, 30) * (rng.random(30) < 0.8), None, "x", "uplink")
    simulator = Simulator(problem, [link], 5)
    measured = simulator.reset(seed)
    policy = load_policy(name)
    policy.reset(problem, 5, simulator.state.weights.copy(), seed)
    for _ in range(problem.params.episode_intervals):
        action = policy.act(measured)
        assert action.shape == (5, 4)
        assert action.dtype == np.int64
        measured = simulator.step(action)  # refuses what is illegal


def test_always_means_always(problem: Problem, traces: tuple[LinkTrace, ...]):
    stages, never = problem.stages, len(problem.thresholds) - 1
    for name, cuts in (("device", (stages, stages)), ("edge", (0, stages)), ("faas", (0, 0)), ("cloud-vm", (0, 0))):
        actions = run(f"always-{name}", problem, traces).actions
        assert (problem.placements[actions[..., 0]] == cuts).all()
        assert (actions[..., 1] == never).all()
    assert run("always-device", problem, traces).total("uplink_bytes").max() == 0


def test_early_exit_option(problem: Problem, traces: tuple[LinkTrace, ...]):
    actions = run("always-edge:threshold=0.85", problem, traces).actions
    assert problem.thresholds[actions[0, 0, 1]] >= 0.85
    with pytest.raises(InputError, match="confidence"):
        run("always-edge:threshold=-1", problem, traces)


def test_pool_is_there_and_serves(problem: Problem, traces: tuple[LinkTrace, ...]):
    episodes = run("always-cloud-vm", problem, traces)
    assert (episodes.actions[..., 3] >= 1).all()
    assert (episodes.actions[60:, :, 2] == 0).all()
    fixed = run("always-cloud-vm:vms=2", problem, traces)
    assert (fixed.actions[..., 3] == 2).all()
    with pytest.raises(InputError, match="vms"):
        run("always-cloud-vm:vms=99", problem, traces)


def test_random_covers_the_space_and_follows_the_seed(problem: Problem, traces: tuple[LinkTrace, ...]):
    one, other = run("random", problem, traces, 1).actions, run("random", problem, traces, 2).actions
    assert (one != other).any()
    for column, size in enumerate(problem.nvec):
        assert set(np.unique(one[..., column])) == set(range(size))


def test_fixed_action(problem: Problem, traces: tuple[LinkTrace, ...]):
    windows = evaluation_windows(traces, problem)[:2]
    episodes = rollout(FixedAction((3, 1, 2, 1)), problem, traces, windows, EQUAL)
    assert (episodes.actions == (3, 1, 2, 1)).all()
    with pytest.raises(InputError, match="action"):
        rollout(FixedAction((10**6, 0, 0, 0)), problem, traces, windows, EQUAL)


def test_dp_beats_the_reference_rules(problem: Problem, traces: tuple[LinkTrace, ...]):
    reward = {name: run(name, problem, traces).mean_reward().mean() for name in list_policies()}
    assert max(reward, key=lambda name: reward[name]).startswith(("dp", "mpc"))
