"""Waiting in line for a server: first come, first served, with a deadline."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

__all__ = ["WaitingLine"]

T = TypeVar("T")


class WaitingLine:
    """Callers that wait for something scarce, served in order of arrival.

    The lock is the owner's too: hold it (``with line.lock``) to change what `take` looks at, then call `changed`.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._numbers: deque[int] = deque()
        self._next = 0

    @property
    def next_number(self) -> int:
        """The number that the next caller gets; those that wait have smaller ones."""
        return self._next

    @property
    def waiting(self) -> tuple[int, ...]:
        """The numbers of those that wait, in order."""
        with self.lock:
            return tuple(self._numbers)

    def changed(self) -> None:
        """Something became free, or will never be: let those that wait look."""
        with self.lock:
            self._changed.notify_all()

    def get(self, take: Callable[[int], T | None], until_s: float) -> T | None:
        """Wait until it is the caller's turn and `take(number)` gives something.

        Args:
            take: Called under the lock, at the head of the line only; what it raises is passed on.
            until_s: Instant of `time.monotonic` after which the answer is None.
        """
        with self.lock:
            number, self._next = self._next, self._next + 1
            self._numbers.append(number)
            try:
                while True:
                    if self._numbers[0] == number and (found := take(number)) is not None:
                        return found
                    left_s = until_s - time.monotonic()
                    if left_s <= 0:
                        return None
                    self._changed.wait(left_s)
            finally:
                self._numbers.remove(number)
                self._changed.notify_all()
