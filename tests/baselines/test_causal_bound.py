"""The bound for controllers that do not know the requests to come, against the kernel, plans and policies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.baselines import load_policy
from edgecloud.baselines.causal_bound import _Backward, causal_bound, causal_cost
from edgecloud.baselines.clairvoyant import RecordedPlan
from edgecloud.baselines.relaxation import coefficients_of, relaxation
from edgecloud.envs import TERMS, Simulator, Window, compile_problem, rollout
from edgecloud.envs.trials import Trials
from edgecloud.errors import InputError
from edgecloud.traces import LinkTrace

from .coupling import serve
from .test_bounds import SLACK, all_actions, small, varied, world_of, worlds

_INTERVALS = 8


def terms_of(simulator: Simulator, plan: np.ndarray, seed: int) -> np.ndarray:
    """What a plan brings in the simulator's world, float64 (T, terms)."""
    problem, link = simulator.problem, simulator.traces
    run = rollout(RecordedPlan(plan[:, None, :]), problem, link, [Window(0, 0)], simulator.state.weights[0], seed)
    return np.asarray(run.terms[:, 0])


@settings(max_examples=30, deadline=None)
@given(drawn=worlds, data=st.data())
def test_no_interval_is_better_than_from_earlier_free_times(drawn: dict[str, Any], data: st.DataObject) -> None:
    """The kernel against the bound's own step, with the same requests, along a random plan."""
    simulator = world_of(small(_INTERVALS, 2, 1, (0.6,)), drawn)
    problem = simulator.problem
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    plan = np.repeat(rng.integers(0, problem.nvec, size=(_INTERVALS, 4)), data.draw(st.sampled_from([1, 3])), axis=0)
    plan = plan[:_INTERVALS]
    trials = Trials(simulator, 0)
    trials.follow(plan)
    s = trials.path
    truth = np.stack([s.device_free_s, s.uplink_free_s, s.edge_free_s], axis=1)
    terms = terms_of(simulator, plan, drawn["seed"])
    failed, vm_s, reward = (terms[:, TERMS.index(name)] for name in ("failed", "vm_s", "reward"))
    c = coefficients_of(problem, drawn["weights"])[0]
    chained = np.zeros(3)
    for t in range(_INTERVALS):
        way = 0 if plan[t, 2] == 1 else 1
        first = problem.placements[plan[t, 0], 0] == 0
        cost = -reward[t] - c[1] * vm_s[t] * problem.params.usd_per_vm_s
        earlier = truth[t] * np.where(rng.random(3) < 0.5, 1.0, rng.random(3))
        before = None
        for free in (truth[t], earlier, chained):
            found = serve(problem, simulator, s, t, plan[t], c, free)
            assert found.least[way] <= cost + SLACK
            assert found.failed[way].sum() <= failed[t]
            assert found.free[0] <= truth[t + 1, 0] + SLACK
            if first:
                assert found.free[1] <= truth[t + 1, 1] + SLACK
            if failed[t] == 0:
                assert (found.free <= truth[t + 1] + SLACK).all()
            if before is not None and free is earlier:
                assert (found.least <= before.least + SLACK).all()
                assert found.free[0] <= before.free[0]
                assert (found.failed <= before.failed).all()
            before = found
        if failed[t] > 0:  # then less is known
            found.free[1:] = (found.free[1] if first else chained[1]), chained[2]
        chained = found.free
        assert (chained <= truth[t + 1] + SLACK).all()


LINKS = {
    "outages": [0.0, 0.0, 3.0, 10.0, 0.0, 3.0],
    "slow": [1.0, 3.0, 1.0, 1.0, 3.0, 1.0],
    "fast": [10.0, 40.0, 10.0, 10.0, 40.0, 10.0],
}


def expected_costs(simulator: Simulator, redraws: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of the cost per interval of every plan of two intervals, requests drawn anew."""
    rng = np.random.default_rng(3)
    trials, actions = Trials(simulator, 0), all_actions(simulator.problem)
    count = len(actions)
    trials.follow(np.tile(actions[0], (2, 1)))
    source, middle = trials.room(1), trials.room(count)
    total, squares = np.zeros((count, count)), np.zeros((count, count))
    for _ in range(redraws):
        for mine, theirs in zip(source, trials.path, strict=True):
            mine[0] = theirs[0]
        source.key[0] = rng.integers(1 << 63)
        first = trials.successors(source, np.zeros(count, dtype=np.int64), actions, middle, np.arange(count))
        middle.key[:] = rng.integers(1 << 63)
        for name in ("arrival_state", "edge_state", "regime"):
            getattr(middle, name)[:] = getattr(trials.path, name)[1]
        second = trials.rewards_of(middle, np.repeat(np.arange(count), count), np.tile(actions, (count, 1)))
        cost = -(first[:, None] + second.reshape(count, count)) / 2
        total += cost
        squares += cost**2
    mean = total / redraws
    return mean, np.sqrt(np.maximum(squares / redraws - mean**2, 0.0) / redraws)


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("weights", [(0.4, 0.3, 0.3), (0.1, 0.8, 0.1)])
def test_every_plan_costs_more_on_average(kind: str, weights: tuple[float, float, float]) -> None:
    drawn = {"arrival_rps": 4.0, "repartition_s": 0.0, "keep_alive_s": 360.0, "edge_load": 0.4, "timeout_s": 2.0}
    drawn |= {"rates_mbps": LINKS[kind], "rtts_s": None, "seed": 5, "weights": weights, "boot_s": 1.0, "vm_initial": 0}
    simulator = world_of(small(2, 2, 0, (0.6,)), drawn)
    mean, error = expected_costs(simulator, 200)
    bounds = np.array([causal_cost(simulator, 0, 128, k) for k in range(4)])
    assert bounds.std() < 0.02 + 0.03 * abs(bounds.mean())
    assert (mean >= bounds.mean() - 5.0 * (error + bounds.std() / 2.0)).all()
    # Cold starts are what a plan of so few intervals lacks of it most; without them little is left.
    assert bounds.mean() >= 0.6 * mean.min()


@pytest.fixture(scope="module")
def links() -> tuple[LinkTrace, ...]:
    rng = np.random.default_rng(1)
    return tuple(
        LinkTrace(str(k), "bus", np.arange(61.0), 1e6 * mean * rng.uniform(0.2, 1.8, 60), rtt)
        for k, (mean, rtt) in enumerate(((6.0, None), (15.0, rng.uniform(0.02, 0.2, 60))))
    )


WINDOWS = tuple(Window(k % 2, 5 * k) for k in range(12))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["camera-lte", "drone-battery"])
def test_policies_fall_short_of_it_on_average(name: str, links: tuple[LinkTrace, ...]) -> None:
    problem = varied(compile_problem(name), episode_intervals=40)
    for weights in ((0.34, 0.33, 0.33), (0.1, 0.8, 0.1)):
        bound = causal_bound(problem, links, WINDOWS, weights, 4, redraws=16)
        for policy in ("dp", "dp-warm", "always-edge", "always-faas", "always-device", "random"):
            short = bound - rollout(load_policy(policy), problem, links, WINDOWS, weights, 4).mean_reward()
            assert short.mean() >= -4.0 * short.std() / np.sqrt(len(WINDOWS))
        relaxed = relaxation(problem, links, WINDOWS, coefficients_of(problem, weights), 4)[0]
        assert bound.mean() < relaxed.mean() - 0.05  # what the requests are worth to somebody who knows them


def simulator_of(links: tuple[LinkTrace, ...], intervals: int = 20) -> Simulator:
    problem = varied(compile_problem("camera-lte"), episode_intervals=intervals)
    simulator = Simulator(problem, links, 2, weights=(0.4, 0.3, 0.3), windows=WINDOWS[:2])
    simulator.reset(0)
    return simulator


def test_leaving_out_actions_changes_nothing(links: tuple[LinkTrace, ...]) -> None:
    """Actions that cannot help by what is known of smaller backlogs are not looked at: as if all were."""
    for episode in range(2):
        quick = _Backward(simulator_of(links, 4), episode, (8, 0))
        whole = _Backward(simulator_of(links, 4), episode, (8, 0))
        whole._grid = replace(whole._grid, lower=np.full_like(whole._grid.lower, -1))
        assert quick.cost() == pytest.approx(whole.cost(), abs=1e-12)
        assert (quick._values >= whole._values - SLACK).all()
        assert quick._values == pytest.approx(whole._values, abs=1e-9)


def test_more_redraws_tighten_it(links: tuple[LinkTrace, ...]) -> None:
    simulator = simulator_of(links)
    few, many = (np.array([causal_cost(simulator, 0, n, k) for k in range(6)]) for n in (2, 32))
    assert many.mean() > few.mean()
    assert many.std() < few.std()
    assert causal_cost(simulator, 0, 4, 1) == causal_cost(simulator, 0, 4, 1)
    with pytest.raises(InputError, match="at least 1"):
        causal_cost(simulator, 0, 0)


def test_vms_are_an_option_not_a_duty(links: tuple[LinkTrace, ...]) -> None:
    free = varied(simulator_of(links).problem, usd_per_vm_s=0.0, vm_initial=1)
    no_vms = free.scenario.vm.model_copy(update={"max_vms": 0})
    none = replace(free, scenario=free.scenario.model_copy(update={"vm": no_vms}))
    with_vms, without = (causal_bound(x, links, WINDOWS[:2], (0.6, 0.3, 0.1), redraws=8) for x in (free, none))
    assert (with_vms > without).all()
    dear = varied(free, usd_per_vm_s=1.0)
    assert (causal_bound(dear, links, WINDOWS[:2], (0.6, 0.3, 0.1), redraws=8) == without).all()
