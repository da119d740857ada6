"""The VM pool: boot, drain, order, crashes and hangs, the bill."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgecloud.errors import InputError
from edgecloud.runtime.cloud import BackendError, BusyError, DeadlineError, VmPool, lognormal_boot

from .support import PATIENCE_S, echo, vms

Eventually = Callable[[Callable[[], bool]], None]


def test_boot_delay_holds_requests_back_and_the_minimum_is_billed() -> None:
    with VmPool(vms(echo(prefix="got "), boot_s=4.0)) as pool:
        with pytest.raises(BackendError, match="no VM"):
            pool.invoke(b"x", 1.0)
        launched_s = time.monotonic()
        pool.set_target(1)
        assert (pool.stats().running, pool.stats().booting) == (0, 1)
        with pytest.raises(DeadlineError):
            pool.invoke(b"x", 0.1)
        answer = pool.answer(b"x", PATIENCE_S)
        assert answer.data == b"got x"
        assert answer.invocation.queue_s > 3.0
        assert time.monotonic() - launched_s >= 4.0
        assert pool.machines()[0].start_s > 0.0
        assert (pool.stats().running, pool.stats().booting) == (1, 0)
        pool.set_target(0)
        assert pool.machines() == ()
        assert pool.stats().billed_s == max(60, int(np.ceil(time.monotonic() - launched_s)))
    with pytest.raises(InputError, match="from 0 to 3"):
        pool.set_target(4)


def test_a_vm_drains_before_it_stops(eventually: Eventually) -> None:
    with VmPool(vms(echo(service_s=0.5))) as pool, ThreadPoolExecutor(4) as callers:
        pool.set_target(1)
        pool.invoke(b"warm up", PATIENCE_S)
        work = [callers.submit(pool.invoke, bytes([i]), PATIENCE_S) for i in range(3)]
        eventually(lambda: pool.stats().waiting == 2)
        pool.set_target(0)
        assert (pool.stats().running, pool.stats().draining) == (0, 1)
        with pytest.raises(BusyError, match="no VM"):  # after the drain: not accepted any more
            pool.invoke(b"late", PATIENCE_S)
        assert [item.result() for item in work] == [b"\0", b"\1", b"\2"]
        eventually(lambda: pool.machines() == ())
        assert pool.stats().billed_s >= 60


def test_raising_the_target_takes_draining_vms_back_and_lowering_it_gives_up_booting_ones(
    eventually: Eventually,
) -> None:
    with VmPool(vms(echo(service_s=0.5))) as pool, ThreadPoolExecutor(1) as callers:
        pool.set_target(1)
        pool.invoke(b"warm up", PATIENCE_S)
        machine = pool.machines()[0]
        work = callers.submit(pool.invoke, b"x", PATIENCE_S)
        eventually(lambda: pool.stats().busy == 1)
        pool.set_target(0)
        pool.set_target(1)
        assert pool.machines() == (machine,)
        pool.set_target(2)
        assert pool.stats().booting == 1
        pool.set_target(1)
        assert pool.machines() == (machine,)
        assert work.result() == b"x"


def test_a_killed_worker_is_restarted_and_its_request_answered(eventually: Eventually) -> None:
    with VmPool(vms(echo(service_s=1.0))) as pool:
        pool.set_target(1)
        pool.invoke(b"warm up", PATIENCE_S)
        threading.Timer(0.3, os.kill, (pool.machines()[0].pid, signal.SIGKILL)).start()
        answer = pool.answer(b"survives", PATIENCE_S)
        assert answer.data == b"survives"
        assert answer.invocation.attempts == 2
        stats = pool.stats()
        assert (stats.restarts, stats.requests, stats.running) == (1, 2, 1)
        os.kill(pool.machines()[0].pid, signal.SIGKILL)  # idle
        eventually(lambda: pool.stats().restarts == 2 and pool.stats().running == 1)
        assert len(pool.machines()) == 1  # the same machine, billed on


def test_a_hung_worker_is_restarted(eventually: Eventually) -> None:
    with VmPool(vms(echo(), hang_s=0.5)) as pool:
        pool.set_target(1)
        pool.invoke(b"warm up", PATIENCE_S)
        os.kill(pool.machines()[0].pid, signal.SIGSTOP)
        with pytest.raises(DeadlineError):
            pool.invoke(b"x", 0.2)
        eventually(lambda: pool.stats().restarts == 1)
        assert pool.invoke(b"y", PATIENCE_S) == b"y"


def test_a_late_request_keeps_its_worker_busy_until_it_ends(eventually: Eventually) -> None:
    with VmPool(vms(echo(service_s=0.4))) as pool:
        pool.set_target(1)
        pool.invoke(b"warm up", PATIENCE_S)
        with pytest.raises(DeadlineError):
            pool.invoke(b"slow", 0.1)
        assert pool.stats().busy == 1
        with pytest.raises(BusyError):
            pool.answer(b"x", PATIENCE_S, wait_s=0.01)
        eventually(lambda: pool.stats().busy == 0)
        with pytest.raises(BackendError, match="must not be the word 'refuse'"):
            pool.invoke(b"refuse", PATIENCE_S)
        assert pool.stats().restarts == 0


def test_boot_delays_are_drawn_as_the_environment_draws_them() -> None:
    draw = lognormal_boot(25.0, 0.2, np.random.default_rng(7))
    delays = np.array([draw() for _ in range(4000)])
    assert np.median(delays) == pytest.approx(25.0, rel=0.02)
    assert np.std(np.log(delays)) == pytest.approx(0.2, rel=0.05)
