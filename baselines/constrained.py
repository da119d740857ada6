"""The best path through a directed acyclic graph within an integer budget of time: one exact dynamic programme."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arcs", "Path", "best_path"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Arcs(NamedTuple):
    """Arcs between nodes that are numbered in topological order; several may join the same two nodes."""

    tail: Ints  # (A,)
    head: Ints  # (A,) above the tail
    ticks: Ints  # (A,) units of time, >= 0
    value: Floats  # (A,)


class Path(NamedTuple):
    """A path from the first to the last node."""

    arcs: Ints  # indices, in order
    value: float  # their sum
    ticks: int  # their sum


def best_path(arcs: Arcs, nodes: int, budget: int) -> Path | None:
    """The path of highest total value from node 0 to the last one that takes at most `budget` ticks.

    Exact over integer time. With F(v, j) the best value that reaches v within j ticks, every arc (u, v) gives
    F(v, j) >= F(u, j - ticks) + value where j >= ticks, and nothing where it does not fit. O(A * budget).

    Args:
        arcs: The graph.
        nodes: Their number.
        budget: Ticks to spend.

    Returns:
        None if no path fits.
    """
    if budget < 0:
        return None
    best = np.full((nodes, budget + 1), -np.inf)
    chosen = np.full((nodes, budget + 1), -1, dtype=np.int64)
    best[0] = 0.0
    for a in np.argsort(arcs.tail, kind="stable"):
        tail, head, ticks = int(arcs.tail[a]), int(arcs.head[a]), int(arcs.ticks[a])
        if ticks > budget:
            continue
        offered = best[tail, : budget + 1 - ticks] + arcs.value[a]
        better = offered > best[head, ticks:]
        best[head, ticks:][better] = offered[better]
        chosen[head, ticks:][better] = a
    if not np.isfinite(best[-1, budget]):
        return None
    path, node, left = [], nodes - 1, budget
    while node > 0:
        a = int(chosen[node, left])
        path.append(a)
        node, left = int(arcs.tail[a]), left - int(arcs.ticks[a])
    order = np.array(path[::-1], dtype=np.int64)
    return Path(order, float(arcs.value[order].sum()), int(arcs.ticks[order].sum()))
