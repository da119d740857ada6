"""Reading a recording back, whole or as far as the disk had room for it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..envs import RECORD_FIELDS, TERMS, Problem
from ..envs.measure import SCHEMA, width
from ..errors import InputError
from ..files import write_atomically
from .recording import ARRAYS, FORMAT, JOURNAL, Decided
from .records import COMPONENTS, RequestRecord
from .telemetry import Interval
from .terms import terms_of

__all__ = ["Recording", "read_recording", "save_arrays"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded run.

    Attributes:
        source: The journal.
        header: What is served, by which policy, since when.
        decisions: In order; `decisions[k]` is for the interval `intervals[k]`.
        intervals: In order, without a gap: the longest stretch of the run that was written down.
        requests: Settled requests, in the order in which they ended.
        events: Everything else that was noted.
        left_out: Intervals outside that stretch (0: the run is there as a whole).
        skipped: Lines that could not be read (cut off by a full disk or a crash).
        lost: Lines that the recorder says were never written; None: the recording has no end.
    """

    source: Path
    header: dict[str, Any]
    decisions: tuple[Decided, ...]
    intervals: tuple[Interval, ...]
    requests: tuple[RequestRecord, ...]
    events: tuple[dict[str, Any], ...]
    left_out: int
    skipped: int
    lost: int | None

    @property
    def weights(self) -> Floats:
        """Preference, float64 (3,)."""
        return np.array(self.header["weights"], dtype=np.float64)

    @property
    def actions(self) -> Ints:
        """Actions in force, int64 (T, 4)."""
        return np.array([decided.action for decided in self.decisions], dtype=np.int64).reshape(-1, 4)

    @property
    def rows(self) -> Floats:
        """Measured rows, float64 (T + 1, D): before the first decision, then at the end of each interval."""
        first = self.decisions[0].row if self.decisions else np.zeros(width())
        return np.stack([first, *(interval.row for interval in self.intervals)])

    def terms(self, problem: Problem) -> Floats:
        """Terms of each interval in the environment's units, float64 (T, len(TERMS)); see `terms_of`."""
        return terms_of(problem, self.intervals, self.requests, self.weights)[0]

    def check(self, problem: Problem) -> None:
        """Make sure that a problem is the one that was served.

        Raises:
            InputError: It is another.
        """
        if self.header.get("fingerprint") != problem.fingerprint():
            rule = f"must be that of the scenario in use ('{problem.scenario.name}', {problem.fingerprint()})"
            raise InputError(self.source, "fingerprint", rule, self.header.get("fingerprint"))


def read_recording(path: str | Path) -> Recording:
    """Read a recording.

    Args:
        path: Its folder, or the journal in it.

    Raises:
        InputError: There is none, its header is missing or of a newer format, or a line breaks a rule.
    """
    path = Path(path)
    file = path / JOURNAL if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(file, "", f"must be a readable recording ({error.strerror})") from error
    lines: list[tuple[int, dict[str, Any]]] = []
    skipped = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if isinstance(content, dict) and "kind" in content:
            lines.append((number, content))
        else:
            skipped += 1
    return _assembled(file, lines, skipped)


def _assembled(file: Path, lines: list[tuple[int, dict[str, Any]]], skipped: int) -> Recording:
    header = _header(file, lines)
    decisions: dict[int, Decided] = {}
    intervals: dict[int, Interval] = {}
    requests: list[RequestRecord] = []
    events: list[dict[str, Any]] = []
    lost: int | None = None
    for number, content in lines:
        where, kind = f"{file}: line {number}", content["kind"]
        body = {name: value for name, value in content.items() if name != "kind"}
        try:
            if kind == "decision":
                decisions[int(body["t"])] = _decided(body)
            elif kind == "interval":
                t = int(body.pop("t"))
                intervals[t] = _interval(body)
            elif kind == "request":
                requests.append(RequestRecord.from_dict(body, where))
            elif kind == "end":
                lost = int(body["lost"])
            elif kind != "header":
                events.append(content)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(where, kind, f"must be a line of a recording ({type(error).__name__}: {error})") from error
    both = sorted(decisions.keys() & intervals.keys())
    chosen = _longest_stretch(both)
    return Recording(
        source=file,
        header=header,
        decisions=tuple(decisions[t] for t in chosen),
        intervals=tuple(intervals[t] for t in chosen),
        requests=tuple(requests),
        events=tuple(events),
        left_out=max(decisions.keys() | intervals.keys(), default=-1) + 1 - len(chosen),
        skipped=skipped,
        lost=lost,
    )


def _header(file: Path, lines: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    header = next((content for _, content in lines if content["kind"] == "header"), None)
    if header is None:
        raise InputError(file, "", "must be a recording: it has no header")
    if not isinstance(header.get("format"), int) or header["format"] > FORMAT:
        raise InputError(file, "format", f"must be {FORMAT}", header.get("format"), "update edgecloud")
    if header.get("schema") != [[field.name, field.size] for field in SCHEMA]:
        raise InputError(file, "schema", "must be the measurements of this version")
    return header


def _decided(body: Mapping[str, Any]) -> Decided:
    placement, threshold, route, target = (int(part) for part in body["action"])
    numbers = float(body["at_s"]), _row(body["row"]), (placement, threshold, route, target), float(body["decision_s"])
    return Decided(int(body["t"]), *numbers, str(body["outcome"]))


def _interval(body: Mapping[str, Any]) -> Interval:
    return Interval(**{**body, "row": _row(body["row"])})


def _row(values: Iterable[float | None]) -> Floats:
    row = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    if row.shape != (width(),):
        raise ValueError(f"a row has {width()} numbers, got {row.shape}")
    return row


def _longest_stretch(numbers: list[int]) -> range:
    """The longest run of consecutive whole numbers in a sorted list; the first of equal ones.

    >>> _longest_stretch([0, 1, 4, 5, 6, 9])
    range(4, 7)
    """
    best = range(0)
    start = 0
    for k in range(1, len(numbers) + 1):
        if k == len(numbers) or numbers[k] != numbers[k - 1] + 1:
            if k - start > len(best):
                best = range(numbers[start], numbers[k - 1] + 1)
            start = k
    return best


def save_arrays(recording: Recording, problem: Problem) -> Path:
    """Write a recording's arrays beside its journal, for NumPy: what `numpy.load` gives back without pickles.

    `rows` (T + 1, D), `actions` (T, 4), `ends_s` (T,), `terms` (T, len(TERMS)), `term_names`, `requests` (R,
    len(RECORD_FIELDS) + len(COMPONENTS)) and `request_names`.

    Raises:
        OSError: The file cannot be written.
    """
    names = (*RECORD_FIELDS, *COMPONENTS)
    requests = np.array([[float(getattr(r, name)) for name in names] for r in recording.requests])
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        rows=recording.rows,
        actions=recording.actions,
        ends_s=np.array([interval.end_s for interval in recording.intervals]),
        terms=recording.terms(problem),
        term_names=np.array(TERMS),
        requests=requests.reshape(-1, len(names)),
        request_names=np.array(names),
    )
    path = recording.source.with_name(ARRAYS)
    write_atomically(path, buffer.getvalue())
    return path
