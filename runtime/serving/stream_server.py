"""The server's side of the uplink stream: pieces become messages, receipts go back, replies when they are made."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

import grpc

from ...errors import InputError
from .fields import MessageError
from .framing import ABORT, ERROR, LAST, PART, PING, PONG, RECEIPT, REPLY, frame, read_frame
from .once import Once
from .threads import WarmThreads
from .transport_errors import DeadlineError, OverloadedError, RefusedError, ReplayError, TransportError

__all__ = ["STREAM_ERRORS", "StreamServer"]

STREAM_ERRORS: tuple[type[TransportError], ...] = (
    TransportError,
    OverloadedError,
    RefusedError,
    ReplayError,
    DeadlineError,
)
"""By the code in an error frame."""

_UNREAD = 10_000
"""Frames that may wait for a peer that does not read them; their senders would fill the memory else."""


class StreamServer:
    """Serves uplink streams; at most `workers` messages are inside at a time.

    Args:
        handler: Called from several threads at once.
        once: Refuses replays and answers retries; None: every message is handled.
        accept: For the record; callers are checked before.
        workers: Messages inside, waiting ones included.
        max_bytes: Longest message.
    """

    def __init__(
        self,
        handler: Callable[[bytes], bytes],
        once: Once | None,
        accept: frozenset[str],
        workers: int,
        max_bytes: int,
    ) -> None:
        self._handler, self._once, self._max_bytes = handler, once, max_bytes
        self._pool = WarmThreads(workers, "uplink")
        self._room = threading.Semaphore(workers)
        self._inside = 0
        self._changed = threading.Condition()
        self._draining = False
        self._streams: set[queue.SimpleQueue[bytes | None]] = set()

    def serve(self, frames: Iterator[bytes], peer: str, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Frames to send for frames received, until the device goes away or the server stops."""
        out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with self._changed:
            self._streams.add(out)
            if self._draining:
                out.put(None)
        context.add_callback(lambda: out.put(None))
        reader = threading.Thread(target=self._read, args=(frames, peer, out), name="uplink-reader", daemon=True)
        reader.start()
        try:
            yield from iter(out.get, None)
        finally:
            with self._changed:
                self._streams.discard(out)

    def drain(self, grace_s: float) -> None:
        """Accept nothing new, wait for what is inside, then end the streams."""
        until = time.monotonic() + grace_s
        with self._changed:
            self._draining = True
            while self._inside and time.monotonic() < until:
                self._changed.wait(max(until - time.monotonic(), 0.0))
            for out in self._streams:
                out.put(None)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, frames: Iterator[bytes], peer: str, out: queue.SimpleQueue[bytes | None]) -> None:
        parts = bytearray()
        try:
            for data in frames:
                kind, seq, value, body = read_frame(data)
                if out.qsize() > _UNREAD:
                    raise MessageError("stream", f"must be read: {_UNREAD} frames wait for the peer")
                if kind == PING:
                    out.put(frame(PONG, seq, value))
                elif kind == ABORT:
                    parts.clear()
                elif kind in (PART, LAST):
                    size = len(parts) + len(body)
                    if size > self._max_bytes:
                        raise MessageError("", f"must have at most {self._max_bytes} bytes", size)
                    out.put(frame(RECEIPT, seq, size))
                    if kind == PART:
                        parts += body
                        continue
                    message = bytes(parts) + body if parts else body
                    parts.clear()
                    self._begin(message, seq, peer, out)
                else:
                    raise MessageError("frame", "must be one that a device sends", kind)
        except MessageError as error:  # whoever breaks the framing loses the stream, and nobody else does
            out.put(_error(0, RefusedError(str(error))))
            out.put(None)
        except Exception:  # the stream is over: cancelled, or the connection lost
            out.put(None)

    def _begin(self, message: bytes, seq: int, peer: str, out: queue.SimpleQueue[bytes | None]) -> None:
        if self._draining or not self._room.acquire(blocking=False):
            reason = "the server is stopping" if self._draining else "the server's queue is full"
            out.put(_error(seq, OverloadedError(reason)))
            return
        with self._changed:
            self._inside += 1
        try:
            self._pool.submit(self._answer, message, seq, peer, out)
        except RuntimeError:  # shut down meanwhile
            self._leave()
            out.put(_error(seq, OverloadedError("the server is stopping")))

    def _answer(self, message: bytes, seq: int, peer: str, out: queue.SimpleQueue[bytes | None]) -> None:
        try:
            reply = self._once.answer(peer, message, self._handler) if self._once else self._handler(message)
            out.put(frame(REPLY, seq, 0, reply))
        except InputError as error:
            out.put(_error(seq, RefusedError(str(error))))
        except TransportError as error:
            out.put(_error(seq, error))
        except Exception:
            from .logs import logger

            logger().exception("handler failed", peer=peer)
            out.put(_error(seq, TransportError("internal error")))
        finally:
            self._leave()

    def _leave(self) -> None:
        self._room.release()
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()


def _error(seq: int, error: TransportError) -> bytes:
    codes = [code for code, kind in enumerate(STREAM_ERRORS) if isinstance(error, kind)]
    return frame(ERROR, seq, codes[-1], str(error)[:500].encode())
