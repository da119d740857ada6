"""Functions on this machine: cold starts, reuse, limits, expiry, crashes, the bill."""

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgecloud.errors import InputError
from edgecloud.pricing import load_prices
from edgecloud.runtime.cloud import BackendError, CrashError, DeadlineError, FunctionPool, FunctionSettings, HandlerSpec

from .support import PATIENCE_S, echo, functions

Eventually = Callable[[Callable[[], bool]], None]


def test_cold_start_then_warm_and_the_bill_is_the_meters() -> None:
    with FunctionPool(functions(echo(prefix="got ", service_s=0.05, init_s=0.3))) as pool:
        cold = pool.answer(b"one", PATIENCE_S)
        warm = pool.answer(b"two", PATIENCE_S)
        stats = pool.stats()
        instance = pool.instances()[0]
    assert (cold.data, warm.data) == (b"got one", b"got two")
    first, second = cold.invocation, warm.invocation
    assert first.cold
    assert not second.cold
    assert first.server == second.server == instance.name
    assert first.setup_s > 0.0
    assert first.init_s >= 0.3
    assert (second.setup_s, second.init_s) == (0.0, 0.0)
    # this provider bills the initialisation and not the set-up, in started milliseconds
    assert first.billed_ms == pytest.approx(1000 * (first.init_s + first.service_s), abs=1.001)
    assert second.billed_ms == pytest.approx(1000 * second.service_s, abs=1.001)
    assert stats.billed_ms == first.billed_ms + second.billed_ms
    assert (stats.cold_starts, stats.requests, stats.warm, stats.busy, stats.crashes) == (1, 2, 1, 0, 0)
    meter_usd = stats.billed_ms / 1000 * 0.0000166667 + 2 * 0.0000002
    assert float(stats.usd) == pytest.approx(meter_usd, rel=1e-9)
    assert not instance.alive  # closed


def test_concurrency_opens_a_second_instance_and_the_limit_makes_the_third_wait(eventually: Eventually) -> None:
    with (
        FunctionPool(functions(echo(service_s=0.4), max_instances=2)) as pool,
        ThreadPoolExecutor(4) as callers,
    ):
        work = [callers.submit(pool.answer, bytes([i]), PATIENCE_S) for i in range(3)]
        eventually(lambda: pool.stats().busy == 2 and pool.stats().waiting == 1)
        answers = [item.result() for item in work]
        assert [answer.data for answer in answers] == [b"\0", b"\1", b"\2"]
        assert pool.stats().cold_starts == 2
        waited = max(answers, key=lambda answer: answer.invocation.queue_s)
        assert not waited.invocation.cold
        before = pool.stats()
        busy = [callers.submit(pool.answer, b"x", PATIENCE_S) for _ in range(2)]
        eventually(lambda: pool.stats().busy == 2)
        with pytest.raises(DeadlineError, match="free before the deadline"):
            pool.answer(b"too late to begin", 0.05)
        for item in busy:
            item.result()
        assert pool.stats().requests == before.requests + 2  # what never began costs nothing
        reused = [pool.answer(b"y", PATIENCE_S).invocation.server for _ in range(3)]
        assert len(set(reused)) == 1  # the instance used last is used again


def test_a_request_that_began_runs_and_is_billed_to_its_end(eventually: Eventually) -> None:
    with FunctionPool(functions(echo(service_s=0.5))) as pool:
        pool.answer(b"warm up", PATIENCE_S)
        billed_ms = pool.stats().billed_ms
        with pytest.raises(DeadlineError, match="did not answer"):
            pool.invoke(b"slow", 0.1)
        assert pool.stats().busy == 1
        eventually(lambda: pool.stats().warm == 1)
        assert pool.stats().billed_ms - billed_ms >= 500


def test_idle_instances_expire(eventually: Eventually) -> None:
    with FunctionPool(functions(echo(), keep_alive_s=0.3)) as pool:
        pool.answer(b"one", PATIENCE_S)
        instance = pool.instances()[0]
        eventually(lambda: pool.stats().expired == 1)
        assert pool.stats().warm == 0
        assert not instance.alive


def test_a_killed_instance_is_replaced_and_its_request_answered_once() -> None:
    with FunctionPool(functions(echo(service_s=1.0))) as pool:
        pool.answer(b"warm up", PATIENCE_S)
        pid = pool.instances()[0].pid
        threading.Timer(0.3, os.killpg, (pid, signal.SIGKILL)).start()
        answer = pool.answer(b"survives", PATIENCE_S)
        stats = pool.stats()
    assert answer.data == b"survives"
    assert answer.invocation.attempts == 2
    assert (stats.crashes, stats.cold_starts, stats.warm) == (1, 2, 1)
    assert stats.requests == 3  # the part that ran before the kill is billed too


def test_no_second_attempt_after_the_deadline() -> None:
    with FunctionPool(functions(echo(service_s=1.0))) as pool:
        pool.answer(b"warm up", PATIENCE_S)
        pid = pool.instances()[0].pid
        threading.Timer(0.2, os.killpg, (pid, signal.SIGKILL)).start()
        begun_s = time.monotonic()
        with pytest.raises(BackendError):  # the new instance cannot be up so soon
            pool.invoke(b"x", 0.25)
        assert time.monotonic() - begun_s < 0.9


def test_an_instance_killed_while_idle_is_noticed(eventually: Eventually) -> None:
    with FunctionPool(functions(echo())) as pool:
        pool.answer(b"one", PATIENCE_S)
        os.killpg(pool.instances()[0].pid, signal.SIGKILL)
        eventually(lambda: pool.stats().warm == 0)
        assert pool.stats().crashes == 1
        assert pool.instances() == ()


def test_refusals_leave_the_instance_alive() -> None:
    with FunctionPool(functions(echo(), payload_limit_bytes=1000)) as pool:
        with pytest.raises(BackendError, match="exceeds the limit of 1000 bytes"):
            pool.invoke(b"x" * 1001, PATIENCE_S)
        assert pool.stats().cold_starts == 0
        with pytest.raises(BackendError, match=r"422.*must not be the word 'refuse'"):
            pool.invoke(b"refuse", PATIENCE_S)
        assert pool.invoke(b"x" * 1000, PATIENCE_S) == b"x" * 1000
        port = pool.instances()[0]._port
        for token, size, status in (
            ("", 10, 401),
            ("wrong", 10, 401),
            (pool._token, 1001, 413),
            (pool._token, 10, 200),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", "/", b"x" * size, {"X-Edgecloud-Token": token} if token else {})
            assert connection.getresponse().status == status
            connection.close()
        assert pool.stats().crashes == 0


THREADED = """
import queue, threading
def make_handler():
    jobs, results = queue.Queue(), queue.Queue()
    def work():
        while True:
            results.put(jobs.get().upper())
    threading.Thread(target=work, daemon=True).start()
    def handle(data):
        jobs.put(data)
        return results.get(timeout=5)
    return handle
"""


def test_a_handlers_threads_live_where_it_serves(tmp_path: Path) -> None:
    (tmp_path / "threaded_handler.py").write_text(THREADED, encoding="utf-8")
    settings = replace(
        functions(HandlerSpec("threaded_handler:make_handler")), environment={"PYTHONPATH": str(tmp_path)}
    )
    with FunctionPool(settings) as pool:
        assert pool.invoke(b"loud", PATIENCE_S) == b"LOUD"


def test_an_instance_that_cannot_start_says_why() -> None:
    handler = echo(imports="no_such_module")
    with FunctionPool(functions(handler)) as pool, pytest.raises(CrashError, match="no_such_module"):
        pool.invoke(b"x", PATIENCE_S)


def test_payload_limit_is_the_price_lists() -> None:
    settings = functions(echo())
    assert settings.limit_bytes == settings.price.payload_limit_bytes == 6 * 2**20
    google = load_prices("google-cloud-run").faas("cloud-run")
    assert FunctionSettings(echo(), google, 512).limit_bytes == 32 * 2**20
    with pytest.raises(InputError, match="memory_mb"):
        FunctionSettings(echo(), google, 64)
