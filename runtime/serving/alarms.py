"""Functions called at given instants, all on one thread."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from .logs import logger

__all__ = ["Alarms"]


class Alarms:
    """Calls functions when their time has come; they must be quick."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        self._thread.start()

    def at(self, instant_s: float, call: Callable[[], None]) -> None:
        """Call a function at an instant of `time.monotonic`."""
        with self._changed:
            heapq.heappush(self._heap, (instant_s, next(self._count), call))
            self._changed.notify()

    def close(self) -> None:
        """Forget the rest and end the thread."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
        self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._heap or self._heap[0][0] > time.monotonic()):
                    self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                if self._closed:
                    return
                _, _, call = heapq.heappop(self._heap)
            try:
                call()
            except Exception:  # one call's error must not silence the alarms of all others
                logger().exception("alarm failed")
