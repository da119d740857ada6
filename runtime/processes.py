"""The servers of a system on one machine: processes of their own, started, watched and ended."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ..errors import InputError

__all__ = ["ServerProcess"]

_LISTENS = re.compile(r"listens on (\S+)")


def _log_file(path: Path) -> IO[bytes]:
    """A file to append a log to; where there is no room for one the server does without."""
    try:
        return path.open("ab")
    except OSError:
        return open(os.devnull, "ab")


class ServerProcess:
    """A server of the command line in a process of its own.

    Args:
        name: For messages.
        arguments: Of ``edgecloud``.
        log: File for its log.
        timeout_s: For it to say where it listens.
        environment: Variables besides this process's.

    Raises:
        InputError: It ended, or did not say where it listens.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        timeout_s: float = 180.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self._arguments, self._log, self._timeout_s = name, list(arguments), log, timeout_s
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self.address = ""
        self.start()

    def start(self) -> None:
        """Start it (again, at the address that it had); see the class."""
        command = [sys.executable, "-m", "edgecloud", *self._arguments]
        if self.address:
            command += ["--listen", self.address]
        with _log_file(self._log) as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=self._environment
            )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(lines,), name=f"{self.name}-output", daemon=True).start()
        until = time.monotonic() + self._timeout_s
        while (left_s := until - time.monotonic()) > 0:
            try:
                line = lines.get(timeout=left_s)
            except queue.Empty:
                break
            if found := _LISTENS.search(line):
                self.address = found.group(1)
                return
            if not line:
                break
        self.kill()
        tail = self._last_words()
        raise InputError(self.name, "", f"did not start ({tail[:300]})", remedy=f"see {self._log}")

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Ask it to end, and see that it does."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "nothing in its log"
        return "its log cannot be read"

    def _read(self, lines: queue.SimpleQueue[str]) -> None:
        process = self._process
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")
