"""Possible futures of the uplink rate, from measurements only: what a receding horizon plans against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..errors import InputError, did_you_mean

__all__ = ["PATH_FORECASTS", "RatePaths"]

Floats = NDArray[np.float64]

PATH_FORECASTS = ("harmonic", "revert", "last")
_FLOOR_BPS = 1e5  # outages last about a second; the logarithm of less says nothing about what follows


class RatePaths:
    """Paths of the rate over the next intervals.

    The median path is, by `kind`,

    * 'harmonic': the harmonic mean of the last four intervals, as in rate control for video (constant);
    * 'last': the last rate (constant);
    * 'revert': log r(h) = log average + w(h) (log last - log average), w(h) = `hold` * `decay`^(h - 1), where the
      average
      is the measured slow one: half of a deviation is gone after a second, the rest fades over some seconds. The two
      numbers are least-squares fits on training traces, see `benchmarks/rate_forecasts.py`.

    Around it the logarithm's errors are normal, `sigma` in size once they have built up, and correlated from one
    interval to the next.

    Args:
        kind: See above.
        sigma: Standard deviation of the errors; 0: the median path alone.
        hold: Share of a deviation that is left after one interval.
        decay: Of that share, per interval from then on.
        correlation: Of successive errors.
    """

    def __init__(
        self, kind: str = "revert", sigma: float = 0.5, hold: float = 0.5, decay: float = 0.85, correlation: float = 0.6
    ) -> None:
        if kind not in PATH_FORECASTS:
            rule = "must be a known forecast"
            raise InputError("mpc", "rate", rule, kind, did_you_mean(kind, PATH_FORECASTS))
        self._kind, self._sigma, self._hold, self._decay, self._correlation = kind, sigma, hold, decay, correlation

    def median_bps(self, m: Measurements, intervals: int) -> Floats:
        """The median path, (N, intervals)."""
        recent = np.maximum(m.rate_bps, _FLOOR_BPS)
        if self._kind != "revert":
            point = 1.0 / (1.0 / recent).mean(axis=1) if self._kind == "harmonic" else recent[:, 0]
            return np.repeat(point[:, None], intervals, axis=1)
        average = np.log(np.maximum(m.rate_average_bps, _FLOOR_BPS))[:, None]
        weight = self._hold * self._decay ** np.arange(intervals, dtype=np.float64)
        return np.asarray(np.exp(average + weight * (np.log(recent[:, :1]) - average)))

    def sample_bps(self, m: Measurements, normal: Floats) -> Floats:
        """Paths (N, S, intervals) from standard normal numbers of that shape."""
        error = np.empty_like(normal)
        rho = self._correlation
        error[..., 0] = normal[..., 0]
        for h in range(1, normal.shape[-1]):
            error[..., h] = rho * error[..., h - 1] + np.sqrt(1.0 - rho**2) * normal[..., h]
        median = self.median_bps(m, normal.shape[-1])
        return np.asarray(median[:, None] * np.exp(self._sigma * error))
