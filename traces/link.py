"""A recorded or generated link: its rate over time, and exact integration of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError

__all__ = ["DIRECTIONS", "FloatArray", "LinkTrace", "transfer_end_s"]

FloatArray = npt.NDArray[np.float64]

DIRECTIONS = ("downlink", "uplink", "unknown")
"""What the rates of a trace were measured on."""

_GRID_TOLERANCE = 1e-9
"""A remainder shorter than this fraction of a bin is float noise, not a bin."""


def _frozen(values: npt.ArrayLike) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class LinkTrace:
    """The rate of one link over time, piecewise constant, immutable.

    During ``[edges_s[i], edges_s[i + 1])`` the link carries ``rate_bps[i]``. A rate of zero is an outage. The arrays
    are copied and set read-only. Two traces are compared by value with `equals`; ``==`` is identity.

    Attributes:
        name: Name of the log, without folder and suffix.
        mode: Transport mode: foot, bicycle, bus, car, train, tram, subway, ferry, static, walking, driving or unknown.
        edges_s: Bin edges in seconds, shape (n + 1,), strictly increasing from 0.
        rate_bps: Rate in bits per second, shape (n,), finite and not negative.
        rtt_s: Round-trip time in seconds, shape (n,), finite and positive; None when the recording has none.
        source: The file, or what generated the trace.
        direction: 'downlink', 'uplink' or 'unknown': what the rates were measured on.

    Raises:
        InputError: A rule above is broken; the message names the source, the field and the value.

    >>> trace = LinkTrace("lab", "static", [0, 1, 3], [8e6, 4e6])
    >>> trace.total_bytes, trace.duration_s
    (2000000.0, 3.0)
    >>> trace.resample(2.0).rate_bps.tolist()
    [6000000.0, 4000000.0]
    """

    name: str
    mode: str
    edges_s: FloatArray
    rate_bps: FloatArray
    rtt_s: FloatArray | None = None
    source: str = ""
    direction: str = "unknown"

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges_s", _frozen(self.edges_s))
        object.__setattr__(self, "rate_bps", _frozen(self.rate_bps))
        if self.rtt_s is not None:
            object.__setattr__(self, "rtt_s", _frozen(self.rtt_s))
        self._check()
        bits = np.concatenate([[0.0], np.cumsum(self.rate_bps * np.diff(self.edges_s))])
        object.__setattr__(self, "_bits", _frozen(bits))

    def _check(self) -> None:
        where = self.source or self.name or "LinkTrace"
        edges, rates = self.edges_s, self.rate_bps
        if rates.ndim != 1 or rates.size == 0:
            raise InputError(where, "rate_bps", "must be a one-dimensional array with at least one rate", rates.shape)
        if edges.shape != (rates.size + 1,):
            rule = f"must have one edge more than there are rates, {rates.size + 1}"
            raise InputError(where, "edges_s", rule, edges.shape)
        if edges[0] != 0.0 or not np.all(np.isfinite(edges)):
            raise InputError(where, "edges_s", "must start at 0 and be finite", float(edges[0]))
        if not np.all(np.diff(edges) > 0.0):
            at = int(np.argmin(np.diff(edges) > 0.0)) + 1
            raise InputError(where, f"edges_s[{at}]", "must be strictly increasing", float(edges[at]))
        _check_values(where, "rate_bps", rates, rates >= 0.0, "must be finite and not negative")
        if self.rtt_s is not None:
            if self.rtt_s.shape != rates.shape:
                raise InputError(where, "rtt_s", f"must have the shape of rate_bps, {rates.shape}", self.rtt_s.shape)
            _check_values(where, "rtt_s", self.rtt_s, self.rtt_s > 0.0, "must be finite and positive")
        if self.direction not in DIRECTIONS:
            raise InputError(where, "direction", f"must be one of {', '.join(DIRECTIONS)}", self.direction)

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.name, self.mode, self.edges_s, self.rate_bps, self.rtt_s, self.source, self.direction)
        return type(self), fields

    @property
    def _cumulative_bits(self) -> FloatArray:
        bits: FloatArray = self.__dict__["_bits"]
        return bits

    @property
    def duration_s(self) -> float:
        """Length of the trace in seconds."""
        return float(self.edges_s[-1])

    @property
    def total_bytes(self) -> float:
        """Bytes that the link carries over the whole trace."""
        return float(self._cumulative_bits[-1]) / 8.0

    @property
    def mean_bps(self) -> float:
        """Mean rate over time in bits per second."""
        return float(self._cumulative_bits[-1]) / self.duration_s

    @property
    def zero_fraction(self) -> float:
        """Share of the time, 0 to 1, in which the link carries nothing."""
        return float(np.diff(self.edges_s)[self.rate_bps == 0.0].sum()) / self.duration_s

    def quantile_bps(self, q: npt.ArrayLike) -> FloatArray:
        """Quantiles of the rate, weighted by time, in bits per second.

        Args:
            q: Probabilities, 0 to 1, shape (...).

        Returns:
            The smallest rate that is not exceeded for at least a share q of the time, shape (...).
        """
        order = np.argsort(self.rate_bps, kind="stable")
        share = np.cumsum(np.diff(self.edges_s)[order]) / self.duration_s
        index = np.searchsorted(share, np.asarray(q, dtype=np.float64) - 1e-12)
        return np.asarray(self.rate_bps[order][np.minimum(index, order.size - 1)], dtype=np.float64)

    def bits_between(self, start_s: npt.ArrayLike, end_s: npt.ArrayLike) -> FloatArray:
        """Bits that the link carries between two instants; outside the trace it carries nothing.

        Args:
            start_s: Start in seconds, shape (...).
            end_s: End in seconds, broadcast with start_s. An end before its start gives a negative number.

        Returns:
            Bits, shape (...).
        """
        start, end = np.asarray(start_s, dtype=np.float64), np.asarray(end_s, dtype=np.float64)
        bits = self._cumulative_bits
        return np.asarray(np.interp(end, self.edges_s, bits) - np.interp(start, self.edges_s, bits), dtype=np.float64)

    def resample(self, dt_s: float = 1.0, tail: Literal["keep", "drop"] = "keep") -> LinkTrace:
        """The same link on bins of equal length; every bin carries the bytes that the original carries in it.

        RTT becomes its mean over the bin, weighted by time. Where the length is no multiple of the bin, the remainder
        is a shorter last bin (``tail='keep'``: bytes, duration and mean rate are those of the original) or is left out
        (``tail='drop'``: all bins have the same length; at least one whole bin must fit).

        Args:
            dt_s: Length of a bin in seconds, positive.
            tail: What happens to the remainder.

        Raises:
            InputError: dt_s is not positive, or no whole bin fits although the tail is dropped.
        """
        if not (np.isfinite(dt_s) and dt_s > 0.0):
            raise InputError("resample", "dt_s", "must be positive", dt_s)
        whole = int(np.floor(self.duration_s / dt_s * (1.0 + _GRID_TOLERANCE)))
        edges = np.arange(whole + 1, dtype=np.float64) * dt_s
        rest = self.duration_s - whole * dt_s
        if rest > _GRID_TOLERANCE * dt_s * max(1, whole):
            if tail == "keep":
                edges = np.append(edges, self.duration_s)
            elif whole == 0:
                raise InputError("resample", "dt_s", f"must not exceed the trace's {self.duration_s:g} s", dt_s)
        else:
            edges[-1] = self.duration_s
        width = np.diff(edges)
        rate = np.diff(np.interp(edges, self.edges_s, self._cumulative_bits)) / width
        rtt = None
        if self.rtt_s is not None:
            integral = np.concatenate([[0.0], np.cumsum(self.rtt_s * np.diff(self.edges_s))])
            rtt = np.diff(np.interp(edges, self.edges_s, integral)) / width
        return replace(self, edges_s=edges, rate_bps=np.maximum(rate, 0.0), rtt_s=rtt)

    def aligned(self, dt_s: float = 1.0) -> LinkTrace:
        """The trace without a first bin that is shorter than dt_s; unchanged where there is none.

        The Belgium logs start with a fragment of a second and step by 1 s from there. Resampled from their very start,
        every new bin would mix two recorded ones, which smooths the rate; resampled from the first edge it does not.
        """
        first = float(self.edges_s[1])
        if self.rate_bps.size == 1 or first >= dt_s * 0.999:
            return self
        rtt = None if self.rtt_s is None else self.rtt_s[1:]
        return replace(self, edges_s=self.edges_s[1:] - first, rate_bps=self.rate_bps[1:], rtt_s=rtt)

    def scaled(self, factor: float) -> LinkTrace:
        """The same link with every rate multiplied; RTT and time stay.

        Args:
            factor: Positive, for example 6 / 13 to take an LTE downlink for an uplink.
        """
        if not (np.isfinite(factor) and factor > 0.0):
            raise InputError("scaled", "factor", "must be positive and finite", factor)
        return replace(self, rate_bps=self.rate_bps * factor)

    def equals(self, other: object) -> bool:
        """Whether the other trace has the same name, mode, direction and values; the source may differ."""
        if not isinstance(other, LinkTrace):
            return False
        same = (self.name, self.mode, self.direction) == (other.name, other.mode, other.direction)
        return same and self.fingerprint == other.fingerprint

    @property
    def fingerprint(self) -> str:
        """Hash of times, rates and RTT, as 32 hexadecimal digits: equal for two forms of the same recording."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.edges_s, self.rate_bps, self.rtt_s):
            digest.update(b"-" if array is None else np.ascontiguousarray(array + 0.0).tobytes())
            digest.update(b"|")
        return digest.hexdigest()


def _check_values(where: str, field: str, values: FloatArray, valid: npt.NDArray[np.bool_], rule: str) -> None:
    wrong = ~(valid & np.isfinite(values))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(where, f"{field}[{at}]", rule, float(values[at]))


def transfer_end_s(trace: LinkTrace, start_s: float, payload_bytes: float) -> float:
    """The instant at which a transfer that has the link to itself ends: exact integration of the rate.

    Propagation is not included: add half an RTT for one way. This is the reference that other implementations are
    tested against.

    Args:
        trace: The link.
        start_s: When the first bit may go, in seconds from the start of the trace, not negative.
        payload_bytes: Size of the payload in bytes, not negative.

    Returns:
        The earliest instant in seconds at which all bytes have been carried; infinity if the trace ends before.

    >>> link = LinkTrace("lab", "static", [0, 1, 3, 4], [8e6, 0.0, 8e6])
    >>> transfer_end_s(link, 0.5, 1_000_000)
    3.5
    """
    if not (np.isfinite(start_s) and start_s >= 0.0):
        raise InputError("transfer_end_s", "start_s", "must be finite and not negative", start_s)
    if not (np.isfinite(payload_bytes) and payload_bytes >= 0.0):
        raise InputError("transfer_end_s", "payload_bytes", "must be finite and not negative", payload_bytes)
    if payload_bytes == 0.0:
        return float(start_s)
    edges, rates = trace.edges_s, trace.rate_bps
    left_bits = 8.0 * payload_bytes
    now = float(start_s)
    first = int(np.searchsorted(edges, now, side="right")) - 1
    for i in range(first, rates.size):
        room = float(rates[i]) * (float(edges[i + 1]) - now)
        if room >= left_bits:
            return now + left_bits / float(rates[i])
        left_bits -= room
        now = float(edges[i + 1])
    return float("inf")
