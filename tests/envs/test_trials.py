"""Trials on copied states: the kernel's own rewards, and gains that are what a whole new run would show."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.envs import TERMS, Simulator, Window
from edgecloud.envs.trials import Trials

_spec = importlib.util.spec_from_file_location("trials_support", Path(__file__).with_name("support.py"))
support = importlib.util.module_from_spec(_spec)
sys.modules["trials_support"] = support
_spec.loader.exec_module(support)

LENGTH = 60
WEIGHTS = (0.34, 0.33, 0.33)


def trials_of(name: str, seed: int) -> tuple[Trials, Simulator]:
    problem = support.with_params(support.compile_problem(name), episode_intervals=LENGTH)
    if name == "drone-battery":
        problem = support.with_params(problem, battery_j=180.0)  # empty before the end
    simulator = Simulator(problem, support.TRAIN[:2], 2, weights=WEIGHTS, windows=[Window(0, 5), Window(1, 9)])
    simulator.reset(seed)
    return Trials(simulator, 1), simulator


@pytest.mark.parametrize("name", ["camera-lte", "drone-battery"])
def test_following_a_plan_gives_the_kernels_rewards_to_the_last_bit(name: str) -> None:
    trials, simulator = trials_of(name, 3)
    actions = support.random_actions(simulator.problem, LENGTH, 2, seed=1, hold=3)
    trials.follow(actions[:, 1])
    terms, _ = support.run(simulator, actions)
    assert (trials.rewards == terms[:, 1, TERMS.index("reward")]).all()
    assert trials.steps == LENGTH


def test_a_battery_that_runs_empty_is_followed() -> None:
    trials, _ = trials_of("drone-battery", 3)
    trials.follow(np.tile(trials.problem.start_action, (LENGTH, 1)))
    assert trials.path.battery_j[-1] <= 0.0 < trials.path.battery_j[0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 50),
    begin=st.integers(0, LENGTH - 1),
    length=st.integers(1, 12),
    keep=st.lists(st.booleans(), min_size=4, max_size=4),
    hold=st.integers(1, 15),
)
def test_a_gain_is_what_a_whole_new_run_shows(seed: int, begin: int, length: int, keep: list[bool], hold: int) -> None:
    trials, simulator = trials_of("camera-lte", seed)
    nvec = simulator.problem.nvec
    plan = support.random_actions(simulator.problem, LENGTH, 1, seed=seed, hold=hold)[:, 0]
    trials.follow(plan)
    before = trials.rewards.sum()
    drawn = np.random.default_rng(seed).integers(0, nvec)
    action = np.where(keep, -1, drawn)
    gain = trials.gains(np.array([begin]), np.array([[length, *action]]), np.inf)[0]
    changed = plan.copy()
    changed[begin : begin + length] = np.where(action >= 0, action, changed[begin : begin + length])
    trials.follow(changed)
    assert gain == pytest.approx(trials.rewards.sum() - before, abs=1e-6)


def test_a_trial_that_loses_too_much_is_given_up() -> None:
    trials, simulator = trials_of("camera-lte", 0)
    best = simulator.problem.action(0, 0, 0, "faas", 0)
    trials.follow(np.tile(best, (LENGTH, 1)))
    worst = simulator.problem.action(0, 0, 0, "vm", 0)  # an empty pool answers nobody
    move = np.array([[LENGTH, *worst]])
    done = trials.steps
    assert trials.gains(np.array([0]), move, 20.0)[0] == -np.inf
    assert trials.steps - done < LENGTH
    assert trials.gains(np.array([0]), move, np.inf)[0] < -20.0
