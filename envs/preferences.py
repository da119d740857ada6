"""Named preferences: weights for latency, cost and privacy."""

from __future__ import annotations

from ..errors import InputError, did_you_mean
from .scenario import Scenario

__all__ = ["PRESETS", "preference"]

PRESETS: dict[str, tuple[float, float, float]] = {
    "latency-heavy": (0.7, 0.15, 0.15),
    "cost-heavy": (0.15, 0.7, 0.15),
    "privacy-heavy": (0.15, 0.15, 0.7),
}
"""Besides 'default', which is the scenario's own."""


def preference(text: str, scenario: Scenario) -> tuple[float, float, float]:
    """Weights from a name ('default' or one of `PRESETS`) or from three numbers ("0.5,0.3,0.2").

    Raises:
        InputError: Neither a known name nor three numbers on the simplex.
    """
    if text == "default":
        return scenario.objective.weights
    if text in PRESETS:
        return PRESETS[text]
    try:
        latency, cost, privacy = (float(part) for part in text.split(","))
    except ValueError:
        remedy = did_you_mean(text, ["default", *PRESETS]) + ", or three numbers such as 0.5,0.3,0.2"
        raise InputError("weights", "", "must be a preset or three numbers", text, remedy) from None
    if min(latency, cost, privacy) < 0 or abs(latency + cost + privacy - 1.0) > 1e-6:
        raise InputError("weights", "", "must be three numbers >= 0 that sum to 1", text)
    return latency, cost, privacy
