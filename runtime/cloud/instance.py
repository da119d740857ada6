"""One function instance on this machine: a process that runs functions-framework, spoken to over HTTP on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .backend import BackendError, CrashError
from .function import DURATION_HEADER, INSTANCE_VARIABLE, TOKEN_HEADER, TOKEN_VARIABLE
from .process import ChildProcess

__all__ = ["SOURCE", "FunctionInstance", "Reply", "function_command"]

SOURCE = Path(__file__).with_name("main.py")
_HOST = "127.0.0.1"
_POLL_S = 0.005


def function_command(port: int, source: Path | str = SOURCE) -> list[str]:
    """The command line of an instance; the container's is the same, with its own host and port."""
    framework = [sys.executable, "-m", "functions_framework"]
    return [*framework, "--source", str(source), "--target", "handle", "--host", _HOST, "--port", str(port)]


@dataclass(frozen=True)
class Reply:
    """An instance's answer and the run time that it reports."""

    data: bytes
    duration_s: float


class FunctionInstance:
    """A process that serves one request at a time.

    Args:
        name: Unique; the instance must give it back, so that the secret is sent to no other listener on the port.
        token: The shared secret.
        environment: Handler, limits and whatever the operator sets.
        folder: For its log.
    """

    def __init__(self, name: str, token: str, environment: Mapping[str, str], folder: Path) -> None:
        self.name, self._token, self._folder = name, token, folder
        self._environment = {
            **environment,
            INSTANCE_VARIABLE: name,
            TOKEN_VARIABLE: token,
            "THREADS": "1",
            "WORKERS": "1",
        }
        self._process: ChildProcess | None = None
        self._port = 0
        self.setup_s = self.init_s = 0.0
        self.idle_since_s = 0.0
        self._stopped = False

    @property
    def pid(self) -> int:
        """Process id of the group's leader; 0 before the start."""
        return 0 if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.alive

    def start(self, timeout_s: float) -> None:
        """Start the process and wait until it answers: sets `setup_s` and `init_s`.

        Raises:
            CrashError: it ended, or did not answer in time; the message holds its last words.
        """
        begun_s = time.monotonic()
        self._port = _free_port()
        command = function_command(self._port)
        try:
            self._process = ChildProcess(command, self._environment, self._folder / f"{self.name}.log")
        except OSError as error:
            raise CrashError(f"function instance {self.name} did not start: {error}") from error
        while True:
            state = self._state()
            if state is not None:
                break
            if self._stopped or not self._process.alive or time.monotonic() - begun_s > timeout_s:
                words = self._process.last_words()
                self.stop()
                raise CrashError(f"function instance {self.name} did not start: {words}")
            time.sleep(_POLL_S)
        self.init_s = float(state["init_s"])
        self.setup_s = time.monotonic() - begun_s - self.init_s

    def call(self, data: bytes, limit_s: float) -> Reply:
        """Run one request.

        Raises:
            CrashError: the process died, or did not answer within `limit_s`.
            BackendError: the function refused the request or failed on it, and lives on.
        """
        deadline_s = time.monotonic() + limit_s
        headers = {TOKEN_HEADER: self._token, "Content-Type": "application/octet-stream"}
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=limit_s)
        try:
            connection.request("POST", "/", body=data, headers=headers)
            response = connection.getresponse()
            body = _read(connection, response, deadline_s)
        except (OSError, http.client.HTTPException) as error:
            raise CrashError(f"function instance {self.name} died or hung: {error!r}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise BackendError(
                f"function instance {self.name}: {response.status} {body[:200].decode(errors='replace')}"
            )
        return Reply(body, float(response.headers[DURATION_HEADER]))

    def stop(self) -> None:
        """End the process at once, or as soon as it is started. May be called again."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _state(self) -> dict[str, float] | None:
        """What the instance says of itself, or None while it does not answer or something else does."""
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=1.0)
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection.request("GET", "/")
            state = json.loads(connection.getresponse().read(4096))
            if isinstance(state, dict) and state.get("instance") == self.name:
                return state
        connection.close()
        return None


def _read(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline_s: float) -> bytes:
    """The whole body, with one deadline for all of its parts."""
    parts = []
    while True:
        if connection.sock is not None:
            connection.sock.settimeout(max(1e-3, deadline_s - time.monotonic()))
        part = response.read(1 << 16)
        if not part:
            break
        parts.append(part)
    if response.length:  # the peer closed before it sent what it had announced
        raise http.client.IncompleteRead(b"".join(parts), response.length)
    return b"".join(parts)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
