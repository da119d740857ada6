"""Asking a server for its status now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .messages import MessageError, Status, decode
from .transport import Client
from .transport_errors import TransportError

__all__ = ["StatusPoll"]


class StatusPoll:
    """A thread that asks, and tells what it hears.

    Args:
        client: Asks the server.
        every_s: How often; also how long an answer may take. 0: never.
        reachable: Whether to ask now.
        tell: Gets each status.
    """

    def __init__(
        self, client: Client, every_s: float, reachable: Callable[[], bool], tell: Callable[[Status], None]
    ) -> None:
        self._client, self._every_s, self._reachable, self._tell = client, every_s, reachable, tell
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status-poll", daemon=True)
        if every_s > 0:
            self._thread.start()

    def stop(self) -> None:
        """Ask no more; a call under way ends with the client's connection."""
        self._closed.set()

    def join(self) -> None:
        """Wait for the end."""
        if self._thread.is_alive():
            self._thread.join(10.0)

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            if not self._reachable():
                continue
            try:
                status = decode(self._client.status(self._every_s))
            except (TransportError, MessageError):
                continue
            if isinstance(status, Status) and not self._closed.is_set():
                self._tell(status)
