"""Structured logs of the servers: one JSON object per line on standard error."""

from __future__ import annotations

import sys
from typing import Any

import structlog

__all__ = ["configure_logs", "logger"]


def configure_logs(**bound: Any) -> None:
    """Write JSON lines with time and level to standard error; `bound` is added to each.

    A log that cannot be written (a full disk behind the redirection, a closed pipe) is dropped: serving goes on.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: _Forgiving(),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    _BOUND.clear()
    _BOUND.update(bound)


_BOUND: dict[str, Any] = {}


def logger() -> Any:
    """The logger, with what `configure_logs` bound."""
    return structlog.get_logger().bind(**_BOUND)


class _Forgiving:
    """Prints lines; a full disk or a closed pipe is not the server's end."""

    def msg(self, message: str) -> None:
        """Write one line."""
        try:
            print(message, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = msg
