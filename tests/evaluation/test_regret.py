"""Brackets: their order, their regrets by hand, storage and resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecloud.baselines import load_policy
from edgecloud.envs import Episodes, Problem, Window, rollout
from edgecloud.errors import InputError
from edgecloud.evaluation import Bracket, bracket, load_bracket, regret_of, save_bracket
from edgecloud.traces import LinkTrace

WINDOWS = (Window(0, 0), Window(1, 20))
WEIGHTS = (0.5, 0.3, 0.2)
SMALL = 40_000


@pytest.fixture(scope="module")
def run(problem: Problem, traces: tuple[LinkTrace, ...]) -> Episodes:
    return rollout(load_policy("dp"), problem, traces, WINDOWS, WEIGHTS, 5)


@pytest.fixture(scope="module")
def found(problem: Problem, traces: tuple[LinkTrace, ...], run: Episodes) -> Bracket:
    return bracket(problem, traces, WINDOWS, WEIGHTS, 5, [run.actions], budget=SMALL)


def test_the_bracket_holds_the_policy(found: Bracket, run: Episodes, problem: Problem) -> None:
    regret = regret_of(run, found, problem)
    assert (regret.to_relaxed >= regret.to_plan - 1e-9).all()
    assert (regret.to_plan >= 0.0).all()
    assert regret.to_plan.max() > 0.05
    assert (found.units >= found.least - 1e-9).all()  # the plan is as good as itself
    assert found.least[:, 0].min() > 0.01
    assert found.given == pytest.approx(run.mean_reward())
    assert found.episodes.mean_reward() == pytest.approx(found.reward)
    assert 10_000 < found.steps.min() <= found.steps.max() < 2 * SMALL


def test_regret_in_units_adds_up_to_the_rewards(found: Bracket, run: Episodes, problem: Problem) -> None:
    regret, p = regret_of(run, found, problem), problem.params
    arrived = run.total("arrived") / len(run.terms)
    in_reward = regret.units * [WEIGHTS[0] / p.latency_ref_s, 1.0, WEIGHTS[2]]
    in_reward[:, 1] *= WEIGHTS[1] / p.cost_ref_usd * arrived / 1e3
    rest = [
        x.term("reward_accuracy").mean(axis=0) + x.term("reward_failure").mean(axis=0) for x in (found.episodes, run)
    ]
    assert in_reward.sum(axis=1) + rest[0] - rest[1] == pytest.approx(regret.to_plan)
    assert regret.worth[:, 0] * WEIGHTS[0] / p.latency_ref_s == pytest.approx(regret.to_plan)
    assert regret.worth[:, 2] * WEIGHTS[2] == pytest.approx(regret.to_plan)


def test_other_worlds_are_refused(found: Bracket, problem: Problem, traces: tuple[LinkTrace, ...]) -> None:
    for windows, weights, seed in ((WINDOWS[::-1], WEIGHTS, 5), (WINDOWS, (1.0, 0.0, 0.0), 5), (WINDOWS, WEIGHTS, 6)):
        other = rollout(load_policy("always-edge"), problem, traces, windows, weights, seed)
        with pytest.raises(InputError, match="windows, with its seed and preference"):
            regret_of(other, found, problem)


def test_stored_and_read_again(found: Bracket, tmp_path: Path) -> None:
    path = tmp_path / "new" / "bracket.npz"
    save_bracket(found, path)
    again = load_bracket(path)
    assert again.windows == found.windows
    assert (again.seed, again.fingerprint) == (found.seed, found.fingerprint)
    for name in ("weights", "actions", "terms", "relaxed", "least", "given", "steps"):
        assert np.array_equal(getattr(again, name), getattr(found, name))


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_what_is_not_a_bracket(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "bracket.npz"
    if content is None:
        np.savez(path, actions=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="stored bracket"):
        load_bracket(path)
    with pytest.raises(InputError, match="stored bracket"):
        load_bracket(tmp_path / "absent.npz")


def test_finished_episodes_are_not_done_again(
    problem: Problem, traces: tuple[LinkTrace, ...], run: Episodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(budget: int = 2_000) -> Bracket:
        return bracket(problem, traces, WINDOWS, WEIGHTS, 5, [run.actions], budget=budget, checkpoint=tmp_path)

    first = make()
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(WINDOWS)
    files[0].write_bytes(b"half")  # a damaged one is done again
    done: list[int] = []
    from edgecloud.evaluation import bounds

    original = bounds._episode
    monkeypatch.setattr(bounds, "_episode", lambda s, i, *rest: done.append(i) or original(s, i, *rest))
    second = make()
    assert len(done) == 1
    assert (second.actions == first.actions).all()
    assert np.array_equal(second.relaxed, first.relaxed)
    make(budget=3_000)  # another budget is another result
    assert len(done) == 1 + len(WINDOWS)
