"""The device against servers that serve, die, hang, are slow or lie."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgecloud.errors import InputError
from edgecloud.runtime.serving.breaker import CircuitBreaker
from edgecloud.runtime.serving.certificates import Credentials
from edgecloud.runtime.serving.device import Device, DeviceSettings
from edgecloud.runtime.serving.messages import Reply, Request, decode, encode
from edgecloud.runtime.serving.model import Answer, SplitModel, load_split_model
from edgecloud.runtime.serving.observer import GAUGES, NullObserver, ServedRequest
from edgecloud.runtime.serving.pace import Stretched
from edgecloud.runtime.serving.plan import Plan
from edgecloud.runtime.serving.server import TierServer, TierSettings, start_tier
from edgecloud.runtime.serving.transport import Server, serve
from edgecloud.runtime.serving.transport_errors import OverloadedError

SPEC = "random:small"
PLAN = Plan(2, 6)
WAIT_S = 30.0


class Recorder(NullObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[ServedRequest] = []
        self.events: list[tuple[str, float]] = []
        self.levels: dict[str, float] = {}
        self.finished: list[tuple[int, float]] = []

    def arrived(self, t: float) -> None:
        self.events.append(("arrived", t))

    def uplink_started(self, size_bytes: int, t: float) -> None:
        self.events.append(("started", size_bytes))

    def uplink_finished(self, size_bytes: int, seconds: float) -> None:
        self.events.append(("finished", size_bytes))
        self.finished.append((size_bytes, seconds))

    def rtt(self, seconds: float) -> None:
        self.events.append(("rtt", seconds))

    def answered(self, record: ServedRequest) -> None:
        self.records.append(record)

    def gauge(self, name: str, value: float) -> None:
        assert name in GAUGES
        self.levels[name] = value


@pytest.fixture
def edge(credentials: dict[str, Credentials], no_threads_left: None) -> Iterator[TierServer]:
    with start_tier(load_split_model(SPEC), TierSettings("edge"), credentials["edge"]) as server:
        yield server


@pytest.fixture
def start(credentials: dict[str, Credentials], no_threads_left: None) -> Iterator[Callable[..., Device]]:
    """Starts devices that are closed at the end."""
    devices: list[Device] = []

    def start_device(address: str, plan: Plan = PLAN, observer: object = None, **settings: object) -> Device:
        chosen = DeviceSettings(**{"timeout_s": 10.0, "poll_s": 0.1, **settings})  # type: ignore[arg-type]
        device = Device(load_split_model(SPEC), plan, address, credentials["device"], observer, chosen)  # type: ignore[arg-type]
        devices.append(device)
        return device

    yield start_device
    for device in devices:
        device.close()


def test_every_tier_gives_the_whole_networks_answer(
    edge: TierServer, start: Callable[..., Device], split_model: SplitModel, image: torch.Tensor
) -> None:
    observer = Recorder()
    device = start(edge.address, observer=observer)
    assert device.wait_until_connected(WAIT_S)
    expected = split_model.run(image, 0, 6)
    assert isinstance(expected, Answer)
    for cut in range(7):
        record = device.submit(image, sample=cut, plan=Plan(cut, 6), want_logits=True).result(WAIT_S)
        assert record.status == "ok", record.reason
        assert record.tier == ("device" if cut == 6 else "edge")
        assert np.array_equal(np.frombuffer(record.logits, "<f4"), expected.logits.numpy())
        parts = sum(value for name, value in vars(record).items() if name.endswith("_s") and name in PARTS)
        assert parts == pytest.approx(record.latency_s, rel=1e-6, abs=2e-3)
    kinds = Counter(kind for kind, _ in observer.events)
    assert kinds["arrived"] == 7
    assert kinds["started"] == kinds["finished"] == 6
    assert kinds["rtt"] >= 1
    assert [record.sample for record in observer.records] == list(range(7))
    until = time.monotonic() + WAIT_S
    names = ("device_queue", "uplink_queue", "uplink_queue_bytes", "edge_queue")
    while any(observer.levels.get(name) != 0 for name in names):
        assert time.monotonic() < until, observer.levels
        time.sleep(0.05)


PARTS = {
    "device_queue_s",
    "device_service_s",
    "uplink_queue_s",
    "uplink_s",
    "edge_queue_s",
    "edge_service_s",
    "backhaul_s",
    "cloud_queue_s",
    "cloud_service_s",
    "init_s",
    "pause_s",
    "propagation_s",
}


def test_the_device_answers_early(start: Callable[..., Device], image: torch.Tensor) -> None:
    record = start("").submit(image, plan=Plan(3, 3, threshold=1e-6)).result(WAIT_S)
    assert (record.tier, record.exit, record.uplink_bytes) == ("device", 0, 0)


def test_without_an_edge_server_the_device_finishes(start: Callable[..., Device], image: torch.Tensor) -> None:
    record = start("").submit(image).result(WAIT_S)
    assert (record.tier, record.exit, record.failed) == ("fallback", 3, False)
    record = start("", fallback=False, timeout_s=0.2).submit(image).result(WAIT_S)
    assert (record.failed, record.status, record.latency_s) == (True, "failed", pytest.approx(0.2))
    assert "does not answer" in record.reason


def test_a_dying_edge_server_loses_nothing(
    credentials: dict[str, Credentials], start: Callable[..., Device], image: torch.Tensor
) -> None:
    settings = TierSettings("edge", pace=Stretched(100.0))
    server = start_tier(load_split_model(SPEC), settings, credentials["edge"])
    observer = Recorder()
    device = start(server.address, observer=observer)
    assert device.wait_until_connected(WAIT_S)
    futures = [device.submit(image, sample=number) for number in range(12)]
    time.sleep(0.3)
    server.stop(0.0)
    records = [future.result(WAIT_S) for future in futures]
    assert Counter(record.failed for record in records) == {False: 12}
    assert any(record.tier == "fallback" for record in records)
    assert sorted(record.sample for record in observer.records) == list(range(12))
    # And it comes back by itself.
    settings = replace(settings, address=server.address, pace=Stretched())
    with start_tier(load_split_model(SPEC), settings, credentials["edge"]):
        assert device.wait_until_connected(WAIT_S)
        until = time.monotonic() + WAIT_S
        while device.submit(image).result(WAIT_S).tier != "edge":
            assert time.monotonic() < until
            time.sleep(0.1)


class Relay:
    """A TCP relay that can fall silent, as a half-open connection does, without closing anything."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.silent = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                while self.silent.is_set():
                    time.sleep(0.01)
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.silent.clear()
        for item in self._sockets:
            try:
                item.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def test_a_half_open_connection_is_found(edge: TierServer, start: Callable[..., Device], image: torch.Tensor) -> None:
    relay = Relay(edge.address)
    device = start(relay.address, silence_s=0.5)
    try:
        assert device.wait_until_connected(WAIT_S)
        assert device.submit(image).result(WAIT_S).tier == "edge"
        relay.silent.set()
        record = device.submit(image).result(WAIT_S)
        assert (record.tier, record.failed) == ("fallback", False)
        assert record.latency_s < 8.0
        assert device.submit(image).result(WAIT_S).tier == "fallback"
        relay.silent.clear()
        until = time.monotonic() + WAIT_S
        while device.submit(image).result(WAIT_S).tier != "edge":
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        device.close()
        relay.close()


def serving(credentials: dict[str, Credentials], handler: Callable[[bytes], bytes]) -> Server:
    return serve(handler, lambda: b"", credentials=credentials["edge"])


def test_a_slow_server_is_a_failure_or_rescued(
    credentials: dict[str, Credentials], start: Callable[..., Device], image: torch.Tensor
) -> None:
    def slow(data: bytes) -> bytes:
        time.sleep(4.0)
        request = decode(data)
        assert isinstance(request, Request)
        return encode(Reply(request.id, 3, 0.5, 1, "ok"))

    with serving(credentials, slow) as server:
        plain = start(server.address, timeout_s=3.0)
        assert plain.wait_until_connected(WAIT_S)
        record = plain.submit(image).result(WAIT_S)
        assert (record.failed, record.status, record.latency_s) == (True, "late", pytest.approx(3.0))
        rescued = start(server.address, timeout_s=3.0, rescue_late=True)
        assert rescued.wait_until_connected(WAIT_S)
        record = rescued.submit(image).result(WAIT_S)
        assert (record.failed, record.tier) == (False, "fallback")
        assert record.latency_s <= 3.0
        time.sleep(1.5)  # the replies come when all is over
        assert plain.duplicates == rescued.duplicates == 1


@pytest.mark.parametrize("answer", ["garbage", "another id", "another exit", "failed", "overloaded"])
def test_a_useless_reply_is_replaced(
    credentials: dict[str, Credentials], start: Callable[..., Device], image: torch.Tensor, answer: str
) -> None:
    def handler(data: bytes) -> bytes:
        request = decode(data)
        assert isinstance(request, Request)
        if answer == "overloaded":
            raise OverloadedError("full")
        if answer == "garbage":
            return b"garbage"
        identity = bytes(16) if answer == "another id" else request.id
        if answer == "another exit":
            return encode(Reply(identity, 200, 0.5, 1, "ok"))
        return encode(Reply(identity, -1, 0.0, -1, "failed", "no reason"))

    with serving(credentials, handler) as server:
        device = start(server.address)
        assert device.wait_until_connected(WAIT_S)
        record = device.submit(image).result(WAIT_S)
        assert (record.tier, record.failed, record.exit) == ("fallback", False, 3)


class Careless:
    """Raises whatever it is told."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*_: object) -> None:
            raise RuntimeError(name)

        return tell


def test_an_observer_that_raises_costs_nothing(
    edge: TierServer, start: Callable[..., Device], image: torch.Tensor
) -> None:
    device = start(edge.address, observer=Careless(), fallback=False)
    assert device.wait_until_connected(WAIT_S)
    records = [device.submit(image, plan=plan).result(WAIT_S) for plan in (PLAN, PLAN, Plan(6, 6))]
    assert [record.tier for record in records] == ["edge", "edge", "device"]
    assert (device.in_flight, device.connected) == (0, True)


def test_a_caller_cannot_unsay_a_request(edge: TierServer, start: Callable[..., Device], image: torch.Tensor) -> None:
    device = start(edge.address)
    assert device.wait_until_connected(WAIT_S)
    answer = device.submit(image)
    assert not answer.cancel()
    assert answer.result(WAIT_S).tier == "edge"
    assert device.submit(image).result(WAIT_S).tier == "edge"


def test_transfers_arrive_in_order_and_whole(
    credentials: dict[str, Credentials], start: Callable[..., Device], split_model: SplitModel
) -> None:
    seen: list[bytes] = []

    def handler(data: bytes) -> bytes:
        request = decode(data)
        assert isinstance(request, Request)
        seen.append(bytes(request.payload.data))
        return encode(Reply(request.id, 3, 0.5, 1, "ok"))

    observer = Recorder()
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=generator)
    with serving(credentials, handler) as server:
        device = start(server.address, plan=Plan(0, 6), observer=observer)
        assert device.wait_until_connected(WAIT_S)
        records = [future.result(WAIT_S) for future in [device.submit(image[None]) for image in images]]
    assert sorted(seen) == sorted(image.permute(1, 2, 0).numpy().tobytes() for image in images)
    ends = [record.uplink_end_s for record in records]
    assert ends == sorted(ends)
    assert all(size > 3072 and seconds > 0 for size, seconds in observer.finished)


def test_what_cannot_be_sent_in_time_is_given_up(
    edge: TierServer, start: Callable[..., Device], image: torch.Tensor
) -> None:
    relay = Relay(edge.address)
    observer = Recorder()
    device = start(relay.address, plan=Plan(1, 6), observer=observer, timeout_s=0.6, fallback=False)
    try:
        assert device.wait_until_connected(WAIT_S)
        relay.silent.set()
        records = [future.result(WAIT_S) for future in [device.submit(image) for _ in range(4)]]
        assert all(record.failed for record in records)
        relay.silent.clear()
        until = time.monotonic() + WAIT_S
        while device.submit(image).result(WAIT_S).failed:
            assert time.monotonic() < until
        kinds = Counter(kind for kind, _ in observer.events)
        assert kinds["started"] == kinds["finished"]
    finally:
        device.close()
        relay.close()


def test_closing_reports_what_is_inside(
    credentials: dict[str, Credentials], start: Callable[..., Device], image: torch.Tensor
) -> None:
    with serving(credentials, lambda data: time.sleep(1.0) or data) as server:
        device = start(server.address)
        assert device.wait_until_connected(WAIT_S)
        future = device.submit(image)
        time.sleep(0.2)
        device.close()
        record = future.result(1.0)
    assert (record.failed, record.reason) == (True, "the device was closed")


def test_wrong_images_and_plans_are_refused(start: Callable[..., Device], image: torch.Tensor) -> None:
    device = start("")
    with pytest.raises(InputError, match="uint8"):
        device.submit(image.float())
    with pytest.raises(InputError, match="cut_edge"):
        device.set_plan(Plan(0, 7))


def test_the_breaker_opens_tries_and_closes() -> None:
    now = [0.0]
    breaker = CircuitBreaker(limit=2, cooldown_s=1.0, clock=lambda: now[0])
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert (breaker.state, breaker.allows()) == ("open", False)
    now[0] = 1.5
    assert breaker.state == "half-open"
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.succeeded()
    assert (breaker.state, breaker.allows()) == ("closed", True)
