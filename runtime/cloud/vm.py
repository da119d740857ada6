"""One VM: launched, booting for a while, then a worker process that is restarted when it dies, until it is stopped."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc

from .handlers import HANDLER_VARIABLE, HandlerSpec
from .process import ChildProcess
from .vm_worker import METHOD, channel_options

__all__ = ["VirtualMachine"]

_POLL_S = 0.05
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 30.0


class VirtualMachine:
    """A VM and its worker. The pool that owns it guards its state with the pool's lock.

    The machine is billed from `launched_s` to its stop, whether its worker runs or not. It is ready when the boot delay
    is over *and* the worker has loaded: the process starts at once, so that its start counts inside the delay.

    Args:
        name: Unique.
        handler: What the worker runs.
        environment: Variables for the worker.
        boot_s: Boot delay of this machine.
        start_timeout_s: A worker that is not ready by then is started anew.
        limit_bytes: Largest message.
        folder: Only this user may open it: sockets and logs.
        changed: Called when the machine becomes ready.
    """

    def __init__(
        self,
        name: str,
        handler: HandlerSpec,
        environment: Mapping[str, str],
        boot_s: float,
        start_timeout_s: float,
        limit_bytes: int,
        folder: Path,
        changed: Callable[[VirtualMachine], None],
    ) -> None:
        self.name, self._folder, self._changed = name, folder, changed
        self._environment = {**environment, HANDLER_VARIABLE: handler.to_json()}
        self._start_timeout_s, self._limit_bytes = start_timeout_s, limit_bytes
        self.launched_s = time.monotonic()
        self._boot_ends_s = self.launched_s + boot_s
        self.ready = self.busy = False
        self.drain_from: int | None = None
        """None: accepts requests; else only those with smaller numbers in the line, then it stops."""
        self.free_since_s = self.busy_since_s = 0.0
        self.start_s = 0.0
        """Seconds that the last start of the worker took, boot delay not included."""
        self.restarts = 0
        self._starts = itertools.count(1)
        self._process: ChildProcess | None = None
        self._channel: grpc.Channel | None = None
        self._stopped = threading.Event()
        self._launch(0.0)

    @property
    def pid(self) -> int:
        """Process id of the worker; 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    @property
    def accepting(self) -> bool:
        """Whether new requests may wait for it."""
        return self.drain_from is None

    @property
    def worker_alive(self) -> bool:
        """Whether the worker's process runs."""
        return self._process is not None and self._process.alive

    def send(self, data: bytes) -> grpc.Future:
        """Give the worker a request; the future is done when the worker is, whoever waits for it."""
        assert self._channel is not None
        return self._channel.unary_unary(METHOD).future(data)

    def restart(self) -> None:
        """The worker died or hangs: kill what is left of it and start another. The machine keeps running."""
        self.ready = self.busy = False
        self.restarts += 1
        self._close_worker()
        pause_s = 0.0 if self.restarts == 1 else _FIRST_PAUSE_S * 2.0 ** min(self.restarts - 2, 20)
        self._launch(min(pause_s, _LONGEST_PAUSE_S))

    def stop(self) -> None:
        """Stop the machine at once. May be called again."""
        self._stopped.set()
        self.ready = False
        self._close_worker()

    def join(self) -> None:
        """Wait for the thread that starts the worker; after `stop`, and without the pool's lock."""
        if self._starter is not threading.current_thread():
            self._starter.join()
        self._close_worker()

    def _launch(self, pause_s: float) -> None:
        self._starter = threading.Thread(target=self._start_worker, args=(pause_s,), name=self.name, daemon=True)
        self._starter.start()

    def _start_worker(self, pause_s: float) -> None:
        """Start workers until one is ready, or the machine is stopped."""
        while not self._stopped.wait(pause_s):
            if self._try_worker():
                if self._stopped.wait(max(0.0, self._boot_ends_s - time.monotonic())):
                    return
                self._changed(self)
                return
            pause_s = min(max(2.0 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    def _try_worker(self) -> bool:
        """Start one process and wait until it answers."""
        begun_s = time.monotonic()
        socket = self._folder / f"{self.name}-{next(self._starts)}"
        command = [sys.executable, "-m", "edgecloud.runtime.cloud.vm_worker", str(socket), str(self._limit_bytes)]
        try:
            process = self._process = ChildProcess(command, self._environment, socket.with_suffix(".log"))
        except OSError as error:  # no room for a process now: tried again as one that died
            self.last_words = str(error)
            return False
        channel = self._channel = grpc.insecure_channel(f"unix:{socket}", options=channel_options(self._limit_bytes))
        ready = grpc.channel_ready_future(channel)
        while process.alive and not self._stopped.is_set() and time.monotonic() - begun_s < self._start_timeout_s:
            with contextlib.suppress(grpc.FutureTimeoutError):
                ready.result(timeout=_POLL_S)
                self.start_s = time.monotonic() - begun_s
                return True
        ready.cancel()
        self.last_words = process.last_words()
        self._close_worker()
        return False

    last_words = ""
    """What the last worker said that did not start."""

    def _close_worker(self) -> None:
        process, channel = self._process, self._channel
        if process is not None:
            process.kill()
        if channel is not None:
            channel.close()
