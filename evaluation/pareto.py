"""Latency, dollars and leakage of all policies at all preferences: who is beaten in all three, and what is covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from .scores import Comparison

__all__ = ["AXES", "REFERENCE", "WIDE", "Front", "Point", "hypervolume", "pareto_front", "points_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

AXES = ("latency", "cost", "leakage")

REFERENCE = (1.0, 1.0, 1.0)
"""The scenario's references: mean latency `latency_ref_s`, `cost_ref_usd` per interval, leakage of the raw input."""

WIDE = (3.0, 3.0, 1.0)
"""Three times the references of latency and cost, for policies that trade one of them away for the rest."""


@dataclass(frozen=True)
class Point:
    """A policy at a preference.

    Attributes:
        method: The policy.
        weights_name: The preference that it was asked to serve.
        latency: Mean latency over the scenario's reference, the mean of the episodes' means.
        cost: Dollars per control interval over the scenario's reference.
        leakage: Mean leakage of a request, 0 to 1.
        accuracy: Of the answers given; not an axis.
        failure_rate: Share of requests that missed the hard timeout (each counts the timeout as its latency).
    """

    method: str
    weights_name: str
    latency: float
    cost: float
    leakage: float
    accuracy: float
    failure_rate: float

    @property
    def axes(self) -> tuple[float, float, float]:
        """The three objectives, less is better; 1 is the scenario's reference."""
        return self.latency, self.cost, self.leakage


@dataclass(frozen=True, eq=False)
class Front:
    """The front of a comparison.

    Attributes:
        points: Every policy at every preference.
        best: Those that no other point beats in one objective without losing in another.
        volume: Hypervolume of all points.
        by_method: Hypervolume of each method's own points.
        without: Hypervolume that is lost if a method is left out.
    """

    points: tuple[Point, ...]
    best: tuple[Point, ...]
    volume: float
    by_method: dict[str, float]
    without: dict[str, float]


def points_of(comparison: Comparison) -> tuple[Point, ...]:
    """One point per method and preference, over all its episodes and training runs."""
    facts = comparison.facts
    latency_ref_s, cost_ref_usd = float(str(facts["latency_ref_s"])), float(str(facts["cost_ref_usd"]))
    intervals = int(str(facts["episode_intervals"]))
    points = []
    for method in comparison.methods:
        for name in comparison.presets:
            requests = comparison.scores(method, name, "requests")
            usd = comparison.scores(method, name, "usd_per_1000") * requests / 1e3 / intervals
            mean = {
                column: float(comparison.scores(method, name, column).mean())
                for column in ("latency_s", "leakage", "accuracy", "failure_rate")
            }
            points.append(
                Point(
                    method,
                    name,
                    mean["latency_s"] / latency_ref_s,
                    float(usd.mean()) / cost_ref_usd,
                    mean["leakage"],
                    mean["accuracy"],
                    mean["failure_rate"],
                )
            )
    return tuple(points)


def hypervolume(points: Sequence[Point], reference: Sequence[float] = REFERENCE) -> float:
    """Share of the box between 0 and the reference that some point is better than in all three objectives.

    The reference is declared by the scenario (`latency_ref_s`, `cost_ref_usd`, and a leakage of 1, that of the raw
    input), not taken from results. A point beyond it in one objective covers nothing.

    Args:
        points: Policies; none cover nothing.
        reference: In units of the scenario's references.
    """
    if not points:
        return 0.0
    volume = moocore.hypervolume(np.array([point.axes for point in points]), ref=np.asarray(reference, dtype=float))
    return float(volume) / float(np.prod(reference))


def pareto_front(points: Sequence[Point], reference: Sequence[float] = REFERENCE) -> Front:
    """Which points are on the front, and what each method adds to the covered volume."""
    axes = np.array([point.axes for point in points])
    kept: Bools = np.asarray(moocore.is_nondominated(axes, keep_weakly=True), dtype=np.bool_)
    total = hypervolume(points, reference)
    methods = list(dict.fromkeys(point.method for point in points))
    own = {m: hypervolume([p for p in points if p.method == m], reference) for m in methods}
    lost = {m: total - hypervolume([p for p in points if p.method != m], reference) for m in methods}
    best = tuple(point for point, keep in zip(points, kept, strict=True) if keep)
    return Front(tuple(points), best, total, own, lost)
