"""The uplink over a link that fails: what was given up must not stand in the way of what comes after."""

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from edgecloud.runtime.link import Shaper
from edgecloud.runtime.serving.transport import serve
from edgecloud.runtime.serving.transport_errors import TransportError
from edgecloud.runtime.serving.uplink import Transfer, Uplink
from edgecloud.traces import LinkTrace


class Noted:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lost: list[Transfer] = []
        self.replied: queue.SimpleQueue[Transfer] = queue.SimpleQueue()

    def transfer_started(self, transfer: Transfer) -> None: ...

    def transfer_ended(self, transfer: Transfer, seconds: float) -> None: ...

    def transfer_replied(self, transfer: Transfer, data: bytes) -> None:
        self.replied.put(transfer)

    def transfer_lost(self, transfer: Transfer, error: TransportError) -> None:
        self.lost.append(transfer)

    def round_trip(self, seconds: float) -> None: ...


def transfer(size: int, seconds: float) -> Transfer:
    return Transfer(lambda: bytes(size), size, time.monotonic() + seconds)


@contextmanager
def uplink_over(trace: LinkTrace, noted: Noted) -> Iterator[tuple[Uplink, float]]:
    """An uplink that is up, over a link with a round trip of 20 ms, and the instant at which the link's log began."""
    server = serve(lambda data: b"answer", lambda: b"", "127.0.0.1:0", None, insecure=True)
    with Shaper(trace, server.address, rtt_s=0.02) as shaper:
        shaper.restart(begun := time.monotonic())
        uplink = Uplink(shaper.address, None, noted, silence_s=30.0)
        try:
            assert uplink.wait_until_up(10)
            yield uplink, begun
        finally:
            uplink.close()
            server.stop(1.0)


def exchange(uplink: Uplink, noted: Noted, count: int, size: int, seconds: float) -> None:
    """Transfers one after the other, each when the one before is answered."""
    for _ in range(count):
        uplink.send(transfer(size, seconds))
        noted.replied.get(timeout=seconds)


def test_what_was_given_up_in_an_outage_does_not_clog_the_link_after_it() -> None:
    trace = LinkTrace("outage", "static", np.array([0.0, 2.0, 5.0, 60.0]), np.array([1e7, 0.0, 1e6]))
    noted = Noted()
    with uplink_over(trace, noted) as (uplink, begun):
        exchange(uplink, noted, 12, 50_000, 10.0)  # until it knows the link's rate
        assert uplink.rate_bytes_per_s < 1.6e6
        time.sleep(max(begun + 2.2 - time.monotonic(), 0.0))
        for _ in range(12):  # each is begun in the outage and given up half-way
            uplink.send(transfer(60_000, 0.2))
            time.sleep(0.22)
        assert len(noted.lost) == 12
        time.sleep(max(begun + 5.0 - time.monotonic(), 0.0))
        late = transfer(2_000, 20.0)
        uplink.send(late)
        assert noted.replied.get(timeout=20) is late
        # One window of what was given up, 40 kB, takes 0.3 s; a window of each would take 3.8 s.
        assert time.monotonic() - begun - 5.0 < 1.0


def test_little_is_under_way_on_a_slow_link_and_a_faster_one_is_soon_used() -> None:
    trace = LinkTrace("step", "static", np.array([0.0, 6.0, 60.0]), np.array([4e5, 2e7]))
    noted = Noted()
    with uplink_over(trace, noted) as (uplink, begun):
        exchange(uplink, noted, 15, 10_000, 30.0)  # until it knows the link's rate
        assert uplink.rate_bytes_per_s < 1.5e5
        watched = transfer(30_000, 30.0)
        uplink.send(watched)
        most = 0
        while noted.replied.empty():
            most = max(most, watched.sent_bytes - watched.received_bytes)
            time.sleep(0.002)
        noted.replied.get(timeout=30)
        assert 4096 <= most <= 14_000  # two pieces and 1.5 bandwidth-delay products; it was four pieces once
        time.sleep(max(begun + 6.0 - time.monotonic(), 0.0))
        exchange(uplink, noted, 6, 50_000, 30.0)
        assert uplink.rate_bytes_per_s > 5e5
