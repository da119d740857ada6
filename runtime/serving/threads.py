"""Threads that serve requests: the one that was idle for the shortest time is next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

__all__ = ["WarmThreads"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Task = tuple[Future[Any], Callable[[], Any]]


class WarmThreads(Executor):
    """An executor whose threads are used last in, first out.

    The standard pool wakes the thread that has waited longest, so that under any load all of its threads take part,
    and each keeps what it touched: its stack, an arena of the allocator, the scratch memory of PyTorch's kernels. Here
    the work stays on as few threads as it needs, whose memory is in the processor's caches.

    Args:
        most: Threads at most; what comes while all are at work waits in order of arrival.
        name: Of the threads.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Task | None]] = []
        self._waiting: deque[_Task] = deque()
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def started(self) -> int:
        """Threads so far: as many as were at work at a time."""
        return len(self._threads)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run a call on a thread of the pool.

        Raises:
            RuntimeError: The pool was shut down.
        """
        future: Future[_T] = Future()
        task: _Task = (future, lambda: fn(*args, **kwargs))
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._idle:
                inbox = self._idle.pop()
            elif len(self._threads) < self._most:
                inbox = self._start()
            else:
                self._waiting.append(task)
                return future
        inbox.put(task)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing new; end the threads when they have done what waits, or what they are at with `cancel_futures`.

        Args:
            wait: Whether to return only when the threads have ended.
            cancel_futures: Whether what waits is cancelled.
        """
        with self._lock:
            self._closed = True
            dropped = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            idle, self._idle = self._idle, []
        for future, _ in dropped:
            future.cancel()
        for inbox in idle:
            inbox.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _start(self) -> SimpleQueue[_Task | None]:
        inbox: SimpleQueue[_Task | None] = SimpleQueue()
        name = f"{self._name}_{len(self._threads)}"
        thread = threading.Thread(target=self._work, args=(inbox,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return inbox

    def _work(self, inbox: SimpleQueue[_Task | None]) -> None:
        task = inbox.get()
        while task is not None:
            _run(*task)
            task = None  # an idle thread keeps no request alive
            with self._lock:
                if self._waiting:
                    task = self._waiting.popleft()
                elif self._closed:
                    return
                else:
                    self._idle.append(inbox)
            task = task or inbox.get()


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
