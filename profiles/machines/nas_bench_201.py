"""The 15,625 networks of NAS-Bench-201 (Dong and Yang, ICLR 2020): index to cell, layers, operations.

A cell has four nodes and six edges, each with one of five operations; five copies of it make a stage of 16, 32 or 64
channels at 32, 16 or 8 pixels, with a residual block of stride 2 between stages. The published index is the list of all
cells in lexical order, shuffled by Python's generator with seed 88: that is how the benchmark's own script made it, and
the four entries that are known otherwise (0, 9 and 123 from that script, 1462 = six 3x3 convolutions) come out.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .layers import Layer

__all__ = ["CELLS", "EDGES", "OPERATIONS", "cell", "cell_text", "count_table", "flops", "live_edges", "network_layers"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
LAYERS_OF = ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations that have layers; the others pass the tensor on, or nothing."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From node, to node, in the order in which a cell lists its operations."""

CELLS = len(OPERATIONS) ** len(EDGES)
REPEATS = 5
STAGES = ((16, 32), (32, 16), (64, 8))
"""Channels and pixels of each stage."""
CLASSES = 10

Cell = tuple[str, ...]


@functools.cache
def _all_cells() -> tuple[Cell, ...]:
    cells = list(itertools.product(OPERATIONS, repeat=len(EDGES)))
    random.Random(88).shuffle(cells)
    return tuple(cells)


def cell(index: int) -> Cell:
    """The six operations of network `index`, in the order of `EDGES`.

    Raises:
        InputError: the index is not 0..15624.

    >>> cell(9)
    ('avg_pool_3x3', 'none', 'none', 'skip_connect', 'none', 'nor_conv_3x3')
    """
    if not 0 <= index < CELLS:
        raise InputError("NAS-Bench-201", "index", f"must be 0 to {CELLS - 1}", index)
    return _all_cells()[index]


def cell_text(operations: Cell) -> str:
    """A cell in the benchmark's own notation.

    >>> cell_text(cell(0))
    '|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|'
    """
    named = [f"|{name}~{edge[0]}" for name, edge in zip(operations, EDGES, strict=True)]
    return f"{named[0]}|+{named[1]}{named[2]}|+{named[3]}{named[4]}{named[5]}|"


def live_edges(operations: Cell) -> Cell:
    """The operations of edges that lie on a path from the cell's input to its output; a `none` edge carries nothing.

    >>> live_edges(cell(9))
    ('skip_connect',)
    """
    live = _live(operations)
    return tuple(name for name, edge in zip(operations, EDGES, strict=True) if edge in live)


def _live(operations: Cell) -> set[tuple[int, int]]:
    used = [edge for name, edge in zip(operations, EDGES, strict=True) if name != "none"]
    forward, backward = {0}, {3}
    for start, end in used:  # edges are ordered by their end node, which is a topological order
        if start in forward:
            forward.add(end)
    for start, end in reversed(used):
        if end in backward:
            backward.add(start)
    return {(start, end) for start, end in used if start in forward and end in backward}


def network_layers(operations: Cell, live_only: bool = False) -> list[tuple[Layer, int]]:
    """The distinct layers of a network for one 32x32 image, each with how often it occurs.

    Args:
        operations: The cell.
        live_only: Leave out edges whose result is never used, as a compiled graph does; PyTorch runs all of them.
    """
    return list(_network(operations, live_only))


def _network(operations: Cell, live_only: bool) -> tuple[tuple[Layer, int], ...]:
    used = live_edges(operations) if live_only else operations
    counts = Counter(name for name in used if name in LAYERS_OF)
    carrying = [name for name in used if name != "none"]
    return _layers(*(counts[name] for name in LAYERS_OF), max(0, len(carrying) - _receivers(operations, live_only)))


def _receivers(operations: Cell, live_only: bool) -> int:
    """How many of the three later nodes receive anything: each needs one sum fewer than it has inputs."""
    rows = [edge for name, edge in zip(operations, EDGES, strict=True) if name != "none"]
    if live_only:
        rows = [edge for edge in rows if edge in _live(operations)]
    return len({end for _, end in rows})


@functools.cache
def _layers(pointwise: int, square: int, pooled: int, sums: int) -> tuple[tuple[Layer, int], ...]:
    counts = Counter(_skeleton())
    for channels, pixels in STAGES:
        size = (pixels, pixels)
        for name, number in zip(LAYERS_OF, (pointwise, square, pooled), strict=True):
            for layer in _operation(name, channels, size):
                counts[layer] += REPEATS * number
        counts[Layer("add", channels, channels, size, size)] += REPEATS * sums
    return tuple((layer, number) for layer, number in counts.items() if number)


def _operation(name: str, channels: int, size: tuple[int, int]) -> list[Layer]:
    if name == "avg_pool_3x3":
        return [Layer("avgpool", channels, channels, size, size, (3, 3))]
    kernel = (3, 3) if name == "nor_conv_3x3" else (1, 1)
    return [
        Layer("relu", channels, channels, size, size),
        Layer("conv", channels, channels, size, size, kernel),
        Layer("batchnorm", channels, channels, size, size),
    ]


def _skeleton() -> list[Layer]:
    """Stem, the two residual blocks between the stages, the last normalisation, pooling and classifier."""
    first, pixels = STAGES[0]
    size = (pixels, pixels)
    layers = [Layer("conv", 3, first, size, size, (3, 3)), Layer("batchnorm", first, first, size, size)]
    for (inputs, big), (outputs, small) in itertools.pairwise(STAGES):
        before, after = (big, big), (small, small)
        layers += [
            Layer("relu", inputs, inputs, before, before),
            Layer("conv", inputs, outputs, before, after, (3, 3), 2),
            Layer("batchnorm", outputs, outputs, after, after),
            Layer("relu", outputs, outputs, after, after),
            Layer("conv", outputs, outputs, after, after, (3, 3)),
            Layer("batchnorm", outputs, outputs, after, after),
            Layer("avgpool", inputs, inputs, before, after, (2, 2), 2),
            Layer("conv", inputs, outputs, after, after),
            Layer("add", outputs, outputs, after, after),
        ]
    last, pixels = STAGES[-1]
    size = (pixels, pixels)
    layers += [Layer("batchnorm", last, last, size, size), Layer("relu", last, last, size, size)]
    layers += [Layer("avgpool", last, last, size, (1, 1), size), Layer("linear", last, CLASSES)]
    return layers


def flops(operations: Cell, live_only: bool = False) -> int:
    """Operations of a network, a multiply-add as two: convolutions and the classifier.

    Without `live_only` every edge of the cell counts, used or not, as in the benchmark's own table.
    """
    return sum(layer.flops * count for layer, count in network_layers(operations, live_only))


@functools.cache
def count_table(live_only: bool = False) -> tuple[tuple[Layer, ...], NDArray[np.int64]]:
    """The distinct layers of all networks, and how often each network has them: int64 (15625, number of layers).

    The array is kept for the next call and cannot be written to.
    """
    column: dict[Layer, int] = {}
    rows: dict[tuple[tuple[Layer, int], ...], list[int]] = {}
    for index, operations in enumerate(_all_cells()):
        network = _network(operations, live_only)
        rows.setdefault(network, []).append(index)
        for layer, _ in network:
            column.setdefault(layer, len(column))
    table = np.zeros((CELLS, len(column)), dtype=np.int64)
    for network, index_list in rows.items():
        for layer, number in network:
            table[index_list, column[layer]] = number
    table.setflags(write=False)
    return tuple(column), table
