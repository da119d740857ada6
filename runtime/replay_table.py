"""Measured beside simulated: what a replay says, as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..envs import TERMS, Problem
from .journal import Recording
from .records import RequestRecord
from .replay import Replay

__all__ = ["Line", "compare_terms"]

Floats = NDArray[np.float64]


_TOTALS = (
    "vm_s",
    "faas_ms",
    "faas_requests",
    "cold_starts",
    "edge_ms",
    "edge_requests",
    "uplink_bytes",
    "transit_bytes",
    "egress_bytes",
    "device_j",
    "radio_j",
    "repartitions",
)


class Line(NamedTuple):
    """One quantity.

    Attributes:
        name: What, with its unit.
        measured: In the recorded run.
        simulated: Mean over the replay's draws.
        low: 2.5 % quantile over the draws; NaN where there is one figure for all.
        high: 97.5 % quantile.
    """

    name: str
    measured: float
    simulated: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Simulated against measured, relative; NaN where nothing was measured."""
        return (self.simulated - self.measured) / abs(self.measured) if self.measured else float("nan")


def compare_terms(runs: Sequence[tuple[Recording, Replay]], problem: Problem) -> list[Line]:
    """Measured and simulated figures of whole runs, taken together."""
    measured = np.concatenate([recording.terms(problem) for recording, _ in runs])
    simulated = np.concatenate([replayed.terms for _, replayed in runs])
    lines = [
        _line("requests", _total(measured, "arrived"), _total(simulated, "arrived")),
        _line("mean latency, ms", 1e3 * _mean(measured, "latency_s"), 1e3 * _mean(simulated, "latency_s")),
        *_percentiles(runs),
        _line("failed, %", 100 * _mean(measured, "failed"), 100 * _mean(simulated, "failed")),
        _line("mean leakage", _mean(measured, "leakage"), _mean(simulated, "leakage")),
        _line("accuracy lost, %", 100 * _lost(measured), 100 * _lost(simulated)),
        _line("micro-dollars", 1e6 * _total(measured, "usd"), 1e6 * _total(simulated, "usd")),
    ]
    lines += [_line(name, _total(measured, name), _total(simulated, name)) for name in _TOTALS]
    answers = [record.exit for record in _answered(runs) if record.exit >= 0]
    shares = np.average([run.exits for _, run in runs], axis=0, weights=[len(run.latency_s) + 1e-9 for _, run in runs])
    for k, share in enumerate(shares):
        seen = sum(1 for exit_index in answers if exit_index == k) / max(len(answers), 1)
        lines.append(Line(f"answered at exit {k}, %", 100 * seen, 100 * float(share), np.nan, np.nan))
    lines.append(_line("mean reward", _reward(measured), _reward(simulated)))
    return lines


def _line(name: str, measured: Floats, simulated: Floats) -> Line:
    low, high = np.quantile(simulated, (0.025, 0.975))
    return Line(name, float(measured), float(simulated.mean()), float(low), float(high))


def _total(terms: Floats, name: str) -> Floats:
    return np.asarray(terms[..., TERMS.index(name)].sum(axis=0))


def _mean(terms: Floats, name: str) -> Floats:
    """Per arrived request."""
    return np.asarray(_total(terms, name) / np.maximum(_total(terms, "arrived"), 1.0))


def _lost(terms: Floats) -> Floats:
    answered = _total(terms, "arrived") - _total(terms, "failed")
    return np.asarray(_total(terms, "accuracy_loss") / np.maximum(answered, 1.0))


def _reward(terms: Floats) -> Floats:
    return np.asarray(terms[..., TERMS.index("reward")].mean(axis=0))


def _answered(runs: Sequence[tuple[Recording, Replay]]) -> list[RequestRecord]:
    return [record for recording, _ in runs for record in recording.requests if not record.failed]


def _percentiles(runs: Sequence[tuple[Recording, Replay]]) -> list[Line]:
    measured = np.array([record.latency_s for record in _answered(runs)])
    latency_s = np.concatenate([replayed.latency_s for _, replayed in runs])
    lines = []
    for percent in (50, 95, 99):
        mine, simulated = (
            1e3 * float(np.percentile(values, percent)) if len(values) else float("nan")
            for values in (measured, latency_s)
        )
        lines.append(Line(f"{percent} % of answers within, ms", mine, simulated, np.nan, np.nan))
    return lines
