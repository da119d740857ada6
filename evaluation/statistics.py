"""Means, interquartile means and paired differences, with intervals that are honest about few logs and training runs.

Scores of one method are a matrix: a row per training run (one for a rule), a column per episode. Episodes of one
recorded log resemble each other, and all episodes of one training run share its luck. So the bootstrap draws *logs*
with replacement, each with all its episodes, and *training runs* with replacement, and never single episodes (Davison &
Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8: drawing clusters whole; drawing again inside them
would count the spread within a cluster twice). With one log only, its episodes are drawn instead; the interval then
speaks about that log alone.

Percentile intervals are too narrow for few clusters: they lack both the factor sqrt(n / (n - 1)) and Student's t. Both
are put in (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015), with
the degrees of freedom of logs and runs combined after Welch and Satterthwaite: from ten on by moving the percentiles
outwards ('expanded percentile'); below, where a resample never leaves the range of the few logs and no percentile
reaches far enough, by Student's t with the bootstrap's standard error. Two logs then give a very wide interval, as they
should.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "Estimate",
    "Paired",
    "cluster_ids",
    "estimate",
    "interquartile_mean",
    "paired_difference",
    "weighted_interquartile_mean",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 4000
LEVEL = 0.95
_BLOCK = 1_000_000
_FEW = 10.0


@dataclass(frozen=True)
class Estimate:
    """A mean and an interquartile mean with their intervals, in the unit of the scores."""

    mean: float
    low: float
    high: float
    iqm: float
    iqm_low: float
    iqm_high: float
    episodes: int
    clusters: int
    """Logs that the episodes come from."""
    runs: int
    """Training runs."""


@dataclass(frozen=True)
class Paired:
    """A method minus another on the same episodes."""

    difference: Estimate
    wins: float
    """Share of the pairs in which the method has the higher score; ties count half."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval of the mean difference lies on one side of zero."""
        return self.difference.low > 0.0 or self.difference.high < 0.0


def cluster_ids(labels: ArrayLike) -> Ints:
    """Consecutive numbers for the logs that episodes come from, int64 (W,)."""
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64).ravel()


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half, with fractional weights at its ends.

    >>> interquartile_mean([0.0, 1.0, 2.0, 100.0])
    1.5
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    return float(weighted_interquartile_mean(flat, np.ones((1, flat.size)))[0])


def weighted_interquartile_mean(values: Floats, weights: Floats) -> Floats:
    """Interquartile means of one set of values under many sets of weights.

    Args:
        values: float64 (n,).
        weights: float64 (B, n), each row with a positive sum.

    Returns:
        float64 (B,).
    """
    order = np.argsort(values, kind="stable")
    x = values[order]
    share = weights[:, order]
    share = share / share.sum(axis=1, keepdims=True)
    upper = np.cumsum(share, axis=1)
    middle = np.clip(np.minimum(upper, 0.75) - np.maximum(upper - share, 0.25), 0.0, None)
    return np.asarray((middle @ x) / middle.sum(axis=1))


def estimate(
    scores: ArrayLike,
    clusters: ArrayLike,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """Mean and interquartile mean of a method's scores.

    Args:
        scores: Training runs × episodes, (S, W) or (W,).
        clusters: Log of each episode, (W,).
        rng: Draws the resamples.
        resamples: How many.
        level: Of the interval.
    """
    cube = np.atleast_2d(np.asarray(scores, dtype=np.float64))[:, None, :]
    return _estimate(cube, cluster_ids(clusters), rng, resamples, level)


def paired_difference(
    method: ArrayLike,
    baseline: ArrayLike,
    clusters: ArrayLike,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Paired:
    """Method minus baseline on the same episodes.

    Args:
        method: (S, W) or (W,), a row per training run.
        baseline: (R, W) or (W,).
        clusters: Log of each episode, (W,).
        rng: Draws the resamples.
        resamples: How many.
        level: Of the interval.
    """
    a = np.atleast_2d(np.asarray(method, dtype=np.float64))
    b = np.atleast_2d(np.asarray(baseline, dtype=np.float64))
    cube = a[:, None, :] - b[None, :, :]
    wins = float(np.mean(0.5 * (1.0 + np.sign(cube))))
    return Paired(_estimate(cube, cluster_ids(clusters), rng, resamples, level), wins)


def _estimate(cube: Floats, clusters: Ints, rng: np.random.Generator, resamples: int, level: float) -> Estimate:
    """The estimate of a cube (runs of the method × runs of the other × episodes)."""
    runs, others, episodes = cube.shape
    logs = int(clusters.max()) + 1
    units = clusters if logs > 1 else np.arange(episodes)
    mean, middle = float(cube.mean()), interquartile_mean(cube)
    freedom = _degrees_of_freedom(cube, units)
    if freedom == 0.0:  # one episode of one run, or all equal: nothing to draw from
        spread = 0.0 if np.ptp(cube) == 0.0 and cube.size > 1 else np.nan
        low, high = mean - spread, mean + spread
        return Estimate(mean, low, high, middle, middle - spread, middle + spread, episodes, logs, max(runs, others))
    means, middles = _resample(cube, units, rng, resamples)
    low, high = _interval(mean, means, freedom, level)
    iqm_low, iqm_high = _interval(middle, middles, freedom, level)
    return Estimate(mean, low, high, middle, iqm_low, iqm_high, episodes, logs, max(runs, others))


def _interval(value: float, resampled: Floats, freedom: float, level: float) -> tuple[float, float]:
    """The expanded percentile interval, or Student's t where percentiles cannot reach far enough."""
    reach = _reach(freedom, level)
    if freedom < _FEW:
        half = reach * float(np.std(resampled))
        return value - half, value + half
    tail = float(special.ndtr(-reach))
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return float(low), float(high)


def _resample(cube: Floats, units: Ints, rng: np.random.Generator, resamples: int) -> tuple[Floats, Floats]:
    """Means and interquartile means of the resamples, each float64 (resamples,)."""
    runs, others, _ = cube.shape
    flat = cube.ravel()
    means, middles = [], []
    block = max(1, _BLOCK // flat.size)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        first, second = _draws(rng, runs, size), _draws(rng, others, size)
        episodes = _draws(rng, int(units.max()) + 1, size)[:, units]
        weights = (first[:, :, None, None] * second[:, None, :, None] * episodes[:, None, None, :]).reshape(size, -1)
        means.append((weights @ flat) / weights.sum(axis=1))
        middles.append(weighted_interquartile_mean(flat, weights))
    return np.concatenate(means), np.concatenate(middles)


def _draws(rng: np.random.Generator, count: int, size: int) -> Floats:
    """How often each of `count` units is drawn when `count` are drawn with replacement, float64 (size, count)."""
    return rng.multinomial(count, np.full(count, 1.0 / count), size=size).astype(np.float64)


def _degrees_of_freedom(cube: Floats, units: Ints) -> float:
    """Welch and Satterthwaite's degrees of freedom of the mean over runs and logs; 0 without any variance."""
    size = np.bincount(units).astype(np.float64)
    by_episode = cube.mean(axis=(0, 1)) - cube.mean()
    # Influence of a log on the mean over episodes: its own size times its deviation.
    by_log = np.bincount(units, weights=by_episode) * len(size) / size.sum()
    parts = [by_log, cube.mean(axis=(1, 2)), cube.mean(axis=(0, 2))]
    variances = [(float(np.var(x, ddof=1)) / len(x), len(x) - 1) for x in parts if len(x) > 1]
    total = sum(variance for variance, _ in variances)
    below = sum(variance**2 / freedom for variance, freedom in variances)
    return total**2 / below if below > 0.0 else 0.0


def _reach(freedom: float, level: float) -> float:
    """How many of the bootstrap's standard errors the interval reaches, sqrt(n / (n - 1)) times Student's t.

    >>> round(_reach(1e6, 0.95), 3)
    1.96
    >>> round(_reach(4.0, 0.95), 3)
    3.104
    """
    return float(-special.stdtrit(freedom, 0.5 * (1.0 - level)) * np.sqrt((freedom + 1.0) / freedom))
