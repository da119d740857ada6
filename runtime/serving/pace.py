"""How long a tier takes: as this machine, a multiple of that, or as long as a machine that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ...errors import InputError

__all__ = ["MachinePace", "Pace", "Stretched"]


class Pace(Protocol):
    """Says how long a tier's thread sleeps after the real computation."""

    def rest_s(self, first: int, end: int, heads: bool, worked_s: float, elapsed_s: float) -> float:
        """Seconds left of the service of stages `[first, end)`, not negative.

        Args:
            first: Cut at which the part begins.
            end: Stage after which it answered, or its last.
            heads: Whether the heads on the way were asked.
            worked_s: Processor time of the real computation.
            elapsed_s: Its time by the clock.
        """
        ...


@dataclass(frozen=True)
class Stretched:
    """A machine `factor` times as slow as this one; of the work itself: what others do here is not multiplied."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.factor < float("inf"):
            raise InputError("pace", "slowdown", "must be at least 1", self.factor)

    def rest_s(self, first: int, end: int, heads: bool, worked_s: float, elapsed_s: float) -> float:
        """As of `Pace`."""
        return (self.factor - 1.0) * worked_s


@dataclass(frozen=True)
class MachinePace:
    """A machine with known service times, slower than this one; what takes longer here is not shortened.

    Attributes:
        stage_s: Mean seconds per stage, M of them.
        head_s: Mean seconds per exit head, E of them; the last stands behind the last stage and is always asked.
        exits: Stage after which each head stands, E of them.
        factors: Evenly spaced quantiles of a request's time over the mean; each request draws one.
        seed: Of the draws.
    """

    stage_s: Sequence[float]
    head_s: Sequence[float]
    exits: Sequence[int]
    factors: Sequence[float] = (1.0,)
    seed: int = 0
    _rng: np.random.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = (*self.stage_s, *self.head_s, *self.factors)
        if len(self.head_s) != len(self.exits) or not all(0.0 <= value < float("inf") for value in numbers):
            raise InputError("pace", "", "must be times >= 0 of every stage and of every head", None)
        object.__setattr__(self, "_rng", np.random.default_rng(self.seed))

    def mean_s(self, first: int, end: int, heads: bool) -> float:
        """Mean service time of stages `[first, end)`; a head belongs to the part that ends at it."""
        asked = (
            seconds
            for after, seconds in zip(self.exits, self.head_s, strict=True)
            if first < after <= end and (heads or after == len(self.stage_s))
        )
        return sum(self.stage_s[first:end]) + sum(asked)

    def rest_s(self, first: int, end: int, heads: bool, worked_s: float, elapsed_s: float) -> float:
        """As of `Pace`."""
        factor = float(self._rng.choice(np.asarray(self.factors)))
        return max(factor * self.mean_s(first, end, heads) - elapsed_s, 0.0)
