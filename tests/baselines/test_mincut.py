"""DADS' cuts against brute force on random graphs, against networkx, and on chains."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.baselines.mincut import LayerGraph, Split, low_bottleneck_split, lowest_latency_split
from edgecloud.errors import InputError


@st.composite
def graphs(draw: st.DrawFn, most: int = 8) -> LayerGraph:
    """Random DAGs: several inputs, several outputs, parallel branches, and free or weightless layers."""
    layers = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs = [(u, v) for u in range(layers) for v in range(u + 1, layers) if rng.random() < draw(st.floats(0.1, 0.9))]
    zero = rng.random((3, layers)) < 0.15
    device, server, sizes = np.where(zero, 0.0, 10 ** rng.uniform((-3, -4, 2), (0, -1, 6), (layers, 3)).T)
    return LayerGraph(device, server, sizes, np.array(pairs, dtype=np.int64), float(10 ** rng.uniform(2, 6)))


def every_split(graph: LayerGraph, rate_bps: float) -> list[Split]:
    return [
        plain_split(graph, local, rate_bps)
        for local in product((False, True), repeat=len(graph.device_s))
        if all(local[u] or not local[v] for u, v in graph.edges)
    ]


def plain_split(graph: LayerGraph, local: tuple[bool, ...], rate_bps: float) -> Split:
    """The definition once more, vertex by vertex."""
    device = sum(t for t, here in zip(graph.device_s, local, strict=True) if here)
    server = sum(t for t, here in zip(graph.server_s, local, strict=True) if not here)
    sent = 0.0
    for v, here in enumerate(local):
        if here and any(a == v and not local[b] for a, b in graph.edges):
            sent += graph.output_bytes[v]
    roots = set(range(len(local))) - {int(b) for _, b in graph.edges}
    if any(not local[v] for v in roots):
        sent += graph.input_bytes
    return Split(np.array(local), float(device), 8 * sent / rate_bps, float(server))


@settings(max_examples=200, deadline=None)
@given(graphs(), st.floats(4.5, 8.0))
def test_minimum_cut_is_brute_force(graph: LayerGraph, magnitude: float):
    rate = 10**magnitude
    found = lowest_latency_split(graph, rate)
    best = min(split.latency_s for split in every_split(graph, rate))
    assert found.latency_s == pytest.approx(best, rel=1e-7, abs=1e-12)
    plain = plain_split(graph, tuple(found.on_device.tolist()), rate)
    assert (found.device_s, found.transfer_s, found.server_s) == pytest.approx(
        (plain.device_s, plain.transfer_s, plain.server_s)
    )


@settings(max_examples=25, deadline=None)
@given(graphs(6), st.floats(4.5, 8.0))
def test_low_bottleneck_is_within_three_of_the_optimum_and_never_better(graph: LayerGraph, magnitude: float):
    rate = 10**magnitude
    found = low_bottleneck_split(graph, rate, points=5).bottleneck_s
    best = min(split.bottleneck_s for split in every_split(graph, rate))
    assert best * (1 - 1e-9) <= found <= 3 * best * (1 + 1e-6) + 1e-12
    assert found <= lowest_latency_split(graph, rate).bottleneck_s


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(4.5, 8.0))
def test_on_a_chain_it_is_the_linear_scan(layers: int, seed: int, magnitude: float):
    """DADS equals Neurosurgeon on chains."""
    rng, rate = np.random.default_rng(seed), 10**magnitude
    device, server, sizes = 10 ** rng.uniform((-3, -4, 2), (0, -1, 6), (layers, 3)).T
    graph = LayerGraph.chain(device, server, sizes, 3e5)
    sent = np.array([3e5, *sizes[:-1], 0.0]) * 8 / rate
    scan = np.append(0, np.cumsum(device)) + sent + np.append(np.cumsum(server[::-1])[::-1], 0)
    found = lowest_latency_split(graph, rate)
    assert found.latency_s == pytest.approx(scan.min(), rel=1e-7)
    cut = int(found.on_device.sum())
    assert (found.on_device == (np.arange(layers) < cut)).all()


def test_what_the_original_construction_gets_wrong():
    """No way back from the server for free, and the raw input is paid for."""
    branch = LayerGraph(  # the middle layer is dear on the device only: device, server, device would look best
        device_s=np.array([0.1, 9.0, 0.1]),
        server_s=np.array([9.0, 0.1, 9.0]),
        output_bytes=np.array([10.0, 10.0, 10.0]),
        edges=np.array([[0, 1], [1, 2]]),
        input_bytes=10.0,
    )
    found = lowest_latency_split(branch, 8e3)
    assert found.on_device.tolist() == [True, True, True]
    assert found.latency_s == pytest.approx(9.2)
    heavy = LayerGraph.chain([1.0], [0.1], [1.0], input_bytes=1000.0)
    assert lowest_latency_split(heavy, 8e3).on_device.tolist() == [True]  # sending takes 1 s
    assert lowest_latency_split(heavy, 8e4).on_device.tolist() == [False]


def test_an_output_that_two_layers_read_is_sent_once():
    fork = LayerGraph(
        device_s=np.array([0.0, 50.0, 50.0]),
        server_s=np.array([50.0, 0.0, 0.0]),
        output_bytes=np.array([1000.0, 1.0, 1.0]),
        edges=np.array([[0, 1], [0, 2]]),
        input_bytes=1e6,
    )
    assert lowest_latency_split(fork, 8e3).transfer_s == pytest.approx(1.0)


def test_the_library_of_flows_agrees_with_another():
    """The same network through networkx (a tool of the tests only)."""
    networkx = pytest.importorskip("networkx")
    rng = np.random.default_rng(3)
    for _ in range(5):
        layers = 60
        edges = np.array([(u, v) for v in range(1, layers) for u in {v - 1, int(rng.integers(0, v))}])
        graph = LayerGraph(
            rng.uniform(0.01, 0.1, layers), rng.uniform(0, 0.01, layers), 10 ** rng.uniform(3, 6, layers), edges, 5e5
        )
        network = networkx.DiGraph()
        for v in range(layers):
            network.add_edge("s", v, capacity=graph.server_s[v])
            network.add_edge(v, "t", capacity=graph.device_s[v])
        for v in range(layers):
            readers = [int(b) for a, b in edges if a == v]
            if readers:
                network.add_edge(v, ("once", v), capacity=graph.output_bytes[v] * 8 / 1e7)
            for reader in readers:
                network.add_edge(("once", v), reader)
                network.add_edge(reader, v)
        network.add_edge("s", "input")
        network.add_edge("input", ("once", "input"), capacity=5e5 * 8 / 1e7)
        network.add_edge(("once", "input"), 0)
        network.add_edge(0, "input")
        value = networkx.minimum_cut_value(network, "s", "t")
        assert lowest_latency_split(graph, 1e7).latency_s == pytest.approx(value, rel=1e-6)


def test_costs_of_nothing():
    free = LayerGraph.chain([0.0, 0.0], [1.0, 1.0], [1.0, 1.0], 1.0)
    assert lowest_latency_split(free, 1e6).latency_s == 0.0
    instant = LayerGraph.chain([1.0, 1.0], [0.0, 0.0], [1.0, 1.0], 0.0)
    assert lowest_latency_split(instant, 1e6).latency_s == 0.0


def test_refusals():
    with pytest.raises(InputError, match="cycle"):
        LayerGraph(np.ones(2), np.ones(2), np.ones(2), np.array([[0, 1], [1, 0]]), 1.0)
    with pytest.raises(InputError, match="cycle"):
        LayerGraph(np.ones(1), np.ones(1), np.ones(1), np.array([[0, 0]]), 1.0)
    with pytest.raises(InputError, match="join layers"):
        LayerGraph(np.ones(2), np.ones(2), np.ones(2), np.array([[0, 2]]), 1.0)
    with pytest.raises(InputError, match="server_s"):
        LayerGraph(np.ones(2), np.array([1.0, -1.0]), np.ones(2), np.array([[0, 1]]), 1.0)
    graph = LayerGraph.chain([1.0, 1.0], [1.0, 1.0], [1.0, 1.0], 1.0)
    with pytest.raises(InputError, match="rate_bps"):
        lowest_latency_split(graph, 0.0)
    with pytest.raises(InputError, match="predecessor"):
        graph.split([False, True], 1e6)
