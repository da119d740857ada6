"""Request arrivals: Poisson, Markov-modulated Poisson, and recorded counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError

__all__ = ["Arrivals", "IntArray", "MarkovArrivals", "PoissonArrivals", "RecordedArrivals"]

IntArray = npt.NDArray[np.int64]
_MAX_RATE_RPS = 1e9


class Arrivals(Protocol):
    """Anything that says how many requests arrive in each interval."""

    @property
    def mean_rps(self) -> float:
        """Mean arrival rate in requests per second."""
        ...

    def sample_counts(self, n_intervals: int, dt_s: float, rng: np.random.Generator) -> IntArray:
        """Arrivals per interval, shape (n_intervals,)."""
        ...


def _check_rate(where: str, name: str, value: float) -> None:
    if not (np.isfinite(value) and 0.0 <= value <= _MAX_RATE_RPS):
        raise InputError(where, name, "must be finite, not negative and at most 1e9 per second", value)


def _check_grid(where: str, n_intervals: int, dt_s: float) -> None:
    if n_intervals < 1:
        raise InputError(where, "n_intervals", "must be at least 1", n_intervals)
    if not (np.isfinite(dt_s) and dt_s > 0.0):
        raise InputError(where, "dt_s", "must be positive", dt_s)


@dataclass(frozen=True)
class PoissonArrivals:
    """Independent arrivals at a constant rate.

    Attributes:
        rate_rps: Requests per second.
    """

    rate_rps: float

    def __post_init__(self) -> None:
        _check_rate("PoissonArrivals", "rate_rps", self.rate_rps)

    @property
    def mean_rps(self) -> float:
        """Mean arrival rate in requests per second."""
        return float(self.rate_rps)

    def sample_counts(self, n_intervals: int, dt_s: float, rng: np.random.Generator) -> IntArray:
        """Arrivals per interval, shape (n_intervals,)."""
        _check_grid("PoissonArrivals", n_intervals, dt_s)
        return rng.poisson(self.rate_rps * dt_s, n_intervals).astype(np.int64)


@dataclass(frozen=True)
class MarkovArrivals:
    """Markov-modulated Poisson arrivals: the rate jumps between a few levels.

    The process stays in level i for an exponential time of mean ``mean_sojourn_s[i]``, then jumps to one of the other
    levels, each with the same probability (two levels alternate). It starts in its stationary distribution, which is
    proportional to the sojourn times. Given the path of the level, the counts of the intervals are independent Poisson
    variables with the integral of the rate as their mean; that is exact, also for jumps inside an interval.

    Attributes:
        rates_rps: Requests per second in each level, at least one.
        mean_sojourn_s: Mean stay in each level in seconds, positive, as many as rates.

    >>> MarkovArrivals((10.0, 40.0), (30.0, 10.0)).mean_rps
    17.5
    """

    rates_rps: tuple[float, ...]
    mean_sojourn_s: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates_rps", tuple(float(rate) for rate in self.rates_rps))
        object.__setattr__(self, "mean_sojourn_s", tuple(float(stay) for stay in self.mean_sojourn_s))
        if not self.rates_rps:
            raise InputError("MarkovArrivals", "rates_rps", "must have at least one rate", self.rates_rps)
        if len(self.mean_sojourn_s) != len(self.rates_rps):
            rule = f"must have as many entries as rates_rps, {len(self.rates_rps)}"
            raise InputError("MarkovArrivals", "mean_sojourn_s", rule, self.mean_sojourn_s)
        for i, rate in enumerate(self.rates_rps):
            _check_rate("MarkovArrivals", f"rates_rps[{i}]", rate)
        for i, stay in enumerate(self.mean_sojourn_s):
            if not (np.isfinite(stay) and stay > 0.0):
                raise InputError("MarkovArrivals", f"mean_sojourn_s[{i}]", "must be positive and finite", stay)

    @property
    def stationary(self) -> tuple[float, ...]:
        """Share of the time spent in each level."""
        total = sum(self.mean_sojourn_s)
        return tuple(stay / total for stay in self.mean_sojourn_s)

    @property
    def mean_rps(self) -> float:
        """Mean arrival rate in requests per second."""
        return float(np.dot(self.stationary, self.rates_rps))

    def sample_counts(self, n_intervals: int, dt_s: float, rng: np.random.Generator) -> IntArray:
        """Arrivals per interval, shape (n_intervals,)."""
        _check_grid("MarkovArrivals", n_intervals, dt_s)
        n_levels = len(self.rates_rps)
        end = n_intervals * dt_s
        level = int(rng.choice(n_levels, p=self.stationary))
        times, expected = [0.0], [0.0]
        while times[-1] < end:
            stay = rng.exponential(self.mean_sojourn_s[level]) if n_levels > 1 else end
            times.append(times[-1] + stay)
            expected.append(expected[-1] + stay * self.rates_rps[level])
            if n_levels > 1:
                level = (level + int(rng.integers(1, n_levels))) % n_levels
        edges = np.arange(n_intervals + 1) * dt_s
        means = np.diff(np.interp(edges, times, expected))
        return np.asarray(rng.poisson(np.maximum(means, 0.0)), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class RecordedArrivals:
    """Counts that were recorded, replayed.

    `sample_counts` starts at a place drawn uniformly from the recorded intervals and goes round the end. When it is
    asked for another interval length than the recorded one, every request lies uniformly at random inside its recorded
    interval, independently of the others (a minute's count is thus spread over its seconds; burstiness below the
    recorded resolution is not restored).

    Attributes:
        counts: Requests per interval, shape (n,), not negative, at least one request in all.
        dt_s: Length of a recorded interval in seconds.
        name: What was recorded.
        scale: Each recorded request stands for this many: floor(scale) requests, and one more with the probability of
            the fraction. The mean is scaled exactly.
    """

    counts: IntArray
    dt_s: float
    name: str = ""
    scale: float = 1.0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        where = self.source or self.name or "RecordedArrivals"
        given = np.asarray(self.counts)
        if given.ndim != 1 or given.size == 0:
            raise InputError(where, "counts", "must be a one-dimensional array with at least one count", given.shape)
        wrong = ~(np.isfinite(given) & (given >= 0) & (given == np.floor(given)))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(where, f"counts[{at}]", "must be a whole number, not negative", float(given[at]))
        if given.sum() == 0:
            raise InputError(where, "counts", "must contain at least one request", 0)
        counts = np.array(given, dtype=np.int64)
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)
        if not (np.isfinite(self.dt_s) and self.dt_s > 0.0):
            raise InputError(where, "dt_s", "must be positive", self.dt_s)
        if not (np.isfinite(self.scale) and self.scale > 0.0):
            raise InputError(where, "scale", "must be positive", self.scale)

    def __reduce__(self) -> tuple[type[RecordedArrivals], tuple[IntArray, float, str, float, str]]:
        return type(self), (self.counts, self.dt_s, self.name, self.scale, self.source)

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return float(self.counts.size * self.dt_s)

    @property
    def mean_rps(self) -> float:
        """Mean arrival rate in requests per second, after scaling."""
        return float(self.counts.mean()) * self.scale / self.dt_s

    @property
    def dispersion(self) -> float:
        """Variance over mean of the recorded counts: 1 for Poisson arrivals, more when they come in bursts."""
        return float(self.counts.var() / self.counts.mean())

    def equals(self, other: object) -> bool:
        """Whether the other recording has the same counts, interval and scale."""
        if not isinstance(other, RecordedArrivals):
            return False
        return (self.dt_s, self.scale) == (other.dt_s, other.scale) and np.array_equal(self.counts, other.counts)

    def sample_counts(
        self, n_intervals: int, dt_s: float, rng: np.random.Generator, start_s: float | None = None
    ) -> IntArray:
        """Arrivals per interval, shape (n_intervals,).

        Args:
            n_intervals: How many intervals.
            dt_s: Their length in seconds.
            rng: Source of the starting place, of the scaling and of the places within recorded intervals.
            start_s: Where in the recording to start, in seconds, taken down to a recorded interval; drawn when None.
        """
        _check_grid("RecordedArrivals", n_intervals, dt_s)
        needed = int(np.ceil(n_intervals * dt_s / self.dt_s - 1e-9))
        drawn = int(rng.integers(self.counts.size))
        first = drawn if start_s is None else int(start_s // self.dt_s)
        counts = self.counts[(first + np.arange(needed)) % self.counts.size]
        whole = int(np.floor(self.scale))
        if self.scale == whole:
            return _rebin((counts * whole).astype(np.int64), self.dt_s, n_intervals, dt_s, rng)
        counts = counts * whole + rng.binomial(counts, self.scale - whole)
        return _rebin(counts.astype(np.int64), self.dt_s, n_intervals, dt_s, rng)


def _rebin(counts: IntArray, from_s: float, n_intervals: int, to_s: float, rng: np.random.Generator) -> IntArray:
    """Counts on another grid: each request lies uniformly at random inside its old interval."""
    if np.isclose(from_s, to_s, rtol=1e-9, atol=0.0):
        return counts[:n_intervals]
    parts = from_s / to_s
    if np.isclose(parts, round(parts), rtol=1e-9, atol=0.0):
        spread = rng.multinomial(counts, np.full(round(parts), 1.0 / round(parts)))
        return spread.ravel()[:n_intervals].astype(np.int64)
    merged = to_s / from_s
    if np.isclose(merged, round(merged), rtol=1e-9, atol=0.0):
        return np.asarray(counts.reshape(n_intervals, round(merged)).sum(axis=1), dtype=np.int64)
    places = (np.repeat(np.arange(counts.size), counts) + rng.random(int(counts.sum()))) * from_s
    index = (places / to_s).astype(np.int64)
    return np.bincount(index[index < n_intervals], minlength=n_intervals).astype(np.int64)
