"""Prometheus metrics of a served run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from ..envs.measure import SCHEMA, column
from ..errors import InputError
from .recording import Decided, Recorder
from .records import COMPONENTS, RequestRecord
from .telemetry import Interval

__all__ = ["Metrics"]

_LATENCY_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_DECISION_S = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
_PARTS = ("placement", "threshold", "route", "vm_target")


class Metrics:
    """What a run shows to Prometheus, all under 'edgecloud_' and in SI units.

    The measured row is there by its fields' names (`edgecloud_rtt_s`; a field of several columns has a label, `slot`),
    so that what the policy sees can be plotted. Nothing is registered globally: several runs may live in one process.

    Args:
        registry: Where the metrics are kept; None: a registry of their own.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self._row = [
            Gauge(f"edgecloud_{f.name}", f"{f.meaning} ({f.unit})", ["slot"] if f.size > 1 else [], **own)
            for f in SCHEMA
        ]
        self._requests = Counter(
            "edgecloud_requests", "Requests settled.", ["outcome", "exit", "cut_device", "cut_edge", "served"], **own
        )
        self._latency = Histogram("edgecloud_latency_seconds", "Answered requests.", buckets=_LATENCY_S, **own)
        self._component = Counter("edgecloud_component_seconds", "Time of requests by part.", ["part"], **own)
        self._cold = Counter("edgecloud_cold_starts", "Function instances started.", **own)
        self._billed = Counter("edgecloud_billed", "Billed units.", ["meter"], **own)
        self._pauses = Counter("edgecloud_repartitions", "Placements that had to be loaded.", **own)
        self._in_flight = Gauge("edgecloud_in_flight", "Requests inside the system.", **own)
        self._decisions = Counter("edgecloud_decisions", "Decisions by what came of them.", ["outcome"], **own)
        self._decision_s = Histogram("edgecloud_decision_seconds", "Time to decide.", buckets=_DECISION_S, **own)
        self._action = Gauge("edgecloud_action", "Action in force, as indices.", ["part"], **own)
        self._lost = Gauge("edgecloud_recording_lost_lines", "Lines of the recording that could not be written.", **own)
        self._server: Any = None

    def interval(self, interval: Interval, records: Sequence[RequestRecord], recorder: Recorder | None = None) -> None:
        """Show an interval that has ended and the requests settled in it."""
        for field, gauge in zip(SCHEMA, self._row, strict=True):
            at = column(field.name)
            if field.size == 1:
                gauge.set(float(interval.row[at]))
            else:
                for k in range(field.size):
                    gauge.labels(str(k)).set(float(interval.row[at + k]))
        self._in_flight.set(interval.in_flight)
        self._pauses.inc(interval.repartitions)
        self._billed.labels("vm_s").inc(interval.vm_s)
        for record in records:
            self._request(record)
        self._functions(interval, records)
        if recorder is not None:
            self._lost.set(recorder.lost)

    def _request(self, record: RequestRecord) -> None:
        served = "function" if record.faas else "other"
        outcome = "failed" if record.failed else "answered"
        self._requests.labels(outcome, record.exit, record.cut_device, record.cut_edge, served).inc()
        if not record.failed:
            self._latency.observe(record.latency_s)
            for part in COMPONENTS:
                self._component.labels(part).inc(max(0.0, getattr(record, part)))
        for meter in ("edge_ms", "edge_requests", "egress_bytes", "transit_bytes"):
            self._billed.labels(meter).inc(_known(getattr(record, meter)))

    def _functions(self, interval: Interval, records: Sequence[RequestRecord]) -> None:
        """Bills of functions: what their provider metered, else what the answers tell."""
        for meter in ("faas_ms", "faas_requests"):
            metered = getattr(interval, meter)
            told = sum(_known(getattr(record, meter)) for record in records)
            self._billed.labels(meter).inc(told if metered is None else metered)
        cold = sum(record.cold for record in records)
        self._cold.inc(cold if interval.cold_starts is None else interval.cold_starts)

    def decision(self, decided: Decided) -> None:
        """Show a decision."""
        self._decisions.labels(decided.outcome).inc()
        self._decision_s.observe(decided.decision_s)
        for part, value in zip(_PARTS, decided.action, strict=True):
            self._action.labels(part).set(value)

    def serve(self, port: int, address: str = "127.0.0.1") -> int:
        """Answer Prometheus at http://address:port/metrics until `close`; the port (0 asks for any free one).

        Raises:
            InputError: The port cannot be had.
        """
        try:
            server, _ = start_http_server(port, address, registry=self.registry)
        except OSError as error:
            raise InputError("metrics", "port", f"must be free on {address} ({error.strerror})", port) from error
        self._server = server
        return int(server.server_port)

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value
