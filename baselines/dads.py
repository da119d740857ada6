"""DADS and LoADPart: Neurosurgeon's cut for a pipeline under load, and behind a server with a queue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.problem import Problem
from .forecast import rate_nodes_bps
from .neurosurgeon import Neurosurgeon, split_latency_s
from .paths import forecast_kind

__all__ = ["Dads", "LoadPart", "chain_bottleneck_s"]

Floats = NDArray[np.float64]


def chain_bottleneck_s(device_s: Floats, server_s: Floats, cut_bytes: Floats, rate_bps: Floats, load: Floats) -> Floats:
    """The slowest of device, transfer and server for every cut of a chain, (N, M+1); arguments of `split_latency_s`."""
    nothing = np.zeros_like(device_s)
    transfer = split_latency_s(nothing, nothing, cut_bytes, rate_bps, load)
    server = split_latency_s(nothing, server_s, np.zeros_like(cut_bytes), rate_bps, load)
    return np.maximum(np.maximum(device_s, transfer), server)


class Dads(Neurosurgeon):
    """DADS (Hu et al., INFOCOM 2019): lowest latency while the pipeline keeps up, lowest bottleneck once it does not.

    Optimises: under light load (every stage of the pipeline device, link, server is shorter than the time between
    frames) the latency of a request, under heavy load the slowest stage, hence the throughput. Assumes: times known,
    the last measured bandwidth, a fixed frame rate; no exits, queues, prices or privacy; download ignored. The paper's
    loop, bandwidth, then DSL, then DSH if a stage is too long, is kept; the frame rate is the average of the arrivals.

    On the scenario's chain of stages both problems are solved by a linear scan over the cuts, O(M) per decision: the
    minimum cut *is* the scan there, and the lowest bottleneck, a heuristic on general graphs, is exact. For networks
    that are no chain see `edgecloud.baselines.mincut`; tests compare the two. Where even the lowest bottleneck is too
    slow the paper tells the user to send fewer frames, which is not among the actions here. `margin` as in
    `Neurosurgeon`. Server and VMs as there.
    """

    name = "dads"

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Predict what does not depend on measurements."""
        super().reset(problem, num_envs, weights, seed)
        self._interval_s = problem.params.interval_s

    def scores(self, measurements: Measurements) -> Floats:
        """Latency, or where the load is heavy the bottleneck, of every cut in seconds, (N, M+1)."""
        latency = np.where(self._legal, super().scores(measurements), np.inf)
        load = measurements.edge_load if self._server == "edge" else np.zeros(len(measurements))
        rate = measurements.rate_bps[:, 0]
        slowest = chain_bottleneck_s(self._device_s, self._server_s, self._cut_bytes, rate, load)
        between_s = self._interval_s / np.maximum(measurements.arrivals_average, 1e-6)
        light = slowest[np.arange(len(rate)), latency.argmin(axis=1)] < between_s
        return np.where(light[:, None], latency, slowest + 1e-6 * np.minimum(latency, 1e6))


class LoadPart(Neurosurgeon):
    """LoADPart (ICDCS 2022): Neurosurgeon's cut, with the server's queue counted.

    Optimises: latency of one request from the measured bandwidth and the server's present load. Assumes: a chain, one
    cut, one server; no exits, prices or privacy. The abstract was read: it names bandwidth and
    server load, not how they enter. Here the server's times are divided by 1 - its reported background load, and what
    waits at the edge server now adds its own service times. O(M) per decision.

    Args:
        server: As for `Neurosurgeon`; the queue counts at the edge server.
        margin: Relative gain below which the cut stays.
        rate: Forecast of the bandwidth, see `rate_nodes_bps`.
    """

    name = "loadpart"

    def __init__(self, server: str = "edge", margin: float = 0.0, rate: str = "last") -> None:
        super().__init__(server, 1, margin)
        self._rate = forecast_kind(self.name, rate)

    def scores(self, measurements: Measurements) -> Floats:
        """Predicted latency of every cut in seconds, (N, M+1)."""
        m = measurements
        load = m.edge_load if self._server == "edge" else np.zeros(len(m))
        rate = rate_nodes_bps(m, self._rate, 0.0, 1)[:, 0]
        seconds = split_latency_s(self._device_s, self._server_s, self._cut_bytes, rate, load)
        if self._server == "edge":
            now = np.array([self._cut_of.get(int(p), 0) for p in m.placement], dtype=np.int64)
            queued = np.maximum(m.edge_queue - 0.5, 0.0) * self._server_s[now] / (1.0 - load)
            seconds[:, self._server_s > 0.0] += queued[:, None]
        return seconds
