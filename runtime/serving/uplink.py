"""The device's side of the uplink: one transfer after the other, in order, with its progress measured.

A transfer goes out in pieces, with about one and a half bandwidth-delay products and two pieces under way at most, so
that the link never idles, nothing queues in the kernel for long, and a transfer whose deadline passes can be given up
half-way: what is under way then still occupies the link, at the end of an outage as well.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from .certificates import Credentials
from .framing import ABORT, ERROR, LAST, PART, PING, PONG, RECEIPT, REPLY, Frame, frame, read_frame
from .logs import logger
from .messages import MAX_MESSAGE_BYTES
from .stream_server import STREAM_ERRORS
from .transport import as_transport_error, open_channel
from .transport_errors import DeadlineError, TransportError, UnreachableError

__all__ = ["Transfer", "Uplink", "UplinkEvents"]

_SMALLEST, _LARGEST = 4 << 10, 256 << 10
_TELLING = 16 << 10  # what is smaller mostly tells of latency, unless it took several round trips
_PIECE_S = 0.02
_WINDOW_FACTOR = 1.5
_FIRST_RATE = 4e6  # bytes per second until one has been measured
_GAIN = 0.3


@dataclass(eq=False)
class Transfer:
    """A message to be sent, and what became of it."""

    make: Callable[[], bytes]
    """Makes the message when its turn comes, so that it says how much time is left then."""
    size_bytes: int
    """Roughly; exact once it has begun."""
    until_s: float
    """Instant of `time.monotonic` after which it is not begun, or given up."""
    owner: Any = None
    data: memoryview = field(default_factory=lambda: memoryview(b""))
    begun_s: float = 0.0
    ended_s: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0
    given_up: bool = False
    """Half-way: nobody waits for it, but what was sent of it still occupies the link."""


class UplinkEvents(Protocol):
    """Told of transfers, from the uplink's threads."""

    def transfer_started(self, transfer: Transfer) -> None:
        """It begins."""

    def transfer_ended(self, transfer: Transfer, seconds: float) -> None:
        """`received_bytes` of it were delivered in so many seconds; fewer than all: it was given up or lost."""

    def transfer_replied(self, transfer: Transfer, data: bytes) -> None:
        """The reply came."""

    def transfer_lost(self, transfer: Transfer, error: TransportError) -> None:
        """There will be no reply."""

    def round_trip(self, seconds: float) -> None:
        """A round trip was measured."""


class Uplink:
    """A stream to the edge server that is opened again whenever it breaks.

    Args:
        address: `host:port`.
        credentials: Own certificate and the authority; None: plain text.
        events: Told what happens.
        silence_s: After so long without a sign of life although one is due, the connection counts as dead.
        ping_s: How often an idle connection is probed.
        max_bytes: Longest message.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials | None,
        events: UplinkEvents,
        silence_s: float = 2.0,
        ping_s: float = 0.5,
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._address, self._credentials, self._events, self._max_bytes = address, credentials, events, max_bytes
        self._silence_s, self._ping_s = silence_s, ping_s
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._queue: deque[Transfer] = deque()
        self._current: Transfer | None = None
        self._open: dict[int, Transfer] = {}  # begun, without a reply
        self._seq = 0
        self._generation = 0
        self._up = self._closed = False
        self._rate = _FIRST_RATE
        self.rtt_s = 0.0
        self._last_end_s = self._heard_s = self._ping_sent_s = 0.0
        self._ping_due: float | None = None
        self._call: Any = None
        self._halt = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._run, "uplink-stream"), (self._watch, "uplink-watch"))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def up(self) -> bool:
        """Whether the edge server has answered on the present connection."""
        return self._up

    @property
    def rate_bytes_per_s(self) -> float:
        """Exponential average of the throughput."""
        return self._rate

    def waiting(self) -> tuple[int, int]:
        """Transfers waiting or being sent, and bytes of them that were not delivered yet."""
        with self._lock:
            wanted = [transfer for transfer in self._open.values() if not transfer.given_up]
            left = [transfer for transfer in wanted if transfer.received_bytes < len(transfer.data)]
            queued = sum(transfer.size_bytes for transfer in self._queue)
            undelivered = sum(len(transfer.data) - transfer.received_bytes for transfer in left)
            return len(left) + len(self._queue), undelivered + queued

    def send(self, transfer: Transfer) -> None:
        """Queue a transfer.

        Raises:
            UnreachableError: The connection is down; nothing was queued.
        """
        with self._wake:
            if not self._up or self._closed:
                raise UnreachableError("the edge server does not answer")
            self._queue.append(transfer)
            self._wake.notify_all()

    def wait_until_up(self, timeout_s: float) -> bool:
        """Wait for the first sign of life; whether it came in time."""
        with self._wake:
            return self._wake.wait_for(lambda: self._up, timeout_s)

    def close(self) -> None:
        """End the stream; what is under way is lost."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._halt.set()
        if self._call is not None:
            self._call.cancel()
        for thread in self._threads:
            thread.join(10.0)

    # -- the connection

    def _run(self) -> None:
        while not self._closed:
            with self._lock:
                self._generation += 1
                generation = self._generation
                self._heard_s = self._ping_due = time.monotonic()
            reason: TransportError = UnreachableError("the edge server ended the stream")
            channel = open_channel(self._address, self._credentials, self._max_bytes)
            try:
                self._call = channel.stream_stream("/edgecloud.Tier/Uplink")(self._frames(generation))
                for data in self._call:
                    self._hear(read_frame(data))
            except grpc.RpcError as error:
                reason = as_transport_error(error)
            except Exception as error:  # what a server sent, or an observer did, must not be the last connection's end
                logger().exception("uplink failed")
                reason = TransportError(f"{type(error).__name__}: {error}"[:500])
            finally:
                channel.close()
            self._down(reason)
            self._halt.wait(0.1)

    def _down(self, reason: TransportError) -> None:
        with self._wake:
            self._up, self._current, self._ping_due = False, None, None
            self._generation += 1
            lost = [transfer for transfer in self._open.values() if not transfer.given_up]
            self._open = {}
            waiting, self._queue = list(self._queue), deque()
            self._wake.notify_all()
        now = time.monotonic()
        for transfer in lost:
            if transfer.received_bytes < len(transfer.data):
                self._end(transfer, now)
            self._events.transfer_lost(transfer, reason)
        for transfer in waiting:
            self._events.transfer_lost(transfer, reason)

    def _watch(self) -> None:
        """Cancel a stream that has gone silent."""
        while not self._halt.wait(min(self._silence_s / 8, 0.1)):
            with self._lock:
                due = self._ping_due
                for transfer in self._open.values():
                    if transfer.received_bytes < transfer.sent_bytes:
                        due = transfer.begun_s if due is None else min(due, transfer.begun_s)
                silent = due is not None and time.monotonic() - max(due, self._heard_s) > self._silence_s
                call = self._call
            if silent and call is not None:
                call.cancel()

    # -- sending: gRPC asks for the next frame when it has taken the last

    def _frames(self, generation: int) -> Iterator[bytes]:
        yield self._ping()
        while True:
            step = self._next(generation)
            if step is None:
                return
            started, given_up, data = step
            if started is not None:
                self._begin(started)
            for transfer in given_up:
                if transfer.begun_s:
                    self._end(transfer, time.monotonic())
                self._events.transfer_lost(transfer, DeadlineError("the deadline passed before it was sent"))
            if data:
                yield data

    def _next(self, generation: int) -> tuple[Transfer | None, list[Transfer], bytes] | None:
        """What to do next: begin a transfer, give some up, send a frame; None: this stream is over."""
        with self._wake:
            while not self._closed and generation == self._generation:
                now = time.monotonic()
                given_up = [transfer for transfer in self._queue if transfer.until_s <= now]
                if given_up:
                    self._queue = deque(transfer for transfer in self._queue if transfer.until_s > now)
                    return None, given_up, b""
                current = self._current
                if current is not None and current.until_s <= now:
                    self._give_up(current)
                    return None, [current], frame(ABORT, self._seq)
                if current is None and self._queue:
                    self._current = self._queue.popleft()
                    return self._current, [], b""
                if current is not None and self._under_way() < self._window():
                    return None, [], self._piece(current)
                pause_s = self._ping_sent_s + self._ping_s - now
                if current is None and pause_s <= 0 and self._ping_due is None and not self._under_way():
                    return None, [], self._ping()
                self._wake.wait(max(pause_s, 0.01) if current is None else min(max(current.until_s - now, 0.0), 0.5))
            return None

    def _give_up(self, current: Transfer) -> None:
        """Send no more of it; what was sent stays under way until it arrives: an outage must not pile up leftovers."""
        self._current = None
        current.given_up = True
        if current.received_bytes == current.sent_bytes:
            del self._open[self._seq]

    def _begin(self, transfer: Transfer) -> None:
        data = transfer.make()
        with self._lock:
            transfer.data, transfer.size_bytes = memoryview(data), len(data)
            transfer.begun_s = time.monotonic()
            lost = self._current is not transfer
            if not lost:
                self._seq += 1
                self._open[self._seq] = transfer
        self._events.transfer_started(transfer)
        if lost:  # the connection went down between the queue and here: nobody else knows of it
            self._events.transfer_lost(transfer, UnreachableError("the edge server ended the stream"))

    def _piece(self, current: Transfer) -> bytes:
        size = int(min(max(self._rate * _PIECE_S, _SMALLEST), _LARGEST))
        begin, end = current.sent_bytes, min(current.sent_bytes + size, len(current.data))
        current.sent_bytes = end
        last = end == len(current.data)
        if last:
            self._current = None
        return frame(LAST if last else PART, self._seq, 0, current.data[begin:end])

    def _under_way(self) -> int:
        return sum(transfer.sent_bytes - transfer.received_bytes for transfer in self._open.values())

    def _window(self) -> float:
        return max(_WINDOW_FACTOR * self._rate * self.rtt_s + _SMALLEST, self._rate * _PIECE_S)

    def _ping(self) -> bytes:
        self._ping_sent_s = self._ping_due = time.monotonic()
        return frame(PING, 0, int(self._ping_sent_s * 1e9))

    # -- hearing

    def _hear(self, heard: Frame) -> None:
        now = time.monotonic()
        if heard.kind == PONG:
            rtt_s = max(now - heard.value / 1e9, 0.0)
            with self._wake:
                self._heard_s, self._ping_due, self.rtt_s, self._up = now, None, rtt_s, True
                self._wake.notify_all()
            self._events.round_trip(rtt_s)
            return
        with self._wake:
            self._heard_s = now
            transfer = self._open.get(heard.seq)
            if transfer is None:
                return
            delivered = heard.kind == RECEIPT and heard.value > transfer.received_bytes
            if delivered:
                transfer.received_bytes = min(heard.value, len(transfer.data))
            arrived = transfer.given_up and transfer.received_bytes >= transfer.sent_bytes
            if arrived or heard.kind in (REPLY, ERROR):
                del self._open[heard.seq]
            self._wake.notify_all()
            if transfer.given_up:
                return
        if delivered and transfer.received_bytes == len(transfer.data):
            self._end(transfer, now)
        elif heard.kind == REPLY:
            self._events.transfer_replied(transfer, heard.body)
        elif heard.kind == ERROR:
            kind = STREAM_ERRORS[heard.value] if heard.value < len(STREAM_ERRORS) else TransportError
            self._events.transfer_lost(transfer, kind(heard.body.decode(errors="replace")[:500]))

    def _end(self, transfer: Transfer, now: float) -> None:
        """Book a transfer: it began when the one before had arrived, and came half a round trip before the receipt."""
        begin = max(transfer.begun_s, self._last_end_s)
        transfer.begun_s = begin
        transfer.ended_s = max(now - self.rtt_s / 2, begin)
        seconds = max(transfer.ended_s - begin, 1e-6)
        self._last_end_s = transfer.ended_s
        if transfer.received_bytes == len(transfer.data) > 0:
            # What is small and quick mostly tells of latency; it may raise the estimate, but not lower it much. More
            # than was expected is believed at once: little is under way on a link that is taken for slow.
            measured = transfer.received_bytes / seconds
            telling = transfer.received_bytes >= _TELLING or seconds > 4.0 * self.rtt_s
            gain = 1.0 if measured > self._rate else _GAIN if telling else _GAIN / 10
            self._rate += gain * (measured - self._rate)
        self._events.transfer_ended(transfer, seconds)
