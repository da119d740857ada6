"""Cutting a network that is any directed acyclic graph between a device and a server: DADS' two algorithms.

The minimum cut gives the lowest latency of one request (DADS' light load); the search over weighted cuts gives a low
bottleneck of the pipeline device, link, server (its heavy load).

Source: DADS, Hu et al., INFOCOM 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, maximum_flow

from ..errors import InputError

__all__ = ["LayerGraph", "Split", "low_bottleneck_split", "lowest_latency_split"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_WHOLE = 2**29  # capacity that stands for the better of the two trivial cuts; scipy's flow is in 32-bit integers
_INFINITE = 2**30 - 1
_SOURCE, _SINK, _INPUT = 0, 1, 2  # then the layers, then one auxiliary vertex per output that several layers read


@dataclass(frozen=True)
class Split:
    """Which layers run on the device, and what the three stages of the pipeline take.

    Attributes:
        on_device: bool (V,).
        device_s: Seconds of the layers on the device.
        transfer_s: Seconds to send every output that crosses, once.
        server_s: Seconds of the layers on the server.
    """

    on_device: Flags
    device_s: float
    transfer_s: float
    server_s: float

    @property
    def latency_s(self) -> float:
        """Of one request through an idle pipeline."""
        return self.device_s + self.transfer_s + self.server_s

    @property
    def bottleneck_s(self) -> float:
        """Of the slowest stage: its inverse is the throughput."""
        return max(self.device_s, self.transfer_s, self.server_s)


@dataclass(frozen=True, eq=False)
class LayerGraph:
    """A network as a directed acyclic graph of layers; those that no layer feeds read the raw input.

    Args:
        device_s: Seconds of each layer on the device, (V,).
        server_s: Seconds of each layer on the server, (V,).
        output_bytes: What each layer hands on, (V,); the final result is not sent back.
        edges: (E, 2) pairs (from, to); data flows from the first to the second.
        input_bytes: The raw input, which is on the device.

    Raises:
        InputError: A size is wrong, a number is negative or not finite, or the graph has a cycle.
    """

    device_s: Floats
    server_s: Floats
    output_bytes: Floats
    edges: Ints
    input_bytes: float

    def __post_init__(self) -> None:
        layers = len(self.device_s)
        for name in ("device_s", "server_s", "output_bytes"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != (layers,) or not layers or not (np.isfinite(values) & (values >= 0)).all():
                raise InputError("layer graph", name, "must be finite, >= 0, one per layer", values.shape)
            object.__setattr__(self, name, values)
        edges = np.unique(np.asarray(self.edges, dtype=np.int64).reshape(-1, 2), axis=0)
        object.__setattr__(self, "edges", edges)
        if len(edges) and (edges.min() < 0 or edges.max() >= layers):
            raise InputError("layer graph", "edges", f"must join layers 0 to {layers - 1}", edges.tolist()[:4])
        if not (np.isfinite(self.input_bytes) and self.input_bytes >= 0):
            raise InputError("layer graph", "input_bytes", "must be finite and >= 0", self.input_bytes)
        adjacency = csr_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(layers, layers))
        strong, _ = connected_components(adjacency, directed=True, connection="strong")
        if strong < layers or (edges[:, 0] == edges[:, 1]).any():
            raise InputError("layer graph", "edges", "must not form a cycle", f"{layers} layers, {strong} components")

    @classmethod
    def chain(cls, device_s: ArrayLike, server_s: ArrayLike, output_bytes: ArrayLike, input_bytes: float) -> LayerGraph:
        """Layers one after the other."""
        first = np.arange(len(np.asarray(device_s)) - 1, dtype=np.int64)
        edges = np.column_stack([first, first + 1])
        return cls(np.asarray(device_s), np.asarray(server_s), np.asarray(output_bytes), edges, input_bytes)

    @cached_property
    def _readers(self) -> list[Ints]:
        """Layers that read the input (first entry) and each layer's output."""
        fed = np.zeros(len(self.device_s), dtype=np.bool_)
        fed[self.edges[:, 1]] = True
        order = np.argsort(self.edges[:, 0], kind="stable")
        counts = np.bincount(self.edges[:, 0], minlength=len(self.device_s))
        return [np.flatnonzero(~fed), *np.split(self.edges[order, 1], np.cumsum(counts)[:-1])]

    @cached_property
    def _network(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Arcs of the flow network: tail, head, kind (0 server, 1 device, 2 send, 3 infinite) and layer (-1: input)."""
        layers = len(self.device_s)
        arcs = [(_SOURCE, _INPUT, 3, -1)]
        arcs += [(_SOURCE, _INPUT + 1 + v, 0, v) for v in range(layers)]
        arcs += [(_INPUT + 1 + v, _SINK, 1, v) for v in range(layers)]
        auxiliary = _INPUT + 1 + layers
        for writer, readers in enumerate(self._readers, start=-1):
            tail, heads = _INPUT + 1 + writer, [_INPUT + 1 + int(r) for r in readers]
            if len(heads) > 1:  # an output that several layers read is sent once
                arcs.append((tail, auxiliary, 2, writer))
                arcs += [(auxiliary, head, 3, writer) for head in heads]
                auxiliary += 1
            elif heads:
                arcs.append((tail, heads[0], 2, writer))
            arcs += [(head, tail, 3, writer) for head in heads]  # nothing comes back from the server
        tail, head, kind, layer = np.array(arcs, dtype=np.int64).T
        return tail, head, kind, layer

    def transfer_s(self, rate_bps: float) -> Floats:
        """Seconds to send the input (first entry) and each layer's output, (V + 1,)."""
        return np.append(self.input_bytes, self.output_bytes) * 8.0 / rate_bps

    def split(self, on_device: ArrayLike, rate_bps: float) -> Split:
        """What a given division takes.

        Raises:
            InputError: A layer on the device needs an output of the server.
        """
        local = np.asarray(on_device, dtype=np.bool_)
        if (~local[self.edges[:, 0]] & local[self.edges[:, 1]]).any():
            raise InputError("split", "on_device", "must hold every predecessor of its layers", local.tolist())
        held = np.append(True, local)
        sent = [held[k] and not local[readers].all() for k, readers in enumerate(self._readers)]
        seconds = float(self.transfer_s(rate_bps)[np.array(sent)].sum())
        return Split(local, float(self.device_s[local].sum()), seconds, float(self.server_s[~local].sum()))


def lowest_latency_split(
    graph: LayerGraph, rate_bps: float, device_weight: float = 1.0, server_weight: float = 1.0
) -> Split:
    """The division of lowest weighted latency: DADS' DSL, a minimum cut.

    Optimises: device_weight * device + transfer + server_weight * server seconds; with weights of one the latency of a
    request. Exact up to the rounding of capacities to 2^-29 of the better trivial cut (all on the device, all on the
    server). Assumes: times known and additive, a link of constant rate, download ignored. Running time: that of scipy's
    Dinic's algorithm, O(V^2 E) at worst, milliseconds for some hundred layers.

    Source: DADS, section on the light workload. Departures: reverse arcs of infinite capacity, without which a cut may
    lead from the server back to the device unpaid; a vertex for the raw input that is pinned to the device, without
    which a layer that reads the input may go to the server for free.

    Args:
        graph: The layers.
        rate_bps: Uplink rate, positive.
        device_weight: On the device's seconds, >= 0.
        server_weight: On the server's seconds, >= 0.

    Raises:
        InputError: The rate is not positive.
    """
    if not rate_bps > 0:
        raise InputError("split", "rate_bps", "must be positive", rate_bps)
    send = graph.transfer_s(rate_bps)
    device, server = device_weight * graph.device_s, server_weight * graph.server_s
    trivial = min(float(device.sum()), float(server.sum()) + float(send[0]))
    layers = len(device)
    if trivial <= 0.0:
        return graph.split(np.full(layers, device.sum() <= 0.0), rate_bps)
    tail, head, kind, layer = graph._network
    seconds = np.select([kind == 0, kind == 1, kind == 2], [server[layer], device[layer], send[layer + 1]], np.inf)
    capacity = np.minimum(np.rint(np.minimum(seconds / trivial, 2.0) * _WHOLE), _INFINITE).astype(np.int32)
    size = int(max(tail.max(), head.max())) + 1
    network = csr_array((capacity, (tail, head)), shape=(size, size))
    flow = maximum_flow(network, _SOURCE, _SINK).flow
    residual = csr_array(network - flow)
    residual.eliminate_zeros()
    reached = np.zeros(size, dtype=np.bool_)
    reached[breadth_first_order(residual, _SOURCE, return_predecessors=False)] = True
    return graph.split(reached[_INPUT + 1 : _INPUT + 1 + layers], rate_bps)


def low_bottleneck_split(
    graph: LayerGraph, rate_bps: float, points: int = 9, zoom: int = 2, tolerance: float = 1e-3
) -> Split:
    """A division with a low bottleneck, hence a high throughput: DADS' DSH.

    Optimises: the slowest of device, transfer and server, by minimum cuts whose device and server times are weighted;
    the weights come from a grid, then from finer ones around the best until little is gained. The problem is NP-hard
    on general graphs; since both weights may be one, the result is at most three times the optimum. Running time: up to
    `points`^2 minimum cuts per grid.

    Source: DADS, section on the heavy workload. Departure: the paper's first grid has step one up to the sum of the
    device's times over the shortest transfer, which can be many thousand points; ours has `points` values from zero to
    the same end, evenly spaced on the logarithm, one among them.

    Args:
        graph: The layers.
        rate_bps: Uplink rate, positive.
        points: Values of each weight in a grid, at least 3.
        zoom: Factor by which the grid's step shrinks.
        tolerance: Relative gain below which the search stops.
    """
    send = graph.transfer_s(rate_bps)
    shortest = max(float(send[send > 0].min(initial=np.inf)), 1e-9)
    ends = [max(2.0, float(total) / shortest) for total in (graph.device_s.sum(), graph.server_s.sum())]
    best = lowest_latency_split(graph, rate_bps)
    centre, step = (1.0, 1.0), [2.0 * np.log(end) / (points - 1) for end in ends]
    axes = [np.unique(np.append(np.exp(np.linspace(-np.log(end), np.log(end), points)), (0.0, 1.0))) for end in ends]
    while True:
        before = best.bottleneck_s
        for alpha in axes[0]:
            for gamma in axes[1]:
                found = lowest_latency_split(graph, rate_bps, float(alpha), float(gamma))
                if found.bottleneck_s < best.bottleneck_s:
                    best, centre = found, (float(alpha), float(gamma))
        step = [s / zoom for s in step]
        if best.bottleneck_s >= before * (1.0 - tolerance):
            return best
        near = np.linspace(-zoom, zoom, points)
        axes = [max(c, 1e-6) * np.exp(s * near) for c, s in zip(centre, step, strict=True)]
