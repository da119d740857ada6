"""The process of a VM worker: a handler behind gRPC on a socket that only this user can open.

``python -m edgecloud.runtime.cloud.vm_worker SOCKET LIMIT_BYTES``, with the handler in the environment. The method is
that of every tier, raw bytes both ways; a worker on another machine is ``edgecloud serve cloud`` with TLS.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

from ...errors import InputError
from ..arenas import limit_arenas
from .handlers import HANDLER_VARIABLE, Handler, HandlerSpec
from .orphans import end_with_parent

__all__ = ["METHOD", "channel_options", "main", "serve"]

SERVICE = "edgecloud.Tier"
METHOD = f"/{SERVICE}/Infer"


def channel_options(limit_bytes: int) -> list[tuple[str, int]]:
    """Options of both ends of gRPC: the message limit, and quick attempts to connect while a worker starts."""
    return [
        ("grpc.max_send_message_length", limit_bytes),
        ("grpc.max_receive_message_length", limit_bytes),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 200),
        ("grpc.use_local_subchannel_pool", 1),
    ]


def serve(handler: Handler, socket: str, limit_bytes: int) -> grpc.Server:
    """Start serving one request at a time; what the handler refuses becomes INVALID_ARGUMENT, its failures INTERNAL."""

    def infer(data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return handler(data)
        except InputError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Exception as error:
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        raise AssertionError("abort raises")

    server = grpc.server(ThreadPoolExecutor(1), options=channel_options(limit_bytes))
    methods = {"Infer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    if not server.add_insecure_port(f"unix:{socket}"):
        raise InputError("vm worker", "socket", "must be a path that can be bound", socket)
    server.start()
    return server


def main(arguments: list[str]) -> None:
    """Make the handler, serve until the process is ended."""
    end_with_parent()
    limit_arenas()
    socket, limit = arguments
    handler = HandlerSpec.from_json(os.environ.get(HANDLER_VARIABLE, "")).make()
    server = serve(handler, socket, int(limit))
    threading.Event().wait()
    server.stop(None)


if __name__ == "__main__":
    main(sys.argv[1:])
