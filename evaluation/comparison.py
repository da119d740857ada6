"""Running every method on the same worlds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..envs import ROUTES, Episodes, Policy, Problem, Simulator, Window, evaluation_windows, rollout
from ..errors import InputError
from ..traces import LinkTrace
from .fixed import BEST_FIXED, FixedByWeights, search_fixed
from .metrics import episode_metrics
from .scores import ActionCounts, Comparison, EpisodeLabel, Method, Run, Weights, methods_of

__all__ = ["Progress", "check_inputs", "compare", "decision_time_s", "episode_labels", "facts_of"]

Progress = Callable[[str, int, int], None]


def compare(
    policies: Sequence[Policy | Method],
    problem: Problem,
    traces: Sequence[LinkTrace],
    weights: Mapping[str, Weights] | None = None,
    seed: int = 0,
    repeats: int = 1,
    *,
    best_fixed: bool = False,
    exhaustive: bool = False,
    progress: Progress | None = None,
    on_episodes: Callable[[str, str, Episodes], None] | None = None,
) -> Comparison:
    """Run every policy on the same windows, preferences and repeats.

    Worlds are the same for all (common random numbers): arrivals, samples, service noise, boot times and background
    load of episode `i` depend on the seed and `i` alone.

    Args:
        policies: Policies or methods; several of one name are training runs of one method.
        problem: The compiled problem.
        traces: Link traces that no policy was trained on.
        weights: Preferences by name; None: the scenario's own, as 'default'.
        seed: Of the worlds.
        repeats: Episodes per window, with different arrivals, samples and noise.
        best_fixed: Add the best fixed action in hindsight as the method 'best-fixed'.
        exhaustive: Let its search run every action on every episode (else it discards hopeless ones early).
        progress: Called with a text, steps done and steps in all.
        on_episodes: Called with a method, a preference's name and the episodes themselves, measured rows included.

    Raises:
        InputError: No policy, no trace, or a policy's action lies outside the action space.
    """
    presets = dict(weights) if weights is not None else {"default": problem.scenario.objective.weights}
    methods = methods_of(policies)
    check_inputs(methods, traces, presets, repeats, best_fixed)
    windows = evaluation_windows(traces, problem, repeats)
    work = _Work(progress, sum(len(m.members) for m in methods) * len(presets) + best_fixed * (len(presets) + 2))
    first = next(iter(presets.values()))
    # Before the long part, so that a policy of another problem is refused at once.
    decisions = {m.name: max(decision_time_s(p, problem, traces, first) for p in m.members) for m in methods}
    notes: tuple[str, ...] = ()
    if best_fixed:
        found = search_fixed(
            problem, traces, windows, presets, seed, exhaustive=exhaustive, progress=work.part(BEST_FIXED, 2)
        )
        notes = (found.note(problem),)
        methods = (*methods, Method(BEST_FIXED, (FixedByWeights(found),)))
        decisions[BEST_FIXED] = decision_time_s(methods[-1].members[0], problem, traces, first)
    runs = []
    for method in methods:
        for policy, label in zip(method.members, method.labels, strict=True):
            for name, preference in presets.items():
                tick = work.part(f"{method.name} {name}", 1)
                episodes = rollout(
                    policy,
                    problem,
                    traces,
                    windows,
                    preference,
                    seed,
                    keep_rows=on_episodes is not None,
                    keep_latencies=True,
                    progress=_per_step(tick, problem),
                )
                if on_episodes is not None:
                    on_episodes(method.name, name, episodes)
                runs.append(_run(method.name, label, name, episodes, problem))
    return Comparison(
        methods=tuple(sorted((m.name for m in methods), key=lambda name: not _is_learned(methods, name))),
        learned=tuple(m.name for m in methods if m.learned),
        presets=presets,
        episodes=episode_labels(traces, windows, problem, repeats),
        runs=tuple(runs),
        decision_one_s=decisions,
        seed=seed,
        facts=facts_of(problem),
        notes=notes,
    )


def decision_time_s(
    policy: Policy, problem: Problem, traces: Sequence[LinkTrace], weights: Weights, limit_s: float = 1.0
) -> float:
    """Median seconds of one decision for one environment, over up to 100 intervals or `limit_s` of decisions."""
    simulator = Simulator(problem, traces, 1, weights=weights, windows=[Window(0, 0)])
    measured = simulator.reset(0)
    policy.reset(problem, 1, np.array([weights], dtype=np.float64), 0)
    spent: list[float] = []
    for _ in range(min(101, problem.params.episode_intervals)):
        before = time.perf_counter()
        action = policy.act(measured)
        spent.append(time.perf_counter() - before)
        measured = simulator.step(action)
        if sum(spent) > limit_s:
            break
    return float(np.median(spent[1:] or spent))


def check_inputs(
    methods: Sequence[object],
    traces: Sequence[LinkTrace],
    presets: Mapping[str, Weights],
    repeats: int,
    best_fixed: bool,
) -> None:
    """Make sure that there is something to compare.

    Raises:
        InputError: No policy, no trace, no preference, or no repeat.
    """
    if not methods and not best_fixed:
        raise InputError("policies", "", "must name at least one policy")
    if not traces:
        raise InputError("traces", "", "must hold at least one link trace")
    if not presets:
        raise InputError("weights", "", "must name at least one preference")
    if repeats < 1:
        raise InputError("repeats", "", "must be at least 1", repeats)


class _Work:
    """Progress over several pieces of work, in permille of one run."""

    def __init__(self, progress: Progress | None, pieces: int) -> None:
        self._progress, self._total, self._begun = progress, pieces * 1000, 0

    def part(self, text: str, pieces: int) -> Callable[[float], None]:
        """A callback for the next piece, to be called with the share done."""
        start, size = self._begun, pieces * 1000
        self._begun += size

        def tick(share: float) -> None:
            if self._progress is not None:
                self._progress(text, start + round(share * size), self._total)

        return tick


def _per_step(tick: Callable[[float], None], problem: Problem) -> Callable[[int], None]:
    total = problem.params.episode_intervals
    return lambda done: tick(done / total)


def _is_learned(methods: Sequence[Method], name: str) -> bool:
    return any(m.learned for m in methods if m.name == name)


def _run(method: str, member: str, weights_name: str, episodes: Episodes, problem: Problem) -> Run:
    params = problem.params
    actions = tuple(ActionCounts.of(episodes.actions[:, i]) for i in range(episodes.actions.shape[1]))
    scores = episode_metrics(episodes, params.timeout_s, params.interval_s)
    return Run(method, member, weights_name, scores, episodes.latency_counts, actions, episodes.decision_s)


def episode_labels(
    traces: Sequence[LinkTrace], windows: Sequence[Window], problem: Problem, repeats: int
) -> tuple[EpisodeLabel, ...]:
    """What each window of `evaluation_windows` ran on."""
    width_s = problem.params.interval_s
    return tuple(
        EpisodeLabel(traces[w.trace].name, traces[w.trace].mode, w.offset * width_s, k % repeats)
        for k, w in enumerate(windows)
    )


def facts_of(problem: Problem) -> dict[str, object]:
    """What a reader of raw scores needs to know of the problem."""
    return {
        "scenario": problem.scenario.name,
        "fingerprint": problem.fingerprint(),
        "profile": problem.profile.name,
        "stages": problem.stages,
        "placements": [[int(d), int(e)] for d, e in problem.placements],
        "thresholds": ["never" if not np.isfinite(x) else f"{x:g}" for x in problem.thresholds],
        "routes": list(ROUTES),
        "vm_targets": int(problem.nvec[3]),
        "timeout_s": problem.params.timeout_s,
        "interval_s": problem.params.interval_s,
        "episode_intervals": problem.params.episode_intervals,
        "latency_ref_s": problem.params.latency_ref_s,
        "cost_ref_usd": problem.params.cost_ref_usd,
    }
