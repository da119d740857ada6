"""Edge and cloud as servers on ephemeral ports, in this process."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecloud.errors import InputError
from edgecloud.runtime.serving.certificates import Credentials, make_certificates, read_credentials
from edgecloud.runtime.serving.framing import ERROR, PING, PONG, frame, read_frame
from edgecloud.runtime.serving.messages import Prepare, Prepared, Reply, Request, Status, decode, encode
from edgecloud.runtime.serving.model import Answer, SplitModel, load_split_model
from edgecloud.runtime.serving.pace import Stretched
from edgecloud.runtime.serving.payloads import Encoding, pack
from edgecloud.runtime.serving.plan import Plan
from edgecloud.runtime.serving.server import TierServer, TierSettings, start_tier
from edgecloud.runtime.serving.stream_server import StreamServer
from edgecloud.runtime.serving.transport import Client, serve
from edgecloud.runtime.serving.transport_errors import (
    OverloadedError,
    RefusedError,
    ReplayError,
    TransportError,
    UnreachableError,
)
from edgecloud.runtime.serving.worker import make_handler

SPEC = "random:small"
Make = Callable[..., Request]
Tiers = tuple[TierServer, TierServer, Client]


@pytest.fixture
def tiers(credentials: dict[str, Credentials], no_threads_left: None) -> Iterator[Tiers]:
    with ExitStack() as stack:
        cloud = stack.enter_context(start_tier(load_split_model(SPEC), TierSettings("cloud"), credentials["cloud"]))
        settings = TierSettings("edge", upstream=cloud.address)
        edge = stack.enter_context(start_tier(load_split_model(SPEC), settings, credentials["edge"]))
        yield edge, cloud, stack.enter_context(Client(edge.address, credentials["device"]))


def ask(client: Client, request: object) -> Reply:
    reply = decode(client.infer(encode(request), 20.0))  # type: ignore[arg-type]
    assert isinstance(reply, Reply)
    return reply


@pytest.mark.parametrize(("plan", "tier"), [(Plan(0, 3), "cloud"), (Plan(2, 2), "cloud"), (Plan(2, 6), "edge")])
def test_the_answer_is_the_whole_networks(
    tiers: Tiers, split_model: SplitModel, image: torch.Tensor, request_at: Make, plan: Plan, tier: str
) -> None:
    expected = split_model.run(image, 0, 6)
    assert isinstance(expected, Answer)
    reply = ask(tiers[2], request_at(split_model, image, plan))
    assert (reply.status, reply.server, reply.exit, reply.label) == ("ok", tier, expected.exit, expected.label)
    assert np.array_equal(np.frombuffer(reply.logits, "<f4"), expected.logits.numpy())
    assert ("cloud_service_s" in reply.timings) == (tier == "cloud")
    assert ("edge_service_s" in reply.timings) == (plan.cut_edge > plan.cut_device)


def test_the_edge_answers_early(tiers: Tiers, split_model: SplitModel, image: torch.Tensor, request_at: Make) -> None:
    reply = ask(tiers[2], request_at(split_model, image, Plan(0, 3, threshold=1e-6)))
    assert (reply.server, reply.exit) == ("edge", 0)
    assert reply.first_confidence == reply.confidence
    assert tiers[1].worker.queue.served == 0


def test_replays_are_refused_and_retries_answered_once(
    tiers: Tiers, split_model: SplitModel, image: torch.Tensor, request_at: Make
) -> None:
    edge, _, client = tiers
    request = request_at(split_model, image, Plan(2, 6))
    first = ask(client, request)
    with pytest.raises(ReplayError):
        ask(client, request)
    assert encode(ask(client, replace(request, attempt=2))) == encode(first)  # NaN differs from itself
    assert edge.worker.queue.served == 1
    with pytest.raises(ReplayError, match="window"):
        ask(client, request_at(split_model, image, Plan(2, 6), sent_s=time.time() - 3600))


def bad_messages(model: SplitModel, image: torch.Tensor, request_at: Make) -> dict[str, bytes]:
    good = request_at(model, image, Plan(2, 4))
    return {
        "not a message": b"hello",
        "truncated": encode(good)[:-1],
        "another model": encode(replace(good, model="other")),
        "wrong shape": encode(replace(good, payload=pack(torch.zeros(1, 3, 9, 9)))),
        "wrong cut": encode(replace(good, cut=3)),
        "too many stages": encode(replace(good, plan=Plan(2, 9))),
        "raw image behind cut 0": encode(replace(good, payload=pack(torch.zeros(model.shapes[2], dtype=torch.uint8)))),
        "not finite": encode(replace(good, payload=pack(torch.full(model.shapes[2], math.nan)))),
        "another kind": encode(Prepare(model.fingerprint, Plan(2, 4))),
    }


def test_what_is_wrong_is_refused_and_the_server_lives_on(
    tiers: Tiers, split_model: SplitModel, image: torch.Tensor, request_at: Make
) -> None:
    for name, data in bad_messages(split_model, image, request_at).items():
        with pytest.raises(RefusedError) as caught:
            tiers[2].infer(data, 10.0)
        assert str(caught.value), name
    assert ask(tiers[2], request_at(split_model, image, Plan(2, 4))).status == "ok"


def test_oversized_messages_are_refused(credentials: dict[str, Credentials], no_threads_left: None) -> None:
    calls: list[int] = []

    def handler(data: bytes) -> bytes:
        calls.append(len(data))
        return b"ok"

    with (
        serve(handler, lambda: b"", credentials=credentials["edge"], max_bytes=1000) as server,
        Client(server.address, credentials["device"]) as client,
    ):
        with pytest.raises((OverloadedError, RefusedError)):
            client.infer(bytes(200_000), 10.0)
        assert client.infer(bytes(900), 10.0) == b"ok"
    assert calls == [900]


def test_unknown_peers_are_refused(
    credentials: dict[str, Credentials], tmp_path: Path, capfd: pytest.CaptureFixture[str], no_threads_left: None
) -> None:
    make_certificates(tmp_path)
    stranger = read_credentials(tmp_path, "device")
    mixed = replace(stranger, authority=credentials["device"].authority)
    calls: list[bytes] = []

    def handler(data: bytes) -> bytes:
        calls.append(data)
        return data

    with serve(handler, lambda: b"fine", credentials=credentials["edge"]) as server:
        # A wrong authority, a wrong certificate with the right authority, plain text.
        for wrong in (stranger, mixed, None):
            with Client(server.address, wrong) as client, pytest.raises(UnreachableError):
                client.infer(b"x", 5.0)
        with Client(server.address, credentials["device"]) as client:
            assert client.infer(b"x", 5.0) == b"x"
    assert calls == [b"x"]


class Silent:
    """A stream's context whose peer never goes away."""

    def add_callback(self, _: object) -> None:
        """Never called back."""


def test_a_peer_that_asks_and_never_reads_loses_its_stream(no_threads_left: None) -> None:
    """Its answers would fill the server's memory."""
    asked = [0]

    def pings() -> Iterator[bytes]:
        while True:
            asked[0] += 1
            yield frame(PING, 0, asked[0])

    streams = StreamServer(lambda data: data, None, frozenset(), 1, 1000)
    answers = streams.serve(pings(), "peer", Silent())  # type: ignore[arg-type]
    kinds = [read_frame(next(answers)).kind]
    until = time.monotonic() + 60.0
    while asked[0] <= 10_000:
        assert time.monotonic() < until
        time.sleep(0.05)
    kinds += [read_frame(data).kind for data in answers]
    assert 10_000 < len(kinds) < 20_000
    assert kinds[-1] == ERROR
    assert set(kinds[:-1]) == {PONG}
    streams.drain(0.0)


def test_a_signed_peer_may_still_be_the_wrong_one(credentials: dict[str, Credentials], no_threads_left: None) -> None:
    with serve(lambda data: data, lambda: b"", credentials=credentials["cloud"], accept=frozenset({"edge"})) as server:
        with Client(server.address, credentials["device"]) as client, pytest.raises(RefusedError, match="may not call"):
            client.infer(b"x", 5.0)
        with Client(server.address, credentials["edge"]) as client:
            assert client.infer(b"x", 5.0) == b"x"


def test_an_internal_error_says_nothing_and_ends_nothing(
    credentials: dict[str, Credentials], no_threads_left: None
) -> None:
    def handler(data: bytes) -> bytes:
        if data == b"bad":
            raise KeyError("a secret")
        return data

    with (
        serve(handler, lambda: b"", credentials=credentials["edge"]) as server,
        Client(server.address, credentials["device"]) as client,
    ):
        with pytest.raises(TransportError) as caught:
            client.infer(b"bad", 5.0)
        assert "secret" not in str(caught.value)
        assert client.infer(b"good", 5.0) == b"good"


def test_servers_need_credentials_and_a_free_port(credentials: dict[str, Credentials]) -> None:
    with pytest.raises(InputError, match="edgecloud certificates"):
        serve(lambda data: data, lambda: b"")
    with (
        serve(lambda data: data, lambda: b"", credentials=credentials["edge"]) as server,
        pytest.raises(InputError, match="free to listen"),
    ):
        serve(lambda data: data, lambda: b"", server.address, credentials["edge"])
    again = serve(lambda data: data, lambda: b"", server.address, credentials["edge"])  # the port was given back
    again.stop()


def test_a_dead_cloud_is_reported(tiers: Tiers, split_model: SplitModel, image: torch.Tensor, request_at: Make) -> None:
    tiers[1].stop()
    reply = ask(tiers[2], request_at(split_model, image, Plan(2, 4)))
    assert reply.status == "failed"
    assert reply.timings["edge_service_s"] > 0
    assert ask(tiers[2], request_at(split_model, image, Plan(2, 6))).status == "ok"


def test_parts_load_ahead_of_a_switch(
    tiers: Tiers, split_model: SplitModel, image: torch.Tensor, request_at: Make
) -> None:
    edge, cloud, client = tiers
    assert ask(client, request_at(split_model, image, Plan(2, 4))).timings["edge_pause_s"] > 0
    prepared = decode(client.prepare(encode(Prepare(split_model.fingerprint, Plan(1, 3))), 10.0))
    assert isinstance(prepared, Prepared)
    assert prepared.resident
    assert set(edge.worker.model.segments.resident) == {(2, 4), (1, 3)}
    assert (3, 6) in cloud.worker.model.segments.resident
    reply = ask(client, request_at(split_model, image, Plan(1, 3)))
    assert reply.timings["edge_pause_s"] == 0.0
    assert reply.timings["cloud_pause_s"] == 0.0


def test_status_tells_how_a_server_is(
    tiers: Tiers, split_model: SplitModel, image: torch.Tensor, request_at: Make
) -> None:
    ask(tiers[2], request_at(split_model, image, Plan(2, 4)))
    status = decode(tiers[2].status())
    assert isinstance(status, Status)
    assert (status.tier, status.queue, status.model) == ("edge", 0, split_model.fingerprint)
    assert status.segments == ((2, 4),)
    assert 0 < status.load <= 1
    assert status.gauges["served"] == 1.0
    assert status.gauges["cloud_reachable"] == 1.0
    assert "torch" in status.versions


def test_stopping_finishes_what_is_inside(
    credentials: dict[str, Credentials],
    split_model: SplitModel,
    image: torch.Tensor,
    request_at: Make,
    no_threads_left: None,
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    settings = TierSettings("cloud", pace=Stretched(40.0))
    server = start_tier(load_split_model(SPEC), settings, credentials["cloud"])
    with Client(server.address, credentials["device"]) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, client, request_at(split_model, image, Plan(2, 2)))
        until = time.monotonic() + 10
        while not server.worker.queue.length and time.monotonic() < until:
            time.sleep(0.005)
        server.stop(20.0)
        assert answer.result(5).status == "ok"
        with pytest.raises(UnreachableError):
            ask(client, request_at(split_model, image, Plan(2, 2)))


@pytest.mark.parametrize("encoding", ["fp16", "int8c+zstd"])
def test_a_worker_is_a_function_of_bytes(
    split_model: SplitModel, image: torch.Tensor, request_at: Make, encoding: str
) -> None:
    handle: Callable[[bytes], bytes] = make_handler(SPEC, name="function-1")
    reply = decode(handle(encode(request_at(split_model, image, Plan(3, 3), Encoding.parse(encoding)))))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.server) == ("ok", "function-1")
    expected = split_model.run(image, 0, 6)
    assert isinstance(expected, Answer)
    assert reply.confidence == pytest.approx(expected.confidence, abs=0.05)
