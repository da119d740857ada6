"""Routes: VM, function, spill, and who takes over when a server dies."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgecloud.runtime.cloud import Answer, BackendError, Dispatcher, FunctionPool, VmPool

from .support import PATIENCE_S, echo, functions, vms

Eventually = Callable[[Callable[[], bool]], None]


def annotate(answer: Answer) -> bytes:
    return answer.data + b" by " + answer.invocation.route.encode()


def test_routes_and_spill(eventually: Eventually) -> None:
    handler = echo(service_s=0.5)
    with (
        Dispatcher(
            VmPool(vms(handler)),
            FunctionPool(functions(handler)),
            spill_wait_s=0.05,
            route_of=lambda data: data.decode(),
            annotate=annotate,
        ) as cloud,
        ThreadPoolExecutor(2) as callers,
    ):
        with pytest.raises(BackendError, match="no VM"):  # an empty pool answers nobody
            cloud.invoke(b"vm", PATIENCE_S)
        assert cloud.invoke(b"spill", PATIENCE_S) == b"spill by faas"
        assert cloud.stats().warm == 1
        cloud.set_target(1)
        assert cloud.stats().vm_booting == 1
        assert cloud.invoke(b"vm", PATIENCE_S) == b"vm by vm"
        assert cloud.invoke(b"faas", PATIENCE_S) == b"faas by faas"
        assert cloud.invoke(b"spill", PATIENCE_S) == b"spill by vm"
        work = callers.submit(cloud.invoke, b"vm", PATIENCE_S)
        eventually(lambda: cloud.stats().queue == 1)
        assert cloud.invoke(b"spill", PATIENCE_S) == b"spill by faas"
        work.result()
        with pytest.raises(BackendError, match="'nowhere'"):
            cloud.invoke(b"nowhere", 1.0)
        stats = cloud.stats()
    assert (stats.vm_running, stats.vm_booting, stats.busy, stats.queue, stats.failovers) == (1, 0, 0, 0, 0)
    assert stats.vms is not None
    assert stats.functions is not None
    assert stats.usd == stats.vms.usd + stats.functions.usd


def test_functions_take_over_when_the_workers_keep_dying() -> None:
    handler = echo(service_s=0.5)
    with VmPool(vms(handler)) as pool, FunctionPool(functions(handler)) as spare:
        cloud = Dispatcher(pool, spare)
        cloud.set_target(1)
        cloud.answer(b"x", PATIENCE_S, "faas")
        cloud.answer(b"x", PATIENCE_S, "vm")
        over = threading.Event()

        def kill_each_worker_at_work() -> None:
            while not over.wait(0.02):
                for machine in pool.machines():
                    if machine.busy and machine.worker_alive and time.monotonic() - machine.busy_since_s > 0.1:
                        os.kill(machine.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_each_worker_at_work)
        killer.start()
        answer = cloud.answer(b"survives", PATIENCE_S, "vm")
        over.set()
        killer.join()
        assert (answer.data, answer.invocation.route) == (b"survives", "faas")
        assert cloud.stats().failovers == 1
        assert pool.stats().restarts == 2
