"""What the bootstrap draws: whole logs within their strata, and training runs, so that few of them are not flattered.

Drawing n of n units with replacement gives a variance that is too small by the factor (n - 1) / n. Drawing n - 1 of
them and counting each n / (n - 1) times gives the right one in every stratum (Rao and Wu, "Resampling Inference With
Complex Survey Data", Journal of the American Statistical Association 83(401), 1988). A stratum with one log says
nothing about how logs of its kind differ; such strata are pooled, which makes intervals wider rather than narrower
(collapsed strata, Cochran, "Sampling Techniques", 1977).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["Units", "degrees_of_freedom", "interval", "run_draws", "unit_draws", "units_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FEW = 10.0


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn as a whole.

    Attributes:
        of_episode: int64 (W,), the unit that each episode belongs to, from 0.
        stratum: int64 (U,), the stratum of each unit, from 0; units are drawn within theirs.
        clusters: How many logs there are; one if the units are its single episodes.
    """

    of_episode: Ints
    stratum: Ints
    clusters: int


def units_of(clusters: ArrayLike, strata: ArrayLike | None = None) -> Units:
    """Units and strata of episodes.

    With one log only, its episodes are the units; what is then estimated speaks about that log alone.

    Args:
        clusters: Log of each episode, (W,).
        strata: Stratum of each episode (its log's transport mode), (W,); None: one for all.
    """
    ids = _numbers(clusters)
    logs = int(ids.max()) + 1
    if logs == 1:
        return Units(np.arange(ids.size, dtype=np.int64), np.zeros(ids.size, dtype=np.int64), 1)
    first = np.unique(ids, return_index=True)[1]
    stratum = np.zeros(logs, dtype=np.int64) if strata is None else _numbers(np.asarray(strata)[first])
    return Units(ids, _collapsed(stratum), logs)


def unit_draws(rng: np.random.Generator, units: Units, size: int) -> Floats:
    """Weights of the units in `size` resamples, float64 (size, U)."""
    weights = np.empty((size, len(units.stratum)))
    for stratum in range(int(units.stratum.max()) + 1):
        members = np.flatnonzero(units.stratum == stratum)
        weights[:, members] = run_draws(rng, len(members), size)
    return weights


def run_draws(rng: np.random.Generator, count: int, size: int) -> Floats:
    """Weights of `count` units in `size` resamples of `count` - 1 of them, (size, count); 1 for a single one."""
    if count == 1:
        return np.ones((size, 1))
    drawn = rng.multinomial(count - 1, np.full(count, 1.0 / count), size=size)
    return np.asarray(drawn * (count / (count - 1.0)))


def degrees_of_freedom(cube: Floats, units: Units) -> float:
    """Welch and Satterthwaite's degrees of freedom of the mean over runs and logs; 0 without any variance.

    Args:
        cube: Scores, runs of a method × runs of another × episodes.
        units: Of the episodes.
    """
    of, logs = units.of_episode, len(units.stratum)
    by_episode = cube.mean(axis=(0, 1)) - cube.mean()
    # Influence of a log on the mean over episodes: its own size times its deviation.
    by_log = np.bincount(of, weights=by_episode) * logs / of.size
    parts = [(x, float(len(x))) for x in (cube.mean(axis=(1, 2)), cube.mean(axis=(0, 2)))]
    parts += [(by_log[units.stratum == h], float(logs)) for h in range(int(units.stratum.max()) + 1)]
    found = [(float(np.var(x, ddof=1)) * len(x) / whole**2, len(x) - 1) for x, whole in parts if len(x) > 1]
    total = sum(variance for variance, _ in found)
    below = sum(variance**2 / freedom for variance, freedom in found)
    return total**2 / below if below > 0.0 else 0.0


def interval(value: float, resampled: Floats, freedom: float, level: float) -> tuple[float, float]:
    """Percentiles moved outwards to Student's t, or Student's t itself where they cannot reach far enough.

    Args:
        value: The estimate.
        resampled: It in every resample.
        freedom: From `degrees_of_freedom`.
        level: Of the interval.
    """
    reach = float(-special.stdtrit(freedom, 0.5 * (1.0 - level)))
    if freedom < _FEW:
        half = reach * float(np.std(resampled))
        return value - half, value + half
    tail = float(special.ndtr(-reach))
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return float(low), float(high)


def _collapsed(stratum: Ints) -> Ints:
    """Strata of one unit pooled; if there is but one of them, with the smallest other."""
    sizes = np.bincount(stratum)
    single = np.flatnonzero(sizes == 1)
    if len(single) and len(sizes) > 1:
        others = np.flatnonzero(sizes > 1)
        target = single[0] if len(single) > 1 else others[sizes[others].argmin()]
        stratum = np.where(np.isin(stratum, single), target, stratum)
    return _numbers(stratum)


def _numbers(labels: ArrayLike) -> Ints:
    """Consecutive numbers for labels."""
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64).ravel()
