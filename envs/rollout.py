"""Running a policy on fixed windows of traces: the one loop behind evaluation, validation and tuning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..traces import LinkTrace
from .policy import Policy
from .problem import Problem
from .simulator import Simulator, Window, check_weights
from .state import RECORD_FIELDS, TERMS

__all__ = ["Episodes", "evaluation_windows", "latency_edges_s", "rollout"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ARRIVED, _LATENCY = TERMS.index("arrived"), RECORD_FIELDS.index("latency_s")
_FLOOR_S, _RATIO = 1e-3, 1.01


@dataclass(frozen=True, eq=False)
class Episodes:
    """What happened when a policy ran: N episodes of T intervals.

    Attributes:
        policy: The policy's name.
        windows: Where each episode started; the same for every policy that it is compared with.
        weights: float64 (N, 3).
        terms: float64 (T, N, len(TERMS)).
        actions: int64 (T, N, 4).
        rows: float64 (T, N, D), measured at the end of each interval; empty unless asked for.
        decision_s: Mean wall-clock seconds of one decision (of one environment).
        seed: Of the worlds.
        latency_counts: int64 (N, B), requests per latency bin, see `latency_edges_s`; empty unless asked for.
    """

    policy: str
    windows: tuple[Window, ...]
    weights: Floats
    terms: Floats
    actions: Ints
    rows: Floats
    decision_s: float
    seed: int
    latency_counts: Ints = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def term(self, name: str) -> Floats:
        """One term, float64 (T, N)."""
        column: Floats = self.terms[:, :, TERMS.index(name)]
        return column

    def total(self, name: str) -> Floats:
        """A term summed over each episode, float64 (N,)."""
        return np.asarray(self.term(name).sum(axis=0))

    def mean_reward(self) -> Floats:
        """Mean reward per interval of each episode, float64 (N,): the score that policies are compared by."""
        return np.asarray(self.term("reward").mean(axis=0))


def evaluation_windows(traces: Sequence[LinkTrace], problem: Problem, repeats: int = 1) -> tuple[Window, ...]:
    """Consecutive windows of one episode's length that cover each trace, every one `repeats` times.

    A trace shorter than an episode gives one window (it wraps around). Repeats differ in arrivals, samples and noise.
    """
    length = problem.params.episode_intervals * problem.params.interval_s
    windows = [
        Window(index, k * problem.params.episode_intervals)
        for index, trace in enumerate(traces)
        for k in range(max(1, round(trace.duration_s / length)))
    ]
    return tuple(window for window in windows for _ in range(repeats))


def latency_edges_s(timeout_s: float) -> Floats:
    """Edges of the latency bins, shape (B + 1,): each bin is 1 % wider than the one before, from 1 ms to the timeout.

    The first bin takes everything below 1 ms; the last starts at the timeout and holds the requests that failed.

    >>> edges = latency_edges_s(2.0)
    >>> float(edges[0]), float(edges[-2]), float(edges[-1])
    (0.0, 2.0, inf)
    """
    steps = max(1, math.ceil(math.log(timeout_s / _FLOOR_S) / math.log(_RATIO)))
    inner = np.geomspace(min(_FLOOR_S, 0.5 * timeout_s), timeout_s, steps + 1)
    inner[-1] = timeout_s
    return np.concatenate([[0.0], inner, [np.inf]])


def rollout(
    policy: Policy,
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    weights: ArrayLike,
    seed: int = 0,
    *,
    keep_rows: bool = False,
    keep_latencies: bool = False,
    progress: Callable[[int], None] | None = None,
    streams: Sequence[int] | None = None,
    policy_seed: int | None = None,
) -> Episodes:
    """Run a policy for one episode on each window.

    Environment `i` of every call with the same seed is the same world, whatever the policy (common random numbers).
    With `streams` a part of the windows runs in the worlds that it has when all of them run together.

    Args:
        policy: Decides.
        problem: The compiled problem.
        traces: Link traces that the windows refer to.
        windows: One per episode, N.
        weights: Preference (3,) or (N, 3).
        seed: Of the worlds and of policies that draw.
        keep_rows: Keep the measured rows (for drawing).
        keep_latencies: Count every request's latency into `latency_counts`.
        progress: Called with the number of intervals done.
        streams: Number of each window's world, (N,); None: its position.
        policy_seed: Of policies that draw; None: `seed`.
    """
    n, intervals = len(windows), problem.params.episode_intervals
    preference = check_weights(weights, n)
    simulator = Simulator(problem, traces, n, weights=preference, windows=windows, records=keep_latencies)
    if streams is not None:
        simulator.state.stream[:] = streams
    measured = simulator.reset(seed)
    policy.reset(problem, n, preference, seed if policy_seed is None else policy_seed)
    terms = np.empty((intervals, n, len(TERMS)))
    actions = np.empty((intervals, n, 4), dtype=np.int64)
    rows = np.empty((intervals, n, measured.rows.shape[1] if keep_rows else 0))
    edges = latency_edges_s(problem.params.timeout_s)
    counts = np.zeros((n, len(edges) - 1) if keep_latencies else (0, 0), dtype=np.int64)
    spent = 0.0
    for t in range(intervals):
        before = time.perf_counter()
        actions[t] = policy.act(measured)
        spent += time.perf_counter() - before
        measured = simulator.step(actions[t])
        terms[t] = simulator.terms
        if keep_rows:
            rows[t] = measured.rows
        if keep_latencies:
            _count_latencies(simulator, edges, counts)
        if progress is not None:
            progress(t + 1)
    decision_s = spent / (intervals * n)
    return Episodes(policy.name, tuple(windows), preference, terms, actions, rows, decision_s, seed, counts)


def _count_latencies(simulator: Simulator, edges: Floats, counts: Ints) -> None:
    """Add the last interval's requests to their latency bins."""
    arrived = simulator.terms[:, _ARRIVED].astype(np.int64)
    valid = np.arange(simulator.records.shape[1]) < arrived[:, None]
    bins = np.searchsorted(edges, simulator.records[:, :, _LATENCY][valid], side="right") - 1
    np.add.at(counts, (np.repeat(np.arange(len(arrived)), arrived), bins), 1)
