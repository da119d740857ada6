"""What is measured of every episode, from the kernel's integer counts and SI terms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..envs.rollout import Episodes, latency_edges_s
from ..errors import InputError, did_you_mean

__all__ = ["METRICS", "Metric", "episode_metrics", "histogram_quantile_s", "metric", "metric_index"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Metric(NamedTuple):
    """One figure of an episode.

    Attributes:
        name: Column of the raw scores; carries the unit.
        label: Heading in tables.
        scale: Factor from the stored unit to the label's.
        digits: Decimals in tables.
        better: 1 if more is better, -1 if less is, 0 if neither.
        meaning: One sentence.
    """

    name: str
    label: str
    scale: float
    digits: int
    better: int
    meaning: str


METRICS = (
    Metric("reward", "reward", 1, 4, 1, "mean reward per interval: what every policy is compared by"),
    Metric("reward_latency", "of it latency", 1, 4, 1, "part of the reward: weighted mean latency over its reference"),
    Metric("reward_cost", "cost", 1, 4, 1, "part of the reward: weighted dollars over their reference"),
    Metric("reward_privacy", "privacy", 1, 4, 1, "part of the reward: weighted mean leakage"),
    Metric("reward_accuracy", "accuracy", 1, 4, 1, "part of the reward: penalty on accuracy lost to early exits"),
    Metric("reward_failure", "failures", 1, 4, 1, "part of the reward: penalty on failed requests"),
    Metric("latency_s", "mean ms", 1e3, 1, -1, "mean latency of arrived requests; a failed one counts the timeout"),
    Metric("latency_p50_s", "p50 ms", 1e3, 1, -1, "median latency over requests, to 1 %"),
    Metric("latency_p95_s", "p95 ms", 1e3, 1, -1, "95th percentile of latency over requests, to 1 %"),
    Metric("latency_p99_s", "p99 ms", 1e3, 1, -1, "99th percentile of latency over requests, to 1 %"),
    Metric("failure_rate", "failed %", 1e2, 2, -1, "share of arrived requests that missed the hard timeout"),
    Metric("accuracy", "accuracy %", 1e2, 2, 1, "share of answered requests whose answer was right"),
    Metric(
        "accuracy_loss", "lost accuracy %", 1e2, 2, -1, "accuracy of the full network minus that of the answers given"
    ),
    Metric("usd_per_1000", "$/1000", 1, 5, -1, "dollars per thousand arrived requests"),
    Metric(
        "leakage", "leakage", 1, 4, -1, "mean leakage of the most revealing tensor that left the device; 0 if none did"
    ),
    Metric("energy_j", "J/request", 1, 3, -1, "device energy (compute, idle and radio) per arrived request"),
    Metric("cold_starts", "cold/1000", 1, 2, -1, "function cold starts per thousand arrived requests"),
    Metric("repartitions", "moves/h", 1, 1, -1, "pauses paid for moving a cut, per hour"),
    Metric("vm_hours", "VM h/h", 1, 3, -1, "VM hours billed per hour"),
    Metric("requests", "requests", 1, 0, 0, "requests that arrived"),
)
"""Columns of the raw scores, in order."""

_POSITION = {entry.name: index for index, entry in enumerate(METRICS)}


def metric_index(name: str) -> int:
    """Column of a metric.

    Raises:
        InputError: There is no such metric.
    """
    if name not in _POSITION:
        raise InputError("metric", "", "must be one of the measured figures", name, did_you_mean(name, _POSITION))
    return _POSITION[name]


def metric(name: str) -> Metric:
    """A metric by its name."""
    return METRICS[metric_index(name)]


def histogram_quantile_s(counts: Ints, timeout_s: float, share: float) -> Floats:
    """Latency below which a share of the requests lies, from their histogram (see `envs.rollout.latency_edges_s`).

    Interpolated within a bin, which is 1 % wide; requests that failed count the timeout.

    Args:
        counts: int64 (..., B).
        timeout_s: The scenario's hard timeout.
        share: 0 to 1.

    Returns:
        Seconds, shape (...); NaN where there is no request.

    >>> counts = np.zeros((1, len(latency_edges_s(2.0)) - 1), dtype=np.int64)
    >>> counts[0, -1] = 3
    >>> float(histogram_quantile_s(counts, 2.0, 0.5)[0])
    2.0
    """
    edges = latency_edges_s(timeout_s)
    lower, upper = edges[:-1], np.minimum(edges[1:], timeout_s)
    cumulative = np.cumsum(counts, axis=-1)
    total = cumulative[..., -1]
    target = share * total
    index = np.minimum((cumulative < target[..., None]).sum(axis=-1), counts.shape[-1] - 1)
    inside = np.take_along_axis(counts, index[..., None], axis=-1)[..., 0]
    below = np.take_along_axis(cumulative, index[..., None], axis=-1)[..., 0] - inside
    part = (target - below) / np.maximum(inside, 1)
    value = lower[index] + part * (upper[index] - lower[index])
    return np.where(total > 0, value, np.nan)


def episode_metrics(episodes: Episodes, timeout_s: float, interval_s: float) -> Floats:
    """Every metric of every episode, float64 (N, len(METRICS)).

    Args:
        episodes: From `rollout(..., keep_latencies=True)`; without latencies the percentiles are NaN.
        timeout_s: The scenario's hard timeout.
        interval_s: The control interval.
    """
    arrived = np.maximum(episodes.total("arrived"), 1.0)
    answered = np.maximum(arrived - episodes.total("failed"), 1.0)
    hours = len(episodes.terms) * interval_s / 3600.0
    values = {name: episodes.term(name).mean(axis=0) for name in _POSITION if name.startswith("reward")}
    for name, share in (("latency_p50_s", 0.5), ("latency_p95_s", 0.95), ("latency_p99_s", 0.99)):
        empty = episodes.latency_counts.size == 0
        nothing = np.full(len(arrived), np.nan)
        values[name] = nothing if empty else histogram_quantile_s(episodes.latency_counts, timeout_s, share)
    values |= {
        "latency_s": episodes.total("latency_s") / arrived,
        "failure_rate": episodes.total("failed") / arrived,
        "accuracy": episodes.total("correct") / answered,
        "accuracy_loss": episodes.total("accuracy_loss") / answered,
        "usd_per_1000": 1e3 * episodes.total("usd") / arrived,
        "leakage": episodes.total("leakage") / arrived,
        "energy_j": (episodes.total("device_j") + episodes.total("radio_j")) / arrived,
        "cold_starts": 1e3 * episodes.total("cold_starts") / arrived,
        "repartitions": episodes.total("repartitions") / hours,
        "vm_hours": episodes.total("vm_s") / 3600.0 / hours,
        "requests": episodes.total("arrived"),
    }
    return np.stack([values[entry.name] for entry in METRICS], axis=1)
