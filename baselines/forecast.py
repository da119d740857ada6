"""What the next intervals will bring, from measurements only: link rate, arrivals, difficulty, loaded placements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ..envs.measure import Measurements
from ..envs.problem import Problem
from ..errors import InputError, did_you_mean

__all__ = ["RATE_FORECASTS", "ArrivalForecast", "DifficultyEstimate", "Residents", "rate_nodes_bps"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RATE_FORECASTS = ("last", "average", "blend", "mean", "harmonic", "min")
ARRIVAL_FORECASTS = ("last", "average", "mean", "filter")
_FLOOR_BPS = 1e3


def rate_nodes_bps(m: Measurements, kind: str, sigma: float, nodes: int, blend: float = 0.5) -> Floats:
    """Quantiles of the uplink rate expected next, lognormal around a point forecast, (N, nodes).

    Args:
        m: Measurements.
        kind: 'last', 'average' (over about 10 s), 'blend' (geometric, share `blend` of the last), 'mean', 'harmonic' or
            'min' of the last four intervals.
        sigma: Standard deviation of the logarithm; 0 trusts the point forecast.
        nodes: Quantiles at the middle of equally likely bins.
        blend: Weight of the last rate in 'blend'.
    """
    recent = np.maximum(m.rate_bps, _FLOOR_BPS)
    last, average = recent[:, 0], np.maximum(m.rate_average_bps, _FLOOR_BPS)
    points = {
        "last": last,
        "average": average,
        "blend": last**blend * average ** (1.0 - blend),
        "mean": recent.mean(axis=1),
        "harmonic": 1.0 / (1.0 / recent).mean(axis=1),
        "min": recent.min(axis=1),
    }
    z = ndtri((np.arange(nodes) + 0.5) / nodes)
    return np.asarray(points[kind][:, None] * np.exp(sigma * z))


class ArrivalForecast:
    """Requests per second expected next.

    'filter' is the Bayes filter of the scenario's Markov-modulated arrivals (its rates and sojourn times are part of
    the problem, as they are for every policy that trains on it): the posterior of the state after each count, moved
    on by one interval. Recorded arrivals have no such model: the mean of the last four counts and the slow average is
    used there.

    Args:
        kind: 'last', 'average', 'mean' of the last four, or 'filter'.
    """

    def __init__(self, kind: str = "filter") -> None:
        if kind not in ARRIVAL_FORECASTS:
            raise InputError("dp", "arrivals", "must be a known forecast", kind, did_you_mean(kind, ARRIVAL_FORECASTS))
        self._kind = kind

    def reset(self, problem: Problem, num_envs: int) -> None:
        """Start from the stationary distribution."""
        p = problem.params
        self._interval_s = p.interval_s
        self._modelled = self._kind == "filter" and not len(p.arrival_counts)
        states = len(p.arrival_rps)
        self._mean = np.maximum(np.asarray(p.arrival_rps) * p.interval_s, 1e-3)
        leave = np.asarray(p.arrival_leave) if states > 1 else np.zeros(1)
        self._move = np.full((states, states), 0.0)
        for k in range(states):
            self._move[k] = leave[k] / max(states - 1, 1)
            self._move[k, k] = 1.0 - leave[k]
        stay = 1.0 / np.maximum(leave, 1e-12)
        self._belief = np.repeat((stay / stay.sum())[None], num_envs, axis=0)

    def draw_rps(self, uniform: Floats, forecast_rps: Floats) -> Floats:
        """Rates of the next interval drawn from the filter, (N, S), or the forecast itself where nothing is modelled.

        Args:
            uniform: Random numbers in [0, 1), (N, S).
            forecast_rps: What `__call__` has just returned, (N,).
        """
        if not self._modelled:
            return np.asarray(np.repeat(forecast_rps[:, None], uniform.shape[1], axis=1))
        state = (uniform[..., None] >= np.cumsum(self._belief, axis=1)[:, None, :-1]).sum(axis=-1)
        return np.asarray(self._mean[state] / self._interval_s)

    def __call__(self, m: Measurements) -> Floats:
        """Update with the newest count and forecast, (N,)."""
        if self._modelled:
            count = m.arrivals[:, :1]
            score = count * np.log(self._mean) - self._mean
            belief = self._belief * np.exp(score - score.max(axis=1, keepdims=True))
            belief = (belief / belief.sum(axis=1, keepdims=True)) @ self._move
            self._belief = belief
            return np.asarray(belief @ self._mean / self._interval_s)
        if self._kind == "last":
            requests = m.arrivals[:, 0]
        elif self._kind == "average":
            requests = m.arrivals_average
        elif self._kind == "mean":
            requests = m.arrivals.mean(axis=1)
        else:
            requests = 0.5 * (m.arrivals.mean(axis=1) + m.arrivals_average)
        return np.asarray(np.maximum(requests, 1e-3) / self._interval_s)


class DifficultyEstimate:
    """Share of requests from the easy half of the test set, from the average confidence at the first exit.

    The average is interpolated between the two halves' means. While nothing measures it (no early exit, no answers) the
    estimate returns to one half with the difficulty's correlation time.
    """

    def reset(self, problem: Problem, num_envs: int, confidence: Floats) -> None:
        """Start at one half; `confidence` are the means of the hard and the easy half."""
        self._hard, self._gap = float(confidence[0]), max(float(confidence[1] - confidence[0]), 1e-6)
        self._keep = float(problem.params.regime_keep)
        self._last = np.full(num_envs, np.nan)
        self._easy = np.full(num_envs, 0.5)

    def __call__(self, m: Measurements) -> Floats:
        """Update and estimate, (N,)."""
        fresh = ~np.isnan(self._last) & (m.confidence != self._last)
        seen = np.clip((m.confidence - self._hard) / self._gap, 0.02, 0.98)
        faded = 0.5 + self._keep * (self._easy - 0.5)
        self._easy = np.where(fresh, seen, faded)
        self._last = m.confidence.copy()
        return self._easy.copy()


class Residents:
    """Which placements are kept loaded: measured for two, mirrored from the placements that were in force for more."""

    def reset(self, problem: Problem, num_envs: int) -> None:
        """Nothing is known to be loaded; the first placement of an episode costs no pause."""
        self._slots = np.full((num_envs, problem.scenario.control.resident_placements), -1, dtype=np.int64)
        self._count = len(problem.placements)
        self._first = True

    def __call__(self, m: Measurements) -> NDArray[np.bool_]:
        """Note the placement in force; whether each placement is loaded, (N, P)."""
        n, slots = len(m), self._slots.shape[1]
        if self._first:
            self._first = False
            return np.ones((n, self._count), dtype=np.bool_)
        now = m.placement.astype(np.int64)
        if slots <= 2:
            self._slots[:, -1] = m.other_placement
            self._slots[:, 0] = now
        else:
            for i in np.flatnonzero(self._slots[:, 0] != now):
                row = [p for p in self._slots[i].tolist() if p != now[i]]
                self._slots[i] = np.array([now[i], *row])[:slots]
        loaded = np.zeros((n, self._count + 1), dtype=np.bool_)
        np.put_along_axis(loaded, np.where(self._slots < 0, self._count, self._slots), True, axis=1)
        return loaded[:, : self._count]
