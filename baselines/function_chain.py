"""A network as a chain of functions: where to cut it and how much memory each part gets (AMPS-Inf).

Source: AMPS-Inf, ICPP 2021; the abstract was read. The paper states a mixed-integer quadratic programme; the chain
makes it a constrained shortest path, which is solved exactly here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .constrained import Arcs, best_path

__all__ = ["FunctionChain", "FunctionPart", "FunctionPlan", "cheapest_functions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FunctionChain:
    """What a partition into functions costs.

    Attributes:
        layer_s: Seconds of each layer at each memory size, (L, K).
        usd_per_s: Price of each memory size, (K,).
        request_usd: Fee per invocation.
        handover_s: Seconds to hand what crosses each cut to the next function, (L + 1,); the ends count 0.
        weight_bytes: Of each layer, (L,).
        weight_limit_bytes: What one function can hold.
    """

    layer_s: Floats
    usd_per_s: Floats
    request_usd: float
    handover_s: Floats
    weight_bytes: Floats
    weight_limit_bytes: float

    def __post_init__(self) -> None:
        layers, sizes = self.layer_s.shape
        shapes = (self.usd_per_s.shape, self.handover_s.shape, self.weight_bytes.shape)
        if shapes != ((sizes,), (layers + 1,), (layers,)):
            raise InputError("function chain", "shapes", f"must be ({sizes},), ({layers + 1},), ({layers},)", shapes)


@dataclass(frozen=True)
class FunctionPart:
    """Layers [first, last) in one function with memory size `memory` (an index)."""

    first: int
    last: int
    memory: int


@dataclass(frozen=True)
class FunctionPlan:
    """Parts in order, dollars per request, and seconds (whole ticks)."""

    parts: tuple[FunctionPart, ...]
    usd: float
    seconds: float


def cheapest_functions(chain: FunctionChain, limit_s: float, tick_s: float = 1e-3) -> FunctionPlan | None:
    """The cheapest partition and memory sizes that answer within `limit_s`; None if none does.

    Exact over time in whole ticks, each part's time rounded up. An invocation is billed while it computes and hands
    over. O(L^2 K limit / tick).

    Args:
        chain: Times, prices and limits.
        limit_s: Response-time objective.
        tick_s: Resolution of time.
    """
    layers, sizes = chain.layer_s.shape
    before = np.concatenate([np.zeros((1, sizes)), np.cumsum(chain.layer_s, axis=0)])
    held = np.concatenate([[0.0], np.cumsum(chain.weight_bytes)])
    first, last = np.triu_indices(layers + 1, 1)
    fits = held[last] - held[first] <= chain.weight_limit_bytes
    first, last = first[fits], last[fits]
    onward = np.where(last < layers, chain.handover_s[last], 0.0)
    seconds = before[last] - before[first] + onward[:, None]  # (parts, K)
    usd = seconds * chain.usd_per_s + chain.request_usd
    ticks = np.ceil(seconds / tick_s * (1.0 - 1e-12)).astype(np.int64)
    arcs = Arcs(np.repeat(first, sizes), np.repeat(last, sizes), ticks.ravel(), -usd.ravel())
    path = best_path(arcs, layers + 1, int(np.floor(limit_s / tick_s * (1.0 + 1e-12))))
    if path is None:
        return None
    parts = tuple(FunctionPart(int(arcs.tail[a]), int(arcs.head[a]), int(a % sizes)) for a in path.arcs)
    return FunctionPlan(parts, -path.value, path.ticks * tick_s)
