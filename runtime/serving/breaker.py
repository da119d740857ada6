"""A circuit breaker: after some failures in a row the server is left alone for a while, then tried with one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["CircuitBreaker"]


class CircuitBreaker:
    """Closed: requests pass. Open: none does, for `cooldown_s`. Then half-open: one passes, and its outcome decides.

    Args:
        limit: Failures in a row that open it.
        cooldown_s: How long it stays open.
        clock: Monotonic seconds; for tests.
    """

    def __init__(self, limit: int = 3, cooldown_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._cooldown_s, self._clock = limit, cooldown_s, clock
        self._failures = 0
        self._opened_s: float | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        with self._lock:
            if self._opened_s is None:
                return "closed"
            return "open" if self._clock() < self._opened_s + self._cooldown_s else "half-open"

    def allows(self) -> bool:
        """Whether a request may pass now; in the half-open state only the first may."""
        with self._lock:
            if self._opened_s is None:
                return True
            if self._clock() < self._opened_s + self._cooldown_s:
                return False
            self._opened_s = self._clock()  # the next trial is a cooldown away, unless this one closes it
            return True

    def succeeded(self) -> None:
        """A request was answered."""
        with self._lock:
            self._failures, self._opened_s = 0, None

    def failed(self) -> None:
        """A request was not."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._limit:
                self._opened_s = self._clock()
