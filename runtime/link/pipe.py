"""One direction of a shaped link: first in, first out at the link's rate, then half a round trip."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .schedule import RateSchedule

__all__ = ["Pipe", "PipeStats"]

_LARGEST_BYTES, _SMALLEST_BYTES = 1 << 16, 512
_QUANTUM_S = 0.001
_LONGEST_SLEEP_S = 0.5
_HEADER_BITS = 320.0
"""What an opening or an end of a connection weighs: a packet without payload."""


@dataclass(frozen=True)
class PipeStats:
    """What one direction has carried so far.

    Attributes:
        bytes: Delivered.
        waiting_bytes: Taken from senders and not yet carried.
        busy_s: Seconds in which the link was sending (outages in the middle of a transfer included).
        late_s: The largest lateness of a delivery against its exact instant.
        mean_late_s: The mean of it.
    """

    bytes: int
    waiting_bytes: int
    busy_s: float
    late_s: float
    mean_late_s: float


class Pipe:
    """The queue, the sender and the delay line of one direction, shared by all connections.

    Instants are computed from the trace and not from when the process woke up, so that lateness never adds up.

    Args:
        schedule: The link.
        rtt: Round trip at an instant; half of it is this direction's delay.
        clock: Seconds of the link's own time.
    """

    def __init__(self, schedule: RateSchedule, rtt: Callable[[float], float], clock: Callable[[], float]) -> None:
        self.schedule, self._rtt_s, self._clock = schedule, rtt, clock
        self._queue: deque[tuple[float, int, Callable[[], None]]] = deque()
        self._flying: deque[tuple[float, int, Callable[[], None]]] = deque()
        self._queued, self._sent = asyncio.Event(), asyncio.Event()
        self._free_s = self._due_s = -math.inf
        self._waiting_bytes = self._bytes = self._deliveries = 0
        self._busy_s = self._late_s = self._late_sum_s = 0.0

    def chunk_bytes(self) -> int:
        """How much to read at once: about a millisecond of the link's rate."""
        rate_bps = self.schedule.rate_bps(self._clock())
        if math.isinf(rate_bps):
            return _LARGEST_BYTES
        return max(_SMALLEST_BYTES, min(_LARGEST_BYTES, int(rate_bps * _QUANTUM_S / 8)))

    def put(self, size_bytes: int, deliver: Callable[[], None]) -> None:
        """Send some bytes behind all others; `deliver` is called at the instant at which they have arrived."""
        self._queue.append((self._clock(), size_bytes, deliver))
        self._waiting_bytes += size_bytes
        self._queued.set()

    async def cross(self) -> None:
        """Send a packet without payload and wait until it has arrived."""
        arrived = asyncio.Event()
        self.put(0, arrived.set)
        await arrived.wait()

    def restart(self) -> None:
        """The clock was set: what is queued has arrived now, and what flies arrives at once."""
        self._free_s = self._due_s = -math.inf
        self._queue = deque((self._clock(), size, deliver) for _, size, deliver in self._queue)
        self._flying = deque((self._clock(), size, deliver) for _, size, deliver in self._flying)

    def stats(self) -> PipeStats:
        """The counters now."""
        mean = self._late_sum_s / self._deliveries if self._deliveries else 0.0
        return PipeStats(self._bytes, self._waiting_bytes, self._busy_s, self._late_s, mean)

    async def send(self) -> None:
        """Carry what is queued, for ever: at the rate of the trace, one piece after the other."""
        while True:
            while not self._queue:
                self._queued.clear()
                await self._queued.wait()
            arrived_s, size, deliver = self._queue[0]
            start_s = max(arrived_s, self._free_s)
            bits = 8.0 * size or _HEADER_BITS
            # asked again after each sleep: a cut may have been ordered meanwhile
            while (finish_s := self.schedule.finish_s(start_s, bits)) > self._clock():
                await asyncio.sleep(min(finish_s - self._clock(), _LONGEST_SLEEP_S))
            self._queue.popleft()
            self._waiting_bytes -= size
            self._free_s, self._busy_s = finish_s, self._busy_s + finish_s - start_s
            self._due_s = max(self._due_s, finish_s + 0.5 * self._rtt_s(finish_s))
            self._flying.append((self._due_s, size, deliver))
            self._sent.set()

    async def deliver(self) -> None:
        """Hand over what has been carried, for ever: half a round trip later."""
        while True:
            while not self._flying:
                self._sent.clear()
                await self._sent.wait()
            due_s, size, deliver = self._flying.popleft()
            if (left_s := due_s - self._clock()) > 0:
                await asyncio.sleep(left_s)
            late_s = self._clock() - due_s
            self._late_s, self._late_sum_s = max(self._late_s, late_s), self._late_sum_s + late_s
            self._deliveries += 1
            self._bytes += size
            deliver()
