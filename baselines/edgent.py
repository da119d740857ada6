"""Edgent: the deepest exit that meets a deadline, once from the measured bandwidth, once from a map of its states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.problem import Problem
from .changepoint import ChangePoints
from .paths import PathRule

__all__ = ["Edgent", "EdgentDynamic", "configuration_map", "deepest_exit"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def deepest_exit(latency_s: Floats, deadline_s: float) -> tuple[Ints, Ints]:
    """Edgent's static optimiser: the deepest exit whose best cut meets the deadline, and that cut.

    O(C B) per row.

    Args:
        latency_s: Of every cut and exit, (N, C, B); exits from the shallowest to the deepest.
        deadline_s: To be met.

    Returns:
        Cuts and exits, int64 (N,) each; where no exit meets the deadline, those of lowest latency.
    """
    cut = latency_s.argmin(axis=1)  # (N, B)
    best = np.take_along_axis(latency_s, cut[:, None], axis=1)[:, 0]
    meets = best <= deadline_s
    deepest = latency_s.shape[2] - 1 - np.argmax(meets[:, ::-1], axis=1)
    exit_at = np.where(meets.any(axis=1), deepest, best.argmin(axis=1))
    return cut[np.arange(len(cut)), exit_at], exit_at


def configuration_map(latency_s: Floats, accuracy: Floats, deadline_s: float) -> tuple[Ints, Ints]:
    """The best cut and exit of every bandwidth state: highest exp(accuracy) + requests per second within the deadline.

    Args:
        latency_s: (S, C, B).
        accuracy: Of each exit, (B,).
        deadline_s: Configurations above it are worth nothing.

    Returns:
        Cuts and exits, int64 (S,) each; where nothing meets the deadline, those of lowest latency.
    """
    worth = np.where(latency_s <= deadline_s, np.exp(accuracy) + 1.0 / np.maximum(latency_s, 1e-9), 0.0)
    worth = worth.reshape(len(worth), -1)
    fastest = latency_s.reshape(len(worth), -1).argmin(axis=1)
    chosen = np.where(worth.max(axis=1) > 0.0, worth.argmax(axis=1), fastest)
    cut, exit_at = np.divmod(chosen, latency_s.shape[2])
    return cut, exit_at


class Edgent(PathRule):
    """Edgent's static optimiser (Li et al., arXiv 1806.07840): the deepest exit that meets the deadline, best cut.

    Optimises: accuracy under a latency limit, then latency. Assumes: predicted times, the last measured bandwidth, an
    idle system, no prices or privacy. Departures: Edgent stops *every* request at the chosen exit, while a threshold
    here lets each stop where it is sure, so the strictness of the threshold takes the part of the exit's depth and the
    latency is the expected one; where no exit meets the deadline the paper answers with none, here the fastest is
    taken; the device comes before the edge server in this project's chain. O(P K) per decision. The abstracts and
    second-hand descriptions were read.

    Args:
        server: 'edge' (the paper's), 'faas' or 'any'.
        deadline: In units of the scenario's latency reference.
        rate: Forecast of the rate.
        queues: Add the wait behind what is queued now.
    """

    name = "edgent"

    def act(self, measurements: Measurements) -> Ints:
        """The deepest exit, int64 (N, 4)."""
        return self.actions(*deepest_exit(self.latency_s(measurements), self.deadline_s))


class EdgentDynamic(PathRule):
    """Edgent's dynamic form (Li et al., arXiv 1910.05316): change points find the bandwidth's state, a map its action.

    Optimises: for each of `states` bandwidths, beforehand, exp(accuracy) + requests per second under the deadline;
    online the state is the level of the bandwidth's logarithm since its last change, by Bayesian online change-point
    detection (`ChangePoints`), and the action is looked up. Assumes: piecewise constant bandwidth, nominal round trip,
    the mean background load of the edge server, an idle system. Departures as in `Edgent`; how a configuration is
    scored could not be checked against the paper. Running time: O(states P K) once, O(run lengths) per decision.

    Args:
        server: 'edge' (the paper's), 'faas' or 'any'.
        deadline: In units of the scenario's latency reference.
        states: Bandwidths in the map, evenly spaced on the logarithm from 10 kbit/s to 1 Gbit/s.
        expected_run: Mean intervals between changes of the state.
    """

    name = "edgent-dynamic"

    def __init__(
        self, server: str = "edge", deadline: float = 1.0, states: int = 256, expected_run: float = 20.0
    ) -> None:
        super().__init__(server, deadline)
        self._states = np.linspace(np.log(1e4), np.log(1e9), max(2, states))
        self._changes = ChangePoints(expected_run, prior_mean=float(np.log(5e6)))

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Make the map and forget the past."""
        super().reset(problem, num_envs, weights, seed)
        self._changes.reset(num_envs)
        p, same = problem.params, np.ones(len(self._states))
        stay = 1.0 / np.asarray(p.edge_leave)
        load = float(np.average(p.edge_load, weights=stay)) if len(stay) > 1 else float(p.edge_load[0])
        seconds = self.paths.latency_s(np.exp(self._states), p.rtt_s * same, load * same)
        seconds = np.where(self.allowed[:, None], seconds, np.inf)
        accuracy = float(problem.profile.accuracy(2.0)) - self.paths.loss
        self._cut, self._exit = configuration_map(seconds, accuracy, self.deadline_s)

    def act(self, measurements: Measurements) -> Ints:
        """The configuration of the present state, int64 (N, 4)."""
        self._changes.update(np.log(np.maximum(measurements.rate_bps[:, 0], 1e3)))
        step = self._states[1] - self._states[0]
        nearest = np.rint((self._changes.level() - self._states[0]) / step)
        state = np.clip(nearest, 0, len(self._states) - 1).astype(np.int64)
        return self.actions(self._cut[state], self._exit[state])
