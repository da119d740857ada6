"""One process of a pool: started in a group of its own, its last words kept, killed with everything that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .orphans import PARENT_VARIABLE

__all__ = ["ChildProcess"]

_LAST_WORDS_BYTES = 1200


def _log_file(path: Path) -> IO[bytes]:
    """A file for a process's output; where there is no room for one the process does without."""
    try:
        return path.open("wb")
    except OSError:
        return open(os.devnull, "wb")


class ChildProcess:
    """A process and its group.

    Args:
        arguments: Command line.
        environment: Variables beside those of this process.
        log: File for its output.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with _log_file(log) as output:
            self._process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.PIPE,  # its end is the child's sign that we are gone
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment, PARENT_VARIABLE: "1"},
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """The end of its output, in one line, for an error message."""
        with contextlib.suppress(OSError):
            lines = self._log.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").splitlines()
            return " | ".join(line for line in lines[-8:] if line.strip())
        return ""

    def kill(self) -> None:
        """End it and its group at once, and collect it. May be called again."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._log.unlink(missing_ok=True)
