"""One row of the large comparison: a method's figures at a preference beside what is uncertain about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs.rollout import latency_edges_s
from .improvement import Profile, improvement_probability, performance_profile
from .scores import Comparison
from .statistics import Estimate, estimate
from .summary import Row, reference_method, rows_of

__all__ = ["Standing", "late_share", "profile_thresholds", "profiles_of", "standings_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """A method at a preference.

    Attributes:
        row: Means, percentiles, paired difference, decision time.
        here: Its reward if these very logs are all that matters: only worlds and training runs are drawn.
        improvement: Probability that the reference scores higher on a piece of a log; None for the reference itself.
        late: Share of the requests that took longer than the scenario's latency reference.
        decision_share: Median time of a single decision as a share of the control interval.
    """

    row: Row
    here: Estimate
    improvement: Estimate | None
    late: float
    decision_share: float


def standings_of(
    comparison: Comparison, weights_name: str, rng: np.random.Generator | None = None
) -> tuple[Standing, ...]:
    """One per method, the best mean reward first; see `rows_of`."""
    rng = rng or np.random.default_rng(comparison.seed)
    reference = reference_method(comparison, weights_name)
    own = comparison.scores(reference, weights_name)
    interval_s = float(str(comparison.facts["interval_s"]))
    found = []
    for row in rows_of(comparison, weights_name, rng):
        scores = comparison.scores(row.method, weights_name)
        improvement = None
        if row.method != reference:
            place = (comparison.pieces, comparison.traces)
            improvement = improvement_probability(own, scores, *place, rng, strata=comparison.strata)
        here = estimate(scores, np.arange(scores.shape[1]), rng, strata=comparison.pieces)
        late = late_share(comparison, row.method, weights_name)
        found.append(Standing(row, here, improvement, late, row.decision_one_s / interval_s))
    return tuple(found)


def late_share(comparison: Comparison, method: str, weights_name: str) -> float:
    """Share of a method's requests that took longer than the scenario's latency reference, to a bin of 1 %."""
    counts = np.sum([run.latency_counts.sum(axis=0) for run in comparison.runs_of(method, weights_name)], axis=0)
    limit_s = float(str(comparison.facts["latency_ref_s"]))
    first = int(np.searchsorted(latency_edges_s(comparison.timeout_s), limit_s, side="left"))
    return float(counts[first:].sum() / max(counts.sum(), 1))


def profile_thresholds(comparison: Comparison, weights_name: str, count: int = 60) -> Floats:
    """Scores at which performance profiles differ, float64 (count,): from the reference's worst to the best of all.

    Where other methods are far worse than the reference, their profiles are cut at twice its range.
    """
    own = comparison.scores(reference_method(comparison, weights_name), weights_name)
    every = np.concatenate([comparison.scores(method, weights_name).ravel() for method in comparison.methods])
    low = max(float(every.min()), float(own.min()) - float(np.ptp(own)))
    return np.linspace(low, float(every.max()), count)


def profiles_of(
    comparison: Comparison, weights_name: str, rng: np.random.Generator | None = None, thresholds: Floats | None = None
) -> dict[str, Profile]:
    """The performance profile of every method."""
    rng = rng or np.random.default_rng(comparison.seed)
    at = profile_thresholds(comparison, weights_name) if thresholds is None else thresholds
    return {
        method: performance_profile(
            comparison.scores(method, weights_name), at, comparison.traces, rng, strata=comparison.strata
        )
        for method in comparison.methods
    }
