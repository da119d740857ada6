"""The two bounds against exhaustive search on small worlds, and against policies on larger ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.baselines import load_policy
from edgecloud.baselines.clairvoyant import RecordedPlan, clairvoyant, improve_episode
from edgecloud.baselines.relaxation import coefficients_of, relaxation, relaxed_cost
from edgecloud.envs import TERMS, Problem, Simulator, Window, compile_problem, load_scenario, rollout
from edgecloud.envs.trials import Trials
from edgecloud.errors import InputError
from edgecloud.traces import LinkTrace

SLACK = 1e-9  # rounding: the relaxation adds the same numbers in another order
_PROBLEMS: dict[Any, Problem] = {}


def small(intervals: int, residents: int, vms: int, thresholds: tuple[float, ...]) -> Problem:
    """The default scenario with few intervals, thresholds and VMs."""
    key = (intervals, residents, vms, thresholds)
    if key not in _PROBLEMS:
        s = load_scenario("camera-lte")
        control = s.control.model_copy(update={"episode_intervals": intervals, "resident_placements": residents})
        limits = s.limits.model_copy(update={"thresholds": thresholds})
        vm = s.vm.model_copy(update={"max_vms": vms})
        _PROBLEMS[key] = compile_problem(s.model_copy(update={"control": control, "limits": limits, "vm": vm}))
    return _PROBLEMS[key]


def varied(problem: Problem, **fields: Any) -> Problem:
    """With other compiled constants, of the types that they had."""
    import dataclasses

    old = problem.params
    typed = {
        name: np.full_like(getattr(old, name), value)
        if isinstance(getattr(old, name), np.ndarray)
        else type(getattr(old, name))(value)
        for name, value in fields.items()
    }
    return dataclasses.replace(problem, params=old._replace(**typed))


def all_actions(problem: Problem) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in problem.nvec), indexing="ij"), axis=-1).reshape(-1, 4)
    idle = problem.placements[grid[:, 0], 1] == problem.stages  # the route makes no difference
    return np.ascontiguousarray(grid[~(idle & (grid[:, 2] > 0))], dtype=np.int64)


def exhaustive(simulator: Simulator) -> float:
    """The best mean reward of all sequences of actions in the first environment."""
    trials, actions = Trials(simulator, 0), all_actions(simulator.problem)
    source, parents, totals = trials.path, np.zeros(1, dtype=np.int64), np.zeros(1)
    for t in range(len(trials.plan)):
        last = t == len(trials.plan) - 1
        repeated, tried = np.repeat(parents, len(actions)), np.tile(actions, (len(parents), 1))
        if last:
            rewards = trials.rewards_of(source, repeated, tried)
        else:
            target = trials.room(len(repeated))
            rewards = trials.successors(source, repeated, tried, target, np.arange(len(repeated)))
            source, parents = target, np.arange(len(repeated))
        totals = np.repeat(totals, len(actions)) + rewards
    return float(totals.max()) / len(trials.plan)


worlds = st.fixed_dictionaries(
    {
        "rates_mbps": st.lists(st.sampled_from([0.0, 0.2, 1.0, 3.0, 10.0, 40.0]), min_size=4, max_size=8).filter(any),
        "rtts_s": st.none() | st.lists(st.sampled_from([0.01, 0.05, 0.8]), min_size=8, max_size=8),
        "seed": st.integers(0, 10_000),
        "weights": st.sampled_from(
            [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.4, 0.3, 0.3), (0.7, 0.2, 0.1)]
        ),
        "arrival_rps": st.sampled_from([0.5, 2.0, 6.0]),
        "timeout_s": st.sampled_from([0.3, 1.0, 4.0]),
        "repartition_s": st.sampled_from([0.0, 0.6, 1.5]),
        "failure_penalty": st.sampled_from([0.0, 0.05, 10.0]),
        "accuracy_penalty": st.sampled_from([0.0, 10.0]),
        "boot_s": st.sampled_from([0.2, 1.4]),
        "vm_initial": st.integers(0, 1),
        "edge_load": st.sampled_from([0.0, 0.75]),
        "keep_alive_s": st.sampled_from([0.5, 360.0]),
    }
)


def world_of(problem: Problem, drawn: dict[str, Any]) -> Simulator:
    fields = {name: drawn[name] for name in drawn if hasattr(problem.params, name)}
    fields["vm_initial"] = min(drawn["vm_initial"], int(problem.nvec[3]) - 1)
    problem = varied(problem, vm_boot_s=drawn["boot_s"], **fields)
    count = len(drawn["rates_mbps"])
    rtt = None if drawn["rtts_s"] is None else np.array(drawn["rtts_s"][:count])
    link = LinkTrace("drawn", "static", np.arange(count + 1.0), 1e6 * np.array(drawn["rates_mbps"]), rtt)
    simulator = Simulator(problem, [link], 1, weights=drawn["weights"], windows=[Window(0, 0)])
    simulator.reset(drawn["seed"])
    return simulator


def check_order(problem: Problem, drawn: dict[str, Any]) -> None:
    simulator = world_of(problem, drawn)
    best = exhaustive(simulator)
    plan = improve_episode(simulator, 0, [], 5_000)
    bound = -float(relaxed_cost(simulator, 0, coefficients_of(simulator.problem, drawn["weights"]))[0])
    assert bound >= best - SLACK
    assert best >= plan.reward - SLACK


@settings(max_examples=60, deadline=None)
@given(drawn=worlds, residents=st.integers(1, 3))
def test_relaxation_exhaustive_plan_without_vms(drawn: dict[str, Any], residents: int) -> None:
    check_order(small(2, residents, 0, (0.6,)), drawn)


@settings(max_examples=40, deadline=None)
@given(drawn=worlds)
def test_relaxation_exhaustive_plan_with_a_vm(drawn: dict[str, Any]) -> None:
    check_order(small(2, 2, 1, ()), drawn)


@settings(max_examples=15, deadline=None)
@given(drawn=worlds)
def test_relaxation_exhaustive_plan_over_three_intervals(drawn: dict[str, Any]) -> None:
    check_order(small(3, 2, 0, ()), drawn)


@pytest.fixture(scope="module")
def links() -> tuple[LinkTrace, ...]:
    rng = np.random.default_rng(1)
    return tuple(
        LinkTrace(str(k), "bus", np.arange(61.0), 1e6 * mean * rng.uniform(0.2, 1.8, 60))
        for k, mean in enumerate((4.0, 15.0))
    )


WINDOWS = (Window(0, 0), Window(1, 7), Window(0, 30))


@pytest.mark.parametrize("name", ["camera-lte", "drone-battery", "gateway-5g"])
def test_relaxation_plan_policies(name: str, links: tuple[LinkTrace, ...]) -> None:
    problem = varied(compile_problem(name), episode_intervals=40)
    weights = np.array(problem.scenario.objective.weights)
    runs = [rollout(load_policy(x), problem, links, WINDOWS, weights, 4) for x in ("dp", "always-faas", "random")]
    plans = clairvoyant(problem, links, WINDOWS, weights, 4, [run.actions for run in runs], budget=60_000)
    bound = relaxation(problem, links, WINDOWS, coefficients_of(problem, weights), 4)[0]
    value = np.array([plan.reward for plan in plans])
    best = np.max([run.mean_reward() for run in runs], axis=0)
    assert (bound >= value - SLACK).all()
    assert (value >= best).all()
    assert (value > best + 0.05).any()  # knowing the world is worth something
    assert [plan.given for plan in plans] == pytest.approx(best.tolist(), abs=1e-12)
    actions = np.stack([plan.actions for plan in plans], axis=1)
    again = rollout(RecordedPlan(actions), problem, links, WINDOWS, weights, 4)
    assert (again.term("reward") == np.stack([plan.rewards for plan in plans], axis=1)).all()


def test_the_budget_decides_not_the_clock(links: tuple[LinkTrace, ...]) -> None:
    problem = varied(compile_problem("camera-lte"), episode_intervals=40)
    runs = [
        clairvoyant(problem, links, WINDOWS[:1], (0.4, 0.3, 0.3), 2, budget=b)[0] for b in (30_000, 30_000, 400_000)
    ]
    assert (runs[0].actions == runs[1].actions).all()
    assert runs[0].steps == runs[1].steps
    assert runs[2].reward >= runs[0].reward


def test_without_a_budget_the_best_given_plan_is_kept(links: tuple[LinkTrace, ...]) -> None:
    problem = varied(compile_problem("camera-lte"), episode_intervals=40)
    run = rollout(load_policy("dp"), problem, links, WINDOWS, (0.4, 0.3, 0.3), 2)
    plans = clairvoyant(problem, links, WINDOWS, (0.4, 0.3, 0.3), 2, [run.actions], budget=0)
    assert (np.stack([plan.actions for plan in plans], axis=1) == run.actions).all()
    assert [plan.reward for plan in plans] == pytest.approx(run.mean_reward().tolist(), abs=1e-12)


def test_more_of_a_coefficient_costs_more(links: tuple[LinkTrace, ...]) -> None:
    problem = varied(compile_problem("camera-lte"), episode_intervals=40)
    rows = np.array([[1.0, 0, 0, 0, 1.0], [2.0, 0, 0, 0, 1.0], [2.0, 0, 0.5, 0, 1.0], [0, 0, 0, 0, 0]])
    bound = relaxation(problem, links, WINDOWS, rows, 0)
    assert (np.diff(bound[:3], axis=0) <= SLACK).all()
    assert (bound[3] == 0.0).all()
    run = rollout(load_policy("always-edge"), problem, links, WINDOWS, (1.0, 0.0, 0.0), 0)
    n = np.maximum(run.term("arrived"), 1.0)
    cost = (run.term("latency_s") / n + run.term("failed") / n).mean(axis=0)
    assert (-bound[0] <= cost + SLACK).all()


@pytest.mark.parametrize("rows", [[[1, 0, 0]], [[1, 0, 0, 0, -1]], [[np.nan, 0, 0, 0, 0]]])
def test_bad_coefficients(rows: Any, links: tuple[LinkTrace, ...]) -> None:
    with pytest.raises(InputError, match="finite numbers >= 0"):
        relaxation(small(2, 2, 0, ()), links, WINDOWS, rows)


def test_plans_of_another_shape_or_space(links: tuple[LinkTrace, ...]) -> None:
    problem = small(2, 2, 0, ())
    with pytest.raises(InputError, match="shape"):
        clairvoyant(problem, links, WINDOWS, (0.4, 0.3, 0.3), plans=[np.zeros((3, 3, 4), dtype=np.int64)])
    with pytest.raises(InputError, match="below"):
        clairvoyant(problem, links, WINDOWS, (0.4, 0.3, 0.3), plans=[np.full((2, 3, 4), 99)])
    with pytest.raises(InputError, match="episodes"):
        rollout(RecordedPlan(np.zeros((2, 1, 4), dtype=np.int64)), problem, links, WINDOWS, (0.4, 0.3, 0.3))


def test_a_reward_that_nothing_is_taken_off() -> None:
    problem = small(2, 2, 0, ())
    assert set(TERMS) >= {"reward"}
    assert coefficients_of(problem, (0.5, 0.25, 0.25)).tolist() == [
        [0.5 / problem.params.latency_ref_s, 0.25 / problem.params.cost_ref_usd, 0.25, 10.0, 10.0]
    ]
