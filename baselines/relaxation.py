"""A relaxation: a reward that no policy can reach or beat in a world, however much it knows.

Per interval, `envs.floors` gives what every placement costs at least. A dynamic programme joins the intervals by what
cannot be had for nothing: a placement that is not loaded costs a pause, requests queue behind those of the interval
before, a VM is paid while it exists and while it boots. Everything else that an interval inherits is assumed to be as
good as it can be. The proof is in docs/bounds.md; running time O(T (P^2 + what is simulated)) per episode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..envs import Problem, Simulator, Window
from ..envs.compiled import entry_point
from ..envs.floors import COEFFICIENTS, floors
from ..envs.trials import Trials
from ..envs.world import MAX_ARRIVALS
from ..errors import InputError
from ..traces import LinkTrace

__all__ = ["coefficients_of", "least_boot_s", "relaxation", "relaxed_cost"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_LEVELS = 4


def coefficients_of(problem: Problem, weights: ArrayLike) -> Floats:
    """Cost coefficients of preferences (W, 3), float64 (W, 5): what a second, a dollar, … takes off the reward."""
    p = problem.params
    rows = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    out = np.empty((len(rows), len(COEFFICIENTS)))
    out[:, 0], out[:, 1], out[:, 2] = rows[:, 0] / p.latency_ref_s, rows[:, 1] / p.cost_ref_usd, rows[:, 2]
    out[:, 3], out[:, 4] = p.accuracy_penalty, p.failure_penalty
    return out


def relaxation(
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    coefficients: ArrayLike,
    seed: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Upper bounds on the mean reward per interval, float64 (W, N).

    Args:
        problem: The compiled problem.
        traces: Link traces.
        windows: One per episode, N; worlds are those that `rollout` uses for them.
        coefficients: (W, 5), see `coefficients_of`; any others bound the corresponding weighted sum of terms, for
            example (1, 0, 0, 0, 0) minus the mean latency.
        seed: Of the worlds.
        progress: Called with episodes done and in all.

    Raises:
        InputError: A coefficient is negative or not finite.
    """
    rows = np.ascontiguousarray(np.atleast_2d(np.asarray(coefficients, dtype=np.float64)))
    if rows.shape[1:] != (len(COEFFICIENTS),) or not (np.isfinite(rows).all() and (rows >= 0.0).all()):
        rule = f"must be rows of {len(COEFFICIENTS)} finite numbers >= 0 ({', '.join(COEFFICIENTS)})"
        raise InputError("coefficients", "", rule, rows.tolist())
    weights = np.full(3, 1.0 / 3.0)  # what happens to requests does not depend on the preference
    simulator = Simulator(problem, traces, len(windows), weights=weights, windows=windows)
    simulator.reset(seed)
    bounds = np.empty((len(rows), len(windows)))
    for i in range(len(windows)):
        bounds[:, i] = -relaxed_cost(simulator, i, rows)
        if progress is not None:
            progress(i + 1, len(windows))
    return bounds


def relaxed_cost(simulator: Simulator, episode: int, coefficients: Floats) -> Floats:
    """Least mean cost per interval of one episode, float64 (W,).

    Args:
        simulator: A simulator just reset; it is left as it is.
        episode: Which of its environments.
        coefficients: float64 (W, 5), see `relaxation`.
    """
    rows = np.ascontiguousarray(coefficients)
    return _Relaxed(simulator, episode, rows).cost() / simulator.problem.params.episode_intervals


class _Relaxed:
    """The dynamic programme over one episode, for all coefficients at once.

    Its state is (whether all requests of the last interval were answered, VMs that exist, placement in force, the other
    placement that is loaded); values are float64 (W, 2, levels + 1, P, P + 1), the last index also 'none'.
    """

    def __init__(self, simulator: Simulator, episode: int, coefficients: Floats) -> None:
        problem = simulator.problem
        self._p, self._bank, self._coefficients = problem.params, simulator.bank, coefficients
        self._count = len(problem.placements)
        self._levels = min(int(problem.nvec[3]) - 1, _MOST_LEVELS)
        self._slots = problem.scenario.control.resident_placements
        trials = Trials(simulator, episode)
        self._world = trials.room(1)
        for mine, theirs in zip(self._world, simulator.state, strict=True):
            mine[0] = theirs[episode]
        trials.follow(np.tile(problem.start_action, (problem.params.episode_intervals, 1)))
        self._boot_s = least_boot_s(trials, problem)
        shape = (len(coefficients), self._levels + 1, self._count + 1, self._count, 2)
        self._answered, self._fail = np.empty(shape), np.empty(len(coefficients))
        self._before, self._after = np.zeros((self._count + 1, 3)), np.zeros((self._count + 1, 3))
        sizes: tuple[Any, ...] = (MAX_ARRIVALS, (MAX_ARRIVALS, 6), (MAX_ARRIVALS, 4), self._levels + 1, 3)
        self._buffers = tuple(np.zeros(size) for size in sizes)
        self._entry: Any = None

    def cost(self) -> Floats:
        """Least cost of the episode, float64 (W,)."""
        values = self._first()
        for t in range(1, self._p.episode_intervals):
            self._floors()
            self._rent(values, t)
            values = self._next(values)
        return np.asarray(values.min(axis=(1, 2, 3, 4)))

    def _floors(self) -> None:
        """Least costs of the next interval."""
        self._before, self._after = self._after, self._before
        given = (self._p, self._bank, self._world, 0, self._levels, self._coefficients)
        arguments = (*given, self._before, self._after, self._answered, self._fail, self._buffers)
        if self._entry is None:
            self._entry = entry_point(floors, arguments)
        self._entry(*arguments)
        # A pool that exists may stay idle, and nothing is worse for being loaded already.
        self._answered[:] = np.minimum.accumulate(self._answered, axis=1)
        self._answered[..., 0] = self._answered.min(axis=-1)

    def _first(self) -> Floats:
        """Values after the first interval: any placement for nothing, the VMs that are there."""
        self._floors()
        count, nothing = self._count, self._count
        values = np.full((len(self._coefficients), 2, self._levels + 1, count, count + 1), np.inf)
        own = self._answered[:, :, nothing, :, 0]
        values[:, 1, :, :, nothing], values[:, 0, :, :, nothing] = own, self._fail[:, None, None]
        pool = np.zeros((len(self._coefficients), 1, self._levels + 1, 1, 1))
        initial = min(self._p.vm_initial, self._levels)
        for k in range(initial + 1, self._levels + 1):
            pool[:, 0, k, 0, 0] = pool[:, 0, k - 1, 0, 0] + self._launch(0)
        return values + pool + self._kept()

    def _kept(self) -> Floats:
        """What existing VMs cost in an interval, float64 (W, 1, levels + 1, 1, 1)."""
        usd = np.arange(self._levels + 1) * self._p.usd_per_vm_s * self._p.interval_s
        cost: Floats = (self._coefficients[:, 1, None] * usd)[:, None, :, None, None]
        return cost

    def _launch(self, t: int) -> Floats:
        """Least cost of a VM by an interval's begin if it can serve in it and was launched for it, float64 (W,)."""
        if not np.isfinite(self._boot_s[t]):  # not even at a price of zero
            return np.full(len(self._coefficients), np.inf)
        cost: Floats = self._coefficients[:, 1] * float(self._boot_s[t]) * self._p.usd_per_vm_s
        return cost

    def _rent(self, values: Floats, t: int) -> None:
        """Let the number of VMs change before an interval, in place: more cost their boot, fewer nothing."""
        for k in range(1, self._levels + 1):
            boot = self._launch(t)[:, None, None, None]
            values[:, :, k] = np.minimum(values[:, :, k], values[:, :, k - 1] + boot)
        for k in range(self._levels - 1, -1, -1):
            values[:, :, k] = np.minimum(values[:, :, k], values[:, :, k + 1])

    def _next(self, values: Floats) -> Floats:
        """One interval on."""
        after = np.full_like(values, np.inf)
        failed = self._fail[:, None, None, None]
        # If an interval's requests were not all answered, nothing is known of its backlog.
        behind = self._answered[:, :, : self._count]
        clear = np.broadcast_to(self._answered[:, :, self._count :], behind.shape)
        for known, costs in ((1, behind), (0, clear)):
            self._move(after, values[:, known], costs, failed)
        after += self._kept()
        return after

    def _move(self, after: Floats, old: Floats, costs: Floats, failed: Floats) -> None:
        """Keep the placement, go back to the other one that is loaded, or load a third."""
        count = self._count
        paused = 1 if self._slots <= 2 else 0
        same = np.arange(count)
        stay = old + costs[:, :, same, same, 0][..., None]
        np.minimum(after[:, 1], stay, out=after[:, 1])
        if self._slots >= 2:
            swap = np.swapaxes(old[..., :count] + costs[..., 0], 2, 3)
            np.minimum(after[:, 1, :, :, :count], swap, out=after[:, 1, :, :, :count])
        least = old.min(axis=-1)  # (W, levels + 1, P): whatever the other one was
        load = np.swapaxes(least[..., None] + costs[..., paused], 2, 3)  # (…, new, old)
        other = slice(0, count) if self._slots >= 2 else slice(count, count + 1)
        load = load if self._slots >= 2 else load.min(axis=-1, keepdims=True)
        np.minimum(after[:, 1, :, :, other], load, out=after[:, 1, :, :, other])
        # A failure is charged as such; where it leads is left open.
        best = old.min(axis=(2, 3), keepdims=True) + failed
        np.minimum(after[:, 0], best, out=after[:, 0])


def least_boot_s(trials: Trials, problem: Problem) -> Floats:
    """Seconds for which a VM has existed at least, at the begin of an interval that it can serve in, float64 (T,).

    It can serve a request of the interval if it is ready by the last deadline; infinite where no launch is in time.
    """
    p, length = problem.params, problem.params.episode_intervals
    least = np.full(length, np.inf)
    most = int(problem.nvec[3]) - 1
    if most < 1:
        return least
    empty, after = trials.room(length), trials.room(length)
    for mine, theirs in zip(empty, trials.path, strict=True):
        mine[:] = theirs[:length]
    empty.vm_launch_s[:] = np.nan
    actions = trials.plan.copy()
    actions[:, 3] = most
    trials.successors(empty, np.arange(length), actions, after, np.arange(length))
    ready = after.vm_ready_s.min(axis=1)
    begin = np.arange(length) * p.interval_s
    for t in range(length):
        early = ready[: t + 1] < begin[t] + p.interval_s + p.timeout_s
        if early.any():
            least[t] = (begin[t] - begin[: t + 1][early]).min()
    return least
