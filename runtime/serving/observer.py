"""What the device reports while it serves: the events that telemetry is made of, and the record of each request."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .logs import logger
from .plan import Plan

__all__ = ["GAUGES", "GuardedObserver", "NullObserver", "Observer", "ServedRequest"]


GAUGES = (
    "device_queue",
    "uplink_queue",
    "uplink_queue_bytes",
    "edge_queue",
    "cloud_queue",
    "edge_load",
    "vm_running",
    "vm_booting",
    "warm_instances",
    "busy_instances",
)
"""Levels that the device reports: its own, and those in the edge server's status."""


@dataclass(frozen=True)
class ServedRequest:
    """One request, from arrival to answer, as the device knows it.

    Times are seconds since the device's start; a place that a request never passed has its end. Leakage, dollars and
    joules need the problem, and correctness the truth: whoever knows them adds them.
    """

    id: str
    """Hexadecimal."""
    plan: Plan
    arrival_s: float
    end_s: float
    """Answer; the deadline if it failed."""
    latency_s: float
    """The hard timeout if it failed."""
    failed: bool
    status: str
    """`ok`, `late`, `refused` or `failed`."""
    reason: str = ""
    sample: int = -1
    """As given with the request."""
    exit: int = -1
    """Index of the head that answered; -1: none."""
    label: int = -1
    confidence: float = math.nan
    first_confidence: float = math.nan
    """At the first head; NaN: nobody computed it."""
    tier: str = ""
    """Who answered: `device`, `edge`, `cloud`; `fallback`: the device, in place of a server that did not."""
    server: str = ""
    device_end_s: float = math.nan
    uplink_end_s: float = math.nan
    """Transfer done, half a round trip included."""
    edge_end_s: float = math.nan
    device_queue_s: float = 0.0
    device_service_s: float = 0.0
    """Head and, where it finished in a server's place, the rest."""
    uplink_queue_s: float = 0.0
    uplink_s: float = 0.0
    """Being sent: serialisation on the link, without latency."""
    edge_queue_s: float = 0.0
    edge_service_s: float = 0.0
    backhaul_s: float = 0.0
    """Between edge and cloud, both ways."""
    cloud_queue_s: float = 0.0
    cloud_service_s: float = 0.0
    init_s: float = 0.0
    """Cold start."""
    pause_s: float = 0.0
    """Loading of segments that were not resident, on all tiers."""
    propagation_s: float = 0.0
    """What remains of an answered request's latency: the round trip, and the overhead of the system itself."""
    uplink_bytes: int = 0
    """Of the message; 0: no transfer began."""
    transit_bytes: int = 0
    """From the edge to the cloud."""
    faas: bool = False
    cold: bool = False
    billed_ms: int = 0
    """Of the function invocation."""
    attempts: int = 0
    """Times that it was sent."""
    logits: bytes = b""
    """Little-endian 32-bit floats, where asked for."""


class Observer(Protocol):
    """Told by the device, from several threads, as things happen; must return at once."""

    def arrived(self, t: float) -> None:
        """A request arrived, `t` seconds after the device's start."""

    def uplink_started(self, size_bytes: int, t: float) -> None:
        """A transfer of so many bytes began, `t` seconds after the device's start; `uplink_finished` follows."""

    def uplink_finished(self, size_bytes: int, seconds: float) -> None:
        """It ended: so many bytes were delivered (fewer if it was given up) in so many seconds, without latency."""

    def rtt(self, seconds: float) -> None:
        """A round trip between device and edge was measured."""

    def answered(self, record: ServedRequest) -> None:
        """A request was answered or failed; exactly once for each that arrived."""

    def gauge(self, name: str, value: float) -> None:
        """A level changed: one of `GAUGES`."""


class NullObserver:
    """Takes no notice."""

    def arrived(self, t: float) -> None:
        """Nothing."""

    def uplink_started(self, size_bytes: int, t: float) -> None:
        """Nothing."""

    def uplink_finished(self, size_bytes: int, seconds: float) -> None:
        """Nothing."""

    def rtt(self, seconds: float) -> None:
        """Nothing."""

    def answered(self, record: ServedRequest) -> None:
        """Nothing."""

    def gauge(self, name: str, value: float) -> None:
        """Nothing."""


class GuardedObserver:
    """Passes on what it is told; one that raises is logged once, counted, and costs no request and no thread."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.failures = 0

    def arrived(self, t: float) -> None:
        """Passed on."""
        self._tell(lambda: self._observer.arrived(t))

    def uplink_started(self, size_bytes: int, t: float) -> None:
        """Passed on."""
        self._tell(lambda: self._observer.uplink_started(size_bytes, t))

    def uplink_finished(self, size_bytes: int, seconds: float) -> None:
        """Passed on."""
        self._tell(lambda: self._observer.uplink_finished(size_bytes, seconds))

    def rtt(self, seconds: float) -> None:
        """Passed on."""
        self._tell(lambda: self._observer.rtt(seconds))

    def answered(self, record: ServedRequest) -> None:
        """Passed on."""
        self._tell(lambda: self._observer.answered(record))

    def gauge(self, name: str, value: float) -> None:
        """Passed on."""
        self._tell(lambda: self._observer.gauge(name, value))

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            self.failures += 1
            if self.failures == 1:
                logger().exception("observer failed; said once")
