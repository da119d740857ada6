"""Means, interquartile means and paired differences, with intervals that are honest about few logs and training runs.

Scores of one method are a matrix: a row per training run (one for a rule), a column per episode. Episodes of one
recorded log resemble each other, and all episodes of one training run share its luck. So the bootstrap draws *logs*
with replacement, each with all its episodes, and *training runs* with replacement, and never single episodes (Davison &
Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8: drawing clusters whole; drawing again inside them
would count the spread within a cluster twice). With one log only, its episodes are drawn instead; the interval then
speaks about that log alone.

Recorded data is divided by transport mode, so the logs of a test part are a stratified sample: they are drawn within
their mode where a mode has several logs, and the modes with a single log are pooled (see `resampling`, which also says
how the bootstrap's variance is made right for few logs).

Percentile intervals are too narrow for few clusters. Student's t is put in (Hesterberg, "What Teachers Should Know
About the Bootstrap", The American Statistician 69(4), 2015), with the degrees of freedom of logs and runs combined
after Welch and Satterthwaite: from ten on by moving the percentiles outwards ('expanded percentile'); below, where a
resample never leaves the range of the few logs and no percentile reaches far enough, by Student's t with the
bootstrap's standard error. Two logs then give a very wide interval, as they should.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .resampling import Units, degrees_of_freedom, interval, run_draws, unit_draws, units_of

__all__ = [
    "Estimate",
    "Paired",
    "estimate",
    "estimate_cube",
    "interquartile_mean",
    "paired_difference",
    "resample_weights",
    "weighted_interquartile_mean",
]

Floats = NDArray[np.float64]

RESAMPLES = 4000
LEVEL = 0.95
_BLOCK = 1_000_000


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
    strata: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """Mean and interquartile mean of a method's scores.

    Args:
        scores: Training runs × episodes, (S, W) or (W,).
        clusters: Log of each episode, (W,).
        rng: Draws the resamples.
        strata: Stratum of each episode's log, (W,); None: one for all.
        resamples: How many.
        level: Of the interval.
    """
    cube = np.atleast_2d(np.asarray(scores, dtype=np.float64))[:, None, :]
    return estimate_cube(cube, units_of(clusters, strata), rng, resamples=resamples, level=level)


def paired_difference(
    method: ArrayLike,
    baseline: ArrayLike,
    clusters: ArrayLike,
    rng: np.random.Generator,
    *,
    strata: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Paired:
    """Method minus baseline on the same episodes.

    Args:
        method: (S, W) or (W,), a row per training run.
        baseline: (R, W) or (W,).
        clusters: Log of each episode, (W,).
        rng: Draws the resamples.
        strata: Stratum of each episode's log, (W,); None: one for all.
        resamples: How many.
        level: Of the interval.
    """
    a = np.atleast_2d(np.asarray(method, dtype=np.float64))
    b = np.atleast_2d(np.asarray(baseline, dtype=np.float64))
    cube = a[:, None, :] - b[None, :, :]
    wins = float(np.mean(0.5 * (1.0 + np.sign(cube))))
    return Paired(estimate_cube(cube, units_of(clusters, strata), rng, resamples=resamples, level=level), wins)


def estimate_cube(
    cube: Floats, units: Units, rng: np.random.Generator, *, resamples: int = RESAMPLES, level: float = LEVEL
) -> Estimate:
    """The estimate of a cube of scores (runs of the method × runs of the other × episodes)."""
    runs, others, episodes = cube.shape
    logs = units.clusters
    mean, middle = float(cube.mean()), interquartile_mean(cube)
    freedom = degrees_of_freedom(cube, units)
    if freedom == 0.0:  # one episode of one run, or all equal: nothing to draw from
        spread = 0.0 if np.ptp(cube) == 0.0 and cube.size > 1 else np.nan
        low, high = mean - spread, mean + spread
        return Estimate(mean, low, high, middle, middle - spread, middle + spread, episodes, logs, max(runs, others))
    means, middles = _resample(cube, units, rng, resamples)
    low, high = interval(mean, means, freedom, level)
    iqm_low, iqm_high = interval(middle, middles, freedom, level)
    return Estimate(mean, low, high, middle, iqm_low, iqm_high, episodes, logs, max(runs, others))


def resample_weights(cube_shape: tuple[int, int, int], units: Units, rng: np.random.Generator, size: int) -> Floats:
    """Weights of the cells of a cube (see `estimate_cube`) in `size` resamples, float64 (size, cells)."""
    runs, others, _ = cube_shape
    first, second = run_draws(rng, runs, size), run_draws(rng, others, size)
    episodes = unit_draws(rng, units, size)[:, units.of_episode]
    return (first[:, :, None, None] * second[:, None, :, None] * episodes[:, None, None, :]).reshape(size, -1)


def _resample(cube: Floats, units: Units, rng: np.random.Generator, resamples: int) -> tuple[Floats, Floats]:
    """Means and interquartile means of the resamples, each float64 (resamples,)."""
    flat = cube.ravel()
    means, middles = [], []
    block = max(1, _BLOCK // flat.size)
    for start in range(0, resamples, block):
        runs, others, episodes = cube.shape
        weights = resample_weights((runs, others, episodes), units, rng, min(block, resamples - start))
        means.append((weights @ flat) / weights.sum(axis=1))
        middles.append(weighted_interquartile_mean(flat, weights))
    return np.concatenate(means), np.concatenate(middles)
