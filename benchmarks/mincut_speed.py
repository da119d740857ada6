"""How long DADS' minimum cut takes on a network of InceptionV3's size, with two libraries.

    python benchmarks/mincut_speed.py

The graph is InceptionV3 as published (Szegedy et al., CVPR 2016) at 299 x 299: every convolution with its batch
normalisation and activation, every pooling and every concatenation is a vertex. Times per layer are its operations over
an assumed speed, since only the size of the problem matters here.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

from edgecloud.baselines.mincut import LayerGraph, low_bottleneck_split, lowest_latency_split

DEVICE_FLOPS, SERVER_FLOPS = 8e9, 2e11
RATES_BPS = (0.13e6, 1.1e6, 5.85e6, 18.88e6)  # CAT1, 3G, LTE, Wi-Fi: the uplink rates of DADS


class Builder:
    """Collects vertices with operations and output bytes; a tensor is (vertex, side, channels)."""

    def __init__(self) -> None:
        self.flops: list[float] = []
        self.bytes: list[float] = []
        self.edges: list[tuple[int, int]] = []
        self.convolutions = 0

    def vertex(
        self, parents: list[tuple[int, int, int]], side: int, channels: int, flops: float
    ) -> tuple[int, int, int]:
        """Any operation on square maps of the given side."""
        index = len(self.flops)
        self.flops.append(flops)
        self.bytes.append(4.0 * channels * side * side)
        self.edges += [(parent[0], index) for parent in parents if parent[0] >= 0]
        return index, side, channels

    def conv(
        self, x: tuple[int, int, int], out: int, kernel: tuple[int, int], stride: int = 1, pad: bool = True
    ) -> tuple[int, int, int]:
        """A convolution, its batch normalisation and its activation."""
        side = math.ceil(x[1] / stride) if pad else (x[1] - kernel[0]) // stride + 1
        area = side * side
        y = self.vertex([x], side, out, 2.0 * kernel[0] * kernel[1] * x[2] * out * area)
        self.convolutions += 1
        y = self.vertex([y], side, out, 2.0 * out * area)  # batch normalisation
        return self.vertex([y], side, out, 1.0 * out * area)  # activation

    def pool(self, x: tuple[int, int, int], stride: int = 1) -> tuple[int, int, int]:
        """A 3 x 3 pooling, padded where the stride is one."""
        side = x[1] if stride == 1 else (x[1] - 3) // stride + 1
        return self.vertex([x], side, x[2], 9.0 * x[2] * side * side)

    def concat(self, parts: list[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Several maps of one side, one behind the other."""
        return self.vertex(parts, parts[0][1], sum(part[2] for part in parts), 0.0)


def inception_v3() -> tuple[LayerGraph, Builder]:
    """The graph (without the auxiliary classifier, which inference leaves out)."""
    b = Builder()
    x = b.conv((-1, 299, 3), 32, (3, 3), 2, pad=False)
    x = b.conv(x, 32, (3, 3), pad=False)
    x = b.pool(b.conv(x, 64, (3, 3)), 2)
    x = b.conv(b.conv(x, 80, (1, 1)), 192, (3, 3), pad=False)
    x = b.pool(x, 2)
    for pooled in (32, 64, 64):
        five = b.conv(b.conv(x, 48, (1, 1)), 64, (5, 5))
        three = b.conv(b.conv(b.conv(x, 64, (1, 1)), 96, (3, 3)), 96, (3, 3))
        x = b.concat([b.conv(x, 64, (1, 1)), five, three, b.conv(b.pool(x), pooled, (1, 1))])
    three = b.conv(b.conv(b.conv(x, 64, (1, 1)), 96, (3, 3)), 96, (3, 3), 2, pad=False)
    x = b.concat([b.conv(x, 384, (3, 3), 2, pad=False), three, b.pool(x, 2)])
    for c in (128, 160, 160, 192):
        seven = b.conv(b.conv(b.conv(x, c, (1, 1)), c, (1, 7)), 192, (7, 1))
        twice = b.conv(b.conv(b.conv(b.conv(x, c, (1, 1)), c, (7, 1)), c, (1, 7)), c, (7, 1))
        twice = b.conv(twice, 192, (1, 7))
        x = b.concat([b.conv(x, 192, (1, 1)), seven, twice, b.conv(b.pool(x), 192, (1, 1))])
    three = b.conv(b.conv(x, 192, (1, 1)), 320, (3, 3), 2, pad=False)
    seven = b.conv(b.conv(b.conv(x, 192, (1, 1)), 192, (1, 7)), 192, (7, 1))
    x = b.concat([three, b.conv(seven, 192, (3, 3), 2, pad=False), b.pool(x, 2)])
    for _ in range(2):
        wide = b.conv(x, 384, (1, 1))
        wide = b.concat([b.conv(wide, 384, (1, 3)), b.conv(wide, 384, (3, 1))])
        deep = b.conv(b.conv(x, 448, (1, 1)), 384, (3, 3))
        deep = b.concat([b.conv(deep, 384, (1, 3)), b.conv(deep, 384, (3, 1))])
        x = b.concat([b.conv(x, 320, (1, 1)), wide, deep, b.conv(b.pool(x), 192, (1, 1))])
    x = b.vertex([x], 1, 2048, 2048.0 * x[1] * x[1])  # average pooling
    b.vertex([x], 1, 1000, 2.0 * 2048 * 1000)
    flops = np.array(b.flops)
    graph = LayerGraph(
        flops / DEVICE_FLOPS, flops / SERVER_FLOPS, np.array(b.bytes), np.array(b.edges), 3.0 * 299 * 299
    )
    return graph, b


def networkx_cut(graph: LayerGraph, rate_bps: float) -> float:
    """The same minimum cut with networkx's preflow-push algorithm, its fastest here."""
    import networkx

    network = networkx.DiGraph()
    send = graph.transfer_s(rate_bps)
    network.add_edge("s", -1)
    for v in range(len(graph.device_s)):
        network.add_edge("s", v, capacity=graph.server_s[v])
        network.add_edge(v, "t", capacity=graph.device_s[v])
    for writer, readers in enumerate(graph._readers, start=-1):
        if len(readers):
            network.add_edge(writer, ("once", writer), capacity=send[writer + 1])
        for reader in readers.tolist():
            network.add_edge(("once", writer), reader)
            network.add_edge(reader, writer)
    return float(networkx.minimum_cut_value(network, "s", "t"))


def median_ms(action: Callable[[], object], repeats: int) -> float:
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        spent.append(time.perf_counter() - start)
    return 1e3 * float(np.median(spent))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time DADS' cuts on InceptionV3.")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    graph, built = inception_v3()
    gflop = sum(built.flops) / 1e9
    print(
        f"InceptionV3: {len(graph.device_s)} vertices, {len(graph.edges)} edges, {built.convolutions} convolutions, "
        f"{gflop:.1f} GFLOP"
    )
    print(f"{'Mbit/s':>8s}{'on device':>11s}{'latency s':>11s}{'scipy ms':>10s}{'networkx ms':>13s}{'agree':>7s}")
    for rate in RATES_BPS:
        found = lowest_latency_split(graph, rate)
        ours = median_ms(lambda r=rate: lowest_latency_split(graph, r), options.repeats)  # type: ignore[misc]
        theirs = median_ms(lambda r=rate: networkx_cut(graph, r), 1)  # type: ignore[misc]
        agree = math.isclose(found.latency_s, networkx_cut(graph, rate), rel_tol=1e-6)
        print(
            f"{rate / 1e6:8.2f}{int(found.on_device.sum()):11d}{found.latency_s:11.4f}{ours:10.2f}{theirs:13.0f}"
            f"{agree!s:>7s}"
        )
    start = time.perf_counter()
    heavy = low_bottleneck_split(graph, 5.85e6)
    light = lowest_latency_split(graph, 5.85e6)
    print(
        f"heavy load at 5.85 Mbit/s: bottleneck {heavy.bottleneck_s:.4f} s against {light.bottleneck_s:.4f} s of the "
        f"minimum cut, found in {time.perf_counter() - start:.1f} s"
    )


if __name__ == "__main__":
    main()
