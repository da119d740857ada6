"""Waiting times that the expected objective is built from: fluid backlog, stationary waiting, blocking.

All take and give seconds and broadcast over arrays of shape (...).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["blocking", "exponential_tail", "fluid_backlog_s", "mean_wait_s", "pool_wait_s"]

Floats = NDArray[np.float64]


def fluid_backlog_s(begin_s: ArrayLike, utilisation: ArrayLike, elapsed_s: ArrayLike, limit_s: float) -> Floats:
    """Fluid backlog of a queue: what was there, plus what has come, minus what has been served; in [0, limit].

    >>> float(fluid_backlog_s(1.0, 0.5, 1.0, 10.0))
    0.5
    """
    drift = np.asarray(utilisation, dtype=np.float64) - 1.0
    backlog: Floats = np.clip(np.asarray(begin_s) + drift * np.asarray(elapsed_s), 0.0, limit_s)
    return backlog


def mean_wait_s(
    arrival_rps: ArrayLike, service_s: ArrayLike, service_s2: ArrayLike, arrival_scv: ArrayLike, span_s: float
) -> Floats:
    """Mean waiting time of a single server beyond its fluid backlog.

    Kingman's G/G/1 formula (Pollaczek and Khinchine's M/G/1 where `arrival_scv` is 1), joined with what a queue can
    build up within `span_s` from empty: the mean of a reflected Brownian motion without drift, 0.53 sigma sqrt(span).
    The latter keeps it finite at and above full load, where the fluid backlog takes over.

    Args:
        arrival_rps: Arrival rate.
        service_s: Mean service time.
        service_s2: Mean of its square.
        arrival_scv: Squared coefficient of variation of the gaps between arrivals.
        span_s: How long the load lasts.

    >>> round(float(mean_wait_s(5.0, 0.1, 0.01, 1.0, 1e9)), 4)  # M/D/1
    0.05
    """
    rate, mean = np.asarray(arrival_rps, dtype=np.float64), np.asarray(service_s, dtype=np.float64)
    variance = np.maximum(rate * (np.asarray(service_s2) + (np.asarray(arrival_scv) - 1.0) * mean * mean), 0.0)
    stationary = variance / (2.0 * np.maximum(1.0 - rate * mean, 1e-9))
    return _bounded(stationary, 0.53 * np.sqrt(variance * span_s))


def _bounded(stationary: Floats, built: Floats) -> Floats:
    """Half the harmonic mean: stationary for a long span, what has built up for a short one or near full load."""
    return stationary * built / np.maximum(stationary + built, 1e-300)


def pool_wait_s(
    arrival_rps: ArrayLike, service_s: ArrayLike, service_s2: ArrayLike, servers: ArrayLike, span_s: float
) -> Floats:
    """The same for at least one server with a common queue (Sakasegawa's approximation of M/G/c).

    >>> round(float(pool_wait_s(5.0, 0.1, 0.01, 1, 1e9)), 4)
    0.05
    """
    rate, mean = np.asarray(arrival_rps, dtype=np.float64), np.maximum(service_s, 1e-12)
    count = np.asarray(servers, dtype=np.float64)
    rho = np.minimum(rate * mean / count, 1.0)
    spread = 0.5 * np.asarray(service_s2) / (mean * mean)
    stationary = spread * mean / count * rho ** (np.sqrt(2.0 * (count + 1.0)) - 1.0) / np.maximum(1.0 - rho, 1e-9)
    return _bounded(stationary, 0.53 * np.sqrt(rate * np.asarray(service_s2) * span_s) / count)


def blocking(offered: ArrayLike, servers: ArrayLike, room: ArrayLike = 0.0) -> Floats:
    """Probability that an arrival finds all servers and the waiting room full: M/M/c/(c+room); room 0 is Erlang's B.

    Fractions of servers and of room are interpolated.

    Args:
        offered: Offered load: arrival rate times service time.
        servers: Number of servers.
        room: Places to wait.

    >>> float(blocking(1.0, 1.0)), float(blocking(1.0, 2.0)), round(float(blocking(1.0, 1.0, 1.0)), 6)
    (0.5, 0.2, 0.333333)
    """
    load, count = np.asarray(offered, dtype=np.float64), np.asarray(servers, dtype=np.float64)
    places = np.where(count >= 1.0, count + np.asarray(room), count)
    value, result = np.ones(np.broadcast_shapes(load.shape, places.shape)), np.ones(())
    result = np.where(places <= 0.0, 1.0, 0.0) * value
    for k in range(math.ceil(float(places.max(initial=0.0)))):
        step = load * value / (np.minimum(k + 1.0, np.maximum(count, 1.0)) + load * value)
        part = places - k
        result = np.where(part > 0.0, value + np.minimum(part, 1.0) * (step - value), result)
        value = step
        if value.max(initial=0.0) < 1e-30:
            break
    return result


def exponential_tail(slack_s: ArrayLike, mean_s: ArrayLike) -> Floats:
    """P(an exponential delay of mean `mean_s` exceeds the slack); 1 where there is no slack left.

    >>> float(exponential_tail(-1.0, 0.1)), float(exponential_tail(1.0, 0.0))
    (1.0, 0.0)
    """
    return np.exp(-np.maximum(slack_s, 0.0) / np.maximum(mean_s, 1e-12))
