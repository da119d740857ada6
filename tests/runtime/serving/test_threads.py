import threading
import time
from concurrent.futures import CancelledError

import pytest

from edgecloud.runtime.serving.threads import WarmThreads


def test_one_at_a_time_needs_one_thread() -> None:
    pool = WarmThreads(8, "t")
    names = set()
    for _ in range(50):
        names.add(pool.submit(lambda: threading.current_thread().name).result(5))
        time.sleep(0.001)  # a result is there an instant before its thread is idle
    pool.shutdown()
    assert len(names) == pool.started <= 2


def test_after_a_burst_the_last_threads_go_on() -> None:
    pool, gate = WarmThreads(6, "t"), threading.Barrier(7)
    burst = [pool.submit(gate.wait, 5) for _ in range(6)]
    gate.wait(5)
    for done in burst:
        done.result(5)
    assert pool.started == 6
    time.sleep(0.05)
    later = set()
    for _ in range(30):
        later.add(pool.submit(threading.get_ident).result(5))
        time.sleep(0.001)
    pool.shutdown()
    assert len(later) <= 2


def test_what_finds_no_thread_waits_in_order() -> None:
    pool, gate, order = WarmThreads(2, "t"), threading.Event(), []
    held = [pool.submit(gate.wait, 5) for _ in range(2)]
    queued = [pool.submit(order.append, number) for number in range(20)]
    assert pool.started == 2
    assert not any(future.done() for future in queued)
    gate.set()
    for future in (*held, *queued):
        future.result(5)
    pool.shutdown()
    assert sorted(order) == list(range(20))
    assert order[0] in (0, 1)  # two threads take from the front


def test_errors_arrive_and_the_thread_goes_on() -> None:
    pool = WarmThreads(1, "t")
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(5)
    assert pool.submit(int, "7").result(5) == 7
    pool.shutdown()


@pytest.mark.parametrize("cancel", [False, True])
def test_shutdown_finishes_or_cancels_what_waits(cancel: bool) -> None:
    pool, gate = WarmThreads(1, "t"), threading.Event()
    held = pool.submit(gate.wait, 5)
    waiting = pool.submit(int, "7")
    pool.shutdown(wait=False, cancel_futures=cancel)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int, "8")
    gate.set()
    assert held.result(5)
    if cancel:
        with pytest.raises(CancelledError):
            waiting.result(5)
    else:
        assert waiting.result(5) == 7
    pool.shutdown()
    assert not any(thread.is_alive() for thread in threading.enumerate() if thread.name.startswith("t_"))


def test_an_idle_thread_keeps_nothing_alive() -> None:
    import weakref

    class Message:
        pass

    pool, message = WarmThreads(1, "t"), Message()
    gone = weakref.ref(message)
    pool.submit(lambda it: None, message).result(5)
    del message
    time.sleep(0.05)
    assert gone() is None
    pool.shutdown()
