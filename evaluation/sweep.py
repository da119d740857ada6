"""A large comparison in parallel: every piece of work is kept when it is done, so that a killed one goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from ..baselines import FixedAction
from ..envs import Problem, Window, rollout
from ..errors import InputError
from ..traces import LinkTrace
from .comparison import decision_time_s, episode_labels, facts_of
from .fixed import BEST_FIXED, search_fixed
from .metrics import episode_metrics
from .resolve import resolve_policy
from .scores import ActionCounts, Comparison, Run
from .sweep_plan import Entry, Plan, Task, policy_seed
from .sweep_store import Chunk, Store

__all__ = ["Sweep", "run_sweep"]

Ints = NDArray[np.int64]
Progress = Callable[[str, float, float], None]

_FIXED = Entry(BEST_FIXED, "0", "", False, BEST_FIXED)
_SIMULATION_S = 1e-5
_SEARCH_S = 2e-6


@dataclass(frozen=True, eq=False)
class Sweep:
    """A finished comparison.

    Attributes:
        plan: What was compared.
        comparison: Raw scores.
        computed: Pieces of work that were done now.
        reused: Those that had been done before.
    """

    plan: Plan
    comparison: Comparison
    computed: int
    reused: int
    _store: Store
    _tasks: dict[tuple[str, str, str], tuple[Task, ...]]

    def actions(self, method: str, weights_name: str, member: str | None = None) -> Ints:
        """Every action that a policy took, int64 (T, W, 4); by default of the method's first member.

        Raises:
            InputError: It was not part of the comparison, or the results have been removed since.
        """
        found = [
            tasks
            for (name, label, preset), tasks in self._tasks.items()
            if (name, preset) == (method, weights_name) and member in (None, label)
        ]
        if not found:
            raise InputError("sweep", "method", "must be one of the comparison", f"{method}, {member}, {weights_name}")
        return np.concatenate([_need(self._store, task).actions for task in found[0]], axis=1)


def run_sweep(plan: Plan, folder: Path, *, jobs: int = 1, progress: Progress | None = None) -> Sweep:
    """Do what of a comparison has not been done yet, and put it together.

    The result does not depend on the number of processes, nor on how often the work was interrupted.

    Args:
        plan: From `plan_sweep`.
        folder: Where the pieces' results are kept.
        jobs: Processes.
        progress: Called with a text, seconds of work done and in all, as estimated from the time of a decision.

    Raises:
        InputError: A policy belongs to another problem, or the folder cannot be written to.
    """
    store = Store(folder)
    decisions = _decision_times(plan, store)
    tasks = plan.tasks()
    open_tasks = [task for task in tasks if store.read(task.key, task.last - task.first) is None]
    searched = not plan.best_fixed or store.read_json(plan.search_key()) is not None
    bar = _Bar(progress, sum(_cost(plan, task, decisions) for task in tasks) + _search_cost(plan))
    bar.add(
        "resumed", bar.total - sum(_cost(plan, t, decisions) for t in open_tasks) - (not searched) * _search_cost(plan)
    )
    work: list[tuple[float, str, Any]] = []
    if not searched:
        work.append((_search_cost(plan), BEST_FIXED, joblib.delayed(_search)(plan, store)))
    work += [_work(plan, task, store, decisions) for task in open_tasks]
    _run(work, jobs, bar)
    computed = len(work)
    notes: tuple[str, ...] = ()
    if plan.best_fixed:
        found = store.read_json(plan.search_key())
        fixed = plan.tasks_of(_FIXED, {name: tuple(action) for name, action in found["actions"].items()})
        left = [task for task in fixed if store.read(task.key, task.last - task.first) is None]
        _run([_work(plan, task, store, decisions) for task in left], jobs, bar)
        tasks, computed, notes = (*tasks, *fixed), computed + len(left), (found["note"],)
    by_run: dict[tuple[str, str, str], list[Task]] = {}
    for task in tasks:
        by_run.setdefault((task.entry.method, task.entry.member, task.weights_name), []).append(task)
    grouped = {name: tuple(group) for name, group in by_run.items()}
    total = len(tasks) + plan.best_fixed
    return Sweep(plan, _comparison(plan, grouped, store, decisions, notes), computed, total - computed, store, grouped)


def _work(plan: Plan, task: Task, store: Store, decisions: dict[Entry, float]) -> tuple[float, str, Any]:
    """A piece of work with its expected seconds and what to say of it."""
    text = f"{task.entry.method} {task.weights_name}"
    call = joblib.delayed(_episodes)(plan.problem, plan.traces, plan.windows, task, plan.seed, store)
    return _cost(plan, task, decisions), text, call


def _run(work: Sequence[tuple[float, str, Any]], jobs: int, bar: _Bar) -> None:
    """Do pieces of work, the longest first, each process with one thread."""
    ordered = sorted(enumerate(work), key=lambda item: -item[1][0])
    calls = [joblib.delayed(_numbered)(number, call) for number, (_, _, call) in ordered]
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        results = joblib.Parallel(n_jobs=min(jobs, max(len(calls), 1)), return_as="generator_unordered")(calls)
        for number in results:
            seconds, text, _ = work[number]
            bar.add(text, seconds)


def _numbered(number: int, call: tuple[Callable[..., None], tuple[Any, ...], dict[str, Any]]) -> int:
    """Do one piece of work and say which it was."""
    function, arguments, named = call
    function(*arguments, **named)
    return number


def _episodes(
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    task: Task,
    seed: int,
    store: Store,
) -> None:
    """Run one policy on some episodes and keep what came of it."""
    policy = FixedAction(np.array(task.constant)) if task.constant else resolve_policy(task.entry.spec)
    chosen = range(task.first, task.last)
    episodes = rollout(
        policy,
        problem,
        traces,
        [windows[k] for k in chosen],
        task.weights,
        seed,
        keep_latencies=True,
        streams=chosen,
        policy_seed=policy_seed(seed, task.first),
    )
    scores = episode_metrics(episodes, problem.params.timeout_s, problem.params.interval_s)
    store.write(task.key, Chunk(scores, episodes.latency_counts, episodes.actions, episodes.decision_s))


def _search(plan: Plan, store: Store) -> None:
    """Find the best fixed action and keep it."""
    p = plan
    found = search_fixed(p.problem, p.traces, p.windows, p.presets, p.seed, exhaustive=p.exhaustive)
    actions = {name: [int(x) for x in found.best(name)] for name in p.presets}
    store.write_json(p.search_key(), {"actions": actions, "note": found.note(p.problem)})


def _decision_times(plan: Plan, store: Store) -> dict[Entry, float]:
    """Seconds of one decision of every policy, measured before anything else runs; refuses those of other problems."""
    first = next(iter(plan.presets.values()))
    times: dict[Entry, float] = {}
    for entry in plan.entries:
        policy = resolve_policy(entry.spec)
        policy.reset(plan.problem, 1, np.array([first]), plan.seed)
        known = store.read_json(plan.time_key(entry))
        if known is None:
            known = decision_time_s(policy, plan.problem, plan.traces, first)
            store.write_json(plan.time_key(entry), known)
        times[entry] = float(known)
    if plan.best_fixed:
        constant = FixedAction((0, 0, 0, 0))
        times[_FIXED] = decision_time_s(constant, plan.problem, plan.traces, first)
    return times


def _comparison(
    plan: Plan,
    grouped: dict[tuple[str, str, str], tuple[Task, ...]],
    store: Store,
    decisions: dict[Entry, float],
    notes: tuple[str, ...],
) -> Comparison:
    """Everything from the stored results."""
    runs = [_joined(name, [_need(store, task) for task in tasks]) for name, tasks in grouped.items()]
    entries = (*plan.entries, *((_FIXED,) if plan.best_fixed else ()))
    names = list(dict.fromkeys(entry.method for entry in entries))
    learned = [name for name in names if any(entry.learned for entry in entries if entry.method == name)]
    return Comparison(
        methods=(*learned, *(name for name in names if name not in learned)),
        learned=tuple(learned),
        presets=plan.presets,
        episodes=episode_labels(plan.traces, plan.windows, plan.problem, plan.repeats),
        runs=tuple(runs),
        decision_one_s={name: max(s for entry, s in decisions.items() if entry.method == name) for name in names},
        seed=plan.seed,
        facts=facts_of(plan.problem),
        notes=notes,
    )


def _joined(name: tuple[str, str, str], chunks: Sequence[Chunk]) -> Run:
    """One run from its pieces, in the order of the episodes."""
    sizes = [len(chunk.scores) for chunk in chunks]
    actions = [ActionCounts.of(chunk.actions[:, i]) for chunk in chunks for i in range(chunk.actions.shape[1])]
    return Run(
        *name,
        scores=np.concatenate([chunk.scores for chunk in chunks]),
        latency_counts=np.concatenate([chunk.latency_counts for chunk in chunks]),
        actions=tuple(actions),
        decision_s=float(np.average([chunk.decision_s for chunk in chunks], weights=sizes)),
    )


def _need(store: Store, task: Task) -> Chunk:
    chunk = store.read(task.key, task.last - task.first)
    if chunk is None:
        raise InputError(store.path(task.key), "", "must be there: it was removed meanwhile", remedy="start again")
    return chunk


def _cost(plan: Plan, task: Task, decisions: dict[Entry, float]) -> float:
    """Expected seconds of a piece of work; only order and progress depend on it."""
    intervals = (task.last - task.first) * plan.problem.params.episode_intervals
    return intervals * (decisions.get(task.entry, 0.0) / 4.0 + _SIMULATION_S)


def _search_cost(plan: Plan) -> float:
    size = float(np.prod(plan.problem.nvec)) * len(plan.windows) * plan.problem.params.episode_intervals
    return plan.best_fixed * size * _SEARCH_S


class _Bar:
    """Progress in expected seconds of work."""

    def __init__(self, progress: Progress | None, total: float) -> None:
        self._progress, self.total, self._done = progress, total, 0.0

    def add(self, text: str, seconds: float) -> None:
        """Something is done."""
        self._done = min(self._done + seconds, self.total)
        if self._progress is not None:
            self._progress(text, self._done, self.total)
