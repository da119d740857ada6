"""What a request's way through the tiers takes on an idle system: the predictor of the published rules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.policy import Policy
from ..envs.problem import ROUTES, Problem
from ..errors import InputError, did_you_mean
from .forecast import RATE_FORECASTS, rate_nodes_bps
from .tables import make_tables

__all__ = ["SERVERS", "PathPredictor", "PathRule", "forecast_kind", "lexicographic"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SERVERS = ("edge", "faas", "any")
"""Where a rule may put what leaves the device: the edge server, functions, or first one and then the other."""


class PathPredictor:
    """Expected latency, dollars and accuracy of every placement and threshold, over the whole test set.

    Work counts with the probability of reaching it; transfers take bytes over the given rate, half a round trip each
    way is added; nobody waits and no function starts cold, which is what the published rules assume.

    Attributes:
        usd: Dollars of one request, (P, K).
        loss: Accuracy given up against the full network, (K,).
        reach: Probability of leaving the device, (P, K).
    """

    def __init__(self, problem: Problem) -> None:
        t = make_tables(problem)
        self._t = t
        d, e = t.placements[:, 0], t.placements[:, 1]
        self._device_s = t.device_s.mean(axis=0)[d]
        self._edge_s, self._faas_s = t.edge_s.mean(axis=0), t.faas_s.mean(axis=0)[e]
        self.reach, onward = t.reach.mean(axis=0)[d], t.reach.mean(axis=0)[e]
        self.loss = t.loss.mean(axis=0)
        self._bits = t.cut_bits[d][:, None]
        self._onward_s = onward * (t.cut_bits[e][:, None] / t.backhaul_bps + t.backhaul_rtt_s)
        used = self.reach * (e > d)[:, None]
        self.usd = (
            t.usd_per_edge_s * self._edge_s
            + t.usd_per_edge_request * used
            + t.usd_per_faas_s * self._faas_s
            + onward * (t.usd_per_faas_request + t.usd_per_result + t.cut_bits[e][:, None] * t.usd_per_transit_bit)
        )

    def latency_s(self, rate_bps: Floats, rtt_s: Floats, edge_load: Floats) -> Floats:
        """Expected seconds of a request, (N, P, K), from rate, round trip and load, each (N,)."""
        slow = 1.0 / (1.0 - np.asarray(edge_load)[:, None, None])
        upload = self._bits / np.maximum(rate_bps, 1.0)[:, None, None] + np.asarray(rtt_s)[:, None, None]
        return np.asarray(self._device_s + self.reach * upload + self._edge_s * slow + self._onward_s + self._faas_s)

    def waiting_s(self, m: Measurements, rate_bps: Floats) -> Floats:
        """Seconds behind the requests that are queued now, (N, P, K): a departure that keeps a rule from overload.

        A queue of the device and of the edge server holds requests of the action in force, half of the first one done.
        """
        t, placement, k = self._t, m.placement.astype(np.int64), m.threshold.astype(np.int64)
        d, e = t.placements[:, 0], t.placements[:, 1]
        slow = 1.0 / (1.0 - m.edge_load)
        share = np.maximum(self.reach[placement, k], 1e-6)
        device = np.maximum(m.device_queue - 0.5, 0.0) * self._device_s[placement, k]
        uplink = 8.0 * m.uplink_queue_bytes / np.maximum(rate_bps, 1.0)
        edge = np.maximum(m.edge_queue - 0.5, 0.0) * self._edge_s[placement, k] / share * slow
        wait = (d > 0)[None, :] * device[:, None]
        late = np.maximum(uplink[:, None] - wait, 0.0) + (e > d)[None, :] * edge[:, None]
        return np.asarray(wait[..., None] + self.reach * late[..., None])


def lexicographic(goals: list[tuple[Floats, Floats | float]], objective: Floats) -> Ints:
    """The best candidate of each row: least excess over the first goal's limit, then the second's, …, then objective.

    Args:
        goals: Values (N, C) and limit, most important first; a value below its limit is as good as at it.
        objective: Lower is better, (N, C).

    Returns:
        Candidates, int64 (N,).
    """
    left = np.ones(objective.shape, dtype=np.bool_)
    for values, limit in goals:
        excess = np.where(left, np.maximum(values - limit, 0.0), np.inf)
        left &= excess <= excess.min(axis=1, keepdims=True)
    return np.asarray(np.argmin(np.where(left, objective, np.inf), axis=1), dtype=np.int64)


def forecast_kind(policy: str, kind: str) -> str:
    """The name of a forecast of the rate.

    Raises:
        InputError: There is none of that name.
    """
    if kind not in RATE_FORECASTS:
        raise InputError(policy, "rate", "must be a known forecast", kind, did_you_mean(kind, RATE_FORECASTS))
    return kind


class PathRule(Policy):
    """What rules share that choose by `PathPredictor`: the tiers they may use, a deadline, a forecast of the rate.

    Args:
        server: See `SERVERS`.
        deadline: Latency to meet, in units of the scenario's latency reference (`objective.latency_ref_s`).
        rate: Forecast of the uplink rate, see `rate_nodes_bps`.
        queues: Add the wait behind what is queued now (the papers do not).
    """

    def __init__(self, server: str = "edge", deadline: float = 1.0, rate: str = "last", queues: bool = False) -> None:
        if server not in SERVERS:
            raise InputError(self.name, "server", "must be a server", server, did_you_mean(server, SERVERS))
        if not deadline > 0:
            raise InputError(self.name, "deadline", "must be a positive multiple of the latency reference", deadline)
        self._server, self._deadline = server, deadline
        self._rate, self._queues = forecast_kind(self.name, rate), queues

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Compile the predictor."""
        self.problem, self.paths = problem, PathPredictor(problem)
        self.never = len(problem.thresholds) - 1
        self.deadline_s = self._deadline * problem.params.latency_ref_s
        d, e = problem.placements.T
        stages = problem.stages
        tiers = {"edge": e == stages, "faas": (e == d), "any": np.ones(len(d), dtype=np.bool_)}
        self.allowed = tiers[self._server] | (d == stages)

    def rate_bps(self, m: Measurements) -> Floats:
        """The forecast of the uplink rate, (N,)."""
        return rate_nodes_bps(m, self._rate, 0.0, 1)[:, 0]

    def latency_s(self, m: Measurements) -> Floats:
        """Predicted seconds of every placement and threshold, (N, P, K); infinite where the rule may not go."""
        rate = self.rate_bps(m)
        seconds = self.paths.latency_s(rate, m.rtt_s, m.edge_load)
        if self._queues:
            seconds = seconds + self.paths.waiting_s(m, rate)
        return np.where(self.allowed[:, None], seconds, np.inf)

    def actions(self, placement: Ints, threshold: Ints | int) -> Ints:
        """Actions with functions as the cloud and no VMs, int64 (N, 4)."""
        chosen = np.zeros((len(placement), 4), dtype=np.int64)
        chosen[:, 0], chosen[:, 1], chosen[:, 2] = placement, threshold, ROUTES.index("faas")
        return chosen
