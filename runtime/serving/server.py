"""The edge server and the cloud server: a worker behind the transport, with an orderly start and end."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field

from ...errors import InputError
from .batching import TierQueue
from .certificates import Credentials
from .logs import logger
from .messages import MAX_MESSAGE_BYTES, MessageError, Prepared, Status, decode, encode
from .model import SplitModel
from .observer import GAUGES
from .once import Once
from .pace import Pace, Stretched
from .payloads import Encoding
from .transport import Client, Server, serve
from .transport_errors import TransportError
from .worker import Worker

__all__ = ["TierServer", "TierSettings", "start_tier", "wait_for_signal"]


@dataclass(frozen=True)
class TierSettings:
    """How a tier serves."""

    tier: str = "edge"
    """`edge` or `cloud`."""
    name: str = ""
    """Appears in replies and logs; the tier's name if empty."""
    address: str = "127.0.0.1:0"
    """Where to listen; nothing but this machine can reach the default."""
    upstream: str = ""
    """`host:port` of the next tier; empty: the rest of the network is run here."""
    capacity: int = 64
    """Requests inside at a time; more are refused, so that callers look elsewhere."""
    max_batch: int = 1
    """Requests of one plan that may run together; 1, no batches, is what the simulator models."""
    max_wait_s: float = 0.0
    """How long the first of a batch waits for more."""
    exact: bool = True
    """Whether batches must give the bits of single requests."""
    pace: Pace = field(default_factory=Stretched)
    """How long service takes, where this machine stands for a slower one."""
    encoding: str = "fp32"
    """Of activations passed on."""
    window_s: float = 60.0
    """Replay protection: how old a message may be."""
    max_bytes: int = MAX_MESSAGE_BYTES
    """Longest message."""
    accept: tuple[str, ...] = ()
    """Names on certificates that may call; empty: all that the authority has signed."""


class TierServer:
    """A running tier; `start_tier` makes one. Use it as a context manager, or call `stop`."""

    def __init__(self, worker: Worker, server: Server, upstream: Client | None, once: Once) -> None:
        self.worker, self._server, self._upstream, self.once = worker, server, upstream, once
        self._stopped = False

    @property
    def address(self) -> str:
        """`host:port` that it listens on."""
        return self._server.address

    def stop(self, grace_s: float = 5.0) -> None:
        """Refuse what is new, finish what is inside for at most `grace_s`, and close port, threads and upstream."""
        if self._stopped:
            return
        self._stopped = True
        self.worker.draining = True
        started = time.monotonic()
        self._server.stop(grace_s)
        self.worker.close()
        if self._upstream is not None:
            self._upstream.close()
        logger().info("stopped", seconds=round(time.monotonic() - started, 3), served=self.worker.queue.served)

    def __enter__(self) -> TierServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_tier(
    model: SplitModel, settings: TierSettings, credentials: Credentials | None, insecure: bool = False
) -> TierServer:
    """Start a tier.

    Args:
        model: The network, as all tiers have it.
        settings: How to serve.
        credentials: Own certificate and the authority, also for the connection to the next tier.
        insecure: Plain text, for measurements on the loopback interface.

    Raises:
        InputError: A setting is wrong, or the address is taken.
    """
    if settings.tier not in ("edge", "cloud"):
        raise InputError("tier", "tier", "must be edge or cloud", settings.tier)
    encoding = Encoding.parse(settings.encoding)
    name = settings.name or settings.tier
    upstream = Client(settings.upstream, credentials, settings.max_bytes) if settings.upstream else None
    queue = TierQueue(
        model,
        settings.capacity,
        settings.pace,
        settings.max_batch,
        settings.max_wait_s,
        settings.exact,
        name,
        inline=True,
    )
    once = Once(settings.window_s)

    def gauges() -> dict[str, float]:
        own = {"replays_refused": float(once.refused), "retries_answered": float(once.repeated)}
        return own | (_upstream_gauges(upstream) if upstream else {})

    forward = upstream.infer if upstream else None
    worker = Worker(model, name, settings.tier, forward, queue, encoding=encoding, gauges=gauges)
    try:
        server = serve(
            worker.handle,
            worker.status,
            settings.address,
            credentials,
            # Requests that wait for the next tier are inside too, without a place in this tier's queue.
            workers=settings.capacity * 2 if upstream else settings.capacity,
            max_bytes=settings.max_bytes,
            prepare=lambda data: _prepare(worker, upstream, data),
            once=once,
            accept=frozenset(settings.accept),
            insecure=insecure,
        )
    except BaseException:
        worker.close()
        if upstream is not None:
            upstream.close()
        raise
    logger().info("serving", tier=settings.tier, address=server.address, model=model.fingerprint)
    return TierServer(worker, server, upstream, once)


def _prepare(worker: Worker, upstream: Client | None, data: bytes) -> bytes:
    """Load here, and ask the next tier to; what it cannot do ahead, its first request will pay for."""
    own = decode(worker.prepare(data))
    assert isinstance(own, Prepared)
    if upstream is None:
        return encode(own)
    try:
        other = decode(upstream.prepare(data, 30.0))
    except (TransportError, MessageError) as error:
        logger().warning("the next tier could not prepare", reason=str(error))
        return encode(own)
    ready = isinstance(other, Prepared) and other.resident
    return encode(Prepared(own.resident and ready, own.seconds, own.segments))


def _upstream_gauges(upstream: Client) -> dict[str, float]:
    """The next tier's numbers, so that the device learns them in one call; none if it does not answer."""
    try:
        status = decode(upstream.status(1.0))
    except (TransportError, MessageError):
        return {"cloud_reachable": 0.0}
    if not isinstance(status, Status):
        return {"cloud_reachable": 0.0}
    kept = {name: value for name, value in status.gauges.items() if name in GAUGES}
    return {**kept, "cloud_reachable": 1.0, "cloud_queue": float(status.queue), "cloud_load": status.load}


def wait_for_signal(stop: threading.Event | None = None) -> None:
    """Wait until the process is asked to end (SIGTERM, SIGINT) or `stop` is set."""
    ended = stop or threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(0.5):  # a wait without limit would keep Python from running the handler on some systems
        pass
