"""NUWiNS uplink lists: several runs of throughput or ping in one file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .link import FloatArray, LinkTrace
from .tables import NotALinkError, TextFile, read_text

__all__ = ["NUWINS_PERIOD_S", "RttRun", "load_rtt_runs", "read_nuwins"]

NUWINS_PERIOD_S = 0.1
"""Seconds between two values of a run.

The four-row runs of ``throughput/walking/5g/lateral.list`` carry their own clock, which steps by 0.1 s. The other lists
carry none: walking and driving runs of ping and throughput along one route have the same number of values, so that the
same period is taken for all. (Inferred; the set's own description states no period.)
"""


@dataclass(frozen=True, eq=False)
class RttRun:
    """One run of pings.

    Attributes:
        name: Technology, scenario, list and run.
        mode: 'static', 'walking' or 'driving'.
        technology: 'lte' or '5g'.
        dt_s: Seconds between two pings.
        rtt_s: Round-trip times in seconds, shape (n,).
    """

    name: str
    mode: str
    technology: str
    dt_s: float
    rtt_s: FloatArray


def _parts(path: Path) -> tuple[str, str, str]:
    """Kind ('ping' or 'throughput'), scenario and technology from ``kind/scenario/technology/file.list``."""
    folders = [parent.name.lower() for parent in list(path.absolute().parents)[:3]]
    technology, scenario, kind = (*folders, "", "", "")[:3]
    return kind, scenario, technology


def _rows(file: TextFile) -> list[tuple[int, list[tuple[int, FloatArray]]]]:
    """Runs in the file: their number and their rows, each with its line number."""
    runs: list[tuple[int, list[tuple[int, FloatArray]]]] = []
    for line, number in zip(file.lines, file.numbers, strict=True):
        head = re.fullmatch(r"Run (\d+)", line)
        if head:
            runs.append((int(head[1]), []))
        elif not line.startswith("#"):
            if not runs:
                raise InputError(file.path, f"line {number}", "values must come below a line 'Run <number>'", line)
            runs[-1][1].append((number, _numbers(file, line, number)))
    for run, rows in runs:
        if not rows:
            raise InputError(file.path, f"Run {run}", "must have values", remedy="is the file truncated?")
    return runs


def _numbers(file: TextFile, line: str, number: int) -> FloatArray:
    fields = [content.strip() for content in line.rstrip(",").split(",")]
    try:
        values = np.array(fields, dtype=np.float64)
    except ValueError:
        for at, content in enumerate(fields, start=1):
            try:
                float(content)
            except ValueError as error:
                raise InputError(file.path, f"line {number}, value {at}", "must be a number", content) from error
        raise
    wrong = ~(np.isfinite(values) & (values >= 0.0))
    if wrong.any():
        at = int(np.argmax(wrong))
        rule = "must be finite and not negative"
        raise InputError(file.path, f"line {number}, value {at + 1}", rule, float(values[at]))
    return values


def _is_clock(values: FloatArray) -> bool:
    return values.size > 2 and bool(np.allclose(np.diff(values), NUWINS_PERIOD_S, atol=1e-6))


def _rates(file: TextFile, rows: list[tuple[int, FloatArray]]) -> FloatArray:
    """Rates of a run in Mbit/s: its only row, or the row below its clock.

    Runs with four rows hold two interfaces that were recorded together; the clock of the second one jumps, so that only
    the first is taken.
    """
    if len(rows) == 1:
        return rows[0][1]
    (number, clock), (below, rates) = rows[:2]
    if not _is_clock(clock):
        raise InputError(file.path, f"line {number}", "the first of several rows must be a clock that steps by 0.1 s")
    if clock.size != rates.size:
        raise InputError(file.path, f"line {below}", f"must have as many values as its clock, {clock.size}", rates.size)
    return rates


def read_nuwins(file: TextFile) -> list[LinkTrace]:
    """A throughput list: one trace per run, in Mbit/s every 0.1 s.

    Where a ping list of the same scenario, technology and name lies beside it, its runs are attached in turn as RTT
    (repeated to the length needed). The two were measured on the same route but not at the same time, so that they say
    nothing about how rate and RTT move together.
    """
    kind, scenario, technology = _parts(file.path)
    if kind == "ping":
        raise NotALinkError(
            file.path, "", "must hold throughput; this list holds pings (they are paired by themselves)"
        )
    pings = _paired_pings(file.path)
    prefix = "-".join(part for part in (technology, scenario) if part)
    stem = f"{prefix}-{file.path.stem}" if technology in ("lte", "5g") else file.path.stem
    traces = []
    for at, (run, rows) in enumerate(_rows(file)):
        mbps = _rates(file, rows)
        if not mbps.any():
            raise InputError(file.path, f"Run {run}", "must carry at least one byte, but every value is zero", 0)
        edges_s = np.arange(mbps.size + 1, dtype=np.float64) * NUWINS_PERIOD_S
        rtt_s = np.resize(pings[at % len(pings)].rtt_s, mbps.size) if pings else None
        mode = scenario if scenario in ("static", "walking", "driving") else "unknown"
        name = f"{stem}-run{run}"
        traces.append(LinkTrace(name, mode, edges_s, mbps * 1e6, rtt_s, f"{file.path}#run{run}", "uplink"))
    return traces


def _paired_pings(path: Path) -> list[RttRun]:
    kind, scenario, technology = _parts(path)
    if kind != "throughput":
        return []
    folder = path.absolute().parents[3] / "ping" / scenario / technology
    name = "ping.list" if path.name == "throughput.list" else path.name
    return load_rtt_runs(folder / name) if (folder / name).is_file() else []


def load_rtt_runs(path: str | Path) -> list[RttRun]:
    """Ping runs from a NUWiNS ``.list`` file or from every ``ping`` list below a folder, sorted by name.

    Raises:
        InputError: A list breaks a rule, or there is none.
    """
    path = Path(path)
    files = sorted(path.rglob("*.list")) if path.is_dir() else [path]
    runs = []
    for found in files:
        kind, scenario, technology = _parts(found)
        if path.is_dir() and kind != "ping":
            continue
        file = read_text(found)
        for number, rows in _rows(file):
            line, values = rows[0]
            if not values.all():
                at = int(np.argmin(values > 0.0)) + 1
                raise InputError(found, f"line {line}, value {at}", "a round-trip time must be positive", 0)
            name = f"{technology}-{scenario}-{found.stem}-run{number}"
            runs.append(RttRun(name, scenario, technology, NUWINS_PERIOD_S, values / 1000.0))
    if not runs:
        raise InputError(path, "", "must contain at least one ping list (ping/SCENARIO/TECHNOLOGY/*.list)")
    return runs
