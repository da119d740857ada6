"""A handler that answers with what it was sent: checks a deployment, and the pools, without a model."""

from __future__ import annotations

import importlib
import time

from ...errors import InputError
from .handlers import Handler

__all__ = ["make_handler"]


def make_handler(prefix: str = "", service_s: float = 0.0, init_s: float = 0.0, imports: str = "") -> Handler:
    """A handler that returns its input after `service_s` seconds.

    Args:
        prefix: Comes before the input in the answer.
        service_s: Seconds that a request takes.
        init_s: Extra seconds that initialisation takes.
        imports: A module to import first ('torch' makes a realistic cold start).

    >>> make_handler()(b"as it was")
    b'as it was'
    """
    if imports:
        importlib.import_module(imports)
    time.sleep(init_s)
    head = prefix.encode()

    def handle(data: bytes) -> bytes:
        if data == b"refuse":
            raise InputError("request", "", "must not be the word 'refuse'", data)
        time.sleep(service_s)
        return head + data

    return handle
