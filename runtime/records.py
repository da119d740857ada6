"""One served request, in the environment's units: what a device client reports and a recording keeps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..envs import Problem
from ..errors import InputError, did_you_mean

__all__ = ["COMPONENTS", "RequestRecord", "completed"]

COMPONENTS = (
    "device_queue_s",
    "device_service_s",
    "uplink_queue_s",
    "uplink_s",
    "edge_queue_s",
    "edge_service_s",
    "backhaul_s",
    "cloud_queue_s",
    "cloud_service_s",
    "init_s",
    "pause_s",
    "propagation_s",
)
"""Parts of a latency, in the order in which a request passes them; for an answered one they sum to it."""

_UNKNOWN = math.nan


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request from its arrival at the device to its answer or failure.

    Times are seconds since the start of the run, on the device's clock. A place that a request never passed has the
    time at which it was answered (its end). Unknown numbers are NaN: `correct` and `full_correct` where nobody knows
    the true label, billed units and joules where the client measured seconds only (`completed` derives them).

    Attributes:
        id: Unique within the run.
        arrival_s: Arrival at the device.
        end_s: Answer at the device; the deadline (arrival + timeout) if it failed.
        latency_s: End - arrival; the timeout if it failed.
        failed: No answer by the deadline.
        exit: Head that answered, counted from 0; -1 if none did.
        sample: Index in a test set; -1: not from one.
        device_end_s: Left the device.
        uplink_end_s: Transfer finished.
        edge_end_s: The edge server was done with it.
        leakage: Of the most revealing tensor that was sent (from the profile); 0 if no transfer began.
        correct: 1 or 0: the answer was right.
        full_correct: 1 or 0: the whole network's answer would have been right.
        faas: A function served it.
        cold: On a new instance.
        first_confidence: At the first exit head; NaN: not computed (no early exit asked for).
        confidence: Of the answer.
        label: The answer; -1: none.
        device_queue_s: Waiting for the device.
        device_service_s: Running there.
        uplink_queue_s: Waiting for the uplink.
        uplink_s: Being sent.
        edge_queue_s: Waiting at the edge server.
        edge_service_s: Running there.
        backhaul_s: Between edge and cloud, both ways.
        cloud_queue_s: Waiting for a VM or an instance.
        cloud_service_s: Running there.
        init_s: Cold start: set-up and initialisation.
        pause_s: Waiting for a placement to be loaded, on all tiers.
        propagation_s: The rest: round trip between device and edge, overhead of the system.
        cut_device: Plan: stages before it run on the device.
        cut_edge: Plan: stages from `cut_device` to it run at the edge.
        threshold: Plan: index into `problem.thresholds`.
        route: Plan: 'vm', 'faas' or 'spill'.
        uplink_bytes: Offered to the uplink.
        transit_bytes: From the edge to the cloud.
        egress_bytes: Out of the cloud.
        faas_ms: Function milliseconds billed.
        faas_requests: Function invocations, repeated ones included.
        edge_ms: Edge milliseconds billed.
        edge_requests: Times that the edge server worked on it.
        device_j: Compute energy of the device above idling.
        radio_j: Energy of its radio.
        attempts: How often it was tried.
        server: Who answered.
        reason: Why it failed.
    """

    id: str
    arrival_s: float
    end_s: float
    latency_s: float
    failed: bool = False
    exit: int = -1
    sample: int = -1
    device_end_s: float = _UNKNOWN
    uplink_end_s: float = _UNKNOWN
    edge_end_s: float = _UNKNOWN
    leakage: float = 0.0
    correct: float = _UNKNOWN
    full_correct: float = _UNKNOWN
    faas: bool = False
    cold: bool = False
    first_confidence: float = _UNKNOWN
    confidence: float = _UNKNOWN
    label: int = -1
    device_queue_s: float = 0.0
    device_service_s: float = 0.0
    uplink_queue_s: float = 0.0
    uplink_s: float = 0.0
    edge_queue_s: float = 0.0
    edge_service_s: float = 0.0
    backhaul_s: float = 0.0
    cloud_queue_s: float = 0.0
    cloud_service_s: float = 0.0
    init_s: float = 0.0
    pause_s: float = 0.0
    propagation_s: float = 0.0
    cut_device: int = 0
    cut_edge: int = 0
    threshold: int = 0
    route: str = "faas"
    uplink_bytes: float = 0.0
    transit_bytes: float = 0.0
    egress_bytes: float = 0.0
    faas_ms: float = _UNKNOWN
    faas_requests: float = _UNKNOWN
    edge_ms: float = _UNKNOWN
    edge_requests: float = _UNKNOWN
    device_j: float = _UNKNOWN
    radio_j: float = _UNKNOWN
    attempts: int = 1
    server: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an unknown number is None."""
        return {name: _plain(getattr(self, name)) for name in _KINDS}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: object = "request") -> RequestRecord:
        """The inverse of `to_dict`.

        Raises:
            InputError: A field is missing, unknown or of another type.
        """
        for name in content.keys() - _KINDS.keys():
            raise InputError(source, name, "is an unknown field of a request", None, did_you_mean(name, _KINDS))
        for name in ("id", "arrival_s", "end_s", "latency_s"):
            if content.get(name) is None:
                raise InputError(source, name, "is missing from a request")
        return cls(**{name: _typed(source, name, value) for name, value in content.items()})


_KINDS: dict[str, str] = {field.name: str(field.type) for field in dataclasses.fields(RequestRecord)}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _typed(source: object, name: str, value: Any) -> Any:
    """A value of a field's type from JSON."""
    kind = _KINDS[name]
    if kind == "float":
        if value is None:
            return _UNKNOWN
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif type(value).__name__ == kind:
        return value
    raise InputError(source, name, f"must be of type {kind}", value)


def completed(problem: Problem, record: RequestRecord) -> RequestRecord:
    """A record whose unknown billed units and joules are derived from its seconds and bytes, as the environment does.

    Edge time is billed in started milliseconds, functions by the price list's granularity and minimum with the
    initialisation if the provider bills it (`init_s` then counts whole: the client does not know which part of a cold
    start was set-up, so a server that does should report `faas_ms`). Energy follows the scenario's power model.
    """
    p = problem.params
    derived: dict[str, Any] = {}
    if math.isnan(record.edge_ms):
        derived["edge_ms"] = _started_ms(record.edge_service_s)
    if math.isnan(record.edge_requests):
        derived["edge_requests"] = float(record.edge_service_s > 0.0)
    if math.isnan(record.faas_requests):
        derived["faas_requests"] = float(record.faas)
    if math.isnan(record.faas_ms):
        billed_s = record.cloud_service_s + (record.init_s if p.faas_init_billed else 0.0)
        steps = math.ceil((billed_s * 1000.0 - 1e-6) / p.faas_granularity_ms)
        least = max(steps * p.faas_granularity_ms, p.faas_minimum_ms)
        derived["faas_ms"] = float(least) if record.faas else 0.0
    if math.isnan(record.device_j):
        derived["device_j"] = record.device_service_s * (p.device_busy_w - p.device_idle_w)
    if math.isnan(record.radio_j):
        mean_bps = 8.0 * record.uplink_bytes / record.uplink_s if record.uplink_s > 0.0 else 0.0
        watts = min(p.radio_base_w + p.radio_w_per_bps * mean_bps, p.radio_limit_w)
        derived["radio_j"] = watts * record.uplink_s
    return dataclasses.replace(record, **derived) if derived else record


def _started_ms(seconds: float) -> float:
    return float(math.ceil(seconds * 1000.0 - 1e-6)) if seconds > 0.0 else 0.0
