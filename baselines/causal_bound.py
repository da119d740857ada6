"""A reward that no controller reaches on average that decides before it knows the requests, whatever else it knows.

The link, the arrival rates, the load of the edge server, the difficulty and the boot times are granted, those to come
too; not the requests of an interval when its action is chosen: how many come and when, which samples they are, their
service times. A programme backward in time over the backlogs of device, uplink and edge minimises the mean cost over
redraws of each interval's requests (`envs.expected`). The proof is in docs/bounds.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..envs import Problem, Simulator, Window
from ..envs.compiled import entry_point
from ..envs.coupled import CLOUD_WAYS
from ..envs.expected import CHOICES, expected
from ..envs.redraws import ROW
from ..envs.simulator import check_weights
from ..envs.trials import Trials
from ..envs.world import MAX_ARRIVALS
from ..errors import InputError
from ..traces import LinkTrace
from .relaxation import coefficients_of, least_boot_s

__all__ = ["REDRAWS", "causal_bound", "causal_cost"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REDRAWS = 64
"""Of each interval, by default: with four times as many the bound is about 0.001 tighter."""

# Backlogs past an interval's begin that are told apart, in sixteenths of an interval: of one resource, and of several.
_ALONE = (0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128)
_TOGETHER = (0, 4, 8, 16, 32, 48)
_EDGE_TOGETHER = (0, 8, 16)


def causal_bound(
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    weights: ArrayLike,
    seed: int = 0,
    *,
    redraws: int = REDRAWS,
    redraw_seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Bounds on the expected mean reward per interval, given all that moves by itself but the requests, float64 (N,).

    Args:
        problem: The compiled problem.
        traces: Link traces.
        windows: One per episode, N; what moves by itself is as in the worlds that `rollout` uses for them.
        weights: Preference (3,) or (N, 3).
        seed: Of the worlds.
        redraws: Of each interval's requests. Fewer make the bound looser on average, never wrong.
        redraw_seed: Which redraws.
        progress: Called with episodes done and in all.

    Raises:
        InputError: There is no redraw, or the weights do not fit.
    """
    rows = check_weights(weights, len(windows))
    simulator = Simulator(problem, traces, len(windows), weights=rows, windows=windows)
    simulator.reset(seed)
    bounds = np.empty(len(windows))
    for i in range(len(windows)):
        bounds[i] = -causal_cost(simulator, i, redraws, redraw_seed)
        if progress is not None:
            progress(i + 1, len(windows))
    return bounds


def causal_cost(simulator: Simulator, episode: int, redraws: int = REDRAWS, redraw_seed: int = 0) -> float:
    """Least expected mean cost per interval of one episode at its own preference.

    Args:
        simulator: A simulator just reset; it is left as it is.
        episode: Which of its environments.
        redraws: See `causal_bound`.
        redraw_seed: See `causal_bound`.

    Raises:
        InputError: There is no redraw.
    """
    if redraws < 1:
        raise InputError("redraws", "", "must be at least 1", redraws)
    return _Backward(simulator, episode, (int(redraws), int(redraw_seed))).cost()


@dataclass(frozen=True, eq=False)
class _Grid:
    """Backlogs of device, uplink and edge that are told apart; any is rounded down to one of them.

    Attributes:
        classes: int64 (C, 3), indices into `backlogs_s`, each after all that are no greater in any resource.
        backlogs_s: float64 (G,), increasing from zero.
        lower: int64 (C, 3): a class with less of one resource and as much of the others, -1 for none.
        bins: int64 (B,): index of the greatest backlog that is at most so many units.
        unit_s: Seconds.
    """

    classes: Ints
    backlogs_s: Floats
    lower: Ints
    bins: Ints
    unit_s: float

    @classmethod
    def for_problem(cls, problem: Problem) -> _Grid:
        """A grid up to the timeout: nothing that waits longer is served."""
        p = problem.params
        unit_s = p.interval_s / 16.0
        points = [x for x in _ALONE if x * unit_s < p.timeout_s]
        index = {x: k for k, x in enumerate(points)}
        found = {tuple(index[x] if r == k else 0 for r in range(3)) for k in range(3) for x in points}
        for together in product(_TOGETHER, _TOGETHER, _EDGE_TOGETHER):
            if all(x in index for x in together):
                found.add((index[together[0]], index[together[1]], index[together[2]]))
        classes = sorted(found)
        place = {c: k for k, c in enumerate(classes)}
        lower = np.full((len(classes), 3), -1, dtype=np.int64)
        for k, c in enumerate(classes):
            for r in range(3):
                below = [(*c[:r], x, *c[r + 1 :]) for x in range(c[r] - 1, -1, -1)]
                lower[k, r] = next((place[b] for b in below if b in place), -1)
        bins = np.searchsorted(points, np.arange(points[-1] + 1), side="right") - 1
        units = np.array(points, dtype=np.float64)
        return cls(np.array(classes, dtype=np.int64), units * unit_s, lower, bins.astype(np.int64), unit_s)


class _Backward:
    """The programme over one episode, from its end; its state is the backlog's class, and whether VMs exist."""

    def __init__(self, simulator: Simulator, episode: int, draws: tuple[int, int]) -> None:
        problem = simulator.problem
        self._p, self._bank, self._draws = problem.params, simulator.bank, draws
        self._coefficients = coefficients_of(problem, simulator.state.weights[episode])[0]
        self._grid = _Grid.for_problem(problem)
        self._levels = 2 if problem.nvec[3] > 1 else 1
        trials = Trials(simulator, episode)
        trials.follow(np.tile(problem.start_action, (self._p.episode_intervals, 1)))
        self._path = trials.path  # read for what moves by itself only
        self._boot_s = least_boot_s(trials, problem)
        self._half_s = _half_trips_s(simulator, int(self._path.trace[0]))
        self._mean_loss = _mean_losses(problem)
        sizes = (len(self._grid.classes), len(problem.placements) * len(problem.thresholds), self._levels)
        self._least, self._values = np.empty(sizes), np.empty((sizes[0], self._levels))
        self._buffers = _buffers(draws[0], sizes[1], len(problem.thresholds))
        self._entry: Any = None

    def cost(self) -> float:
        """Least expected cost per interval."""
        length, count = self._p.episode_intervals, len(self._grid.backlogs_s)
        table = np.zeros((count, count, count, self._levels))
        for t in range(length - 1, -1, -1):
            table = self._back(table, t)
        return float(table[0, 0, 0, min(self._p.vm_initial, self._levels - 1)]) / length

    def _back(self, table: Floats, t: int) -> Floats:
        """Cost to go from interval `t` on, from that of the next, float64 (G, G, G, levels)."""
        g = self._grid
        grid = (g.classes, g.backlogs_s, g.lower, g.bins, g.unit_s)
        given = (self._p, self._bank, self._path, t, self._draws, self._levels, self._coefficients, grid, table)
        arguments = (*given, self._mean_loss, self._half_s, self._least, self._values, self._buffers)
        if self._entry is None:
            self._entry = entry_point(expected, arguments)
        self._entry(*arguments)
        before = np.full_like(table, -np.inf)
        before[tuple(g.classes.T)] = self._rent(self._values, t)
        for axis in range(3):  # no backlog is better than a smaller one
            before = np.maximum.accumulate(before, axis=axis)
        return np.ascontiguousarray(before)

    def _rent(self, values: Floats, t: int) -> Floats:
        """Let VMs be there or not: they are paid while they exist, and have been since their launch."""
        usd = self._p.usd_per_vm_s * self._coefficients[1]
        kept = values + np.arange(self._levels) * usd * self._p.interval_s
        least: Floats = kept.copy()
        for level in range(1, self._levels):
            least[:, level] = np.minimum(kept[:, level], kept[:, level - 1])
            if np.isfinite(self._boot_s[t]):
                least[:, level - 1] = np.minimum(kept[:, level - 1], kept[:, level] + usd * float(self._boot_s[t]))
        return least


def _half_trips_s(simulator: Simulator, trace: int) -> tuple[float, float]:
    """Least and greatest half round trip on a link (s)."""
    bank = simulator.bank
    rtt_s = bank.rtt_s[bank.start[trace] : bank.start[trace] + bank.length[trace]]
    half_s = 0.5 * np.where(np.isnan(rtt_s), simulator.problem.params.rtt_s, rtt_s)
    return float(half_s.min()), float(half_s.max())


def _mean_losses(problem: Problem) -> Floats:
    """Accuracy loss of the hard and of the easy half of the samples at every threshold, float64 (thresholds, 2)."""
    p = problem.params
    correct = p.correct_by_rank.astype(np.float64)
    given = np.take_along_axis(correct, p.exit_by_rank.T.astype(np.int64), axis=1)
    loss, half = correct[:, -1:] - given, len(correct) // 2
    return np.stack([loss[:half].mean(axis=0), loss[half:].mean(axis=0)], axis=1)


def _buffers(redraws: int, actions: int, thresholds: int) -> tuple[Any, ...]:
    """Scratch of `envs.expected`."""
    room = (np.zeros(3), np.zeros((CLOUD_WAYS, 5)), np.zeros((CLOUD_WAYS, MAX_ARRIVALS)), np.zeros(MAX_ARRIVALS))
    requests, times = np.empty((redraws * MAX_ARRIVALS, ROW)), np.zeros(MAX_ARRIVALS)
    begins, order, chosen = (np.zeros(size, dtype=np.int64) for size in (redraws + 1, redraws, actions))
    return requests, begins, order, times, chosen, np.zeros(CHOICES), np.zeros(thresholds), room
