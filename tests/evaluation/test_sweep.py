import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from edgecloud.envs import Problem, compile_problem, evaluation_windows, rollout
from edgecloud.errors import InputError
from edgecloud.evaluation import (
    BEST_FIXED,
    Plan,
    compare,
    load_comparison,
    plan_sweep,
    resolve_methods,
    resolve_policy,
    run_sweep,
    save_comparison,
)
from edgecloud.evaluation import sweep as sweep_module
from edgecloud.evaluation.sweep_plan import CHUNK, policy_seed
from edgecloud.traces import LinkTrace, load_link_traces

Traces = tuple[LinkTrace, ...]

PRESETS = {"default": (0.34, 0.33, 0.33), "cost-heavy": (0.15, 0.7, 0.15)}
RULES = "random,libra,neurosurgeon"


@pytest.fixture
def plan(problem: Problem, traces: Traces) -> Plan:
    return plan_sweep([], RULES, problem, traces, PRESETS, seed=3, repeats=2)


def scores(plan: Plan, folder: Path, jobs: int = 1) -> tuple[bytes, bytes]:
    sweep = run_sweep(plan, folder / "pieces", jobs=jobs)
    save_comparison(sweep.comparison, folder, {"seed": 3}, machine={"created": str(time.time())})
    return (folder / "scores.json").read_bytes(), (folder / "scores.csv").read_bytes()


def test_it_is_the_comparison_in_one_piece(problem: Problem, traces: Traces, tmp_path: Path) -> None:
    """With no more episodes than one piece of work holds, every figure is that of `compare`."""
    methods, fixed = resolve_methods([], rules := f"{RULES},best-fixed")
    part = traces[:1]
    plan = plan_sweep([], rules, problem, part, PRESETS, 3, 2)
    assert len(plan.windows) <= CHUNK
    whole = compare(methods, problem, part, PRESETS, 3, 2, best_fixed=fixed)
    found = run_sweep(plan, tmp_path).comparison
    assert (found.methods, found.episodes, found.notes, found.facts) == (
        whole.methods,
        whole.episodes,
        whole.notes,
        whole.facts,
    )
    assert BEST_FIXED in found.methods
    for mine, theirs in zip(found.runs, whole.runs, strict=True):
        assert (mine.method, mine.member, mine.weights_name) == (theirs.method, theirs.member, theirs.weights_name)
        assert_array_equal(mine.scores, theirs.scores)
        assert_array_equal(mine.latency_counts, theirs.latency_counts)
        for a, b in zip(mine.actions, theirs.actions, strict=True):
            assert_array_equal(a.actions, b.actions)
            assert_array_equal(a.counts, b.counts)


def test_pieces_are_the_worlds_of_the_whole(problem: Problem, traces: Traces) -> None:
    windows = evaluation_windows(traces, problem, 2)
    policy, weights = resolve_policy("libra"), PRESETS["default"]
    whole = rollout(policy, problem, traces, windows, weights, 3)
    part = rollout(policy, problem, traces, windows[4:7], weights, 3, streams=range(4, 7))
    assert_array_equal(part.terms, whole.terms[:, 4:7])


def test_more_than_one_piece(problem: Problem, traces: Traces, tmp_path: Path) -> None:
    repeats = 1 + CHUNK // len(evaluation_windows(traces, problem))
    plan = plan_sweep([], "libra,random", problem, traces, {"default": PRESETS["default"]}, 3, repeats)
    assert len(plan.windows) > CHUNK
    assert len(plan.tasks()) == 2 * -(-len(plan.windows) // CHUNK)
    found = run_sweep(plan, tmp_path)
    whole = rollout(resolve_policy("libra"), problem, traces, plan.windows, PRESETS["default"], 3)
    assert_array_equal(found.comparison.scores("libra", "default")[0], whole.mean_reward())
    assert policy_seed(3, 0) == 3
    assert policy_seed(3, CHUNK) != policy_seed(3, 2 * CHUNK)


def test_parallel_is_serial_and_a_second_start_does_nothing(plan: Plan, tmp_path: Path) -> None:
    serial = scores(plan, tmp_path / "serial")
    assert scores(plan, tmp_path / "parallel", jobs=2) == serial
    again = run_sweep(plan, tmp_path / "serial" / "pieces")
    assert again.computed == 0
    assert again.reused == 3 * len(PRESETS)


def test_timings_stand_apart(plan: Plan, tmp_path: Path) -> None:
    scores(plan, tmp_path)
    loaded, provenance = load_comparison(tmp_path)
    assert all(run.decision_s > 0.0 for run in loaded.runs)
    assert all(loaded.decision_one_s[name] > 0.0 for name in loaded.methods)
    assert {"seed", "created"} <= provenance.keys()
    (tmp_path / "machine.json").unlink()
    loaded, provenance = load_comparison(tmp_path)
    assert all(np.isnan(run.decision_s) for run in loaded.runs)
    assert provenance == {"seed": 3}


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "altered":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    else:  # another piece's result under this name
        other = next(p for p in sorted(path.parent.glob("*.npz")) if p != path)
        path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("how", ["truncated", "altered", "empty", "misplaced"])
def test_a_damaged_piece_is_reported_and_done_again(plan: Plan, tmp_path: Path, how: str) -> None:
    before = scores(plan, tmp_path)
    victim = plan.tasks()[2]
    path = tmp_path / "pieces" / f"{victim.key}.npz"
    damage(path, how)
    with pytest.warns(RuntimeWarning, match="damaged") as caught:
        sweep = run_sweep(plan, tmp_path / "pieces")
    assert victim.key in str(caught[0].message)
    assert (sweep.computed, len([w for w in caught if w.category is RuntimeWarning])) == (1, 1)
    assert scores(plan, tmp_path) == before


def test_a_damaged_search_is_done_again(problem: Problem, traces: Traces, tmp_path: Path) -> None:
    plan = plan_sweep([], "best-fixed", problem, traces[:1], {"default": PRESETS["default"]}, 3)
    before = scores(plan, tmp_path)
    (tmp_path / "pieces" / f"{plan.search_key()}.json").write_text('{"key": "x"')
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert scores(plan, tmp_path) == before


def test_actions_are_kept_for_planners(problem: Problem, traces: Traces, plan: Plan, tmp_path: Path) -> None:
    sweep = run_sweep(plan, tmp_path)
    episodes = rollout(resolve_policy("libra"), problem, traces, plan.windows, PRESETS["default"], 3)
    assert_array_equal(sweep.actions("libra", "default"), episodes.actions)
    with pytest.raises(InputError, match="one of the comparison"):
        sweep.actions("dp-held", "default")


def test_keys_say_all_that_matters(problem: Problem, traces: Traces, plan: Plan, tmp_path: Path) -> None:
    own = [task.key for task in plan.tasks()]
    assert len(set(own)) == len(own)
    louder = (*traces[:-1], replace(traces[-1], rate_bps=1.5 * traces[-1].rate_bps))
    control = problem.scenario.control.model_copy(update={"episode_intervals": 41})
    longer = compile_problem(problem.scenario.model_copy(update={"control": control}))
    for other in (
        plan_sweep([], RULES, problem, louder, PRESETS, 3, 2),
        plan_sweep([], RULES, longer, traces, PRESETS, 3, 2),
        plan_sweep([], RULES, problem, traces, PRESETS, 4, 2),
        plan_sweep([], RULES, problem, traces, {"default": (0.4, 0.3, 0.3)}, 3, 2),
    ):
        assert not {task.key for task in other.tasks()} & set(own)
        assert other.search_key() != plan.search_key()
    fewer = plan_sweep([], "libra", problem, traces, PRESETS, 3, 2)
    assert {task.key for task in fewer.tasks()} <= set(own)


def test_an_edited_rule_is_another_rule(problem: Problem, traces: Traces, tmp_path: Path) -> None:
    rule = tmp_path / "mine.py"
    text = (
        "from edgecloud.baselines import FixedAction\n\n\nclass Mine(FixedAction):\n    def __init__(self) -> None:\n"
    )
    text += "        super().__init__((0, 0, 1, 0))\n        self.name = 'mine'\n"
    rule.write_text(text)
    before = plan_sweep([f"{rule}:Mine"], "none", problem, traces, PRESETS).tasks()[0].key
    assert plan_sweep([f"{rule}:Mine"], "none", problem, traces, PRESETS).tasks()[0].key == before
    rule.write_text(text.replace("(0, 0, 1, 0)", "(1, 0, 1, 0)"))
    assert plan_sweep([f"{rule}:Mine"], "none", problem, traces, PRESETS).tasks()[0].key != before


def test_progress_ends_at_the_end(plan: Plan, tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    run_sweep(plan, tmp_path, progress=lambda _, done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == pytest.approx(seen[-1][1])


KILLED = """
import sys
from pathlib import Path
import numpy as np
from edgecloud.envs import compile_problem, load_scenario
from edgecloud.evaluation import plan_sweep, run_sweep
from edgecloud.traces import load_link_traces

scenario = load_scenario("camera-lte")
control = scenario.control.model_copy(update={"episode_intervals": 40})
problem = compile_problem(scenario.model_copy(update={"control": control}))
traces = load_link_traces(sys.argv[1])
presets = {"default": (0.34, 0.33, 0.33), "cost-heavy": (0.15, 0.7, 0.15)}
plan = plan_sweep([], "libra,dp,dp-held", problem, traces, presets, 3, 2)
run_sweep(plan, Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a group of processes")
def test_a_killed_one_goes_on_and_ends_the_same(problem: Problem, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "logs").mkdir()
    for name in ("bus_1", "car_1"):
        rows = "\n".join(f"{t},{rng.uniform(1, 40):.3f}" for t in range(61))
        (tmp_path / "logs" / f"{name}.csv").write_text(f"t_s,rate_mbps\n{rows}\n", encoding="utf-8")
    links = load_link_traces(tmp_path / "logs")
    plan = plan_sweep([], "libra,dp,dp-held", problem, links, PRESETS, 3, 2)
    pieces = tmp_path / "killed" / "pieces"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "logs"), str(pieces)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120.0
    while len(list(pieces.glob("*.npz"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(pieces.glob("*.npz")))
    assert 2 <= done < len(plan.tasks())
    resumed = run_sweep(plan, pieces)
    assert resumed.reused >= done - 1
    assert scores(plan, tmp_path / "killed") == scores(plan, tmp_path / "whole")


def test_a_worker_s_error_is_the_user_s(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise InputError("somewhere", "", "must be otherwise")

    monkeypatch.setattr(sweep_module, "_episodes", broken)
    with pytest.raises(InputError, match="must be otherwise"):
        run_sweep(plan, tmp_path)
