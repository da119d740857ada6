"""What a run did, interval by interval and request by request: an append-only file that no full disk can stop."""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..envs import Problem
from ..envs.measure import SCHEMA
from ..errors import InputError
from ..source import versions
from .records import RequestRecord
from .telemetry import Interval

__all__ = ["ARRAYS", "FORMAT", "JOURNAL", "Decided", "Recorder"]

Floats = NDArray[np.float64]

FORMAT = 2
JOURNAL = "recording.jsonl"
"""Name of the append-only file in a recording's folder."""

ARRAYS = "recording.npz"
"""Name of the arrays beside it, written at the end."""

_ROOM = 65_536  # lines that may wait for the disk; about half a kilobyte each
_RETRY_S = 1.0


@dataclass(frozen=True)
class Decided:
    """One decision.

    Attributes:
        t: Number of the interval that it is for.
        at_s: When it came into force, seconds since the start of the run.
        row: Measured row that it is based on, float64 (D,).
        action: Indices: placement, threshold, route, VM target.
        decision_s: Seconds that the policy took.
        outcome: 'decided', or why the last action was kept: 'failed', 'late', 'invalid'.
    """

    t: int
    at_s: float
    row: Floats
    action: tuple[int, int, int, int]
    decision_s: float
    outcome: str = "decided"


class Recorder:
    """Writes a recording, one JSON object per line, from a thread of its own.

    The journal's lines have a `kind`: one `header`, then `decision`, `interval`, `request` and `event` as they come,
    and an `end`. Numbers are in SI units; an unknown one is null. Whoever records never waits: lines go through a
    bounded queue, and lines that the disk (or the queue) has no room for are counted in `lost` and left out. Writing is
    tried again, so a recording goes on when there is room again; the reader skips a line that was cut off.

    Args:
        folder: Made if need be; must hold no recording yet.
        problem: What is served.
        weights: Preference (3,).
        policy: Name of what decides.
        facts: More for the header, JSON values.

    Raises:
        InputError: The folder holds a recording, or cannot be made.
    """

    def __init__(
        self,
        folder: str | Path,
        problem: Problem,
        weights: Floats,
        policy: str,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self._problem = Path(folder), problem
        self.path = self.folder / JOURNAL
        if self.path.exists():
            raise InputError(
                self.path, "", "must not exist: recordings are never overwritten", remedy="name a new folder"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(folder, "", f"must be a folder that can be made ({error.strerror})") from error
        self.lost = 0
        """Lines that could not be written."""
        self.written = 0
        """Lines written."""
        self.last_error = ""
        """Why the last line was lost; empty: none was."""
        self._lines: queue.Queue[str | None] = queue.Queue(_ROOM)
        self._file: IO[bytes] | None = None
        self._torn = False
        self._retry_at = 0.0
        self._header = _line(_header(problem, weights, policy, facts or {}))
        self._headed = False
        self._thread = threading.Thread(target=self._write_all, name="edgecloud-recorder", daemon=True)
        self._thread.start()
        self._lines.put_nowait(self._header)

    def decision(self, decided: Decided) -> None:
        """Record a decision."""
        content = {"t": decided.t, "at_s": decided.at_s, "action": list(decided.action), "outcome": decided.outcome}
        self._put({"kind": "decision", **content, "decision_s": decided.decision_s, "row": _list(decided.row)})

    def interval(self, t: int, interval: Interval) -> None:
        """Record the end of an interval."""
        self._put({"kind": "interval", "t": t, **interval._asdict(), "row": _list(interval.row)})

    def request(self, record: RequestRecord) -> None:
        """Record a settled request."""
        self._put({"kind": "request", **record.to_dict()})

    def event(self, name: str, **facts: Any) -> None:
        """Record something else worth knowing (a fault, a restart); JSON values."""
        self._put({"kind": "event", "name": name, **facts})

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is waiting, end the recording, and write its arrays where there is room."""
        if not self._thread.is_alive():
            return
        self._put({"kind": "end", "lost": self.lost})
        try:
            self._lines.put(None, timeout=timeout_s)
        except queue.Full:
            self.lost += self._lines.qsize()
        self._thread.join(timeout_s)
        self._save_arrays()

    def _save_arrays(self) -> None:
        """What the journal holds, as arrays; a disk that has no room for them leaves the journal as it is."""
        from .journal import read_recording, save_arrays

        try:
            save_arrays(read_recording(self.path), self._problem)
        except (OSError, InputError) as error:
            self.last_error = str(error)

    def _put(self, content: Mapping[str, Any]) -> None:
        try:
            self._lines.put_nowait(_line(content))
        except queue.Full:
            self._lose("the disk is slower than the run")
        except (TypeError, ValueError) as error:
            self._lose(f"{type(error).__name__}: {error}")

    def _lose(self, why: str) -> None:
        self.lost += 1
        self.last_error = why

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self.last_error = str(error)

    def _write(self, line: str) -> None:
        """Append a line; after a failure, wait a while before the disk is tried again, and start on a new line."""
        if time.monotonic() < self._retry_at:
            self.lost += 1
            return
        try:
            if self._file is None:
                self._file = self._open()
            late = not self._headed and line is not self._header  # without its header nothing could be read
            lines = [*([""] if self._torn else []), *([self._header] if late else []), line, ""]
            self._send(self._file, "\n".join(lines).encode())
        except OSError as error:
            self._lose(str(error))
            self._torn = True
            self._retry_at = time.monotonic() + _RETRY_S
        else:
            self._torn, self._headed = False, True
            self.written += 1 + late
            self.lost -= late

    def _open(self) -> IO[bytes]:
        """Unbuffered: a line is with the operating system when it counts as written."""
        return self.path.open("ab", buffering=0)

    @staticmethod
    def _send(file: IO[bytes], content: bytes) -> None:
        sent = 0
        while sent < len(content):  # an unbuffered write may take a part
            sent += file.write(content[sent:])


def _header(problem: Problem, weights: Floats, policy: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    scenario = problem.scenario
    return {
        "kind": "header",
        "format": FORMAT,
        "scenario": scenario.name,
        "fingerprint": problem.fingerprint(),
        "interval_s": scenario.control.interval_s,
        "weights": _list(weights),
        "policy": policy,
        "schema": [[field.name, field.size] for field in SCHEMA],
        "nvec": problem.nvec.tolist(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        **facts,
    }


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _list(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in np.asarray(values, dtype=np.float64).tolist()]
