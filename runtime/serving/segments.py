"""The parts of a network that a server keeps loaded, and what it costs to get another one (NEUKONFIG's question).

With room for two parts the next one loads beside the one at work, and the switch costs nothing (NEUKONFIG, IC2E 2021,
calls it dynamic switching with a second pipeline); with room for one it replaces it, and the first request after the
switch waits. That pause is measured, never assumed.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ...errors import InputError

__all__ = ["Segment", "SegmentStore"]


@dataclass(frozen=True, eq=False)
class Segment:
    """The loaded modules of stages `[first, last)`."""

    first: int
    last: int
    stages: tuple[nn.Module, ...]
    heads: Mapping[int, tuple[int, nn.Module, float]]
    """By the cut that a head sits at: its index, its module, its temperature."""
    final: int
    """The number of stages of the whole network."""
    prepare: Callable[[Tensor], Tensor]
    """Raw uint8 images to what the first stage takes."""


class SegmentStore:
    """At most `resident` loaded parts; the one used longest ago goes first.

    Args:
        load: Loads stages `[first, last)`.
        resident: How many parts memory has room for.
    """

    def __init__(self, load: Callable[[int, int], Segment], resident: int = 2) -> None:
        if resident < 1:
            raise InputError("segments", "resident", "must be at least 1", resident)
        self._load, self._resident = load, resident
        self._parts: OrderedDict[tuple[int, int], Segment] = OrderedDict()
        self._state = threading.Lock()
        self._loading = threading.Lock()
        self.loads = 0
        """Parts loaded so far."""
        self.pause_s = 0.0
        """Seconds for which requests have waited for a part, in all."""

    @property
    def resident(self) -> tuple[tuple[int, int], ...]:
        """Loaded now, most recently used first."""
        with self._state:
            return tuple(reversed(self._parts))

    def get(self, first: int, last: int) -> tuple[Segment, float]:
        """A part for a request, and the seconds that the request had to wait because it was not loaded."""
        found = self._find((first, last))
        if found is not None:
            return found, 0.0
        started = time.perf_counter()
        segment = self._fetch((first, last))
        waited_s = time.perf_counter() - started
        with self._state:
            self.pause_s += waited_s
        return segment, waited_s

    def prepare(self, first: int, last: int) -> tuple[bool, float]:
        """Load a part ahead of its first request, if there is room beside the one in use.

        Returns:
            Whether it is loaded now, and the seconds that loading took.
        """
        if first == last or self._find((first, last), use=False) is not None:
            return True, 0.0
        with self._state:
            if self._parts and self._resident == 1:
                return False, 0.0
        started = time.perf_counter()
        self._fetch((first, last), spare=True)
        return True, time.perf_counter() - started

    def _find(self, key: tuple[int, int], use: bool = True) -> Segment | None:
        with self._state:
            if key in self._parts and use:
                self._parts.move_to_end(key)
            return self._parts.get(key)

    def _fetch(self, key: tuple[int, int], spare: bool = False) -> Segment:
        """Load a part; room is made before, so that memory never holds more than the limit."""
        with self._loading:
            found = self._find(key)
            if found is not None:
                return found
            with self._state:
                while len(self._parts) >= self._resident:
                    self._parts.popitem(last=False)
            segment = self._load(*key)
            with self._state:
                self._parts[key] = segment
                self.loads += 1
                if spare and len(self._parts) > 1:  # not used yet: the part at work stays the most recent
                    self._parts.move_to_end(next(reversed(list(self._parts)[:-1])))
            return segment
