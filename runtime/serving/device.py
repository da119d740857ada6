"""The device: runs the head of the network, sends what crosses the cut, and ends every request exactly once."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import InputError
from .alarms import Alarms
from .batching import Done, TierQueue
from .breaker import CircuitBreaker
from .certificates import Credentials
from .messages import MessageError, Prepare, Prepared, Reply, Request, Status, decode, encode
from .model import Answer, SplitModel
from .observer import GAUGES, GuardedObserver, NullObserver, Observer, ServedRequest
from .pace import Pace, Stretched
from .payloads import Encoding, pack
from .pending import Pending
from .plan import Plan
from .stage_times import measured_stages
from .status_poll import StatusPoll
from .transport import Client
from .transport_errors import OverloadedError, RefusedError, TransportError, UnreachableError
from .uplink import Transfer, Uplink

__all__ = ["Device", "DeviceSettings"]

_HEADER_BYTES = 400
_EWMA = 0.2


@dataclass(frozen=True)
class DeviceSettings:
    """How a device serves."""

    name: str = "device"
    timeout_s: float = 2.0
    """Hard timeout from arrival: what has no answer by then has failed."""
    encoding: str = "fp32"
    """Of activations sent."""
    pace: Pace = field(default_factory=Stretched)
    """How long service takes, where this machine stands for a slower one."""
    capacity: int = 1024
    """Requests waiting for the device at a time."""
    fallback: bool = True
    """Whether the device may finish a request in the place of a server that did not."""
    rescue_late: bool = False
    """Whether it also does so when a reply is merely late, just before the deadline; the simulator's does not."""
    attempts: int = 2
    """Times that a request is sent at most."""
    silence_s: float = 2.0
    """After so long without a sign of life although one is due, the edge server counts as dead."""
    failures: int = 3
    """Failures in a row after which it is left alone for `cooldown_s`."""
    cooldown_s: float = 1.0
    poll_s: float = 1.0
    """How often the edge server is asked for its status; 0: never."""


class Device:
    """Serves requests in order of arrival under the plan that is in force when they arrive.

    Each request ends once: answered by the device, the edge or the cloud; or by the device in their place, if the time
    that is left allows; or reported failed at its deadline. Whatever comes later is counted and dropped.

    Args:
        model: The network; the device keeps all of it, so that it can finish alone.
        plan: In force at first.
        address: Edge server, `host:port`; empty: there is none.
        credentials: Own certificate and the authority; None: plain text.
        observer: Told what happens.
        settings: How to serve.
    """

    def __init__(
        self,
        model: SplitModel,
        plan: Plan,
        address: str = "",
        credentials: Credentials | None = None,
        observer: Observer | None = None,
        settings: DeviceSettings | None = None,
    ) -> None:
        self.settings = settings or DeviceSettings()
        if not 0 < self.settings.timeout_s <= 3600:
            raise InputError("device", "timeout_s", "must be between 0 and 3600", self.settings.timeout_s)
        self.model, self._observer = model, GuardedObserver(observer or NullObserver())
        self._encoding = Encoding.parse(self.settings.encoding)
        model.keep_whole()
        self._stage_s = measured_stages(model, self.settings.pace)
        self.set_plan(plan)
        self.origin_s = time.monotonic()
        """Instant of `time.monotonic` that the observer's times count from."""
        self.breaker = CircuitBreaker(self.settings.failures, self.settings.cooldown_s)
        self.duplicates = 0
        """Answers that came when the request had ended already."""
        self._lock, self._showing = threading.Lock(), threading.Lock()
        self._inside: set[Pending] = set()
        self._closed = threading.Event()
        self._alarms = Alarms()
        self._queue = TierQueue(model, self.settings.capacity, self.settings.pace, name=self.settings.name)
        self._client = Client(address, credentials) if address else None
        self._uplink = Uplink(address, credentials, self, self.settings.silence_s) if address else None
        every_s = self.settings.poll_s
        self._poll = StatusPoll(self._client, every_s, lambda: self.connected, self._told) if self._client else None

    # -- what a program calls

    def submit(
        self, image: Tensor, sample: int = -1, plan: Plan | None = None, want_logits: bool = False
    ) -> Future[ServedRequest]:
        """Take a request in.

        Args:
            image: uint8 (1, c, h, w).
            sample: Its index in a test set, for the record.
            plan: Instead of the one in force.
            want_logits: Whether the record shall carry the answering head's logits.

        Raises:
            InputError: The image or the plan does not fit the network.
        """
        if image.dtype != torch.uint8 or tuple(image.shape) != self.model.shapes[0]:
            rule = f"must be uint8 of shape {self.model.shapes[0]}"
            raise InputError("device", "image", rule, (str(image.dtype), tuple(image.shape)))
        plan = self._checked(plan) if plan else self._plan
        now = time.monotonic()
        pending = Pending(image, plan, now, now + self.settings.timeout_s, sample, want_logits, tensor=image)
        with self._lock:
            if self._closed.is_set():
                raise UnreachableError("the device is closed")
            self._inside.add(pending)
        self._observer.arrived(now - self.origin_s)
        self._alarms.at(pending.until_s, lambda: self._fail(pending))
        if plan.cut_device == 0:
            pending.device_end_s = now
            self._send(pending)
        else:
            self._compute(pending, image, 0, plan.cut_device)
        return pending.answered

    @property
    def plan(self) -> Plan:
        """In force for requests that arrive now."""
        return self._plan

    def set_plan(self, plan: Plan) -> None:
        """Put a plan in force for the requests that arrive from now on."""
        self._plan = self._checked(plan)

    def prepare(self, plan: Plan, timeout_s: float = 30.0) -> Prepared | None:
        """Have the servers load what a plan will need, ahead of `set_plan`; None: they cannot be reached."""
        if self._client is None or plan.cut_device == self.model.stages:
            return None
        try:
            data = self._client.prepare(encode(Prepare(self.model.fingerprint, self._checked(plan))), timeout_s)
            reply = decode(data)
        except (TransportError, MessageError):
            return None
        return reply if isinstance(reply, Prepared) else None

    @property
    def connected(self) -> bool:
        """Whether the edge server answers."""
        return self._uplink is not None and self._uplink.up

    def wait_until_connected(self, timeout_s: float = 10.0) -> bool:
        """Wait for the edge server; whether it answers."""
        return self._uplink is not None and self._uplink.wait_until_up(timeout_s)

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        with self._lock:
            return len(self._inside)

    def close(self, grace_s: float = 0.0) -> None:
        """Wait for at most `grace_s` for what is inside, report the rest failed, and end every thread."""
        until = time.monotonic() + grace_s
        while self.in_flight and time.monotonic() < until:
            time.sleep(0.01)
        with self._lock:
            self._closed.set()
            rest = list(self._inside)
        if self._poll is not None:
            self._poll.stop()
        for pending in rest:
            pending.reason = pending.reason or "the device was closed"
            self._fail(pending)
        if self._uplink is not None:
            self._uplink.close()
        if self._client is not None and self._poll is not None:
            self._client.close()
            self._poll.join()
        self._alarms.close()
        self._queue.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the device's own part

    def _checked(self, plan: Plan) -> Plan:
        if plan.cut_edge > self.model.stages:
            raise InputError("plan", "cut_edge", f"must be at most {self.model.stages}", plan.cut_edge)
        return plan

    def _compute(self, pending: Pending, tensor: Tensor, first: int, last: int) -> None:
        try:
            job = self._queue.submit(tensor, first, last, pending.plan.threshold, pending.until_s)
        except OverloadedError as error:
            pending.reason = f"device: {error}"
            return
        self._show_levels()
        job.add_done_callback(lambda outcome: self._computed(pending, outcome))

    def _computed(self, pending: Pending, outcome: Future[Done]) -> None:
        now = time.monotonic()
        self._show_levels()
        error = outcome.exception()
        if error is not None:
            pending.reason = pending.reason or f"device: {error}"
            return
        done = outcome.result()
        pending.device_queue_s += done.queue_s
        pending.device_service_s += done.service_s
        pending.pause_s += done.pause_s
        if not pending.local:
            pending.device_end_s = now
        if isinstance(done.result, Answer):
            self._finish(pending, pending.from_device(done.result, now, self.origin_s, self.settings.name))
            return
        pending.tensor, pending.first_confidence = done.result.tensor, done.result.first_confidence
        self._send(pending)

    def _send(self, pending: Pending) -> None:
        """Hand what crosses the cut to the uplink, or finish without a server."""
        if self._uplink is None or not self._uplink.up or not self.breaker.allows():
            self._rescue(pending, "the edge server does not answer")
            return
        tensor = pending.tensor
        if tensor is None:  # it ended while a retry was on its way
            return
        payload = pack(tensor, self._encoding)

        def make() -> bytes:
            now = time.monotonic()
            pending.attempts += 1
            pending.sent_unix_s = pending.sent_unix_s or time.time()
            link_s = (len(payload.data) / uplink.rate_bytes_per_s) + uplink.rtt_s
            left_s = max(pending.until_s - now - link_s, 0.001)
            return encode(
                Request(
                    id=pending.id,
                    model=self.model.fingerprint,
                    plan=pending.plan,
                    cut=pending.plan.cut_device,
                    deadline_s=left_s,
                    payload=payload,
                    sent_s=pending.sent_unix_s,
                    attempt=pending.attempts,
                    first_confidence=pending.first_confidence,
                    want_logits=pending.want_logits,
                )
            )

        uplink = self._uplink
        try:
            uplink.send(Transfer(make, len(payload.data) + _HEADER_BYTES, pending.until_s, pending))
        except UnreachableError as error:
            self._rescue(pending, str(error))
            return
        if self.settings.rescue_late and self.settings.fallback:
            latest = pending.until_s - 2.0 * self._local_s(pending) - 0.05
            self._alarms.at(latest, lambda: self._rescue(pending, "the reply is late", resend=False))
        self._show_levels()

    def _local_s(self, pending: Pending) -> float:
        """Seconds that finishing on the device would take, its queue not counted."""
        return sum(self._stage_s[pending.plan.cut_device :])

    def _rescue(self, pending: Pending, reason: str, resend: bool = True) -> None:
        """Finish on the device if that can be done in time; else send once more; else the deadline decides."""
        now = time.monotonic()
        with self._lock:
            if pending.done or pending.local:
                return
            pending.reason = reason
            left_s = pending.until_s - now
            waiting_s = self._queue.length * sum(self._stage_s)
            alone = self.settings.fallback and self._local_s(pending) + waiting_s < left_s
            pending.local = alone
        if alone and pending.tensor is not None:
            self._compute(pending, pending.tensor, pending.plan.cut_device, self.model.stages)
        elif resend and 0 < pending.attempts < self.settings.attempts and not pending.refused and self.connected:
            self._send_again(pending)

    def _send_again(self, pending: Pending) -> None:
        threading.Thread(target=self._send, args=(pending,), name="device-retry", daemon=True).start()

    def _fail(self, pending: Pending) -> None:
        if not pending.done:
            # A deadline missed while a server had the request speaks against the server.
            if self.settings.rescue_late and pending.attempts and not pending.local:
                self.breaker.failed()
            self._finish(pending, pending.as_failed(self.origin_s, self.settings.timeout_s))

    def _finish(self, pending: Pending, record: ServedRequest) -> None:
        with self._lock:
            if pending.done:
                self.duplicates += 1
                return
            if not record.failed and record.latency_s > self.settings.timeout_s:
                return  # the alarm is about to report it
            pending.done = True
            pending.tensor = None
            self._inside.discard(pending)
        self._observer.answered(record)
        self._show_levels()
        pending.answered.set_result(record)

    # -- what the uplink tells

    def transfer_started(self, transfer: Transfer) -> None:
        """The uplink's turn has come."""
        pending: Pending = transfer.owner
        pending.uplink_bytes = transfer.size_bytes
        self._observer.uplink_started(transfer.size_bytes, transfer.begun_s - self.origin_s)

    def transfer_ended(self, transfer: Transfer, seconds: float) -> None:
        """Its bytes have arrived, or were given up."""
        pending: Pending = transfer.owner
        rtt_s = self._uplink.rtt_s if self._uplink else 0.0
        if not math.isnan(pending.device_end_s):
            pending.uplink_queue_s = max(transfer.begun_s - pending.device_end_s, 0.0)
        pending.uplink_s = seconds
        pending.uplink_end_s = transfer.ended_s + rtt_s / 2
        self._observer.uplink_finished(transfer.received_bytes, seconds)
        self._show_levels()

    def transfer_replied(self, transfer: Transfer, data: bytes) -> None:
        """A server has answered."""
        pending: Pending = transfer.owner
        now = time.monotonic()
        reply: object = None
        with suppress(MessageError):
            reply = decode(data)
        useful = isinstance(reply, Reply) and (reply.status != "ok" or 0 <= reply.exit < len(self.model.exits))
        if not isinstance(reply, Reply) or reply.id != pending.id or not useful:
            self.breaker.failed()
            self._rescue(pending, "the edge server answered something else")
        elif reply.status == "ok":
            self.breaker.succeeded()
            self._finish(pending, pending.from_reply(reply, now, self.origin_s))
        else:
            self._rescue(pending, f"{reply.server}: {reply.status}: {reply.reason}"[:500], resend=False)

    def transfer_lost(self, transfer: Transfer, error: TransportError) -> None:
        """There will be no reply."""
        pending: Pending = transfer.owner
        if self._closed.is_set() or pending.done:
            return
        if isinstance(error, OverloadedError | UnreachableError) or type(error) is TransportError:
            self.breaker.failed()
        pending.refused = isinstance(error, RefusedError)
        self._rescue(pending, str(error))

    def round_trip(self, seconds: float) -> None:
        """A ping came back."""
        self._observer.rtt(seconds)

    def _show_levels(self) -> None:
        with self._showing:  # so that what was read last is told last
            self._observer.gauge("device_queue", self._queue.length)
            if self._uplink is not None:
                count, size = self._uplink.waiting()
                self._observer.gauge("uplink_queue", count)
                self._observer.gauge("uplink_queue_bytes", size)

    # -- what the edge server tells

    def _told(self, status: Status) -> None:
        self._show_levels()
        self._observer.gauge("edge_queue", status.queue)
        for name in GAUGES:
            if name in status.gauges and math.isfinite(status.gauges[name]):
                self._observer.gauge(name, max(status.gauges[name], 0.0))
