import io
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from rich.console import Console

from edgecloud.baselines import AlwaysDevice, AlwaysEdge, FixedAction
from edgecloud.envs import Problem, Simulator, evaluation_windows, rollout
from edgecloud.envs.rollout import latency_edges_s
from edgecloud.envs.state import RECORD_FIELDS
from edgecloud.errors import InputError
from edgecloud.evaluation import (
    BEST_FIXED,
    Comparison,
    Method,
    action_shares,
    compare,
    describe_action,
    distinct_actions,
    load_comparison,
    mode_values,
    paired_difference,
    print_table,
    reference_method,
    rows_of,
    save_comparison,
    search_fixed,
)
from edgecloud.evaluation import fixed as fixed_module
from edgecloud.evaluation.metrics import METRICS, metric
from edgecloud.evaluation.summary import pooled_latency_s
from edgecloud.traces import LinkTrace

Traces = tuple[LinkTrace, ...]


def test_the_same_policy_under_two_names_scores_exactly_the_same(comparison: Comparison) -> None:
    for name in comparison.presets:
        first, second = comparison.runs_of("rule", name)[0], comparison.runs_of("twin", name)[0]
        assert_array_equal(first.scores, second.scores)
        assert_array_equal(first.latency_counts, second.latency_counts)
        paired = paired_difference(
            comparison.scores("rule", name),
            comparison.scores("twin", name),
            comparison.traces,
            np.random.default_rng(0),
        )
        assert (paired.difference.low, paired.difference.high) == (0.0, 0.0)


def test_worlds_depend_on_neither_policy_nor_preference(comparison: Comparison) -> None:
    requests = {run.method: comparison.scores(run.method, run.weights_name, "requests") for run in comparison.runs}
    for other in requests.values():
        assert_array_equal(other[0], requests["rule"][0])


def test_scores_are_those_of_the_rollout(problem: Problem, traces: Traces, comparison: Comparison) -> None:
    windows = evaluation_windows(traces, problem, 2)
    episodes = rollout(AlwaysEdge(), problem, traces, windows, comparison.presets["default"], 3)
    assert_array_equal(comparison.scores("edge", "default")[0], episodes.mean_reward())
    parts = sum(
        comparison.scores("edge", "default", entry.name) for entry in METRICS if entry.name.startswith("reward_")
    )
    assert_allclose(parts, comparison.scores("edge", "default"), rtol=1e-12)
    dollars = comparison.scores("edge", "default", "usd_per_1000") * comparison.scores("edge", "default", "requests")
    assert_allclose(dollars[0] / 1e3, episodes.total("usd"))


def test_percentiles_are_those_of_the_requests(problem: Problem, traces: Traces, comparison: Comparison) -> None:
    windows = evaluation_windows(traces, problem, 2)
    policy, weights = AlwaysEdge(), comparison.presets["default"]
    simulator = Simulator(problem, traces, len(windows), weights=weights, windows=windows, records=True)
    measured = simulator.reset(3)
    policy.reset(problem, len(windows), simulator.state.weights, 3)
    latencies: list[float] = []
    for _ in range(problem.params.episode_intervals):
        measured = simulator.step(policy.act(measured))
        for arrived, records in zip(simulator.terms[:, 0], simulator.records, strict=True):
            latencies += records[: int(arrived), RECORD_FIELDS.index("latency_s")].tolist()
    found = pooled_latency_s(comparison, "edge", "default")
    for name, share in (("latency_p50_s", 0.5), ("latency_p95_s", 0.95), ("latency_p99_s", 0.99)):
        assert_allclose(found[name], np.quantile(latencies, share, method="inverted_cdf"), rtol=0.011)
    run = comparison.runs_of("edge", "default")[0]
    assert run.latency_counts.sum() == len(latencies)
    assert run.latency_counts.shape[1] == len(latency_edges_s(problem.params.timeout_s)) - 1


def test_training_runs_of_one_method_are_its_members(comparison: Comparison) -> None:
    assert comparison.scores("agent", "default").shape == (2, len(comparison.episodes))
    assert [run.member for run in comparison.runs_of("agent", "default")] == ["seed 0", "seed 1"]
    assert comparison.methods[0] == "agent"
    assert reference_method(comparison) == "agent"
    merged = compare_names(comparison)
    assert merged.count("agent") == 1


def compare_names(comparison: Comparison) -> list[str]:
    return [row.method for row in rows_of(comparison, "default")]


def test_rows_are_sorted_and_paired_with_the_reference(comparison: Comparison) -> None:
    rows = rows_of(comparison, "default", np.random.default_rng(0))
    assert [row.reward.mean for row in rows] == sorted((row.reward.mean for row in rows), reverse=True)
    agent = comparison.scores("agent", "default").mean()
    for row in rows:
        if row.versus is None:
            assert row.method == "agent"
        else:
            assert_allclose(row.versus.difference.mean, agent - row.reward.mean, atol=1e-12)
        assert 0.0 < row.top_action_share <= 1.0
        assert row.decision_one_s > 0.0


def test_a_constant_policy_shows_as_one_action(comparison: Comparison) -> None:
    shares = action_shares(comparison, "edge", "default")
    assert (shares.top_share, shares.distinct) == (1.0, 1)
    for part in (shares.placement, shares.threshold, shares.route, shares.vm_target):
        assert_allclose(part.sum(), 1.0)
        assert part.max() == 1.0
    assert action_shares(comparison, "agent", "default").distinct == 2
    assert action_shares(comparison, "random", "default", mode="bus").distinct > 50


def test_modes_divide_the_episodes(comparison: Comparison) -> None:
    assert comparison.modes == ("bus", "train")
    values = mode_values(comparison, "edge", "default")
    sizes = {mode: sum(label.mode == mode for label in comparison.episodes) for mode in comparison.modes}
    mean = sum(values[mode]["reward"] * sizes[mode] for mode in sizes) / len(comparison.episodes)
    assert_allclose(mean, comparison.scores("edge", "default").mean())


def test_best_fixed_beats_every_constant(problem: Problem, traces: Traces, comparison: Comparison) -> None:
    windows = evaluation_windows(traces, problem, 2)
    draws = np.random.default_rng(8).integers(0, problem.nvec, (12, 4))
    best = distinct_actions(problem)
    for name, weights in comparison.presets.items():
        top = comparison.scores(BEST_FIXED, name).mean()
        for action in (*draws, best[0], best[-1]):
            episodes = rollout(FixedAction(action), problem, traces, windows, weights, 3)
            assert episodes.mean_reward().mean() <= top + 1e-12


def test_left_out_constants_are_no_better(problem: Problem, traces: Traces) -> None:
    windows = evaluation_windows(traces, problem)[:2]
    weights = {"cost": (0.1, 0.8, 0.1)}
    kept = {tuple(action) for action in distinct_actions(problem).tolist()}
    full = search_fixed(problem, traces, windows, weights, exhaustive=True)
    by_action = dict(zip(map(tuple, full.actions.tolist()), full.rewards[:, 0].mean(axis=1), strict=True))
    whole = problem.placement(0, problem.stages)
    part = problem.placement(1, 2)
    for left_out, instead in (
        ((whole, 2, 0, 3), (whole, 2, 1, 0)),
        ((part, 1, 1, 2), (part, 1, 1, 0)),
        ((part, 1, 2, 0), (part, 1, 1, 0)),
    ):
        assert left_out not in kept
        episodes = rollout(FixedAction(left_out), problem, traces, windows, weights["cost"], 0)
        assert episodes.mean_reward().mean() <= by_action[instead] + 1e-12


def test_halving_finds_a_constant_that_ran_everywhere(
    problem: Problem, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = evaluation_windows(traces, problem, 2)
    presets = {"default": (0.34, 0.33, 0.33), "privacy": (0.1, 0.1, 0.8)}
    full = search_fixed(problem, traces, windows, presets, 3, exhaustive=True)
    monkeypatch.setattr(fixed_module, "_EXHAUSTIVE_STEPS", 0)
    ticks: list[float] = []
    quick = search_fixed(problem, traces, windows, presets, 3, progress=ticks.append)
    assert full.exhaustive
    assert not quick.exhaustive
    assert np.isnan(quick.rewards).any()
    assert ticks == sorted(ticks)
    for k, name in enumerate(presets):
        assert_array_equal(quick.best(name), full.best(name))
        assert np.isfinite(quick.rewards[(quick.actions == quick.best(name)).all(axis=1)][0, k]).all()


def test_best_fixed_without_the_default_preference(problem: Problem, traces: Traces) -> None:
    weights = {"latency": (0.8, 0.1, 0.1), "cost": (0.1, 0.8, 0.1)}
    found = compare([], problem, traces[:1], weights, best_fixed=True)
    assert found.methods == (BEST_FIXED,)
    assert list(found.presets) == ["latency", "cost"]


def test_actions_in_words(problem: Problem) -> None:
    stages = problem.stages
    last = len(problem.thresholds) - 1
    assert describe_action(problem, problem.action(stages, stages, last, "faas", 0)) == "device all, no early exit"
    text = describe_action(problem, problem.action(1, 2, 0, "spill", 2))
    assert text == f"device 0–1, edge 1–2, cloud 2–{stages}, exit at {problem.thresholds[0]:g}, spill, 2 VMs"


def test_raw_scores_survive_the_disk(comparison: Comparison, tmp_path: Path) -> None:
    path = save_comparison(comparison, tmp_path / "new" / "folder", {"command": "x"})
    loaded, provenance = load_comparison(path.parent)
    assert provenance == {"command": "x"}
    assert (loaded.methods, loaded.learned, loaded.presets) == (
        comparison.methods,
        comparison.learned,
        comparison.presets,
    )
    assert loaded.episodes == comparison.episodes
    for mine, theirs in zip(comparison.runs, loaded.runs, strict=True):
        assert_array_equal(mine.scores, theirs.scores)
        assert_array_equal(mine.latency_counts, theirs.latency_counts)
        for a, b in zip(mine.actions, theirs.actions, strict=True):
            assert_array_equal(a.actions, b.actions)
            assert_array_equal(a.counts, b.counts)
    rows = (path.parent / "scores.csv").read_text().splitlines()
    assert len(rows) == 1 + sum(len(run.scores) for run in comparison.runs)
    cells = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert float(cells["reward"]) == comparison.runs[0].scores[0, 0]
    assert not list(path.parent.glob(".*.part"))


@pytest.mark.parametrize(
    ("content", "part"),
    [("{", "valid JSON"), ('{"format": 9}', "format: must be 1"), ("[]", "format"), ('{"format": 1}', "metrics")],
)
def test_damaged_scores_are_named(tmp_path: Path, content: str, part: str) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(InputError, match=part):
        load_comparison(tmp_path)
    with pytest.raises(InputError, match="readable raw scores"):
        load_comparison(tmp_path / "absent.json")


def test_the_table_shows_the_scores(comparison: Comparison) -> None:
    console = Console(width=220, record=True, file=io.StringIO())
    print_table(comparison, console)
    text = console.export_text()
    for method in comparison.methods:
        mean = comparison.scores(method, "default").mean()
        assert f"{mean:.4f} ±" in text
    assert "agent ×2" in text
    assert "agent minus it" in text
    assert "3 logs" in text
    narrow = Console(width=90, record=True, file=io.StringIO())
    print_table(comparison, narrow, weights="default")
    text = narrow.export_text()
    assert "in a wider terminal" in text
    assert max(map(len, text.splitlines())) <= 90


def test_what_cannot_be_compared_is_refused(problem: Problem, traces: Traces) -> None:
    with pytest.raises(InputError, match="at least one policy"):
        compare([], problem, traces)
    with pytest.raises(InputError, match="at least one link trace"):
        compare([AlwaysDevice()], problem, ())
    with pytest.raises(InputError, match="repeats"):
        compare([AlwaysDevice()], problem, traces, repeats=0)
    with pytest.raises(InputError, match="at least one preference"):
        compare([AlwaysDevice()], problem, traces, {})
    with pytest.raises(InputError, match="at least one policy"):
        Method("empty", ())


def test_progress_reaches_the_end(problem: Problem, traces: Traces) -> None:
    seen: list[tuple[int, int]] = []
    compare([AlwaysDevice()], problem, traces[:1], progress=lambda _, done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_metrics_are_looked_up_by_name() -> None:
    assert metric("latency_s").better == -1
    with pytest.raises(InputError, match="did you mean 'leakage'"):
        metric("leakege")
