"""Hostile peers of the real server processes: refused with a reason, and the server lives on and serves others."""

import contextlib
import math
import os
import random
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import torch

from edgecloud.runtime.serving.certificates import Credentials, make_certificates, read_credentials
from edgecloud.runtime.serving.framing import ERROR, LAST, PART, PING, PONG, REPLY, frame, read_frame
from edgecloud.runtime.serving.messages import (
    MAX_MESSAGE_BYTES,
    Prepare,
    Prepared,
    Reply,
    Request,
    Scale,
    Status,
    decode,
    encode,
)
from edgecloud.runtime.serving.model import Activation
from edgecloud.runtime.serving.payloads import Encoding, pack
from edgecloud.runtime.serving.plan import Plan
from edgecloud.runtime.serving.transport import Client, open_channel
from edgecloud.runtime.serving.transport_errors import (
    OverloadedError,
    RefusedError,
    ReplayError,
    TransportError,
    UnreachableError,
)

from .whole_system import EDGE, FUNCTION, Rig, running_rig

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("hostility")) as running:
        yield running


@pytest.fixture(autouse=True)
def _the_servers_live_on(rig: Rig) -> Iterator[None]:
    """The same processes as before, and they serve."""
    before = rig.system.edge.pid, rig.system.gateway.pid
    yield
    assert rig.system.edge.alive
    assert rig.system.gateway.alive
    assert (rig.system.edge.pid, rig.system.gateway.pid) == before
    rig.recovers((EDGE, FUNCTION))


def credentials(rig: Rig) -> Credentials:
    return read_credentials(rig.system.folder, "device")


def good(rig: Rig, plan: Plan, cut: int) -> Request:
    head = rig.system.model.run(rig.image, 0, cut)
    assert isinstance(head, Activation)
    payload = pack(head.tensor, Encoding.parse("fp32"))
    fingerprint = rig.system.model.fingerprint
    return Request(os.urandom(16), fingerprint, plan, cut, PATIENCE_S, payload, time.time())


def servers(rig: Rig) -> list[tuple[str, Request]]:
    """Addresses, and a request that each would serve."""
    return [
        (rig.system.edge.address, good(rig, EDGE, 1)),
        (rig.system.gateway.address, good(rig, FUNCTION, 3)),
    ]


def test_unknown_peers(rig: Rig, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_certificates(tmp_path)
    stranger = read_credentials(tmp_path, "device")
    mixed = replace(stranger, authority=credentials(rig).authority)
    for address, request in servers(rig):
        for wrong in (stranger, mixed, None):
            with Client(address, wrong) as client, pytest.raises(UnreachableError):
                client.infer(encode(request), 10.0)
        with Client(address, credentials(rig)) as client:  # nobody has seen the request before
            assert client_answer(client, request).status == "ok"


def client_answer(client: Client, request: Request) -> Reply:
    reply = decode(client.infer(encode(request), PATIENCE_S))
    assert isinstance(reply, Reply)
    return reply


def test_replays(rig: Rig) -> None:
    for address, request in servers(rig):
        with Client(address, credentials(rig)) as client:
            assert client_answer(client, request).status == "ok"
            with pytest.raises(ReplayError, match="seen already"):
                client_answer(client, request)
            with pytest.raises(ReplayError, match="window"):
                client_answer(client, replace(request, id=os.urandom(16), sent_s=time.time() - 3600.0))


def refusal(client: Client, data: bytes) -> str:
    """Why a message is not served."""
    try:
        reply = decode(client.infer(data, PATIENCE_S))
    except RefusedError as error:
        return str(error)
    assert isinstance(reply, Reply)
    assert (reply.server, reply.status) == ("cloud", "failed")
    return reply.reason


def test_malformed_requests(rig: Rig) -> None:
    """The gateway looks into a request no further than it must: what a worker refuses is a failure with its reason."""
    for address, request in servers(rig):
        shape = rig.system.model.shapes[request.cut]
        wrong = {
            "nothing": b"",
            "not a message": b"hello",
            "truncated": encode(request)[:-1],
            "longer than it says": encode(request) + b"x",
            "another kind": encode(Prepared(True, 0.0)),
            "another model": encode(replace(request, model="other")),
            "wrong shape": encode(replace(request, payload=pack(torch.zeros(1, 3, 9, 9)))),
            "wrong type": encode(replace(request, payload=pack(torch.zeros(shape, dtype=torch.uint8)))),
            "not finite": encode(replace(request, payload=pack(torch.full(shape, math.nan)))),
            "wrong cut": encode(replace(request, cut=request.cut + 1)),
            "too many stages": encode(replace(request, plan=Plan(1, 9, route="faas"))),
        }
        with Client(address, credentials(rig)) as client:
            for name, data in wrong.items():
                reason = refusal(client, data)
                assert len(reason) > 20, (name, reason)
            assert client_answer(client, replace(request, id=os.urandom(16))).status == "ok"


def test_oversized_messages(rig: Rig) -> None:
    for address, _ in servers(rig):
        with Client(address, credentials(rig), 4 * MAX_MESSAGE_BYTES) as client:
            with pytest.raises((OverloadedError, RefusedError)):
                client.infer(bytes(MAX_MESSAGE_BYTES + (1 << 20)), PATIENCE_S)
            assert isinstance(decode(client.status()), Status)


def test_pool_sizes_out_of_range(rig: Rig) -> None:
    with Client(rig.system.gateway.address, credentials(rig)) as client:
        for target in (-1, 2, 1 << 20):  # the scenario allows one VM
            with pytest.raises(RefusedError):
                client.prepare(encode(Scale(target)), PATIENCE_S)
        with pytest.raises(RefusedError):
            client.prepare(encode(Prepare("other", EDGE)), PATIENCE_S)
    with Client(rig.system.edge.address, credentials(rig)) as client, pytest.raises(RefusedError):
        client.prepare(encode(Scale(1)), PATIENCE_S)
    assert rig.gauge("vm_running") == 1


def exchange(rig: Rig, frames: list[bytes], wanted: int) -> list[int]:
    """Kinds of the frames that the edge sends back until one of a kind that is wanted, or the stream's end."""
    ended = []
    channel = open_channel(rig.system.edge.address, credentials(rig))
    try:
        call = channel.stream_stream("/edgecloud.Tier/Uplink")(iter(frames), timeout=PATIENCE_S)
        for data in call:
            ended.append(read_frame(data).kind)
            if ended[-1] == wanted:
                break
    except grpc.RpcError:
        pass
    finally:
        channel.close()
    return ended


def test_streams_that_break_the_framing(rig: Rig) -> None:
    """They end, with an error, and no other stream does: the rig's devices stay connected."""
    rng = random.Random(1)
    request = encode(good(rig, EDGE, 1))
    assert PONG in exchange(rig, [frame(PING, 0, 7)], PONG)
    assert ERROR in exchange(rig, [frame(REPLY, 1)], ERROR)
    assert ERROR in exchange(rig, [b""], ERROR)
    assert ERROR in exchange(rig, [b"\xff" * 40], ERROR)
    assert ERROR in exchange(rig, [frame(LAST, 1, 0, request[:-9])], ERROR)
    piece = frame(PART, 1, 0, bytes(1 << 20))
    assert ERROR in exchange(rig, [piece] * (MAX_MESSAGE_BYTES // (1 << 20) + 1), ERROR)
    for _ in range(20):
        noise = [rng.randbytes(rng.randrange(200)) for _ in range(5)]
        assert PONG not in exchange(rig, noise, ERROR)
    assert rig.system.device.connected


def connect(rig: Rig, address: str, tls: bool) -> socket.socket:
    host, port = address.rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), PATIENCE_S)
    if not tls:
        return plain
    folder = rig.system.folder
    context = ssl.create_default_context(cafile=str(folder / "authority.crt"))
    context.load_cert_chain(folder / "device.crt", folder / "device.key")
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("tls", [False, True])
def test_random_bytes_on_a_live_socket(rig: Rig, tls: bool) -> None:
    """Without TLS whoever connects can send them; with it, whoever has a certificate, up to HTTP/2's own frames."""
    rng = random.Random(int(tls))
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    starts = [b"", hello, hello + settings] if tls else [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
    heard = 0
    for address, _ in servers(rig):
        for number in range(12):
            noise = starts[number % len(starts)] + rng.randbytes(rng.randrange(1, 4096))
            peer = connect(rig, address, tls)
            with peer, contextlib.suppress(OSError):  # the server may close, or reset, at any moment
                peer.settimeout(0.1)
                peer.sendall(noise)
                while data := peer.recv(4096):
                    heard += len(data)
    assert heard > 0 or not tls  # HTTP/2's settings, at least


def test_connections_that_say_nothing(rig: Rig) -> None:
    peers = [connect(rig, address, tls=False) for address, _ in servers(rig) for _ in range(100)]
    try:
        rig.recovers((EDGE, FUNCTION))
    finally:
        for peer in peers:
            peer.close()


def test_unknown_methods(rig: Rig) -> None:
    for address, _ in servers(rig):
        channel = open_channel(address, credentials(rig))
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/edgecloud.Tier/Shell")(b"id", timeout=PATIENCE_S)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        channel.close()
        with Client(address, credentials(rig)) as client, contextlib.suppress(TransportError):
            client.status(1e-3)  # one that gives up at once
