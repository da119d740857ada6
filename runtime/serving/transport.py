"""gRPC with raw bytes and mutual TLS: a server around any function of bytes, and its client.

Methods of the service `edgecloud.Tier`: `Infer`, `Prepare` and `Status` take and give one message; `Uplink` is a stream
of frames (`framing`) on which a device's transfers follow one another in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from ...errors import InputError
from .certificates import Credentials
from .fields import MessageError
from .messages import MAX_MESSAGE_BYTES
from .once import Once
from .stream_server import StreamServer
from .threads import WarmThreads
from .transport_errors import (
    DeadlineError,
    OverloadedError,
    RefusedError,
    ReplayError,
    TransportError,
    UnreachableError,
)

__all__ = ["Client", "Handler", "Server", "open_channel", "peer_name", "serve"]

Handler = Callable[[bytes], bytes]

SERVICE = "edgecloud.Tier"
_FRAME_SLACK = 64 << 10

_CODES = {
    MessageError: grpc.StatusCode.INVALID_ARGUMENT,
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    ReplayError: grpc.StatusCode.ALREADY_EXISTS,
    RefusedError: grpc.StatusCode.PERMISSION_DENIED,
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    UnreachableError: grpc.StatusCode.UNAVAILABLE,
}
_ERRORS: dict[Any, type[TransportError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: RefusedError,
    grpc.StatusCode.ALREADY_EXISTS: ReplayError,
    grpc.StatusCode.PERMISSION_DENIED: RefusedError,
    grpc.StatusCode.UNAUTHENTICATED: RefusedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.CANCELLED: UnreachableError,
}


def _options(max_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_bytes + _FRAME_SLACK),
        ("grpc.max_send_message_length", max_bytes + _FRAME_SLACK),
        # Pings find a connection of which the other half is gone.
        ("grpc.keepalive_time_ms", 2_000),
        ("grpc.keepalive_timeout_ms", 2_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]


class Server:
    """A running server; `serve` makes one. Use it as a context manager, or call `stop`."""

    def __init__(self, server: grpc.Server, address: str, streams: StreamServer, pool: WarmThreads) -> None:
        self._server, self._streams, self._pool = server, streams, pool
        self.address = address
        """`host:port` that it listens on."""
        self._stopped = threading.Event()

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept nothing new, let what is under way finish for at most `grace_s`, then close port and threads."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        ended = self._server.stop(grace_s)
        self._streams.drain(grace_s)
        ended.wait(grace_s + 5.0)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(
    handler: Handler,
    status: Callable[[], bytes],
    address: str = "127.0.0.1:0",
    credentials: Credentials | None = None,
    workers: int = 32,
    max_bytes: int = MAX_MESSAGE_BYTES,
    prepare: Handler | None = None,
    once: Once | None = None,
    accept: frozenset[str] = frozenset(),
    insecure: bool = False,
) -> Server:
    """Serve a function of bytes.

    Args:
        handler: Called from several threads at once. `MessageError`, `InputError` and `TransportError` reach the
            caller as what they are; any other exception as an internal error without details.
        status: Gives the answer to `Status`.
        address: `host:port`; port 0 takes a free one.
        credentials: Own certificate and the authority that peers must come from.
        workers: Requests inside at a time, waiting ones included; one more is refused with `OverloadedError`.
        max_bytes: Longest message accepted.
        prepare: Handler of `Prepare`; without one it is refused.
        once: Refuses replays and answers retries; None: every message is handled.
        accept: Names (of certificates) that may call; empty: whoever the authority has signed.
        insecure: Plain text, for measurements on the loopback interface.

    Raises:
        InputError: No credentials without `insecure`, or the address cannot be bound.
    """
    if credentials is None and not insecure:
        raise InputError("server", "credentials", "are needed", None, "make some with 'edgecloud certificates DIR'")
    pool = WarmThreads(workers + 8, "rpc")
    streams = StreamServer(handler, once, accept, workers, max_bytes)
    options = [*_options(max_bytes), ("grpc.so_reuseport", 0)]
    server = grpc.server(pool, options=options, maximum_concurrent_rpcs=workers + 8)
    methods = {
        "Infer": grpc.unary_unary_rpc_method_handler(_guarded(_answering(handler, once), accept)),
        "Prepare": grpc.unary_unary_rpc_method_handler(_guarded(_plain(prepare or _refuse), accept)),
        "Status": grpc.unary_unary_rpc_method_handler(_guarded(_plain(lambda _: status()), accept)),
        "Uplink": grpc.stream_stream_rpc_method_handler(_guarded_stream(streams, accept)),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    try:
        port = (
            server.add_insecure_port(address)
            if credentials is None
            else server.add_secure_port(address, credentials.server())
        )
    except RuntimeError as error:
        port = 0
        reason = str(error)
    else:
        reason = "the port may be taken"
    if not port:
        pool.shutdown()
        raise InputError("server", "address", f"must be free to listen on ({reason[:80]})", address)
    server.start()
    return Server(server, f"{address.rpartition(':')[0]}:{port}", streams, pool)


def _refuse(_: bytes) -> bytes:
    raise RefusedError("this server has nothing to prepare")


def _plain(handler: Handler) -> Callable[[str, bytes], bytes]:
    return lambda _, data: handler(data)


def _answering(handler: Handler, once: Once | None) -> Callable[[str, bytes], bytes]:
    if once is None:
        return _plain(handler)
    return lambda peer, data: once.answer(peer, data, handler)


def peer_name(context: grpc.ServicerContext) -> str:
    """Common name of the caller's certificate; empty without TLS."""
    names = context.auth_context().get("x509_common_name", [])
    return names[0].decode(errors="replace") if names else ""


def _check_peer(context: grpc.ServicerContext, accept: frozenset[str]) -> str:
    name = peer_name(context)
    if accept and name not in accept:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f"'{name[:60]}' may not call this server")
    return name


def _guarded(handler: Callable[[str, bytes], bytes], accept: frozenset[str]) -> Callable[[bytes, Any], bytes]:
    """A handler that checks who calls, and whose errors become status codes: the server lives on."""

    def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
        peer = _check_peer(context, accept)
        try:
            return handler(peer, data)
        except (InputError, TransportError) as error:
            code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), grpc.StatusCode.UNAVAILABLE)
            context.abort(code, str(error)[:500])
        except Exception:  # what a caller sent must not be able to make us say more
            from .logs import logger

            logger().exception("handler failed", peer=peer)
            context.abort(grpc.StatusCode.INTERNAL, "internal error")
        raise AssertionError("abort raises")

    return answer


def _guarded_stream(streams: StreamServer, accept: frozenset[str]) -> Callable[[Iterator[bytes], Any], Iterator[bytes]]:
    def answer(frames: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        peer = _check_peer(context, accept)
        return streams.serve(frames, peer, context)

    return answer


def open_channel(address: str, credentials: Credentials | None, max_bytes: int = MAX_MESSAGE_BYTES) -> grpc.Channel:
    """A channel with limits and keep-alive pings, and a connection of its own.

    Raises:
        InputError: If the address is not `host:port`.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError("client", "address", "must be host:port", address)
    # Channels with the same options would share a connection, also one that is stuck.
    options = [*_options(max_bytes), ("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials.channel(), options)


class Client:
    """Calls one server; any number of threads may share it.

    Args:
        address: `host:port`.
        credentials: Own certificate and the authority that the server must come from; None: plain text.
        max_bytes: Longest message.
    """

    def __init__(self, address: str, credentials: Credentials | None, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.address = address
        self._channel = open_channel(address, credentials, max_bytes)
        self._methods = {
            name: self._channel.unary_unary(f"/{SERVICE}/{name}") for name in ("Infer", "Prepare", "Status")
        }

    def infer(self, data: bytes, timeout_s: float) -> bytes:
        """The reply to a request.

        Raises:
            TransportError: There is none; its class says why.
        """
        return self._call("Infer", data, timeout_s)

    def prepare(self, data: bytes, timeout_s: float) -> bytes:
        """The reply to a `Prepare`; raises as `infer` does."""
        return self._call("Prepare", data, timeout_s)

    def status(self, timeout_s: float = 5.0) -> bytes:
        """The server's `Status`; raises as `infer` does."""
        return self._call("Status", b"", timeout_s)

    def close(self) -> None:
        """Close the connection; calls under way end with `UnreachableError`."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, data: bytes, timeout_s: float) -> bytes:
        if timeout_s <= 0:
            raise DeadlineError("no time left")
        try:
            reply: bytes = self._methods[method](data, timeout=timeout_s)
            return reply
        except grpc.RpcError as error:
            raise as_transport_error(error) from error
        except ValueError as error:  # a closed channel
            raise UnreachableError(str(error)) from error


def as_transport_error(error: grpc.RpcError) -> TransportError:
    """What a failed call means."""
    code, details = error.code(), error.details() or ""
    return _ERRORS.get(code, TransportError)(f"{code.name.lower()}: {details}"[:500])
