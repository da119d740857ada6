"""Bayesian online change-point detection: how long the present state of a noisy series has lasted, and its level.

Source: Adams and MacKay, "Bayesian Online Changepoint Detection".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

__all__ = ["ChangePoints"]

Floats = NDArray[np.float64]


class ChangePoints:
    """Posterior of the run length of N series at once, observations normal around a level that jumps now and then.

    Level and variance of a run have the conjugate normal-inverse-gamma prior, so that predictions are Student's t. A
    run ends with probability 1 / `expected_run` per step. The posterior is exact until runs reach `longest` steps, from
    where on they count as that long. O(N * longest) per step.

    Args:
        expected_run: Mean steps between changes, above 1.
        longest: Run lengths kept.
        prior_mean: Of a run's level.
        prior_weight: How many observations the prior of the level is worth.
        prior_shape: Half as many that of the variance is worth.
        prior_scale: Prior mean of the variance times the shape.
    """

    def __init__(
        self,
        expected_run: float = 30.0,
        longest: int = 64,
        prior_mean: float = 0.0,
        prior_weight: float = 0.1,
        prior_shape: float = 1.0,
        prior_scale: float = 0.1,
    ) -> None:
        self._hazard, self._longest = 1.0 / expected_run, longest
        self._prior = (prior_mean, prior_weight, prior_shape, prior_scale)

    def reset(self, series: int) -> None:
        """Nothing observed: every run has length zero."""
        self.probability = np.ones((series, 1))
        """P(run length = r), (N, R)."""
        self._stats = [np.full((series, 1), value) for value in self._prior]

    def update(self, observed: Floats) -> None:
        """Take the next observation of each series into account, (N,)."""
        x = np.asarray(observed, dtype=np.float64)[:, None]
        mean, weight, shape, scale = self._stats
        log_density = _student(x, 2.0 * shape, mean, scale * (weight + 1.0) / (shape * weight))
        likelihood = np.exp(log_density - log_density.max(axis=1, keepdims=True))
        joint = self.probability * likelihood
        grown, changed = joint * (1.0 - self._hazard), joint.sum(axis=1, keepdims=True) * self._hazard
        probability = np.concatenate([changed, grown], axis=1)
        updated = [
            (weight * mean + x) / (weight + 1.0),
            weight + 1.0,
            shape + 0.5,
            scale + 0.5 * weight * (x - mean) ** 2 / (weight + 1.0),
        ]
        begin = [np.full_like(x, value) for value in self._prior]
        stats = [np.concatenate([b, u], axis=1) for b, u in zip(begin, updated, strict=True)]
        if probability.shape[1] > self._longest:
            probability[:, -2] += probability[:, -1]
            probability, stats = probability[:, :-1], [s[:, :-1] for s in stats]
        self.probability = probability / probability.sum(axis=1, keepdims=True)
        self._stats = stats

    def level(self) -> Floats:
        """Posterior mean of the present level, (N,)."""
        return np.asarray((self.probability * self._stats[0]).sum(axis=1))

    def deviation(self) -> Floats:
        """Standard deviation of the observations around the level: the root of the posterior mean variance, (N,)."""
        _, _, shape, scale = self._stats
        variance = scale / np.maximum(shape - 0.5, 0.5)
        return np.asarray(np.sqrt((self.probability * variance).sum(axis=1)))

    def run_length(self) -> Floats:
        """Posterior mean of the steps since the last change, (N,)."""
        return np.asarray(self.probability @ np.arange(self.probability.shape[1], dtype=np.float64))


def _student(x: Floats, freedom: Floats, mean: Floats, squared_scale: Floats) -> Floats:
    """Logarithm of Student's t density."""
    z = (x - mean) ** 2 / (freedom * squared_scale)
    constant = gammaln(0.5 * (freedom + 1.0)) - gammaln(0.5 * freedom) - 0.5 * np.log(np.pi * freedom * squared_scale)
    return np.asarray(constant - 0.5 * (freedom + 1.0) * np.log1p(z))
