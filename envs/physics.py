"""Closed forms that broadcast over arrays: what the compiled kernel must agree with, and what rules predict with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from .rng import TABLE_SIZE

__all__ = [
    "energy_j",
    "exponential_factors",
    "lognormal_factors",
    "lognormal_quantiles",
    "md1_wait_s",
    "mm1_sojourn_s",
    "mmc_wait_s",
    "radio_w",
    "service_s",
    "transfer_s",
]

Floats = NDArray[np.float64]


def _f(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)


def service_s(work_flop: ArrayLike, speed_flops: ArrayLike) -> Floats:
    """Seconds to compute `work_flop` at an effective `speed_flops`, shape (...).

    >>> float(service_s(120e6, 50e9))
    0.0024
    """
    return _f(work_flop) / _f(speed_flops)


def transfer_s(payload_bytes: ArrayLike, rate_bps: ArrayLike, rtt_s: ArrayLike = 0.0) -> Floats:
    """Seconds to deliver a payload over one hop at a constant rate: serialisation plus half a round trip, shape (...).

    >>> float(transfer_s(payload_bytes=1_250_000, rate_bps=10e6, rtt_s=0.020))
    1.01
    """
    return 8.0 * _f(payload_bytes) / _f(rate_bps) + 0.5 * _f(rtt_s)


def mm1_sojourn_s(arrival_rps: ArrayLike, service_rps: ArrayLike) -> Floats:
    """Mean time in an M/M/1 system (waiting plus service), 1 / (mu - lambda); infinite when overloaded.

    >>> float(mm1_sojourn_s(5.0, 10.0))
    0.2
    """
    slack = _f(service_rps) - _f(arrival_rps)
    with np.errstate(divide="ignore"):
        return np.where(slack > 0, 1.0 / np.where(slack > 0, slack, np.nan), np.inf)


def md1_wait_s(arrival_rps: ArrayLike, service_time_s: ArrayLike) -> Floats:
    """Mean waiting time of an M/D/1 queue (Pollaczek-Khinchine): rho s / (2 (1 - rho)); infinite when overloaded.

    >>> float(md1_wait_s(5.0, 0.1))
    0.05
    """
    s = _f(service_time_s)
    rho = _f(arrival_rps) * s
    free = np.where(rho < 1, 1 - rho, np.nan)
    return np.where(rho < 1, rho * s / (2 * free), np.inf)


def mmc_wait_s(arrival_rps: float, service_rps: float, servers: int) -> float:
    """Mean waiting time of an M/M/c queue: Erlang's C divided by (c mu - lambda).

    >>> round(mmc_wait_s(5.0, 10.0, 1), 12)
    0.1
    """
    offered = arrival_rps / service_rps
    if offered >= servers:
        return float("inf")
    blocking = 1.0
    for k in range(1, servers + 1):  # Erlang's B by its recursion, which does not overflow
        blocking = offered * blocking / (k + offered * blocking)
    waiting = servers * blocking / (servers - offered * (1 - blocking))
    return waiting / (servers * service_rps - arrival_rps)


def radio_w(rate_bps: ArrayLike, base_w: float, w_per_bps: float, limit_w: float) -> Floats:
    """Power of a radio that sends at a rate: linear (Huang et al., MobiSys'12), held at a limit where the fit ends."""
    return np.minimum(base_w + w_per_bps * _f(rate_bps), limit_w)


def energy_j(power_w: ArrayLike, seconds: ArrayLike) -> Floats:
    """Energy in joules, shape (...)."""
    return _f(power_w) * _f(seconds)


def lognormal_factors(sigma: float) -> Floats:
    """A table of service-time factors with mean exactly one and a lognormal long tail, shape (2048,).

    Each entry is the mean of the distribution over its equally likely bin, so that a uniformly drawn entry has the
    right mean and only the variance inside a bin is lost.

    >>> table = lognormal_factors(0.3)
    >>> bool(abs(table.mean() - 1) < 1e-12)
    True
    """
    if sigma == 0.0:
        return np.ones(TABLE_SIZE)
    z = ndtri(np.linspace(0.0, 1.0, TABLE_SIZE + 1))
    mass: Any = np.diff(ndtr(z - sigma)) * TABLE_SIZE
    return np.asarray(mass / mass.mean(), dtype=np.float64)


def exponential_factors() -> Floats:
    """The same for the exponential distribution (for checks against M/M queues), shape (2048,)."""
    p = np.linspace(0.0, 1.0, TABLE_SIZE + 1)[:-1]
    upper = np.append(p[1:], 1.0)

    def part(q: Floats) -> Floats:  # integral of x exp(-x) up to the quantile of q
        left = 1.0 - q
        return q + np.where(left > 0, left * np.log(np.where(left > 0, left, 1.0)), 0.0)

    table = (part(upper) - part(p)) * TABLE_SIZE
    return np.asarray(table / table.mean(), dtype=np.float64)


def lognormal_quantiles(median_s: float, sigma: float) -> Floats:
    """Quantiles of a lognormal time at bin midpoints, shape (2048,), in seconds."""
    z = ndtri((np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE)
    return np.asarray(median_s * np.exp(sigma * z), dtype=np.float64)
