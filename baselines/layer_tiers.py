"""Which tier runs which layer within a deadline: SplitLLM's constrained shortest path, and its competitors.

Source: Mudvari, Jiang, Tassiulas: "SplitLLM: Collaborative Inference of LLMs for Model Placement and Throughput
Optimization", arXiv 2410.10759.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .constrained import Arcs, best_path

__all__ = ["LayerTiers", "TierPlan", "greedy_tiers", "optimal_tiers", "single_tier", "ticks_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FORBIDDEN = 2**40
"""Ticks of a move that must not be made."""


def ticks_of(seconds: ArrayLike, tick_s: float) -> Ints:
    """Seconds in whole ticks, rounded up, so that a plan that fits in ticks fits in time; infinite ones are forbidden.

    >>> ticks_of([0.0, 0.01, 0.0101, float("inf")], 0.01).tolist()
    [0, 1, 2, 1099511627776]
    """
    exact = np.asarray(seconds, dtype=np.float64) / tick_s
    known = exact < FORBIDDEN
    rounded = np.ceil(np.where(known, exact, 0.0) * (1.0 - 1e-12)).astype(np.int64)
    return np.asarray(np.where(known, rounded, FORBIDDEN), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class LayerTiers:
    """L layers in a chain, T tiers; times in ticks. The input is at tier 0, and so must the result be.

    Attributes:
        run: Ticks of each layer on each tier, (L, T).
        move: Ticks to bring the input of layer l from tier a to tier b, (L + 1, T, T); the last is the result's way, of
            which the column of tier 0 counts. `FORBIDDEN` where there is no way.
        value: What each layer on each tier is worth, (L, T): SplitLLM's floating-point operations kept on the client.
    """

    run: Ints
    move: Ints
    value: Floats

    def __post_init__(self) -> None:
        layers, tiers = self.run.shape
        if self.move.shape != (layers + 1, tiers, tiers) or self.value.shape != (layers, tiers):
            rule = f"must have shapes ({layers + 1}, {tiers}, {tiers}) and ({layers}, {tiers})"
            raise InputError("layer tiers", "move, value", rule, (self.move.shape, self.value.shape))
        if self.run.min(initial=0) < 0 or self.move.min(initial=0) < 0:
            raise InputError("layer tiers", "run, move", "must not be negative", int(min(self.run.min(), -1)))

    def plan(self, tiers: ArrayLike) -> TierPlan:
        """What a given assignment takes and is worth."""
        at = np.asarray(tiers, dtype=np.int64)
        stops = np.concatenate([[0], at, [0]])
        moves = self.move[np.arange(len(stops) - 1), stops[:-1], stops[1:]]
        layers = np.arange(len(at))
        return TierPlan(at, float(self.value[layers, at].sum()), int(moves.sum() + self.run[layers, at].sum()))

    def to_go(self) -> Ints:
        """Fewest ticks from before layer l, with its input at tier a, to the result at tier 0, (L + 1, T)."""
        layers, tiers = self.run.shape
        left = np.zeros((layers + 1, tiers), dtype=np.int64)
        left[layers] = self.move[layers, :, 0]
        for k in range(layers - 1, -1, -1):
            left[k] = np.min(self.move[k] + (self.run[k] + left[k + 1])[None], axis=1)
        return left


@dataclass(frozen=True)
class TierPlan:
    """An assignment of layers to tiers, int64 (L,), its value and its time in ticks."""

    tiers: Ints
    value: float
    ticks: int


def optimal_tiers(problem: LayerTiers, budget: int) -> TierPlan | None:
    """The assignment of highest value within `budget` ticks; None if none fits.

    Exact over integer time, for any number of tiers and of switches: a constrained shortest path over (layer, tier),
    O(L T^2 budget). What the paper's listing gets wrong is put right: the layer's value is added in the recursion; a
    move that does not fit is impossible instead of free, in both directions; staying on the server is a case of its
    own; the way back follows the choices that were stored.
    """
    layers, tiers = problem.run.shape
    nodes = layers * tiers + 2  # the start, (layer, tier), the end
    first, last = np.arange(1, tiers + 1), layers * tiers + 1
    tail, head = [np.zeros(tiers, dtype=np.int64)], [first]
    ticks, value = [problem.move[0, 0] + problem.run[0]], [problem.value[0]]
    for k in range(1, layers):
        before, after = first + (k - 1) * tiers, first + k * tiers
        tail.append(np.repeat(before, tiers))
        head.append(np.tile(after, tiers))
        ticks.append((problem.move[k] + problem.run[k][None]).ravel())
        value.append(np.tile(problem.value[k], tiers))
    tail.append(first + (layers - 1) * tiers)
    head.append(np.full(tiers, last))
    ticks.append(problem.move[layers, :, 0])
    value.append(np.zeros(tiers))
    arcs = Arcs(np.concatenate(tail), np.concatenate(head), np.concatenate(ticks), np.concatenate(value))
    path = best_path(arcs, nodes, budget)
    if path is None:
        return None
    return problem.plan((arcs.head[path.arcs[:-1]] - 1) % tiers)


def greedy_tiers(problem: LayerTiers, budget: int) -> TierPlan | None:
    """Layer by layer the most valuable tier from which the rest can still be finished in time; None if none fits.

    O(L T^2). Never better than the optimum.
    """
    layers, _tiers = problem.run.shape
    left = problem.to_go()
    at, spent, chosen = 0, 0, []
    for k in range(layers):
        step = problem.move[k, at] + problem.run[k]
        fits = spent + step + left[k + 1] <= budget
        if not fits.any():
            return None
        worth = np.where(fits, problem.value[k], -np.inf)
        at = int(np.lexsort((step, -worth))[0])
        spent += int(step[at])
        chosen.append(at)
    return problem.plan(chosen)


def single_tier(problem: LayerTiers, budget: int) -> TierPlan | None:
    """No split: the whole network on the most valuable tier that meets the budget; None if none does."""
    layers, tiers = problem.run.shape
    plans = [problem.plan(np.full(layers, tier)) for tier in range(tiers)]
    fitting = [plan for plan in plans if plan.ticks <= budget]
    return max(fitting, key=lambda plan: (plan.value, -plan.ticks), default=None)
