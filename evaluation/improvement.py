"""Probability of improvement and performance profiles: comparisons that no outlier decides.

Definitions of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021
(library rliable). A *task* of theirs is a piece of a log here, their *runs* are the worlds drawn on it (arrivals,
samples, noise) and the training runs. Their bootstrap keeps the tasks; ours draws logs, because results are to speak
about logs of the same kind and not about those that happen to be at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .resampling import degrees_of_freedom, interval, units_of
from .statistics import LEVEL, Estimate, estimate_cube, resample_weights

__all__ = ["Profile", "improvement_probability", "mann_whitney", "performance_profile"]

Floats = NDArray[np.float64]
RESAMPLES = 2000


def mann_whitney(first: ArrayLike, second: ArrayLike) -> float:
    """Probability that a value of the first is above one of the second, ties counted half: U / (n m).

    >>> mann_whitney([1.0, 2.0, 3.0], [2.0, 0.0])
    0.75
    """
    a, b = np.ravel(np.asarray(first, dtype=np.float64)), np.ravel(np.asarray(second, dtype=np.float64))
    return float(np.mean(0.5 * (1.0 + np.sign(a[:, None] - b[None, :]))))


def improvement_probability(
    method: ArrayLike,
    baseline: ArrayLike,
    tasks: ArrayLike,
    clusters: ArrayLike,
    rng: np.random.Generator,
    *,
    strata: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """How likely the method scores higher than the baseline on a task: Mann and Whitney's U, averaged over tasks.

    Args:
        method: (S, W) or (W,), a row per training run.
        baseline: (R, W) or (W,).
        tasks: Task of each episode (a piece of a log; its episodes differ in the world drawn), (W,).
        clusters: Log of each episode, (W,).
        rng: Draws the resamples.
        strata: Stratum of each episode's log, (W,); None: one for all.
        resamples: How many.
        level: Of the interval.

    Returns:
        `mean`, `low` and `high` within [0, 1]; `episodes` counts the tasks.
    """
    a = np.atleast_2d(np.asarray(method, dtype=np.float64))
    b = np.atleast_2d(np.asarray(baseline, dtype=np.float64))
    ids = np.unique(np.asarray(tasks), return_inverse=True)[1].ravel()
    count = int(ids.max()) + 1
    first = np.unique(ids, return_index=True)[1]
    cube = np.empty((len(a), len(b), count))
    for task in range(count):
        mine, theirs = a[:, ids == task], b[:, ids == task]
        higher = np.sign(mine[:, None, :, None] - theirs[None, :, None, :])
        cube[:, :, task] = 0.5 * (1.0 + higher.mean(axis=(2, 3)))
    units = units_of(np.asarray(clusters)[first], None if strata is None else np.asarray(strata)[first])
    found = estimate_cube(cube, units, rng, resamples=resamples, level=level)
    low, high, middle_low, middle_high = np.clip([found.low, found.high, found.iqm_low, found.iqm_high], 0.0, 1.0)
    return Estimate(
        found.mean,
        float(low),
        float(high),
        found.iqm,
        float(middle_low),
        float(middle_high),
        found.episodes,
        found.clusters,
        found.runs,
    )


@dataclass(frozen=True, eq=False)
class Profile:
    """Share of the episodes with a score above each threshold, with a band.

    Attributes:
        thresholds: float64 (T,).
        share: float64 (T,).
        low: float64 (T,), NaN where there is nothing to draw from.
        high: float64 (T,).
    """

    thresholds: Floats
    share: Floats
    low: Floats
    high: Floats


def performance_profile(
    scores: ArrayLike,
    thresholds: ArrayLike,
    clusters: ArrayLike,
    rng: np.random.Generator,
    *,
    strata: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Profile:
    """The distribution of a method's scores over episodes and training runs; each point has its own interval.

    Args:
        scores: (S, W) or (W,), a row per training run.
        thresholds: (T,).
        clusters: Log of each episode, (W,).
        rng: Draws the resamples.
        strata: Stratum of each episode's log, (W,); None: one for all.
        resamples: How many.
        level: Of the band at every single threshold.
    """
    cube = np.atleast_2d(np.asarray(scores, dtype=np.float64))[:, None, :]
    at = np.asarray(thresholds, dtype=np.float64)
    above = (cube.reshape(-1, 1) > at).astype(np.float64)
    share = above.mean(axis=0)
    units = units_of(clusters, strata)
    runs, others, episodes = cube.shape
    weights = resample_weights((runs, others, episodes), units, rng, resamples)
    drawn = (weights @ above) / weights.sum(axis=1, keepdims=True)
    low, high = np.empty_like(share), np.empty_like(share)
    for k in range(len(at)):
        freedom = degrees_of_freedom(above[:, k].reshape(cube.shape), units)
        everywhere = share[k] in (0.0, 1.0)
        ends = (share[k], share[k]) if everywhere else (np.nan, np.nan)
        low[k], high[k] = interval(float(share[k]), drawn[:, k], freedom, level) if freedom > 0.0 else ends
    return Profile(at, share, np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0))
