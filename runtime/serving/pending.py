"""A request that the device has not answered yet, and the record that it becomes."""

from __future__ import annotations

import math
import os
from concurrent.futures import Future
from dataclasses import dataclass, field

from torch import Tensor

from .messages import Reply, Timings
from .model import Answer
from .observer import ServedRequest
from .plan import Plan

__all__ = ["Pending"]


def _running() -> Future[ServedRequest]:
    """A future that its caller cannot cancel: a request ends once, and whoever ends it must be able to say so."""
    future: Future[ServedRequest] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(eq=False)
class Pending:
    """What is known of a request so far; instants are those of `time.monotonic`."""

    image: Tensor
    plan: Plan
    arrived_s: float
    until_s: float
    sample: int = -1
    want_logits: bool = False
    id: bytes = field(default_factory=lambda: os.urandom(16))
    answered: Future[ServedRequest] = field(default_factory=_running)
    done: bool = False
    local: bool = False  # the device is finishing it in a server's place
    tensor: Tensor | None = None  # what crosses the device's cut
    first_confidence: float = math.nan
    sent_unix_s: float = 0.0
    attempts: int = 0
    reason: str = ""
    refused: bool = False
    device_end_s: float = math.nan
    device_queue_s: float = 0.0
    device_service_s: float = 0.0
    pause_s: float = 0.0
    uplink_queue_s: float = 0.0
    uplink_s: float = 0.0
    uplink_end_s: float = math.nan
    uplink_bytes: int = 0

    def from_device(self, answer: Answer, now: float, origin_s: float, name: str) -> ServedRequest:
        """The record of a request that the device has answered itself."""
        first = self.first_confidence if math.isnan(answer.first_confidence) else answer.first_confidence
        return self._record(
            now,
            origin_s,
            exit=answer.exit,
            label=answer.label,
            confidence=answer.confidence,
            first_confidence=first,
            tier="fallback" if self.local else "device",
            server=name,
            logits=answer.logits.numpy().astype("<f4").tobytes() if self.want_logits else b"",
        )

    def from_reply(self, reply: Reply, now: float, origin_s: float) -> ServedRequest:
        """The record of a request that a server has answered."""
        times = reply.timings
        cloud = "cloud_service_s" in times
        return self._record(
            now,
            origin_s,
            timings=times,
            exit=reply.exit,
            label=reply.label,
            confidence=reply.confidence,
            first_confidence=reply.first_confidence,
            tier="cloud" if cloud else "edge",
            server=reply.server,
            logits=reply.logits,
        )

    def as_failed(self, origin_s: float, timeout_s: float) -> ServedRequest:
        """The record of a request without an answer."""
        reason = self.reason or "no answer by the deadline"
        status = "refused" if self.refused else "failed" if self.reason else "late"
        return self._record(self.arrived_s + timeout_s, origin_s, status=status, reason=reason, failed=True)

    def _record(
        self,
        now: float,
        origin_s: float,
        timings: Timings | None = None,
        failed: bool = False,
        status: str = "ok",
        reason: str = "",
        exit: int = -1,
        label: int = -1,
        confidence: float = math.nan,
        first_confidence: float = math.nan,
        tier: str = "",
        server: str = "",
        logits: bytes = b"",
    ) -> ServedRequest:
        t = timings or Timings()
        end, latency_s = now - origin_s, now - self.arrived_s
        uplink_end = self._since(self.uplink_end_s, origin_s, end)
        edge_s = t.get("edge_queue_s", 0.0) + t.get("edge_pause_s", 0.0) + t.get("edge_service_s", 0.0)
        parts = {
            "device_queue_s": self.device_queue_s,
            "device_service_s": self.device_service_s,
            "uplink_queue_s": self.uplink_queue_s,
            "uplink_s": self.uplink_s,
            "edge_queue_s": t.get("edge_queue_s", 0.0),
            "edge_service_s": t.get("edge_service_s", 0.0),
            "backhaul_s": t.get("backhaul_s", 0.0),
            "cloud_queue_s": t.get("cloud_queue_s", 0.0),
            "cloud_service_s": t.get("cloud_service_s", 0.0),
            "init_s": t.get("init_s", 0.0),
            "pause_s": self.pause_s + t.get("edge_pause_s", 0.0) + t.get("cloud_pause_s", 0.0),
        }
        excess_s = sum(parts.values()) - latency_s
        if timings and excess_s > 0:  # the receipt was noticed after the server had begun
            noticed_late_s = min(excess_s, self.uplink_s)
            parts["uplink_s"] -= noticed_late_s
            uplink_end -= noticed_late_s
        return ServedRequest(
            id=self.id.hex(),
            plan=self.plan,
            arrival_s=self.arrived_s - origin_s,
            end_s=end,
            latency_s=latency_s,
            failed=failed,
            status=status,
            reason=reason,
            sample=self.sample,
            exit=exit,
            label=label,
            confidence=confidence,
            first_confidence=first_confidence,
            tier=tier,
            server=server,
            device_end_s=self._since(self.device_end_s, origin_s, end),
            uplink_end_s=uplink_end,
            edge_end_s=min(uplink_end + edge_s, end) if timings else end,
            propagation_s=0.0 if failed else max(latency_s - sum(parts.values()), 0.0),
            uplink_bytes=self.uplink_bytes,
            transit_bytes=t.get("transit_bytes", 0),
            faas=t.get("route_used", "") == "faas",
            cold=t.get("cold", False),
            billed_ms=t.get("billed_ms", 0),
            attempts=self.attempts,
            logits=logits,
            **parts,
        )

    def _since(self, instant: float, origin_s: float, end: float) -> float:
        return end if math.isnan(instant) else instant - origin_s
