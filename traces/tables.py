"""Number tables in text files, with errors that name the line and the column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .link import FloatArray

__all__ = ["NotALinkError", "Table", "TextFile", "read_table", "read_text"]

_MAX_BYTES = 1 << 30


class NotALinkError(InputError):
    """The file may well be in order, but it is no recording of a link's rate."""


@dataclass(frozen=True)
class TextFile:
    """The lines of a file that hold something, with their numbers, and the ``# key: value`` comments.

    Attributes:
        path: Where it was read from.
        lines: Lines that are neither empty nor comments.
        numbers: Their line numbers in the file, counted from 1.
        notes: What the comments say.
    """

    path: Path
    lines: list[str]
    numbers: list[int]
    notes: dict[str, str]


@dataclass(frozen=True)
class Table:
    """Columns of numbers and where each row came from."""

    path: Path
    names: tuple[str, ...]
    values: FloatArray
    numbers: list[int]

    def __getitem__(self, name: str) -> FloatArray:
        return self.values[:, self.names.index(name)]

    def require(self, name: str, valid: npt.NDArray[np.bool_], rule: str) -> None:
        """Raise InputError for the first row, if any, in which the column breaks the rule."""
        wrong = ~valid
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(self.path, f"line {self.numbers[at]}, {name}", rule, _short(self[name][at]))

    def require_increasing(self, name: str) -> None:
        """Raise InputError unless every row is later than the one before."""
        steps = np.diff(self[name], prepend=-np.inf) > 0.0
        self.require(name, steps, "must be later than in the row before")

    def require_not_negative(self, name: str) -> None:
        """Raise InputError for a negative value."""
        self.require(name, self[name] >= 0.0, "must not be negative")


def _short(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)


def read_text(path: Path) -> TextFile:
    """Read a text file; comments start with ``# `` (NUWiNS' rulers ``####`` are kept)."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(path, "", "must be smaller than 1 GiB", path.stat().st_size)
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(path, "", f"must be a readable file ({error.strerror})") from error
    if b"\0" in raw[:4096]:
        raise InputError(path, "", "must be a text file, not a binary one")
    text = raw.decode("utf-8-sig", errors="replace")
    lines, numbers, notes = [], [], {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if content.startswith("# "):
            key, colon, value = content[2:].partition(":")
            if colon:
                notes[key.strip()] = value.strip()
        elif content and content != "#":
            lines.append(content)
            numbers.append(number)
    if not lines:
        raise InputError(path, "", "must contain data, but the file is empty", remedy="is the download complete?")
    return TextFile(path, lines, numbers, notes)


def read_table(
    file: TextFile, names: Sequence[str], separator: str | None, skip: int = 0, optional: Sequence[str] = ()
) -> Table:
    """Numbers below `skip` header lines, one column per name, all finite.

    Args:
        file: The file.
        names: Names of the columns in order.
        separator: What stands between two fields; None for white space.
        skip: How many lines to leave out at the start.
        optional: Columns that the caller looks at by name; they must be numbers all the same.

    Raises:
        InputError: A row has too few or too many fields, or a field is no finite number.
    """
    lines, numbers = file.lines[skip:], file.numbers[skip:]
    if not lines:
        raise InputError(file.path, "", "must have at least one row below its header", remedy="is the file truncated?")
    try:
        values = np.loadtxt(lines, delimiter=separator, ndmin=2, dtype=np.float64, comments=None)
    except ValueError:
        _explain(file.path, lines, numbers, names, separator)
        raise
    if values.shape[1] != len(names):
        _explain(file.path, lines, numbers, names, separator)
    table = Table(file.path, tuple(names), values, numbers)
    for name in (*names, *optional):
        table.require(name, np.isfinite(table[name]), "must be a finite number")
    return table


def _explain(path: Path, lines: list[str], numbers: list[int], names: Sequence[str], separator: str | None) -> None:
    """Find the first row that cannot be read and raise InputError for it."""
    for line, number in zip(lines, numbers, strict=True):
        fields = line.split(separator)
        if len(fields) != len(names):
            last = number == numbers[-1]
            rule = f"must have {len(names)} fields ({', '.join(names)})"
            raise InputError(path, f"line {number}", rule, line, "is the file truncated?" if last else "")
        for name, content in zip(names, fields, strict=True):
            _require_number(path, f"line {number}, {name}", content)


def _require_number(path: Path, where: str, content: str) -> None:
    convert: Callable[[str], float] = float
    try:
        convert(content)
    except ValueError as error:
        raise InputError(path, where, "must be a number", content) from error
