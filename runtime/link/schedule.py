"""When a link has carried so many bits: the exact integral of a trace that wraps around, with cuts."""

from __future__ import annotations

import bisect
import math

from ...errors import InputError
from ...traces import LinkTrace

__all__ = ["RateSchedule"]


class RateSchedule:
    """The rate of a link over time as the environment reads it: scaled, and starting over at its end.

    Cuts (outages that are ordered while the link runs) come on top: during one nothing is carried.

    Args:
        trace: The link; None carries everything at once, so that only cuts and the round trip remain.
        rate_scale: Factor on every rate.
        rtt_s: Round trip where the trace has none.

    Raises:
        InputError: the scale or the round trip is not positive.

    >>> link = RateSchedule(LinkTrace("lab", "static", [0, 1, 3, 4], [8e6, 0.0, 8e6]), rtt_s=0.1)
    >>> link.finish_s(0.5, 8e6), link.finish_s(3.5, 8e6)
    (3.5, 4.5)
    >>> link.cut(3.2, 10.0); link.finish_s(0.5, 8e6)
    15.3
    """

    def __init__(self, trace: LinkTrace | None, rate_scale: float = 1.0, rtt_s: float = 0.034) -> None:
        for name, value in (("rate_scale", rate_scale), ("rtt_s", rtt_s)):
            if not (math.isfinite(value) and (value > 0 or (name == "rtt_s" and value == 0))):
                raise InputError("link", name, "must be positive and finite", value)
        self._rtt = [rtt_s]
        self._edges = [0.0, math.inf]
        self._bits: list[float] = []
        self._rates: list[float] = []
        self._cuts: list[tuple[float, float]] = []
        if trace is None:
            return
        self._edges = [float(edge) for edge in trace.edges_s]
        self._rates = [rate_scale * float(rate) for rate in trace.rate_bps]
        self._rtt = [rtt_s] * len(self._rates) if trace.rtt_s is None else [float(value) for value in trace.rtt_s]
        self._bits = [0.0]
        for low, high, rate in zip(self._edges, self._edges[1:], self._rates, strict=False):
            self._bits.append(self._bits[-1] + rate * (high - low))

    def rate_bps(self, at_s: float) -> float:
        """Rate at an instant of the link's own time; infinite without a trace."""
        if any(begin <= at_s < end for begin, end in self._cuts):
            return 0.0
        return self._rates[self._bin(at_s)] if self._rates else math.inf

    def rtt_s(self, at_s: float) -> float:
        """Round trip at an instant."""
        return self._rtt[self._bin(at_s)]

    def cut(self, at_s: float, seconds: float) -> None:
        """Carry nothing from an instant on, for some seconds."""
        if not seconds > 0:
            raise InputError("link", "cut", "must last longer than 0 s", seconds)
        spans = sorted([*self._cuts, (at_s, at_s + seconds)])
        merged = [spans[0]]
        for begin, end in spans[1:]:
            if begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        self._cuts = merged

    def finish_s(self, start_s: float, bits: float) -> float:
        """When the last of some bits has been carried, if the first may go at `start_s`; infinity if never."""
        now_s = start_s
        for begin, end in self._cuts:
            if end <= now_s:
                continue
            if begin > now_s:
                finish_s = self._carried(now_s, bits)
                if finish_s <= begin:
                    return finish_s
                bits -= self._total_bits(begin) - self._total_bits(now_s) if self._rates else 0.0
            now_s = end
        return self._carried(now_s, bits)

    def mean_bps(self, begin_s: float, end_s: float) -> float:
        """Mean rate between two instants, cuts included; infinite without a trace (0 while all of it is cut)."""
        left = [(begin_s, end_s)]
        for low, high in self._cuts:
            left = [part for a, b in left for part in ((a, min(b, low)), (max(a, high), b)) if part[1] > part[0]]
        if not self._rates:
            return math.inf if left else 0.0
        return sum(self._total_bits(b) - self._total_bits(a) for a, b in left) / (end_s - begin_s)

    def _bin(self, at_s: float) -> int:
        at_s = math.fmod(at_s, self._edges[-1]) if self._rates else 0.0
        return max(0, min(bisect.bisect_right(self._edges, at_s) - 1, len(self._rtt) - 1))

    def _total_bits(self, at_s: float) -> float:
        """Bits from time 0 to an instant, rounds included."""
        rounds, rest_s = divmod(at_s, self._edges[-1])
        i = self._bin(rest_s)
        return rounds * self._bits[-1] + self._bits[i] + self._rates[i] * (rest_s - self._edges[i])

    def _carried(self, start_s: float, bits: float) -> float:
        """`finish_s` without cuts."""
        if not self._rates or bits <= 0:
            return start_s
        round_bits = self._bits[-1]
        if round_bits <= 0:
            return math.inf
        rounds, rest_s = divmod(start_s, self._edges[-1])
        more, target = divmod(self._total_bits(rest_s) + bits, round_bits)
        if target == 0:  # the round's last bit, not the first instant of the next one: its end may be an outage
            more, target = more - 1, round_bits
        i = bisect.bisect_left(self._bits, target) - 1
        i = max(i, 0)
        end_s = self._edges[i] + (target - self._bits[i]) / self._rates[i]
        return max(start_s, (rounds + more) * self._edges[-1] + end_s)
