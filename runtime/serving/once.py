"""At most one computation and one answer per request: replays are refused, retries get the answer that was made."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from .messages import Request, decode
from .transport_errors import OverloadedError, RefusedError, ReplayError, TransportError

__all__ = ["Once"]


@dataclass(eq=False, slots=True)
class _Seen:
    """Thousands of these are kept: a future only where somebody waits."""

    peer: str
    attempt: int
    until_s: float
    reply: bytes | None = None
    waiting: Future[bytes] | None = None


class Once:
    """Remembers the requests of the last seconds.

    A request is refused if it was sent longer than `window_s` ago (or as long in the future: clocks must agree that
    well), or if its id was seen and its attempt has not risen, or if another peer has used the id. A retry, the same id
    with a higher attempt by the same peer, gets the first attempt's answer, waiting for it where necessary. What could
    not be begun (a full queue) or was refused is forgotten, so that a retry may succeed.

    Args:
        window_s: How old a message may be.
        capacity: Requests to remember; with more in a window the server is overloaded.
        clock: Unix time; for tests.
    """

    def __init__(self, window_s: float = 60.0, capacity: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        self._window_s, self._capacity, self._clock = window_s, capacity, clock
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._lock = threading.Lock()
        self.refused = 0
        """Replays refused so far."""
        self.repeated = 0
        """Retries answered from memory so far."""

    def answer(self, peer: str, data: bytes, handler: Callable[[bytes], bytes]) -> bytes:
        """The handler's answer to a request, computed once.

        Raises:
            MessageError: The bytes are no message.
            ReplayError: A replay, or a message outside the window.
            TransportError: From the handler.
        """
        request = decode(data)
        if not isinstance(request, Request):
            raise RefusedError("only requests are served here")
        entry, mine = self._enter(peer, request)
        if not mine:
            return _first_answer(entry, request.deadline_s)
        try:
            reply = handler(data)
        except BaseException as error:
            with self._lock:
                self._seen.pop(request.id, None)
            if entry.waiting is not None:
                entry.waiting.set_exception(error if isinstance(error, Exception) else TransportError("interrupted"))
            raise
        with self._lock:
            entry.reply = reply
        if entry.waiting is not None:
            entry.waiting.set_result(reply)
        return reply

    def _enter(self, peer: str, request: Request) -> tuple[_Seen, bool]:
        """The memory of a request, and whether the caller is the one to compute it."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            entry = self._seen.get(request.id)
            if entry is not None and entry.peer == peer and request.attempt > entry.attempt:
                entry.attempt = request.attempt
                self.repeated += 1
                if entry.reply is None and entry.waiting is None:
                    entry.waiting = Future()
                return entry, False
            if entry is not None or abs(now - request.sent_s) > self._window_s:
                self.refused += 1
                reason = "seen already" if entry is not None else f"sent outside the window of {self._window_s:g} s"
                raise ReplayError(f"request {request.id.hex()}: {reason}")
            if len(self._seen) >= self._capacity:
                raise OverloadedError("too many requests to remember")
            # Until it falls out of the window by its own time of sending, which may lie ahead of our clock.
            entry = self._seen[request.id] = _Seen(peer, request.attempt, now + 2 * self._window_s)
            return entry, True

    def _forget(self, now: float) -> None:
        while self._seen:
            key, entry = next(iter(self._seen.items()))
            if entry.until_s > now:
                return
            del self._seen[key]


def _first_answer(entry: _Seen, within_s: float) -> bytes:
    """What the first attempt was answered, once it is."""
    if entry.reply is not None:
        return entry.reply
    assert entry.waiting is not None  # whoever finds no answer asks for one, and the answer comes after that
    try:
        return entry.waiting.result(timeout=within_s)
    except TimeoutError as error:
        raise TransportError("the first attempt is still at work") from error
