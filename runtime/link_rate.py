"""The uplink's rate as a serving system can know it: from its transfers, or from modem or shaper."""

from __future__ import annotations

import math

__all__ = ["RateEstimate"]


class RateEstimate:
    """The link's mean rate of each interval; not safe for threads by itself.

    >>> link = RateEstimate()
    >>> link.finished(125_000, 0.5); link.of_interval(1.0), link.of_interval(2.0)
    (2000000.0, 2000000.0)
    >>> link.started(125_000, 2.0); link.of_interval(4.0)
    500000.0
    """

    def __init__(self) -> None:
        self.modem_bps: float | None = None
        """What modem or shaper said last; None: they say nothing."""
        self.last_bps: float | None = None
        """Of the last interval; None: still unknown."""
        self.unmeasured_intervals = 0
        """Intervals in a row that showed nothing of the rate."""
        self._bits = self._seconds = 0.0
        self._open: list[tuple[float, float]] = []

    def started(self, size_bytes: float, t: float | None) -> None:
        """A transfer began, at `t` if that is known."""
        self._open.append((size_bytes, math.nan if t is None else t))

    def finished(self, size_bytes: float, seconds: float) -> None:
        """The oldest open transfer ended: the uplink sends one after the other."""
        if self._open:
            self._open.pop(0)
        if seconds > 0.0:
            self._bits += 8.0 * size_bytes
            self._seconds += seconds

    def of_interval(self, now: float) -> float | None:
        """The rate of the interval that ends at `now`; None: still unknown."""
        bits, seconds = self._bits, self._seconds
        self._bits = self._seconds = 0.0
        if self.modem_bps is not None or seconds > 0.0:
            self.unmeasured_intervals = 0
            self.last_bps = bits / seconds if self.modem_bps is None else self.modem_bps
            return self.last_bps
        self.unmeasured_intervals += 1
        if self.last_bps is None:
            return None
        size_bytes, since = self._open[0] if self._open else (0.0, math.nan)
        if not math.isnan(since) and since < now:  # what has not arrived by now bounds the rate from above
            self.last_bps = min(self.last_bps, 8.0 * size_bytes / (now - since))
        return self.last_bps
