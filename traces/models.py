"""Parametric models of a mobile link: marginal rate, autocorrelation, outages, round-trip time."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import ndtr, ndtri

from .link import FloatArray, LinkTrace

__all__ = ["ArMixture", "Component", "LinkModel", "OutageModel", "PowerNormal", "RttModel"]

_MAX_SCORE = 3.0
_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PowerNormal(_Parameters):
    """A positive quantity whose power is normal, cut off at zero: the marginal distribution of the rate.

    ``x ** power`` is normal with ``mean`` and ``sd``, given that it is positive. The unit of x is the caller's.

    >>> law = PowerNormal(power=1.0, mean=30.0, sd=10.0)
    >>> round(float(law.quantile(0.5)), 1)
    30.0
    """

    power: _Positive
    mean: _Finite
    sd: _Positive

    def cdf(self, x: npt.ArrayLike) -> FloatArray:
        """Probability of at most x, shape of x."""
        low = ndtr(-self.mean / self.sd)
        raised = np.maximum(np.asarray(x, dtype=np.float64), 0.0) ** self.power
        return np.asarray((ndtr((raised - self.mean) / self.sd) - low) / (1.0 - low), dtype=np.float64)

    def quantile(self, q: npt.ArrayLike) -> FloatArray:
        """Inverse of the cdf for probabilities in (0, 1), shape of q."""
        low = ndtr(-self.mean / self.sd)
        raised = self.mean + self.sd * ndtri(low + (1.0 - low) * np.asarray(q, dtype=np.float64))
        return np.asarray(np.maximum(raised, 0.0) ** (1.0 / self.power), dtype=np.float64)


class Component(_Parameters):
    """One part of an `ArMixture`: autocorrelation ``exp(-lag / tau_s) * cos(2 pi lag / period_s)``.

    Attributes:
        weight: Share of the variance.
        tau_s: Time constant in seconds; 0 is white noise, None a level that is drawn once and stays for the whole log.
        period_s: Length of a cycle in seconds; None without one. It needs a positive time constant.
    """

    weight: Annotated[float, Field(gt=0.0, le=1.0)]
    tau_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None
    period_s: Annotated[float, Field(ge=2.0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Component:
        if self.period_s is not None and not self.tau_s:
            raise ValueError("a component with a period must have a positive tau_s")
        return self

    def correlation(self, lag_s: npt.ArrayLike) -> FloatArray:
        """Autocorrelation at a lag in seconds, shape of lag_s."""
        lag = np.abs(np.asarray(lag_s, dtype=np.float64))
        if self.tau_s is None:
            return np.ones(lag.shape)
        if self.tau_s == 0.0:
            return np.asarray(lag == 0.0, dtype=np.float64)
        turn = 1.0 if self.period_s is None else np.cos(2.0 * np.pi * lag / self.period_s)
        return np.asarray(np.exp(-lag / self.tau_s) * turn, dtype=np.float64)

    def sample(self, n: int, dt_s: float, rng: np.random.Generator) -> FloatArray:
        """A stationary path of variance 1, n values dt_s apart, shape (n,)."""
        from scipy.signal import lfilter  # a second to import, and only needed here

        if self.tau_s is None:
            return np.full(n, rng.standard_normal())
        stay = float(np.exp(-dt_s / self.tau_s)) if self.tau_s > 0.0 else 0.0
        if self.period_s is None:
            noise = rng.standard_normal(n)
            noise[1:] *= np.sqrt(1.0 - stay**2)
            return np.asarray(lfilter([1.0], [1.0, -stay], noise), dtype=np.float64)
        turning = rng.standard_normal(n) + 1j * rng.standard_normal(n)
        turning[1:] *= np.sqrt(1.0 - stay**2)
        pole = stay * np.exp(2j * np.pi * dt_s / self.period_s)
        return np.asarray(lfilter([1.0], [1.0, -pole], turning).real, dtype=np.float64)


class ArMixture(_Parameters):
    """A stationary Gaussian process of variance 1: a sum of independent `Component` processes."""

    components: Annotated[tuple[Component, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> ArMixture:
        total = sum(component.weight for component in self.components)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the weights must add up to 1, not {total:g}")
        return self

    def correlation(self, lag_s: npt.ArrayLike) -> FloatArray:
        """Autocorrelation at a lag in seconds, shape of lag_s."""
        parts = [component.weight * component.correlation(lag_s) for component in self.components]
        return np.asarray(np.sum(parts, axis=0), dtype=np.float64)

    def sample(self, n: int, dt_s: float, rng: np.random.Generator) -> FloatArray:
        """A path of n values dt_s apart, stationary from the first one, shape (n,)."""
        path = np.zeros(n)
        for component in self.components:
            path += np.sqrt(component.weight) * component.sample(n, dt_s, rng)
        return path


class OutageModel(_Parameters):
    """When the link carries nothing at all, and for how long.

    In a second with the normal score z of the rate an outage starts with probability
    ``start_probability * exp(-tilt * z - tilt**2 / 2)``, whose mean over z is ``start_probability``: outages come where
    the link is already poor, and the mean score where they start is ``-tilt``. Lengths are geometric.
    """

    start_probability: Annotated[float, Field(ge=0.0, le=1.0)]
    mean_length_s: Annotated[float, Field(ge=1.0, allow_inf_nan=False)]
    tilt: Annotated[float, Field(ge=0.0, le=4.0)]

    def sample(self, score: FloatArray, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Which of the seconds with these normal scores are in an outage, shape of score."""
        hazard = self.start_probability * np.exp(-self.tilt * score - self.tilt**2 / 2.0)
        starts = rng.random(score.size) < np.minimum(hazard, 1.0)
        lengths = rng.geometric(1.0 / self.mean_length_s, score.size)
        down = np.zeros(score.size, dtype=np.bool_)
        free_from = 0
        for start in np.flatnonzero(starts):
            if start >= free_from:
                free_from = int(start + lengths[start])
                down[start:free_from] = True
                free_from += 1
        return down


class RttModel(_Parameters):
    """Round-trip time: a floor plus a heavy-tailed log-normal part with autocorrelation.

    ``rtt = floor_s + exp(log_median + log_sd * z * exp(tail * z**2 / 2))`` with z an `ArMixture` (Tukey's h on the
    logarithm; ``tail=0`` is the shifted log-normal). Scores beyond 3 standard deviations are taken as 3: no spike is
    higher than the one that comes once in twelve minutes.

    Attributes:
        technology: Radio technology, 'lte' or '5g'.
        movement: What the phone did: 'static', 'walking' or 'driving'.
        floor_s: Lower bound in seconds.
        log_median: Natural logarithm of the median above the floor, in seconds.
        log_sd: Spread of the logarithm in the middle of the distribution.
        tail: Weight of the tails.
        dynamics: Autocorrelation of the score.
    """

    technology: str
    movement: str
    floor_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    log_median: _Finite
    log_sd: _Positive
    tail: Annotated[float, Field(ge=0.0, le=1.0)]
    dynamics: ArMixture

    @property
    def median_s(self) -> float:
        """Median round-trip time in seconds."""
        return self.floor_s + float(np.exp(self.log_median))

    def at_score(self, score: npt.ArrayLike) -> FloatArray:
        """Round-trip time in seconds at a normal score, shape of score."""
        z = np.clip(np.asarray(score, dtype=np.float64), -_MAX_SCORE, _MAX_SCORE)
        return np.asarray(
            self.floor_s + np.exp(self.log_median + self.log_sd * z * np.exp(self.tail * z**2 / 2.0)), dtype=np.float64
        )

    def quantile(self, q: npt.ArrayLike) -> FloatArray:
        """Quantiles of the round-trip time in seconds, shape of q."""
        return self.at_score(ndtri(np.asarray(q, dtype=np.float64)))

    def sample(self, n: int, dt_s: float, rng: np.random.Generator) -> FloatArray:
        """Round-trip times in seconds, one per bin of dt_s, shape (n,)."""
        return self.at_score(self.dynamics.sample(n, dt_s, rng))


class LinkModel(_Parameters):
    """The link of one transport mode: a Gaussian copula with outages, one value per second.

    The normal score z of the rate is an `ArMixture`; the rate in Mbit/s is the quantile of `rate` at the probability of
    z; seconds in an outage carry nothing. The round-trip time is independent of the rate: the two were not measured
    together.

    Attributes:
        mode: Transport mode.
        direction: Direction that the logs were measured in.
        rate: Marginal of the rate outside outages, in Mbit/s.
        dynamics: Autocorrelation of its normal score.
        outages: When the link carries nothing.
        rtt: Round-trip time; None gives traces without it.
        n_logs: How many logs the parameters were fitted to.
        n_seconds: Their length in seconds.
    """

    mode: str
    direction: str
    rate: PowerNormal
    dynamics: ArMixture
    outages: OutageModel
    rtt: RttModel | None = None
    n_logs: int = 0
    n_seconds: int = 0

    def sample(self, duration_s: float, rng: np.random.Generator, name: str = "") -> LinkTrace:
        """Generate a log.

        Args:
            duration_s: Its length in seconds, rounded up to whole seconds, at least one.
            rng: Source of all randomness.
            name: Name of the log; the mode if empty.

        Returns:
            A trace with bins of 1 s and, where the model has an RTT, one round-trip time per bin.
        """
        n = max(1, int(np.ceil(duration_s)))
        score = self.dynamics.sample(n, 1.0, rng)
        rate_mbps = self.rate.quantile(np.clip(ndtr(score), 1e-9, 1.0 - 1e-9))
        rate_mbps[self.outages.sample(score, rng)] = 0.0
        rtt = None if self.rtt is None else self.rtt.sample(n, 1.0, rng)
        edges = np.arange(n + 1, dtype=np.float64)
        source = f"generated: fitted model of mode {self.mode}"
        return LinkTrace(name or self.mode, self.mode, edges, rate_mbps * 1e6, rtt, source, self.direction)
