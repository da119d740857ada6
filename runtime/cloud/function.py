"""The function's own side: HTTP around a handler, with a shared secret, a size limit and its own measurements."""

from __future__ import annotations

import hmac
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping

from flask import Request, Response

from ...errors import InputError
from .handlers import HANDLER_VARIABLE, Handler, HandlerSpec
from .orphans import end_with_parent

__all__ = [
    "DEFAULT_LIMIT_BYTES",
    "DURATION_HEADER",
    "INIT_HEADER",
    "INSTANCE_HEADER",
    "INSTANCE_VARIABLE",
    "LIMIT_VARIABLE",
    "TOKEN_HEADER",
    "TOKEN_VARIABLE",
    "make_function",
]

TOKEN_VARIABLE = "EDGECLOUD_TOKEN"
"""The secret that gateway and instances share; without it every request is refused."""
LIMIT_VARIABLE = "EDGECLOUD_LIMIT_BYTES"
INSTANCE_VARIABLE = "EDGECLOUD_INSTANCE"
TOKEN_HEADER = "X-Edgecloud-Token"
INSTANCE_HEADER = "X-Edgecloud-Instance"
DURATION_HEADER = "X-Edgecloud-Duration-S"
INIT_HEADER = "X-Edgecloud-Init-S"
DEFAULT_LIMIT_BYTES = 32 * 2**20
"""Where neither the price list nor the operator gives a limit. Ours."""

_BOOT_FAILED = 3
"""Exit status that makes gunicorn give up instead of forking the same failure again and again."""

_log = logging.getLogger(__name__)


def make_function(environment: Mapping[str, str], started_s: float) -> Callable[[Request], Response]:
    """The function that the framework serves. Making it is the initialisation of a cold start: imports and weights.

    GET tells whether the instance is ready and how long it took to be; POST with the token runs the handler.

    Args:
        environment: `HANDLER_VARIABLE`, `TOKEN_VARIABLE`, and optionally a limit in bytes and the instance's name.
        started_s: Instant of `time.monotonic` at which initialisation began.

    Raises:
        InputError: the handler or the token is missing or wrong: the instance does not start.
    """
    end_with_parent()
    token = environment.get(TOKEN_VARIABLE, "")
    if len(token) < 16:
        raise InputError(
            TOKEN_VARIABLE, "", "must be set, 16 characters or more", None, "for example openssl rand -hex 32"
        )
    if HANDLER_VARIABLE not in environment:
        raise InputError(
            HANDLER_VARIABLE, "", "must be set", None, "for example edgecloud.runtime.cloud.echo:make_handler"
        )
    limit = int(environment.get(LIMIT_VARIABLE, DEFAULT_LIMIT_BYTES))
    name = environment.get(INSTANCE_VARIABLE) or f"instance-{os.getpid()}"
    made = _Made(HandlerSpec.from_json(environment[HANDLER_VARIABLE]), started_s)

    def handle(request: Request) -> Response:
        if request.method == "GET":
            made.here()
            state = {"instance": name, "init_s": made.init_s, "pid": os.getpid()}
            return Response(json.dumps(state), mimetype="application/json")
        refusal = _refusal(request, token, limit)
        if refusal is not None:
            return refusal
        begun_s = time.perf_counter()
        try:
            data, status = made.here()(request.get_data(cache=False)), 200
        except InputError as error:
            data, status = str(error).encode(), 422
        except Exception as error:
            _log.exception("the handler failed")
            data, status = f"{type(error).__name__}: {error}".encode(), 500
        reply = Response(data, status, mimetype="application/octet-stream")
        reply.headers[DURATION_HEADER] = repr(time.perf_counter() - begun_s)
        reply.headers[INIT_HEADER] = repr(made.init_s)
        reply.headers[INSTANCE_HEADER] = name
        return reply

    return handle


class _Made:
    """The handler of this process: imports before the server forks its worker, weights and threads after it.

    Threads do not survive a fork, and a handler may have some; a server that does not fork makes it on first use.
    """

    def __init__(self, spec: HandlerSpec, started_s: float) -> None:
        self._spec, self._pid = spec, 0
        self._handler: Handler | None = None
        spec.factory()
        self._imports_s = self.init_s = time.monotonic() - started_s
        os.register_at_fork(after_in_child=self._after_fork)

    def here(self) -> Handler:
        """The handler, made once in this process."""
        if self._handler is None or self._pid != os.getpid():
            begun_s = time.monotonic()
            self._handler, self._pid = self._spec.make(), os.getpid()
            self.init_s = self._imports_s + time.monotonic() - begun_s
        return self._handler

    def _after_fork(self) -> None:
        if self._pid:  # the worker forks in its turn: not to serve
            return
        try:
            self.here()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(_BOOT_FAILED)


def _refusal(request: Request, token: str, limit: int) -> Response | None:
    """Why a request is not served, or None: the secret first, then the size, before the body is read."""
    if request.method != "POST":
        return Response(b"use POST", 405)
    if not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), token.encode()):
        return Response(b"the token is missing or wrong", 401)
    if request.content_length is None:
        return Response(b"Content-Length is required", 411)
    if request.content_length > limit:
        return Response(f"the payload must not exceed {limit} bytes".encode(), 413)
    return None
