"""AMPS-Inf's partition against enumeration of every partition and memory choice."""

from __future__ import annotations

import math
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.baselines.constrained import Arcs, best_path
from edgecloud.baselines.function_chain import FunctionChain, FunctionPart, cheapest_functions
from edgecloud.errors import InputError


def random_chain(rng: np.random.Generator, layers: int, sizes: int) -> FunctionChain:
    return FunctionChain(
        rng.uniform(0.001, 0.05, (layers, sizes)),
        rng.uniform(1e-6, 1e-4, sizes),
        2e-7,
        rng.uniform(0, 0.02, layers + 1),
        rng.uniform(1, 10, layers),
        float(rng.uniform(8, 40)),
    )


def enumerate_plans(chain: FunctionChain, limit_s: float, tick_s: float) -> float:
    layers, sizes = chain.layer_s.shape
    lowest = math.inf
    for count in range(layers):
        for inner in combinations(range(1, layers), count):
            cuts = [0, *inner, layers]
            parts = list(pairwise(cuts))
            if any(chain.weight_bytes[a:b].sum() > chain.weight_limit_bytes for a, b in parts):
                continue
            for memory in product(range(sizes), repeat=len(parts)):
                usd, ticks = 0.0, 0
                for (a, b), k in zip(parts, memory, strict=True):
                    seconds = chain.layer_s[a:b, k].sum() + (chain.handover_s[b] if b < layers else 0.0)
                    usd += seconds * chain.usd_per_s[k] + chain.request_usd
                    ticks += math.ceil(seconds / tick_s * (1 - 1e-12))
                if ticks <= limit_s / tick_s * (1 + 1e-12):
                    lowest = min(lowest, usd)
    return lowest


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.floats(0.01, 0.3), st.integers(0, 2**32 - 1))
def test_cheapest_is_enumeration(layers: int, sizes: int, limit_s: float, seed: int):
    chain = random_chain(np.random.default_rng(seed), layers, sizes)
    found, lowest = cheapest_functions(chain, limit_s), enumerate_plans(chain, limit_s, 1e-3)
    if found is None:
        assert lowest == math.inf
        return
    assert found.usd == pytest.approx(lowest, rel=1e-9)
    assert found.seconds <= limit_s + 1e-9
    assert [part.first for part in found.parts][1:] == [part.last for part in found.parts][:-1]


def test_without_limits_one_function_of_the_cheapest_size():
    chain = FunctionChain(np.full((3, 2), 0.1), np.array([1e-5, 2e-5]), 1e-7, np.zeros(4), np.ones(3), 100.0)
    found = cheapest_functions(chain, 10.0)
    assert found is not None
    assert found.parts == (FunctionPart(0, 3, 0),)
    tight = FunctionChain(chain.layer_s, chain.usd_per_s, 1e-7, np.zeros(4), np.ones(3), 2.0)
    split = cheapest_functions(tight, 10.0)
    assert split is not None
    assert len(split.parts) == 2
    with pytest.raises(InputError, match="shapes"):
        FunctionChain(chain.layer_s, np.ones(3), 1e-7, np.zeros(4), np.ones(3), 1.0)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 5), st.integers(1, 9), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_constrained_path_is_enumeration(nodes: int, count: int, budget: int, seed: int):
    rng = np.random.default_rng(seed)
    ends = np.sort(np.array([rng.choice(nodes, 2, replace=False) for _ in range(count)]), axis=1)
    arcs = Arcs(ends[:, 0], ends[:, 1], rng.integers(0, 6, count), rng.integers(-5, 6, count).astype(float))
    best = -math.inf
    stack = [(0, 0, 0.0)]
    while stack:
        node, ticks, value = stack.pop()
        if node == nodes - 1:
            best = max(best, value) if ticks <= budget else best
            continue
        out = np.flatnonzero(arcs.tail == node)
        stack += [(int(arcs.head[a]), ticks + int(arcs.ticks[a]), value + float(arcs.value[a])) for a in out]
    found = best_path(arcs, nodes, budget)
    if found is None:
        assert best == -math.inf
    else:
        assert (found.value, found.ticks <= budget) == (best, True)
