"""What every backend of the cloud is: bytes in, bytes out within a deadline, and an account of what it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Answer", "Backend", "BackendError", "BusyError", "CrashError", "DeadlineError", "Invocation"]


class BackendError(RuntimeError):
    """A backend could not answer: the request failed here and may be answered elsewhere."""


class CrashError(BackendError):
    """The process that had the request died or hung: another one may be asked."""


class BusyError(BackendError):
    """No server was free within the time that the caller was willing to wait; nothing was begun or billed."""


class DeadlineError(BackendError):
    """The deadline passed without an answer."""


@dataclass(frozen=True)
class Invocation:
    """What one answered request took, in seconds, as the server measured it.

    Attributes:
        route: 'vm' or 'faas': what served it.
        server: Name of the worker or instance.
        queue_s: From the call to the begin of service or of a cold start.
        service_s: Run time of the handler (functions), or round trip to the worker process (VMs).
        cold: Whether a function instance was started for it.
        setup_s: Cold start without `init_s`: from the start of the process until it answers.
        init_s: Initialisation: imports, weights; 0 if warm.
        billed_ms: Milliseconds billed for it; 0 on a VM, which is billed by its life.
        attempts: 1, or more if a process died and another one was asked.
    """

    route: str
    server: str
    queue_s: float
    service_s: float
    cold: bool = False
    setup_s: float = 0.0
    init_s: float = 0.0
    billed_ms: int = 0
    attempts: int = 1


@dataclass(frozen=True)
class Answer:
    """The reply's bytes, and what they took."""

    data: bytes
    invocation: Invocation


class Backend(Protocol):
    """Anything that answers requests."""

    def invoke(self, data: bytes, timeout_s: float) -> bytes:
        """The reply to a request.

        Raises:
            DeadlineError: there was no answer within `timeout_s`.
            BackendError: there will be none.
        """
        ...
