"""Readers of the recorded link formats, one function per format."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from .link import FloatArray, LinkTrace
from .nuwins import read_nuwins
from .tables import NotALinkError, Table, TextFile, read_table

__all__ = ["FORMATS", "MTU_BYTES", "detect_format", "guess_mode"]

MTU_BYTES = 1500
"""Bytes that one line of a mahimahi packet-delivery file may carry (mahimahi(1))."""

_MAHIMAHI_BIN_MS = 100
_CLOCK_JITTER_MS = 50.0

_MODE_WORDS = (
    ("subway", r"subway|metro|underground|\d+train|qtrain"),
    ("bicycle", r"bicycle|bike"),
    ("train", r"train|lirr|rail"),
    ("tram", r"tram"),
    ("ferry", r"ferry|boat"),
    ("bus", r"bus"),
    ("car", r"car(?![a-z])"),
    ("foot", r"foot|pedestrian"),
    ("walking", r"walking|walk"),
    ("driving", r"driving|drive"),
    ("static", r"static|stationary|indoor"),
)


def guess_mode(path: Path) -> str:
    """Transport mode from the words in a file's name, else from its folder, else 'unknown'.

    >>> guess_mode(Path("report_tram_0003.csv")), guess_mode(Path("LIRR_Long_Island_Rail_Road.csv"))
    ('tram', 'train')
    >>> guess_mode(Path("Subway_7Train_7Train1.csv")), guess_mode(Path("walking/lte/away.list"))
    ('subway', 'walking')
    """
    for text in (path.stem.lower(), *(parent.name.lower() for parent in list(path.parents)[:2])):
        for mode, pattern in _MODE_WORDS:
            if re.search(rf"(?<![a-z])(?:{pattern})", text):
                return mode
    return "unknown"


def _trace(file: TextFile, edges_s: FloatArray, bits: FloatArray, direction: str) -> LinkTrace:
    if not bits.any():
        raise InputError(file.path, "", "must carry at least one byte, but every row of the log is zero", 0)
    rates = bits / np.diff(edges_s)
    return LinkTrace(file.path.stem, guess_mode(file.path), edges_s, rates, None, str(file.path), direction)


def _from_durations(file: TextFile, table: Table) -> LinkTrace:
    """Belgium rows: `bytes` arrived in the `duration_ms` that end at `t_ms`."""
    table.require_increasing("t_ms")
    table.require("duration_ms", table["duration_ms"] > 0.0, "must be positive")
    table.require_not_negative("bytes")
    end_ms, duration_ms, count = table["t_ms"], table["duration_ms"], table["bytes"]
    before_ms = np.concatenate([[end_ms[0] - duration_ms[0]], end_ms[:-1]])
    gap_ms = end_ms - duration_ms - before_ms
    table.require("duration_ms", gap_ms >= -_CLOCK_JITTER_MS, "must not reach back past the end of the row before")
    gaps = np.flatnonzero(gap_ms > _CLOCK_JITTER_MS)
    edges_ms = np.concatenate([before_ms[:1], np.insert(end_ms, gaps, (end_ms - duration_ms)[gaps])])
    edges_s = (edges_ms - edges_ms[0]) / 1000.0
    return _trace(file, edges_s, 8.0 * np.insert(count, gaps, 0.0), "downlink")


def read_belgium_log(file: TextFile) -> LinkTrace:
    """Belgium 4G/LTE in the set's own form: ``epoch_ms t_ms lat lon bytes duration_ms``.

    A time that no row covers (more than 50 ms) is an outage: nothing arrived in it.
    """
    table = read_table(file, ("epoch_ms", "t_ms", "lat", "lon", "bytes", "duration_ms"), None)
    table.require_increasing("epoch_ms")
    return _from_durations(file, table)


def read_belgium_csv(file: TextFile) -> LinkTrace:
    """Belgium 4G/LTE as CSV: ``t_ms,duration_ms,bytes,mbps``; the last column must agree with the others."""
    table = read_table(file, ("t_ms", "duration_ms", "bytes", "mbps"), ",", skip=1)
    trace = _from_durations(file, table)
    mbps = table["bytes"] * 8.0 / table["duration_ms"] / 1000.0
    table.require("mbps", np.abs(table["mbps"] - mbps) <= 0.01 + 0.001 * mbps, "must equal bytes x 8 / duration")
    return trace


def read_nyu_mets(file: TextFile) -> LinkTrace:
    """NYU-METS: ``t_s,mbps``, one row per second with the mean rate of that second.

    A second without a row is an outage of the recording; it counts as zero.
    """
    table = read_table(file, ("t_s", "mbps"), ",", skip=1)
    table.require_increasing("t_s")
    table.require_not_negative("mbps")
    start_s = table["t_s"] - table["t_s"][0]
    period_s = float(np.median(np.diff(start_s))) if start_s.size > 1 else 1.0
    end_s = np.append(start_s[1:], start_s[-1] + period_s)
    gaps = np.flatnonzero(end_s - start_s > 1.5 * period_s)
    edges_s = np.append(np.insert(start_s, gaps + 1, start_s[gaps] + period_s), end_s[-1])
    mbps = np.insert(table["mbps"], gaps + 1, 0.0)
    return _trace(file, edges_s, mbps * 1e6 * np.diff(edges_s), "unknown")


def read_mahimahi(file: TextFile) -> LinkTrace:
    """A mahimahi packet-delivery file: each line is the millisecond at which one packet of 1500 bytes may go.

    Lines may repeat. Packets are gathered into bins of 100 ms, a packet at t ms into the bin that holds (t - 1, t]; the
    trace ends at the last line, where mahimahi starts again from the top.
    """
    table = read_table(file, ("delivery_ms",), None)
    at_ms = table["delivery_ms"]
    table.require_not_negative("delivery_ms")
    table.require("delivery_ms", at_ms == np.floor(at_ms), "must be a whole number of milliseconds")
    table.require("delivery_ms", np.diff(at_ms, prepend=0.0) >= 0.0, "must not be earlier than in the row before")
    if at_ms[-1] < 1.0:
        raise InputError(file.path, f"line {file.numbers[-1]}, delivery_ms", "the last packet must come after 0 ms", 0)
    n_bins = int(np.ceil(at_ms[-1] / _MAHIMAHI_BIN_MS))
    index = np.maximum(np.ceil(at_ms / _MAHIMAHI_BIN_MS).astype(np.int64) - 1, 0)
    packets = np.bincount(index, minlength=n_bins)
    edges_s = np.append(np.arange(n_bins, dtype=np.float64) * _MAHIMAHI_BIN_MS, at_ms[-1]) / 1000.0
    return _trace(file, edges_s, packets.astype(np.float64) * (8 * MTU_BYTES), "unknown")


def read_plain(file: TextFile) -> LinkTrace:
    """The project's own CSV: ``t_s,rate_mbps`` or ``t_s,rate_mbps,rtt_ms``; a rate holds until the next row.

    ``rate_bps`` and ``rtt_s`` are understood as well (and written, since no digit is lost). The last row lasts as long
    as the one before it, unless a comment ``# end_s: 12.5`` says when the trace ends. Comments ``# name:``, ``# mode:``
    and ``# direction:`` are taken over.
    """
    names = tuple(_header(file))
    rate, rtt = names[1], (names[2] if len(names) > 2 else None)
    table = read_table(file, names, ",", skip=1)
    table.require_increasing("t_s")
    table.require_not_negative(rate)
    if rtt is not None:
        table.require(rtt, table[rtt] > 0.0, "must be positive")
    start_s = table["t_s"]
    edges_s = np.append(start_s, _plain_end(file, start_s)) - start_s[0]
    rate_bps = table[rate] * (1e6 if rate == "rate_mbps" else 1.0)
    trace = _trace(file, edges_s, rate_bps * np.diff(edges_s), file.notes.get("direction", "unknown"))
    return replace(
        trace,
        name=file.notes.get("name", trace.name),
        mode=file.notes.get("mode", trace.mode),
        rate_bps=rate_bps,
        rtt_s=None if rtt is None else table[rtt] / (1000.0 if rtt == "rtt_ms" else 1.0),
    )


def _plain_end(file: TextFile, start_s: FloatArray) -> float:
    if "end_s" not in file.notes:
        return float(start_s[-1] + (start_s[-1] - start_s[-2] if start_s.size > 1 else 1.0))
    try:
        end_s = float(file.notes["end_s"])
    except ValueError as error:
        raise InputError(file.path, "# end_s", "must be a number of seconds", file.notes["end_s"]) from error
    if not end_s > start_s[-1]:
        raise InputError(file.path, "# end_s", f"must be after the last row, {start_s[-1]:g}", end_s)
    return end_s


def _header(file: TextFile) -> list[str]:
    return [name.strip().lower() for name in file.lines[0].split(",")]


Reader = Callable[[TextFile], LinkTrace | list[LinkTrace]]
FORMATS: dict[str, Reader] = {
    "belgium-log": read_belgium_log,
    "belgium-csv": read_belgium_csv,
    "nyu-mets": read_nyu_mets,
    "nuwins": read_nuwins,
    "mahimahi": read_mahimahi,
    "plain": read_plain,
}
_HEADERS = {
    ("t_ms", "duration_ms", "bytes", "mbps"): "belgium-csv",
    ("t_s", "mbps"): "nyu-mets",
    ("t_s", "rate_mbps"): "plain",
    ("t_s", "rate_mbps", "rtt_ms"): "plain",
    ("t_s", "rate_bps"): "plain",
    ("t_s", "rate_bps", "rtt_s"): "plain",
}


def detect_format(file: TextFile) -> str:
    """The format of a link recording, judged by its content alone.

    Raises:
        InputError: It is none of those that are known.
    """
    if any(re.fullmatch(r"Run \d+", line) for line in file.lines[:4]):
        return "nuwins"
    if any(letter.isalpha() for letter in file.lines[0]):
        known = _HEADERS.get(tuple(_header(file)))
        if known is None:
            columns = " or ".join(",".join(names) for names in _HEADERS)
            raise NotALinkError(file.path, "header", f"must be {columns}", file.lines[0])
        return known
    fields = len(file.lines[0].split())
    if fields == 6:
        return "belgium-log"
    if fields == 1 and "," not in file.lines[0]:
        return "mahimahi"
    rule = f"must be one of the formats {', '.join(FORMATS)}"
    raise NotALinkError(file.path, f"line {file.numbers[0]}", rule, file.lines[0], "see docs/traces.md for each format")
