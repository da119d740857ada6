"""Rules that meet targets at the lowest price: SPINN, AMPS-Inf, DNNSplit's pruned scan, routing by confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..envs.measure import Measurements
from ..envs.problem import Problem
from ..errors import InputError
from .paths import PathRule, lexicographic

__all__ = ["AmpsInf", "ConfidenceRouting", "DnnSplit", "Spinn", "prefix_minima"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Spinn(PathRule):
    """SPINN (Laskaridis et al., MobiCom 2020): cut and confidence threshold together, under latency, accuracy and cost.

    Optimises: dollars per request among the pairs (cut, threshold) that meet the latency limit and the accuracy target;
    a target that nothing meets is missed by as little as possible, latency first, then accuracy, then cost. Assumes:
    the exit statistics of the profile, predicted times, the last measured bandwidth, an idle system. Departures: the
    activations' quantisation is a property of the profile (int8 as shipped), so that it saves bytes for every policy
    alike; falling back to the local exit when the server is out of reach is not among the actions. O(P K) per decision.
    The abstract and second-hand descriptions were read.

    Args:
        server: 'edge', 'faas' or 'any'.
        deadline: Latency limit, in units of the scenario's latency reference.
        drop: Accuracy that may be lost against the full network; -1: down to the scenario's accuracy target.
        budget: Dollars per request to stay within after the other targets; 0: as few as possible.
        rate: Forecast of the rate.
        queues: Add the wait behind what is queued now.
    """

    name = "spinn"

    def __init__(
        self,
        server: str = "edge",
        deadline: float = 1.0,
        drop: float = 0.01,
        budget: float = 0.0,
        rate: str = "last",
        queues: bool = False,
    ) -> None:
        super().__init__(server, deadline, rate, queues)
        self._drop, self._budget = drop, budget

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Compile the predictor and the accuracy target."""
        super().reset(problem, num_envs, weights, seed)
        target = float(problem.profile.accuracy(2.0)) - problem.scenario.limits.accuracy_target
        self._most = max(target, 0.0) if self._drop < 0 else self._drop

    def act(self, measurements: Measurements) -> Ints:
        """The cheapest pair within the targets, int64 (N, 4)."""
        latency = self.latency_s(measurements)
        n = len(latency)
        flat = latency.reshape(n, -1)
        loss = np.broadcast_to(self.paths.loss, latency.shape).reshape(n, -1)
        usd = np.broadcast_to(self.paths.usd, latency.shape).reshape(n, -1)
        goals: list[tuple[Floats, Floats | float]] = [(flat, self.deadline_s), (loss, self._most), (usd, self._budget)]
        chosen = lexicographic(goals, flat)
        placement, threshold = np.divmod(chosen, latency.shape[2])
        return self.actions(placement, threshold)


class AmpsInf(PathRule):
    """AMPS-Inf's objective (ICPP 2021): the cheapest cut whose predicted response time meets the objective.

    Optimises: dollars per request under a response-time limit; the fastest cut where nothing meets it. Assumes:
    serverless functions, predicted times, an idle and warm system, no exits. Departures: the paper also splits the
    network over several functions and sizes the memory of each; the action space has one function of a fixed size, so
    what is left is the cut, with the edge server as a third tier. The whole problem is `function_chain`. O(P) per
    decision. The abstract was read.

    Args:
        server: 'any', 'faas' or 'edge'.
        deadline: Response-time objective, in units of the scenario's latency reference.
        rate: Forecast of the rate.
        queues: Add the wait behind what is queued now.
    """

    name = "amps-inf"

    def __init__(self, server: str = "any", deadline: float = 1.0, rate: str = "last", queues: bool = False) -> None:
        super().__init__(server, deadline, rate, queues)

    def act(self, measurements: Measurements) -> Ints:
        """The cheapest cut within the objective, int64 (N, 4)."""
        latency = self.latency_s(measurements)[..., self.never]
        usd = np.broadcast_to(self.paths.usd[:, self.never], latency.shape)
        return self.actions(lexicographic([(latency, self.deadline_s), (usd, 0.0)], latency), self.never)


def prefix_minima(sizes: ArrayLike) -> Flags:
    """Cuts whose bytes are below those of every earlier cut: DNNSplit's candidates, bool (C,).

    If every stage is at least as fast on the next tier, no other cut is ever the best: moving it back to the earlier
    cut that sends no more bytes shortens both the transfer and the computation.

    >>> prefix_minima([150, 401, 200, 401, 100, 50, 0]).astype(int).tolist()
    [1, 0, 0, 0, 1, 1, 1]
    """
    values = np.asarray(sizes, dtype=np.float64)
    before = np.concatenate([[np.inf], np.minimum.accumulate(values)[:-1]])
    return np.asarray(values < before)


class DnnSplit(PathRule):
    """DNNSplit (IEEE Access 2024): the fastest cuts over three tiers, among the few points that can be optimal at all.

    Optimises: latency of one request over (cut_device, cut_edge), both from `prefix_minima`. Assumes: that compute gets
    faster up the tiers and bandwidth is not free, under which the pruning loses nothing (tested); predicted times, the
    last bandwidth, an idle system; no exits, prices, privacy. Where an edge server under background load is slower than
    the device, or functions are slower than the edge, the assumption fails and the scan may miss the optimum. O(C^2)
    for C candidates. The abstract was read.

    Args:
        server: 'any', 'edge' or 'faas'.
        rate: Forecast of the rate.
        queues: Add the wait behind what is queued now.
    """

    name = "dnnsplit"

    def __init__(self, server: str = "any", rate: str = "last", queues: bool = False) -> None:
        super().__init__(server, 1.0, rate, queues)

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Prune the candidates."""
        super().reset(problem, num_envs, weights, seed)
        sizes = np.asarray(problem.params.cut_bytes, dtype=np.float64).copy()
        sizes[-1] = 0.0  # the result is where it is wanted
        points = prefix_minima(sizes)
        self.allowed &= points[problem.placements].all(axis=1)

    def act(self, measurements: Measurements) -> Ints:
        """The fastest candidates, int64 (N, 4)."""
        return self.actions(self.latency_s(measurements)[..., self.never].argmin(axis=1), self.never)


class ConfidenceRouting(PathRule):
    """Routing by confidence in the manner of Hybrid LLM (ICLR 2024): a small model answers what it is sure of.

    The small model is the network up to its `small`-th exit head, on the device; the large one is the whole network,
    whose rest runs on the server. Optimises: the share of requests that the small model answers, subject to an accuracy
    loss of at most `drop`, calibrated once on the profile's test set. Assumes: that the confidences met in operation
    are distributed as there; no latency, load, prices or privacy. Departures: Hybrid LLM trains a router that sees the
    query before any model has run; here the small model's own confidence decides, which costs its computation but no
    router, and the large model continues where the small one stopped instead of starting anew. O(1) per decision. The
    abstract was read.

    Args:
        server: 'edge' or 'faas'.
        small: Which exit head, 1 the first.
        drop: Accuracy that may be lost.
    """

    name = "hybrid-llm"

    def __init__(self, server: str = "edge", small: int = 1, drop: float = 0.02) -> None:
        super().__init__(server)
        self._small, self._drop = small, drop

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Calibrate the threshold."""
        super().reset(problem, num_envs, weights, seed)
        exits = problem.params.exit_position
        if not 1 <= self._small <= len(exits):
            raise InputError(self.name, "small", f"must be an exit head from 1 to {len(exits)}", self._small)
        cut = int(exits[self._small - 1])
        fits = np.flatnonzero(self.allowed & (problem.placements[:, 0] == cut))
        if not len(fits):  # the payload is too large for a function
            fits = np.array([problem.placement(cut, problem.stages)])
        last = fits[-1] if self._server == "edge" else fits[0]
        local = 1.0 - self.paths.reach[last]
        threshold = np.where(self.paths.loss <= self._drop + 1e-12, local, -1.0).argmax()
        self._fixed = self.actions(np.array([last]), int(threshold))

    def act(self, measurements: Measurements) -> Ints:
        """The calibrated action, int64 (N, 4)."""
        return np.repeat(self._fixed, len(measurements), axis=0)
