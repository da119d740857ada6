"""A link trace replayed between two processes: a TCP proxy that delivers each byte when the link would have."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from ...errors import InputError
from ...traces import LinkTrace
from .flow import Flow, limit_buffers
from .pipe import Pipe, PipeStats
from .schedule import RateSchedule

__all__ = ["Shaper", "ShaperStats", "parse_address", "prefer_this_thread"]

_READER_BYTES = 1 << 16


def prefer_this_thread() -> bool:
    """Let this thread run before others as soon as it may; a link that waits for a processor is late.

    Returns:
        Whether the system allowed it (it needs root or a limit for real-time priority).
    """
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        return True
    return False


def parse_address(text: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        InputError: it is not HOST:PORT.

    >>> parse_address("127.0.0.1:50051")
    ('127.0.0.1', 50051)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError("address", "", "must be HOST:PORT", text, "for example 127.0.0.1:50051")
    return host.strip("[]"), int(port)


@dataclass(frozen=True)
class ShaperStats:
    """What the link has done: both directions, connections open now, and those that a black hole swallowed."""

    up: PipeStats
    down: PipeStats
    connections: int
    swallowed: int


class Shaper:
    """A proxy in front of `target` that behaves as the link of a trace; what passes (TLS, gRPC) is not looked into.

    Upwards, all connections share one first-in-first-out queue at the trace's rate (outages included), then wait half a
    round trip; the trace starts over at its end, as in the environment. Downwards only the half round trip and cuts
    apply unless `down` is given: the environment sends results in no time. TCP's and the proxy's own opening of a
    connection takes half a round trip.

    Args:
        trace: Uplink; None leaves the rate alone, so that only the round trip and faults remain.
        target: HOST:PORT behind the link.
        listen: HOST:PORT to accept on; port 0 takes a free one, see `address`.
        rate_scale: Factor on the uplink's rates (a scenario's `uplink.rate_scale`).
        rtt_s: Round trip where the trace has none.
        down: Downlink, not scaled.
        queue_bytes: What a connection may have under way in one direction. Must exceed rate times round trip, and what
            the link carries while this process waits for a processor (a fast link would run dry).
        real_time: Run with real-time priority where the system allows it; without it a busy machine makes a late link.
    """

    def __init__(
        self,
        trace: LinkTrace | None,
        target: str,
        listen: str = "127.0.0.1:0",
        rate_scale: float = 1.0,
        rtt_s: float = 0.034,
        down: LinkTrace | None = None,
        queue_bytes: int = 1 << 20,
        real_time: bool = True,
    ) -> None:
        self._target, self._listen = parse_address(target), parse_address(listen)
        self._schedules = (RateSchedule(trace, rate_scale, rtt_s), RateSchedule(down, 1.0, rtt_s))
        if queue_bytes < 4096:
            raise InputError("link", "queue_bytes", "must be at least 4096", queue_bytes)
        self._queue_bytes, self._real_time = queue_bytes, real_time
        self._origin_s = math.nan
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flows: dict[Flow, asyncio.Task[None]] = {}
        self._swallowed = 0
        self._hole_ends_s = -math.inf
        self._address: Future[tuple[str, int]] = Future()

    @property
    def address(self) -> str:
        """HOST:PORT that clients connect to; after `start`."""
        host, port = self._address.result(10.0)
        return f"{host}:{port}"

    def clock_s(self) -> float:
        """The link's own time: seconds of the trace, negative before its start."""
        return time.monotonic() - self._origin_s

    def start(self, origin_s: float | None = None) -> None:
        """Accept connections.

        Args:
            origin_s: Instant of `time.monotonic` at which the trace begins (the clock of a demo; the same in all
                processes of a machine); now if None. Before it the link is that of the trace's end, as it wraps around.

        Raises:
            InputError: the address cannot be listened on.
        """
        if self._thread is not None:
            raise InputError("shaper", "start", "must be called once")
        self._origin_s = time.monotonic() if origin_s is None else origin_s
        self._thread = threading.Thread(target=self._run, name="shaper", daemon=True)
        self._thread.start()
        try:
            self._address.result(10.0)
        except OSError as error:
            raise InputError("shaper", "listen", f"must be an address that is free ({error})", self._listen) from error

    def restart(self, origin_s: float) -> None:
        """Let the trace begin at another instant of `time.monotonic`; what is under way is carried at the new time."""

        def begin() -> None:
            self._origin_s = origin_s
            for pipe in self._pipes:
                pipe.restart()

        self._order(begin)

    def stop(self) -> None:
        """End all connections and stop listening. May be called again."""
        if self._thread is not None and self._loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()

    def cut(self, seconds: float) -> None:
        """From now on the link carries nothing for some seconds; what is queued then goes on (TCP sends it again)."""
        now_s = self.clock_s()

        def cut() -> None:
            for schedule in self._schedules:
                schedule.cut(now_s, seconds)

        self._order(cut)

    def black_hole(self, seconds: float) -> None:
        """Half-open connections: all that exist now, and those opened within `seconds`, lose every byte for good.

        No side is told. Connections opened afterwards work.
        """
        if not seconds > 0:
            raise InputError("link", "black_hole", "must last longer than 0 s", seconds)
        until_s = self.clock_s() + seconds

        def swallow() -> None:
            self._hole_ends_s = max(self._hole_ends_s, until_s)
            for flow in self._flows:
                self._swallow(flow)

        self._order(swallow)

    def mean_bps(self, seconds: float) -> float:
        """The uplink's mean rate over the last seconds, as a modem reports it."""
        now_s = self.clock_s()
        return self._schedules[0].mean_bps(now_s - seconds, now_s)

    def stats(self) -> ShaperStats:
        """The counters now."""
        up, down = self._pipes
        return ShaperStats(up.stats(), down.stats(), len(self._flows), self._swallowed)

    def __enter__(self) -> Shaper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _order(self, action: Callable[[], object]) -> None:
        """Run something in the loop and wait for it."""
        if self._loop is None:
            raise InputError("shaper", "", "must be started first")
        done: Future[object] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(action()))
        done.result(10.0)

    def _swallow(self, flow: Flow) -> None:
        if not flow.swallowed:
            flow.swallowed = True
            self._swallowed += 1

    def _run(self) -> None:
        if self._real_time:
            prefer_this_thread()
        # epoll waits in whole milliseconds; select does not, and a link has few connections
        loop = self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        try:
            loop.run_until_complete(self._serve())
        finally:
            loop.close()

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        rtt_s = self._schedules[0].rtt_s  # one link, one round trip
        up, down = (Pipe(schedule, rtt_s, self.clock_s) for schedule in self._schedules)
        self._pipes = (up, down)
        try:
            listener = socket.create_server(self._listen)
            limit_buffers(listener)  # accepted connections inherit them
            server = await asyncio.start_server(self._accept, sock=listener, limit=_READER_BYTES)
        except OSError as error:
            self._address.set_exception(error)
            return
        workers = [asyncio.create_task(work) for pipe in self._pipes for work in (pipe.send(), pipe.deliver())]
        self._address.set_result(server.sockets[0].getsockname()[:2])
        await self._ended.wait()
        server.close()
        tasks = [*workers, *self._flows.values()]
        for flow in list(self._flows):
            flow.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flow = Flow((reader, writer), self._target, *self._pipes, self._queue_bytes)
        if self.clock_s() < self._hole_ends_s:
            self._swallow(flow)
        task = asyncio.current_task()
        assert task is not None
        self._flows[flow] = task
        try:
            await flow.run()
        except asyncio.CancelledError:
            pass
        finally:
            flow.close()
            self._flows.pop(flow, None)
