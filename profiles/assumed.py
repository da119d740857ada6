"""Stating what was not measured, so that a profile can be used in a scenario; the profile says that it is stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from .profile import Profile

__all__ = ["SAMPLES", "assume"]

SAMPLES = 1000
"""Rows of a stated table: accuracy is rounded to a thousandth."""


def assume(profile: Profile, accuracy: float, leakage: Sequence[float] | None = None, source: str = "") -> Profile:
    """A profile with a stated accuracy and leakage in the place of unknown ones.

    The table has 1,000 samples of equal confidence, of which the given share is right: with a single classifier the
    reward, which charges accuracy lost to early exits, does not depend on it, and only reports show it.

    Args:
        profile: A profile without an exit table, or with unknown leakage.
        accuracy: In [0, 1], of the final classifier; not used if the profile has a table.
        leakage: One value in [0, 1] for each of the cuts 1..M-1. None: 1 wherever it is unknown, the worst case, in
            which whatever leaves the device reveals as much as the raw input.
        source: Where the values come from; recorded in the provenance.

    Raises:
        InputError: A value is out of range, or their number is wrong.
    """
    if not 0 <= accuracy <= 1:
        raise InputError(profile.name, "accuracy", "must lie in [0, 1]", accuracy)
    values = np.where(np.isnan(profile.leakage), 1.0, profile.leakage)
    if leakage is not None:
        if len(leakage) != profile.n_stages - 1:
            rule = f"must have {profile.n_stages - 1} values, one for each cut between stages"
            raise InputError(profile.name, "leakage", rule, len(leakage))
        values = np.array([1.0, *leakage, 0.0])
    stated = {"accuracy": accuracy, "leakage": values.tolist(), "source": source or "stated by the user, not measured"}
    confidence, correct = profile.confidence, profile.correct
    if profile.has_exit_table:
        stated.pop("accuracy")
    else:
        confidence = np.full((SAMPLES, 1), accuracy, dtype=np.float32)
        correct = (np.arange(SAMPLES) < round(accuracy * SAMPLES))[:, None]
    measure = profile.leakage_measure
    if leakage is not None or not profile.leakage_known:
        measure = f"assumed, not measured ({stated['source']})"
    return replace(
        profile,
        confidence=confidence,
        correct=correct,
        leakage=values,
        leakage_measure=measure,
        provenance={**profile.provenance, "assumed": stated},
    )
