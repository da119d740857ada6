"""The environment's terms of a served run: what each interval's arrivals came to, in dollars and in reward."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..envs import TERMS, Problem
from .records import RequestRecord, completed
from .telemetry import Interval

__all__ = ["terms_of"]

Floats = NDArray[np.float64]

_AT = {name: TERMS.index(name) for name in TERMS}
_SUMMED = (
    "faas_ms",
    "faas_requests",
    "edge_ms",
    "edge_requests",
    "egress_bytes",
    "transit_bytes",
    "uplink_bytes",
    "device_j",
    "radio_j",
)

_METERED = ("faas_ms", "faas_requests", "cold_starts")


def terms_of(
    problem: Problem, intervals: Sequence[Interval], requests: Iterable[RequestRecord], weights: Floats
) -> tuple[Floats, int]:
    """Terms of each interval, as the kernel would book them: a request belongs to the interval in which it arrived.

    Functions are booked when they are billed, where the provider's meter was read; else with the answers.

    Requests that were never settled (the run ended first) are in no sum but `in_flight`. Where the true label is
    unknown, correctness and the accuracy lost to early exits are those of the judged requests of the interval,
    scaled to all answered ones (nothing is lost where none was judged).

    Args:
        problem: Prices, references and penalties.
        intervals: In order.
        requests: Settled requests, in any order; those that arrived before or after the intervals are left out.
        weights: Preference, float64 (3,).

    Returns:
        float64 (T, len(TERMS)), and how many answered requests were judged.
    """
    p = problem.params
    ends = np.array([interval.end_s for interval in intervals])
    out = np.zeros((len(intervals), len(TERMS)))
    judged = np.zeros(len(intervals))
    for raw in requests:
        record = completed(problem, raw)
        t = int(np.searchsorted(ends, record.arrival_s, side="right"))
        if t < len(out) and record.arrival_s >= intervals[t].begin_s:
            judged[t] += _book(out[t], record)
    for t, interval in enumerate(intervals):
        row = out[t]
        answered = row[_AT["arrived"]] - row[_AT["failed"]]
        if judged[t]:
            row[[_AT["correct"], _AT["accuracy_loss"]]] *= answered / judged[t]
        row[_AT["finished"]], row[_AT["expired"]] = interval.finished, interval.expired
        row[_AT["in_flight"]], row[_AT["vm_s"]] = interval.in_flight, interval.vm_s
        row[_AT["repartitions"]] = interval.repartitions
        for name in _METERED:
            if (metered := getattr(interval, name)) is not None:
                row[_AT[name]] = metered
        row[_AT["device_j"]] += p.device_idle_w * (interval.end_s - interval.begin_s)
        _price(problem, row, weights, (interval.end_s - interval.begin_s) / p.interval_s)
    return out, int(judged.sum())


def _book(row: Floats, record: RequestRecord) -> int:
    """Add a request to its interval; 1 if it was answered and judged."""
    row[_AT["arrived"]] += 1.0
    row[_AT["latency_s"]] += record.latency_s
    row[_AT["leakage"]] += record.leakage
    for name in _SUMMED:
        row[_AT[name]] += getattr(record, name)
    row[_AT["cold_starts"]] += float(record.cold)
    if record.failed:
        row[_AT["failed"]] += 1.0
        return 0
    if math.isnan(record.correct) or math.isnan(record.full_correct):
        return 0
    row[_AT["correct"]] += record.correct
    row[_AT["accuracy_loss"]] += record.full_correct - record.correct
    return 1


def _price(problem: Problem, row: Floats, weights: Floats, length: float) -> None:
    """Dollars and the reward with its parts; the cost reference is per control interval, `length` of which passed."""
    p = problem.params

    def term(name: str) -> float:
        return float(row[_AT[name]])

    usd = (
        term("vm_s") * p.usd_per_vm_s
        + term("faas_ms") * p.usd_per_faas_ms
        + term("faas_requests") * p.usd_per_faas_request
        + term("edge_ms") * p.usd_per_edge_ms
        + term("edge_requests") * p.usd_per_edge_request
        + term("egress_bytes") * p.usd_per_egress_byte
        + term("transit_bytes") * p.usd_per_transit_byte
    )
    arrived = max(term("arrived"), 1.0)
    answered = max(term("arrived") - term("failed"), 1.0)
    parts = {
        "reward_latency": -float(weights[0]) * term("latency_s") / arrived / p.latency_ref_s,
        "reward_cost": -float(weights[1]) * usd / (p.cost_ref_usd * length),
        "reward_privacy": -float(weights[2]) * term("leakage") / arrived,
        "reward_accuracy": -p.accuracy_penalty * term("accuracy_loss") / answered,
        "reward_failure": -p.failure_penalty * term("failed") / arrived,
    }
    row[_AT["usd"]] = usd
    for name, value in parts.items():
        row[_AT[name]] = value
    row[_AT["reward"]] = sum(parts.values())
