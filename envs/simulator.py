"""The kernel with its state: what both environments, the evaluation and the bounds drive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..traces import LinkTrace
from .compiled import entry_point
from .kernel import reset, step
from .measure import Measurements, width
from .problem import Problem, build_bank
from .state import RECORD_FIELDS, TERMS, State, copy_state, new_state
from .world import MAX_ARRIVALS

__all__ = ["Simulator", "Window", "check_weights"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """Where an episode starts in the link traces.

    Attributes:
        trace: Index of the trace.
        offset: First bin on the control grid; the trace wraps around at its end.
    """

    trace: int
    offset: int = 0


def check_weights(weights: ArrayLike, num_envs: int) -> Floats:
    """Preferences as float64 (N, 3), each row on the simplex.

    Raises:
        InputError: A weight is negative or a row does not sum to one.
    """
    rule = "must be three numbers >= 0 that sum to 1 (latency, cost, privacy), or one such row per environment"
    try:
        rows = np.broadcast_to(np.asarray(weights, dtype=np.float64), (num_envs, 3)).copy()
    except (TypeError, ValueError):
        raise InputError("weights", "", rule, weights) from None
    if not (np.isfinite(rows).all() and (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1.0, atol=1e-6)):
        raise InputError("weights", "", rule, np.asarray(weights).tolist())
    return rows


class Simulator:
    """A batch of environments advanced by the compiled kernel.

    Args:
        problem: The compiled problem.
        traces: Link traces to draw windows from.
        num_envs: Batch size, N.
        weights: Preference (3,) or (N, 3); None: drawn anew for every episode, uniformly from the simplex.
        windows: One per environment; None: drawn anew for every episode.
        records: Keep a record of every request of the last interval in `records`.

    Attributes:
        terms: float64 (N, len(TERMS)): the last interval in SI units, see `edgecloud.envs.state.TERMS`.
        records: float64 (N, MAX_ARRIVALS, len(RECORD_FIELDS)) if asked for; the first `arrived` rows are valid.
    """

    def __init__(
        self,
        problem: Problem,
        traces: Sequence[LinkTrace],
        num_envs: int,
        *,
        weights: ArrayLike | None = None,
        windows: Sequence[Window] | None = None,
        records: bool = False,
    ) -> None:
        if num_envs < 1:
            raise InputError("num_envs", "", "must be at least 1", num_envs)
        self.problem, self.num_envs, self.traces = problem, num_envs, tuple(traces)
        scenario = problem.scenario
        self.bank = build_bank(traces, scenario.uplink.rate_scale, scenario.control.interval_s)
        self.state = new_state(
            num_envs,
            resident=scenario.control.resident_placements,
            vms=scenario.vm.max_vms,
            instances=scenario.faas.max_instances,
            flights=_flight_room(problem),
            measured=width(),
        )
        self.terms = np.zeros((num_envs, len(TERMS)))
        shape = (num_envs, MAX_ARRIVALS, len(RECORD_FIELDS)) if records else (num_envs, 0, 0)
        self.records = np.zeros(shape)
        self._scratch = np.empty(MAX_ARRIVALS)
        self._limits = problem.nvec.astype(np.uint64)
        self._entry: Any = None
        self.set_weights(weights)
        self.set_windows(windows)

    def set_weights(self, weights: ArrayLike | None) -> None:
        """Fix the preferences from the next episode on; None: draw them."""
        n = self.num_envs
        self._weights = np.full((n, 3), np.nan) if weights is None else check_weights(weights, n)

    def set_windows(self, windows: Sequence[Window] | None) -> None:
        """Fix where episodes start from the next one on; None: draw."""
        self._trace = np.full(self.num_envs, -1, dtype=np.int64)
        self._offset = np.full(self.num_envs, -1, dtype=np.int64)
        if windows is None:
            return
        if len(windows) != self.num_envs:
            raise InputError("windows", "", f"must be one per environment ({self.num_envs})", len(windows))
        for i, window in enumerate(windows):
            if not 0 <= window.trace < len(self.traces):
                raise InputError("windows", f"{i}.trace", f"must be below {len(self.traces)}", window.trace)
            if window.offset < 0:
                raise InputError("windows", f"{i}.offset", "must not be negative", window.offset)
            self._trace[i], self._offset[i] = window.trace, window.offset

    def reset(self, seed: int | None = None, only: NDArray[np.bool_] | None = None) -> Measurements:
        """Start new episodes.

        Args:
            seed: Starts the sequence of worlds `seed` from its first episode; None: the running one's next episode.
            only: Which environments, bool (N,); None: all.
        """
        s = self.state
        chosen = np.ones(self.num_envs, dtype=np.bool_) if only is None else np.ascontiguousarray(only, dtype=np.bool_)
        if seed is not None:
            s.seed[chosen] = np.uint64(seed % 2**64)
            s.episode[chosen] = -1
        s.episode[chosen] += 1
        start = self.problem.start_action
        reset(self.problem.params, self.bank, s, chosen, start, self._weights, self._trace, self._offset)
        return self.measurements

    def step(self, actions: ArrayLike) -> Measurements:
        """Advance all environments by one interval; `terms` and `records` then describe it.

        Raises:
            InputError: An action lies outside the action space, or is not a whole number.
        """
        actions = self._checked(actions)
        arguments = (self.problem.params, self.bank, self.state, actions, self.terms, self.records, self._scratch)
        if self._entry is None:
            self._entry = entry_point(step, arguments)
        self._entry(*arguments)
        return self.measurements

    def _checked(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Actions as int64 (N, 4), all within the action space."""
        given = np.asarray(actions)
        if given.shape != (self.num_envs, 4) or given.dtype.kind not in "iu":
            rule = f"must be whole numbers of shape ({self.num_envs}, 4)"
            raise InputError("actions", "", rule, f"{given.dtype} {given.shape}")
        checked = np.ascontiguousarray(given, dtype=np.int64)
        beyond = checked.view(np.uint64) >= self._limits  # as unsigned numbers, negative ones are large
        if np.count_nonzero(beyond):
            rule = f"must be [placement, threshold, route, vm_target], from 0 to below {self._limits.tolist()}"
            raise InputError("actions", "", rule, checked[beyond.any(axis=1)][0].tolist())
        return checked

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_entry": None}

    @property
    def measurements(self) -> Measurements:
        """What a controller can measure now (views: copy what must outlast the next step)."""
        return Measurements(self.state.measured)

    @property
    def done(self) -> NDArray[np.bool_]:
        """Environments whose episode has reached its length, bool (N,)."""
        return np.asarray(self.state.t >= self.problem.params.episode_intervals)

    def get_state(self) -> State:
        """A deep copy of everything that changes."""
        return copy_state(self.state)

    def set_state(self, state: State) -> None:
        """Put a copy of a state back.

        Raises:
            InputError: It belongs to a batch of another shape.
        """
        for name, mine, theirs in zip(State._fields, self.state, state, strict=True):
            if mine.shape != theirs.shape:
                raise InputError("state", name, f"must have shape {mine.shape}", theirs.shape)
        copy_state(state, self.state)


def _flight_room(problem: Problem) -> int:
    """Requests that can be in flight: arrivals of every interval that a timeout spans."""
    p = problem.params
    if len(p.arrival_counts):
        most = float(p.arrival_counts.max())
    else:
        mean = float(p.arrival_rps.max()) * p.interval_s
        most = mean + 12.0 * math.sqrt(mean) + 16.0
    per_interval = min(math.ceil(most), MAX_ARRIVALS)
    return per_interval * (math.ceil(p.timeout_s / p.interval_s) + 1)
