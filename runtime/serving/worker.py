"""What a tier does with a request: run its part, answer if a head is sure enough, else pass the activation on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from typing import Any, cast

import torch

from .batching import Done, TierQueue
from .fields import MessageError
from .messages import Prepare, Prepared, Reply, Request, Status, Timings, decode, encode
from .model import Activation, Answer, SplitModel, load_split_model
from .pace import MachinePace, Stretched
from .payloads import LOSSLESS, Encoding, pack, unpack
from .transport_errors import DeadlineError, TransportError

__all__ = ["Forward", "Worker", "make_handler"]

Forward = Callable[[bytes, float], bytes]
"""Sends a request on with a timeout in seconds; raises `TransportError`."""

_TIERS = ("edge", "cloud")
_CLOUD_SECONDS = ("cloud_queue_s", "cloud_service_s", "cloud_pause_s", "init_s")


class Worker:
    """Serves one tier's part of a split network: bytes in, bytes out, from any number of threads.

    It belongs to no transport: the gRPC server, a function framework or a test calls `handle`.

    Args:
        model: The network; requests for another one are refused.
        name: Appears in replies.
        tier: `edge` or `cloud`: under which names times are reported.
        forward: Where the rest of the network is; None: all of it is run here.
        queue: The tier's queue; None makes one.
        encoding: Of activations that are passed on.
        gauges: More numbers for the status, for example those of the next tier.
    """

    def __init__(
        self,
        model: SplitModel,
        name: str = "cloud",
        tier: str = "cloud",
        forward: Forward | None = None,
        queue: TierQueue | None = None,
        encoding: Encoding = LOSSLESS,
        gauges: Callable[[], dict[str, float]] = dict,
    ) -> None:
        if tier not in _TIERS:
            raise ValueError(f"tier must be one of {_TIERS}, not {tier!r}")
        self.model, self.name, self.tier = model, name, tier
        self.queue = queue or TierQueue(model, name=name, inline=True)
        self.draining = False
        self._forward, self._encoding, self._gauges = forward, encoding, gauges
        self._refusals = 0

    def handle(self, data: bytes) -> bytes:
        """The encoded reply to an encoded request.

        Raises:
            MessageError: It is no request, or not one for this network and cut.
            OverloadedError: The queue is full.
        """
        received_s = time.monotonic()
        try:
            request, last = self._check(decode(data))
        except MessageError:
            self._refusals += 1
            raise
        timings = Timings()
        until_s = received_s + request.deadline_s
        result: Answer | Activation | None = None
        first_confidence = request.first_confidence
        try:
            if request.cut < last:
                done = self._run(request, last, until_s)
                self._note(timings, done)
                result = done.result
                first_confidence = _known(result.first_confidence, first_confidence)
            if isinstance(result, Answer):
                return encode(self._answer(request, result, first_confidence, timings))
            return self._pass_on(request, result, last, until_s, first_confidence, timings)
        except DeadlineError as error:
            return encode(self._nothing(request, "late", str(error), timings))
        except TransportError as error:
            if not timings:  # nothing was begun here: the caller may try elsewhere
                raise
            return encode(self._nothing(request, "failed", str(error), timings))

    def prepare(self, data: bytes) -> bytes:
        """Load what a plan will need here; the encoded `Prepared`.

        Raises:
            MessageError: It is no `Prepare`, or one for another network.
        """
        message = decode(data)
        if not isinstance(message, Prepare):
            raise MessageError("kind", "must be prepare here")
        self._check_model(message.model)
        first, last = self._part(message.plan.cut_device, message.plan.cut_edge)
        resident, seconds = self.model.segments.prepare(first, last)
        return encode(Prepared(resident, seconds, self.model.segments.resident[:64]))

    def status(self) -> bytes:
        """The encoded `Status`."""
        gauges = {
            "served": float(self.queue.served),
            "dropped": float(self.queue.dropped),
            "refused": float(self._refusals),
            "loads": float(self.model.segments.loads),
            "pause_s": self.model.segments.pause_s,
            **self._gauges(),
        }
        return encode(
            Status(
                server=self.name,
                tier=self.tier,
                model=self.model.fingerprint,
                queue=self.queue.length,
                load=self.queue.load(),
                segments=self.model.segments.resident[:64],
                versions={"torch": torch.__version__, "protocol": "1"},
                gauges=gauges,
                draining=self.draining,
            )
        )

    def close(self) -> None:
        """Finish what is queued and end the worker's thread."""
        self.queue.close()

    def _part(self, cut_device: int, cut_edge: int) -> tuple[int, int]:
        """The stages that a plan gives to this tier."""
        last = self.model.stages if self._forward is None else cut_edge
        first = cut_device if self.tier == "edge" else cut_edge
        if not first <= last <= self.model.stages:
            raise MessageError("plan.cuts", f"must not exceed {self.model.stages} stages", (cut_device, cut_edge))
        return first, last

    def _check_model(self, fingerprint: str) -> None:
        if fingerprint != self.model.fingerprint:
            remedy = "start all tiers with the same model"
            raise MessageError("model", f"must be {self.model.fingerprint}, which is served here", fingerprint, remedy)

    def _check(self, message: Any) -> tuple[Request, int]:
        """The request and the cut to run to."""
        if not isinstance(message, Request):
            raise MessageError("kind", "must be request here")
        self._check_model(message.model)
        first, last = self._part(message.plan.cut_device, message.plan.cut_edge)
        if message.cut != first or first >= self.model.stages:
            raise MessageError(
                "cut", f"must be {first}, where this tier begins, and before the last stage", message.cut
            )
        shape = self.model.shapes[message.cut]
        if message.payload.shape != shape:
            raise MessageError("payload.shape", f"must be {shape}, the model's at cut {first}", message.payload.shape)
        if (message.payload.dtype == "uint8") != (message.cut == 0):
            raise MessageError("payload.dtype", "must be uint8 at cut 0 and only there", message.payload.dtype)
        return message, last

    def _run(self, request: Request, last: int, until_s: float) -> Done:
        tensor = unpack(request.payload, self.model.shapes[request.cut])
        job = self.queue.submit(tensor, request.cut, last, request.plan.threshold, until_s)
        try:
            # What has begun runs to its end; the margin is for what stands before it and is served in time.
            return job.result(timeout=max(until_s - time.monotonic(), 0.0) + 60.0)
        except FutureTimeoutError as error:
            raise DeadlineError("the tier hangs") from error

    def _note(self, timings: Timings, done: Done) -> None:
        if self.tier == "edge":
            timings["edge_queue_s"], timings["edge_service_s"] = done.queue_s, done.service_s
            timings["edge_pause_s"] = done.pause_s
            timings["edge_queue"], timings["edge_load"] = done.ahead, self.queue.load()
        else:
            timings["cloud_queue_s"], timings["cloud_service_s"] = done.queue_s, done.service_s
            timings["cloud_pause_s"] = done.pause_s
            timings["cloud_queue"], timings["cloud_server"] = done.ahead, self.name

    def _answer(self, request: Request, answer: Answer, first: float, timings: Timings) -> Reply:
        return Reply(
            id=request.id,
            exit=answer.exit,
            confidence=answer.confidence,
            label=answer.label,
            status="ok",
            timings=timings,
            server=self.name,
            first_confidence=first,
            logits=answer.logits.numpy().astype("<f4").tobytes() if request.want_logits else b"",
        )

    def _nothing(self, request: Request, status: str, reason: str, timings: Timings) -> Reply:
        return Reply(request.id, -1, math.nan, -1, status, reason[:500], timings, self.name)

    def _pass_on(
        self,
        request: Request,
        result: Activation | None,
        last: int,
        until_s: float,
        first_confidence: float,
        timings: Timings,
    ) -> bytes:
        """Send the activation to the next tier, and its reply back with this tier's times."""
        assert self._forward is not None
        payload = request.payload if result is None else pack(result.tensor, self._encoding)
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineError("no time was left for the next tier")
        onward = replace(
            request, cut=last, payload=payload, deadline_s=min(left_s, 3600.0), first_confidence=first_confidence
        )
        data = encode(onward)
        timings["transit_bytes"] = len(data)
        started = time.monotonic()
        reply = decode(self._forward(data, left_s))
        elapsed_s = time.monotonic() - started
        if not isinstance(reply, Reply) or reply.id != request.id:
            raise TransportError("the next tier answered something else")
        merged = cast(Timings, {**reply.timings, **timings})
        spent_s = sum(float(cast(dict[str, float], reply.timings).get(key, 0.0)) for key in _CLOUD_SECONDS)
        merged["backhaul_s"] = max(elapsed_s - spent_s, 0.0)
        return encode(replace(reply, timings=merged, first_confidence=_known(reply.first_confidence, first_confidence)))


def _known(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value


def make_handler(
    model: str,
    name: str = "cloud",
    slowdown: float = 1.0,
    pace: Mapping[str, Any] | None = None,
    resident: int = 2,
    threads: int = 1,
    capacity: int = 64,
) -> Callable[[bytes], bytes]:
    """The cloud's worker as a function of bytes, from arguments that fit into JSON: for VM workers and functions.

    Args:
        model: As `load_split_model` takes it.
        name: Appears in replies.
        slowdown: Factor that stands for a slower machine.
        pace: Arguments of `MachinePace` instead: a machine with known times.
        resident: Parts kept loaded at a time.
        threads: Threads of torch in this process.
        capacity: Requests inside at a time.
    """
    torch.set_num_threads(threads)
    loaded = load_split_model(model, resident)
    speed = MachinePace(**pace) if pace else Stretched(slowdown)
    return Worker(loaded, name, queue=TierQueue(loaded, capacity, speed, name=name, inline=True)).handle
