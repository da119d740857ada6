"""Readers of recorded request arrivals."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from .arrivals import RecordedArrivals
from .link import FloatArray
from .tables import TextFile, read_table, read_text

__all__ = ["load_arrivals", "load_arrivals_csv", "load_azure_functions", "load_azure_llm"]

_MINUTE_S = 60.0


def load_arrivals(path: str | Path, dt_s: float = 1.0, scale: float = 1.0) -> RecordedArrivals:
    """Load arrivals of any known form, judged by the header: Azure Functions, Azure LLM, or plain CSV.

    Args:
        path: The file.
        dt_s: Interval that timestamps are counted in, in seconds; counts keep their own.
        scale: Requests that each recorded one stands for.

    Raises:
        InputError: The header is of no known form, or the file breaks a rule of its form.
    """
    header = read_text(Path(path)).lines[0]
    if "HashFunction" in header:
        return load_azure_functions(path, scale=scale)
    if header.startswith("TIMESTAMP"):
        return load_azure_llm(path, dt_s, scale)
    return load_arrivals_csv(path, dt_s, scale)


def load_azure_functions(
    path: str | Path, functions: str | Sequence[str] | int | None = None, scale: float = 1.0
) -> RecordedArrivals:
    """Azure Functions 2019: invocations per minute of a day, one row per function.

    When the result is asked for shorter intervals, a minute's requests lie uniformly at random in it (see
    `RecordedArrivals`).

    Args:
        path: CSV with hash columns and minutes, which are named ``minute_1 …`` or ``1 …``.
        functions: The function's hash or the start of it, several of them, or the number of a row counted from 0;
            the sum over all when None.
        scale: Requests that each recorded one stands for; a fraction thins them.

    Raises:
        InputError: Columns are missing, a count is no whole number or negative, or a function is not found.
    """
    file = read_text(Path(path))
    header = next(csv.reader([file.lines[0]]))
    minutes = [at for at, name in enumerate(header) if name.removeprefix("minute_").isdigit()]
    if "HashFunction" not in header or not minutes:
        raise InputError(path, "header", "must have HashFunction and minute columns", file.lines[0])
    rows = list(csv.reader(file.lines[1:]))
    if not rows:
        raise InputError(path, "", "must have at least one row below its header", remedy="is the file truncated?")
    for row, number in zip(rows, file.numbers[1:], strict=True):
        if len(row) != len(header):
            raise InputError(path, f"line {number}", f"must have {len(header)} fields", len(row))
    hashes = [row[header.index("HashFunction")] for row in rows]
    chosen = _choose(path, hashes, functions)
    total = np.zeros(len(minutes), dtype=np.int64)
    for at in chosen:
        total += _whole_numbers(
            path, file.numbers[1 + at], [header[i] for i in minutes], [rows[at][i] for i in minutes]
        )
    if not total.any():
        raise InputError(path, "functions", "must have at least one invocation", functions)
    label = "all functions" if functions is None else f"{len(chosen)} functions"
    return RecordedArrivals(total, _MINUTE_S, f"{Path(path).stem} ({label})", scale, str(path))


def _choose(path: str | Path, hashes: list[str], functions: str | Sequence[str] | int | None) -> list[int]:
    if functions is None:
        return list(range(len(hashes)))
    if isinstance(functions, int):
        if not 0 <= functions < len(hashes):
            raise InputError(path, "functions", f"must be a row from 0 to {len(hashes) - 1}", functions)
        return [functions]
    chosen = []
    for prefix in [functions] if isinstance(functions, str) else functions:
        found = [at for at, name in enumerate(hashes) if prefix and name.startswith(prefix)]
        if len({hashes[at] for at in found}) != 1:
            raise InputError(path, "functions", f"must be the start of one HashFunction, found {len(found)}", prefix)
        chosen.extend(found)
    return sorted(set(chosen))


def _whole_numbers(
    path: str | Path, number: int, names: list[str], fields: list[str]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    try:
        counts = np.array(fields, dtype=np.int64)
    except ValueError:
        counts = np.full(len(fields), -1, dtype=np.int64)
    if (counts < 0).any():
        at = next(i for i, content in enumerate(fields) if not content.strip().isdigit())
        raise InputError(path, f"line {number}, {names[at]}", "must be a whole number, not negative", fields[at])
    return counts


def load_azure_llm(path: str | Path, dt_s: float = 1.0, scale: float = 1.0) -> RecordedArrivals:
    """Azure LLM inference 2023: ``TIMESTAMP,ContextTokens,GeneratedTokens``, counted from the first arrival.

    Args:
        path: The CSV.
        dt_s: Interval that the arrivals are counted in, in seconds.
        scale: Requests that each recorded one stands for.

    Raises:
        InputError: Columns are missing, a time cannot be read or lies before the row above.
    """
    file = read_text(Path(path))
    header = [name.strip() for name in file.lines[0].split(",")]
    if header[0] != "TIMESTAMP":
        raise InputError(path, "header", "must start with TIMESTAMP", file.lines[0])
    if len(file.lines) < 2:
        raise InputError(path, "", "must have at least one row below its header", remedy="is the file truncated?")
    times = np.empty(len(file.lines) - 1, dtype="datetime64[ns]")
    for at, (line, number) in enumerate(zip(file.lines[1:], file.numbers[1:], strict=True)):
        fields = line.split(",")
        if len(fields) != len(header):
            raise InputError(path, f"line {number}", f"must have {len(header)} fields ({', '.join(header)})", line)
        try:
            times[at] = np.datetime64(fields[0].strip().split("+")[0].replace(" ", "T"))
        except ValueError as error:
            raise InputError(path, f"line {number}, TIMESTAMP", "must be a date and time", fields[0]) from error
    seconds = (times - times[0]).astype(np.int64) / 1e9
    return _count(file, seconds, file.numbers[1:], "TIMESTAMP", dt_s, scale)


def load_arrivals_csv(path: str | Path, dt_s: float = 1.0, scale: float = 1.0) -> RecordedArrivals:
    """A user's own arrivals: ``t_s,count`` or ``arrival_s``.

    A count holds for the interval that starts at its ``t_s``; all intervals are equal. ``arrival_s`` is one row per
    request.

    Args:
        path: The CSV.
        dt_s: For ``arrival_s``: the interval that arrivals are counted in, in seconds.
        scale: Requests that each recorded one stands for.

    Raises:
        InputError: The columns are others, a count is negative or no whole number, times fall or are unequally spaced.
    """
    file = read_text(Path(path))
    header = tuple(name.strip().lower() for name in file.lines[0].split(","))
    if header == ("arrival_s",):
        table = read_table(file, header, ",", skip=1)
        return _count(file, table["arrival_s"], table.numbers, "arrival_s", dt_s, scale)
    if header != ("t_s", "count"):
        raise InputError(path, "header", "must be t_s,count or arrival_s", file.lines[0])
    table = read_table(file, header, ",", skip=1)
    table.require_increasing("t_s")
    table.require_not_negative("count")
    table.require("count", table["count"] == np.floor(table["count"]), "must be a whole number")
    steps = np.diff(table["t_s"])
    step = float(steps[0]) if steps.size else 1.0
    table.require(
        "t_s", np.append(True, np.abs(steps - step) <= 1e-6 * step), f"must be {step:g} s after the row before"
    )
    if not table["count"].any():
        raise InputError(path, "count", "must contain at least one request", 0)
    return RecordedArrivals(table["count"].astype(np.int64), step, Path(path).stem, scale, str(path))


def _count(
    file: TextFile, seconds: FloatArray, numbers: list[int], name: str, dt_s: float, scale: float
) -> RecordedArrivals:
    """Arrivals per interval from the first one on."""
    if not (np.isfinite(dt_s) and dt_s > 0.0):
        raise InputError(file.path, "dt_s", "must be positive", dt_s)
    falls = np.diff(seconds) < 0.0
    if falls.any():
        at = int(np.argmax(falls)) + 1
        value = file.lines[at + 1].split(",")[0]
        raise InputError(file.path, f"line {numbers[at]}, {name}", "must not be earlier than in the row before", value)
    index = ((seconds - seconds[0]) / dt_s).astype(np.int64)
    if index[-1] > 100_000_000:
        raise InputError(file.path, name, "must not span more than 100 million intervals", int(index[-1]))
    return RecordedArrivals(np.bincount(index).astype(np.int64), dt_s, file.path.stem, scale, str(file.path))
