"""SplitLLM's path against exhaustive search; its competitors are never better."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.baselines.layer_tiers import (
    FORBIDDEN,
    LayerTiers,
    TierPlan,
    greedy_tiers,
    optimal_tiers,
    single_tier,
    ticks_of,
)
from edgecloud.errors import InputError


@st.composite
def instances(draw: st.DrawFn) -> tuple[LayerTiers, int]:
    layers, tiers = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    move = rng.integers(0, 12, (layers + 1, tiers, tiers))
    move[rng.random(move.shape) < 0.1] = FORBIDDEN
    value = rng.integers(0, 20, (layers, tiers)).astype(float)
    return LayerTiers(rng.integers(0, 10, (layers, tiers)), move, value), draw(st.integers(0, 60))


def plain(problem: LayerTiers, tiers: tuple[int, ...]) -> tuple[float, int]:
    at, ticks, value = 0, 0, 0.0
    for layer, tier in enumerate(tiers):
        ticks += int(problem.move[layer, at, tier]) + int(problem.run[layer, tier])
        value += problem.value[layer, tier]
        at = tier
    return value, ticks + int(problem.move[len(tiers), at, 0])


@settings(max_examples=300, deadline=None)
@given(instances())
def test_optimum_is_exhaustive_search(instance: tuple[LayerTiers, int]):
    problem, budget = instance
    layers, tiers = problem.run.shape
    fitting = [plain(problem, at) for at in product(range(tiers), repeat=layers)]
    fitting = [(value, ticks) for value, ticks in fitting if ticks <= budget]
    found = optimal_tiers(problem, budget)
    if not fitting:
        assert found is None
        assert greedy_tiers(problem, budget) is None
        assert single_tier(problem, budget) is None
        return
    assert found is not None
    assert found.value == max(value for value, _ in fitting)
    assert found.ticks <= budget
    assert (found.value, found.ticks) == plain(problem, tuple(found.tiers.tolist()))
    for other in (greedy_tiers(problem, budget), single_tier(problem, budget)):
        assert other is None or (other.ticks <= budget and other.value <= found.value)
    assert greedy_tiers(problem, budget) is not None  # it always keeps a way to the end


def test_time_to_go_is_the_fastest_plan():
    rng = np.random.default_rng(0)
    for _ in range(20):
        problem = LayerTiers(rng.integers(0, 9, (4, 3)), rng.integers(0, 9, (5, 3, 3)), rng.random((4, 3)))
        fastest = min(plain(problem, at)[1] for at in product(range(3), repeat=4))
        assert problem.to_go()[0, 0] == fastest
        assert optimal_tiers(problem, fastest) is not None
        assert optimal_tiers(problem, fastest - 1) is None


def test_the_greedy_one_can_be_fooled_and_several_switches_happen():
    """A cheap layer first eats the slack that a valuable one needs; the optimum goes out and comes back."""
    run = np.array([[4, 1], [9, 1], [4, 1]])
    move = np.zeros((4, 2, 2), dtype=np.int64)
    move[:, 0, 1] = move[:, 1, 0] = 1
    problem = LayerTiers(run, move, np.array([[1.0, 0.0], [9.0, 0.0], [1.0, 0.0]]))
    best, greedy = optimal_tiers(problem, 15), greedy_tiers(problem, 15)
    assert best is not None
    assert greedy is not None
    assert best.tiers.tolist() == [1, 0, 1]
    assert greedy.tiers.tolist() == [0, 1, 0]
    assert greedy.value < best.value


def test_ample_time_keeps_everything_and_none_refuses():
    problem = LayerTiers(np.array([[5, 1], [5, 1]]), np.ones((3, 2, 2), dtype=np.int64), np.array([[1.0, 0], [1.0, 0]]))
    plan = optimal_tiers(problem, 1000)
    assert isinstance(plan, TierPlan)
    assert plan.tiers.tolist() == [0, 0]
    assert optimal_tiers(problem, -1) is None
    with pytest.raises(InputError, match="shapes"):
        LayerTiers(np.ones((2, 2), dtype=np.int64), np.ones((2, 2, 2), dtype=np.int64), np.ones((2, 2)))


@given(st.floats(0, 1e3), st.floats(1e-4, 1.0))
def test_ticks_never_understate(seconds: float, tick_s: float):
    ticks = int(ticks_of(seconds, tick_s))
    assert ticks * tick_s >= seconds * (1 - 1e-9)
    assert (ticks - 1) * tick_s < seconds or ticks == 0
