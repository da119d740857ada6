"""What a real controller can measure at the end of an interval: the only thing that any policy sees.

One row of SI units per environment. The kernel writes it, the observation encoder scales it, every rule reads it by
name, and a serving system fills the same row from its own telemetry. Nothing in it depends on what has not yet
happened: queue lengths count requests that are there, confidences and exits come from requests that have been answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXIT_SLOTS", "HISTORY", "SCHEMA", "Field", "Measurements", "column", "width"]

HISTORY = 4
"""Intervals of history kept for link rate and arrivals, newest first."""

EXIT_SLOTS = 6
"""Places for exit fractions; a profile may have at most this many exits."""


class Field(NamedTuple):
    """One measured quantity: its name, how many columns it takes, unit and meaning."""

    name: str
    size: int
    unit: str
    meaning: str


SCHEMA = (
    Field("rate_bps", HISTORY, "bit/s", "mean uplink rate of the last intervals, newest first"),
    Field("rate_average_bps", 1, "bit/s", "exponential average of the rate over about 10 s"),
    Field("rtt_s", 1, "s", "last round-trip time between device and edge"),
    Field("arrivals", HISTORY, "requests", "arrivals of the last intervals, newest first"),
    Field("arrivals_average", 1, "requests", "exponential average of the arrivals over about 10 s"),
    Field("device_queue", 1, "requests", "waiting or in service on the device"),
    Field("uplink_queue", 1, "requests", "waiting for the uplink or being sent"),
    Field("uplink_queue_bytes", 1, "bytes", "not yet sent"),
    Field("edge_queue", 1, "requests", "at the edge server or on the way to or from it"),
    Field("cloud_queue", 1, "requests", "in the cloud or on the way to or from it"),
    Field("edge_load", 1, "share", "background utilisation that the edge server reports"),
    Field("vm_running", 1, "VMs", "booted and not stopping"),
    Field("vm_booting", 1, "VMs", "launched, not yet ready"),
    Field("warm_instances", 1, "instances", "idle function instances within their keep-alive"),
    Field("busy_instances", 1, "instances", "function instances at work or starting"),
    Field("confidence", 1, "share", "average confidence at the first exit head of recent answers"),
    Field("exit_fraction", EXIT_SLOTS, "share", "average share of recent answers given at each exit"),
    Field("placement", 1, "index", "placement in force"),
    Field("threshold", 1, "index", "exit threshold in force"),
    Field("route", 1, "index", "route in force"),
    Field("vm_target", 1, "VMs", "pool size asked for"),
    Field("placement_age", 1, "intervals", "since the placement last changed"),
    Field("other_placement", 1, "index", "the placement kept loaded besides; that in force if none is"),
    Field("battery", 1, "share", "charge left; 1 on mains"),
    Field("weights", 3, "share", "preference for latency, cost, privacy; on the simplex"),
)
"""The row's layout, in order."""

_OFFSETS: dict[str, int] = {}
_position = 0
for _field in SCHEMA:
    _OFFSETS[_field.name] = _position
    _position += _field.size
_WIDTH = _position


def column(name: str) -> int:
    """First column of a field."""
    return _OFFSETS[name]


def width() -> int:
    """Columns of a row."""
    return _WIDTH


@dataclass(frozen=True)
class Measurements:
    """Named access to the measured rows of a batch.

    An attribute gives a field: shape (N,), or (N, size) for a field of several columns.

    >>> rows = Measurements(np.zeros((2, width())))
    >>> rows.arrivals.shape, rows.rtt_s.shape
    ((2, 4), (2,))
    """

    rows: NDArray[np.float64]

    def __getattr__(self, name: str) -> NDArray[np.float64]:
        for field in SCHEMA:
            if field.name == name:
                start = _OFFSETS[name]
                rows: NDArray[np.float64] = self.rows[:, start : start + field.size]
                return rows if field.size > 1 else rows[:, 0]
        raise AttributeError(f"no measurement is called '{name}'; see edgecloud.envs.measure.SCHEMA")

    def __len__(self) -> int:
        return len(self.rows)
