"""Structured logs of a served run: one JSON object per line, to a file or the error stream; never a reason to stop."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path
from typing import IO, Any

import structlog

__all__ = ["LogFile", "open_log"]


class LogFile:
    """A text file that swallows and counts what it cannot write (a full disk), for structlog to print to.

    Args:
        path: Appended to; None: the error stream.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.lost = 0
        """Lines that could not be written."""
        self._file: IO[str] | None = sys.stderr if path is None else None
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Append a text."""
        with self._lock:
            try:
                if self._file is None and self.path is not None:
                    self._file = self.path.open("a", encoding="utf-8")
                if self._file is not None:
                    self._file.write(text)
                    self._file.flush()
            except (OSError, ValueError):
                self.lost += 1
                self._give_up()

    def flush(self) -> None:
        """Nothing waits: every write is flushed."""

    def close(self) -> None:
        """Close the file; later lines open it again."""
        with self._lock:
            self._give_up()

    def _give_up(self) -> None:
        """Drop a file whose buffer may hold what the disk refused; the next line opens it anew."""
        file, self._file = self._file, sys.stderr if self.path is None else None
        if file is not None and file is not sys.stderr:
            with contextlib.suppress(OSError):
                file.close()


def open_log(path: str | Path | LogFile | None = None, **facts: Any) -> Any:
    """A structlog logger that writes JSON lines with UTC time stamps; facts stand on every line.

    It is configured by itself: structlog's and logging's global settings stay as they are.

    Args:
        path: File to append to, or an open `LogFile`; None: the error stream.
        **facts: On every line, for example the name of the process.
    """
    file = path if isinstance(path, LogFile) else LogFile(path)
    return structlog.wrap_logger(
        structlog.WriteLogger(file),  # type: ignore[arg-type]
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.BoundLogger,
        context_class=dict,
    ).bind(**facts)
