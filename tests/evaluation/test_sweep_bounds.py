from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from edgecloud.envs import Problem, rollout
from edgecloud.evaluation import Bracket, Sweep, plan_sweep, regret_of, resolve_policy, run_sweep
from edgecloud.evaluation.sweep_bounds import brackets_of, load_brackets, recovered, regret_text
from edgecloud.traces import LinkTrace

Traces = tuple[LinkTrace, ...]
WEIGHTS = (0.34, 0.33, 0.33)


@pytest.fixture(scope="module")
def sweep(problem: Problem, traces: Traces, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    plan = plan_sweep([], "libra,always-edge", problem, traces[:2], {"default": WEIGHTS}, 3)
    return run_sweep(plan, tmp_path_factory.mktemp("pieces"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bounds")


@pytest.fixture(scope="module")
def bracket(sweep: Sweep, folder: Path) -> Bracket:
    return brackets_of(sweep, folder, budget=2_000)["default"]


def test_no_policy_beats_the_plan_and_nothing_the_relaxation(sweep: Sweep, bracket: Bracket) -> None:
    for method in sweep.comparison.methods:
        assert (sweep.comparison.scores(method, "default") <= bracket.reward + 1e-9).all()
    assert (bracket.reward <= bracket.relaxed + 1e-9).all()
    best = np.max([sweep.comparison.scores(m, "default")[0] for m in sweep.comparison.methods], axis=0)
    assert_allclose(bracket.given, best)


def test_the_page_s_regret_is_the_bracket_s(problem: Problem, traces: Traces, sweep: Sweep, bracket: Bracket) -> None:
    text = regret_text(sweep.comparison, {"default": bracket})["default"]
    plan = sweep.plan
    episodes = rollout(resolve_policy("libra"), problem, traces[:2], plan.windows, WEIGHTS, 3)
    regret = regret_of(episodes, bracket, problem)
    line = next(row for row in text.splitlines() if row.startswith("| libra "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1].startswith(f"{regret.to_plan.mean():.3f} [")
    assert cells[2].startswith(f"{regret.to_relaxed.mean():.3f} [")
    units = regret.units.mean(axis=0)
    assert cells[3:] == [f"{1e3 * units[0]:+.0f}", f"{units[1]:+.4f}", f"{units[2]:+.3f}"]


def test_a_bracket_of_something_else_is_left_out(sweep: Sweep, bracket: Bracket, folder: Path) -> None:
    assert list(load_brackets(sweep.comparison, folder)) == ["default"]
    assert load_brackets(replace(sweep.comparison, seed=4), folder) == {}
    assert load_brackets(replace(sweep.comparison, presets={"default": (0.4, 0.3, 0.3)}), folder) == {}


def test_share_that_is_recovered(sweep: Sweep, bracket: Bracket) -> None:
    comparison = sweep.comparison
    ranked = sorted(comparison.methods, key=lambda m: float(comparison.scores(m, "default").mean()))
    worse, better = (float(comparison.scores(m, "default").mean()) for m in ranked)
    rule, share = recovered(comparison, bracket, "default", ranked[1])
    assert rule == ranked[0]
    assert_allclose(share, (better - worse) / (bracket.reward.mean() - worse))
