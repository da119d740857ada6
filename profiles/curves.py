"""What a confidence threshold buys: exit rates, accuracy and expected cost, over a grid of thresholds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .profile import NEVER, Profile

__all__ = ["Curve", "cheapest_within", "threshold_curve"]

FloatArray = NDArray[np.float64]

GRID = np.round(np.arange(0.1, 1.0001, 0.005), 3)
"""Thresholds 0.1, 0.105 … 1; the threshold 'never' follows."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One row per threshold.

    Attributes:
        names: Of the exits.
        threshold: Shape (t,); the last one is `NEVER`.
        exit_rates: Shape (t, E), share of the samples that leaves at each exit.
        accuracy: Shape (t,).
        flops: Shape (t,), mean operations per sample, heads that were tried included.
        latency_s: Shape (t,), the same in seconds on the reference machine.
    """

    names: tuple[str, ...]
    threshold: FloatArray
    exit_rates: FloatArray
    accuracy: FloatArray
    flops: FloatArray
    latency_s: FloatArray

    def as_csv(self) -> str:
        """The table as text; columns `threshold`, `exit_rate_NAME` …, `accuracy`, `mean_flops`, `mean_latency_s`."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        rates = [f"exit_rate_{name}" for name in self.names]
        writer.writerow(["threshold", *rates, "accuracy", "mean_flops", "mean_latency_s"])
        rows = zip(self.threshold, self.exit_rates, self.accuracy, self.flops, self.latency_s, strict=True)
        for threshold, shares, accuracy, flops, seconds in rows:
            first = "never" if threshold > 1 else f"{threshold:g}"
            writer.writerow(
                [first, *(f"{share:.4f}" for share in shares), f"{accuracy:.4f}", f"{flops:.6g}", f"{seconds:.6g}"]
            )
        return buffer.getvalue()


def threshold_curve(profile: Profile, thresholds: Sequence[float] | FloatArray = GRID) -> Curve:
    """Exit rates, accuracy and expected cost of a profile at some thresholds, and at `NEVER`.

    Raises:
        InputError: The profile has no table of samples: its accuracy is not known.
    """
    if not profile.has_exit_table:
        remedy = "measure it, or state it with 'edgecloud profiles assume'"
        raise InputError(profile.name, "table", "must be known: the accuracy was not measured", None, remedy)
    grid = np.array([*thresholds, NEVER])
    latency = [_expected_latency_s(profile, threshold) for threshold in grid]
    return Curve(
        names=tuple(head.name for head in profile.exits),
        threshold=grid,
        exit_rates=np.array([profile.exit_rates(threshold) for threshold in grid]),
        accuracy=np.array([profile.accuracy(threshold) for threshold in grid]),
        flops=np.array([profile.expected_flops(threshold) for threshold in grid]),
        latency_s=np.array(latency),
    )


def _expected_latency_s(profile: Profile, threshold: float) -> float:
    """As `Profile.expected_flops`, in seconds."""
    stages = float(profile.reach(threshold) @ profile.stage_latency_s)
    if threshold > 1:
        return stages + float(profile.exit_latency_s[-1])
    arrivals = np.cumsum(profile.exit_rates(threshold)[::-1])[::-1]
    return stages + float(arrivals @ profile.exit_latency_s)


def cheapest_within(curve: Curve, lost_accuracy: float) -> int:
    """The row with the fewest mean operations among those that lose at most so much of the accuracy without exits.

    Args:
        curve: The last row is the network without early exits.
        lost_accuracy: As a fraction, 0.01 for one point.
    """
    allowed = curve.accuracy >= curve.accuracy[-1] - lost_accuracy - 1e-12
    return int(np.argmin(np.where(allowed, curve.flops, np.inf)))
