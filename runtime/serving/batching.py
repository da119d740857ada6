"""A tier's queue: first come, first served by one worker, bounded, aware of deadlines, in batches if wanted."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ...errors import InputError
from .joint import JointRunner
from .model import Activation, Answer, SplitModel
from .pace import Pace, Stretched
from .transport_errors import DeadlineError, OverloadedError

__all__ = ["Done", "TierQueue"]

_LOAD_WINDOW_S = 5.0
_INLINE_THREADS = 4
"""Callers' threads that may run jobs: what PyTorch's kernels keep for each thread that has used them adds up."""


class Done(NamedTuple):
    """What became of a job."""

    result: Answer | Activation
    queue_s: float
    service_s: float
    pause_s: float
    """Of the service: loading a part that was not resident."""
    ahead: int
    """Jobs that were there when it came."""
    batch: int
    """Jobs that ran together."""


@dataclass(eq=False)
class _Job:
    tensor: Tensor
    first: int
    last: int
    threshold: float
    until_s: float
    entered_s: float
    ahead: int
    done: Future[Done] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[int, int, float]:
        return self.first, self.last, self.threshold


class TierQueue:
    """Runs parts of a network in order of arrival, on one thread.

    Args:
        model: The network.
        capacity: Jobs inside at a time; one more is refused with `OverloadedError`.
        pace: How long service takes; None: as long as on this machine.
        max_batch: Jobs of one plan that may run together; 1: no batches.
        max_wait_s: How long the first job of a batch waits for more.
        exact: Whether a batch must give each the bits that it would get alone (`JointRunner`).
        name: Of the thread.
        inline: Whether a job that finds the queue idle runs on its caller's thread, which saves two hand-overs;
            `submit` then returns when it is done. Only the first few threads that ask may.
    """

    def __init__(
        self,
        model: SplitModel,
        capacity: int = 64,
        pace: Pace | None = None,
        max_batch: int = 1,
        max_wait_s: float = 0.0,
        exact: bool = True,
        name: str = "tier",
        inline: bool = False,
    ) -> None:
        for field_name, value in (("capacity", capacity), ("max_batch", max_batch)):
            if not 1 <= value < float("inf"):
                raise InputError("tier queue", field_name, "must be at least 1", value)
        self._model, self._capacity, self._pace = model, capacity, pace or Stretched()
        self._max_batch, self._max_wait_s = max_batch, max_wait_s
        self._runner = JointRunner(exact)
        self._inline = inline and max_batch == 1
        self._inline_threads: set[int] = set()
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._at_work = 0
        self._closed = False
        self._busy: deque[tuple[float, float]] = deque()
        self._busy_s = 0.0
        self.served = self.dropped = 0
        self._thread = threading.Thread(target=self._loop, name=f"{name}-worker", daemon=True)
        self._thread.start()

    def submit(self, tensor: Tensor, first: int, last: int, threshold: float, until_s: float) -> Future[Done]:
        """Queue a tensor (1, …) for stages `[first, last)`.

        Args:
            tensor: What crosses cut `first`.
            first: Cut to begin at.
            last: Cut to end at; more than `first`.
            threshold: Confidence at which a head answers.
            until_s: Instant of `time.monotonic` after which it is not begun.

        Returns:
            The outcome to come; it raises `DeadlineError` if its turn came too late.

        Raises:
            OverloadedError: The queue is full, or closed.
        """
        with self._changed:
            ahead = len(self._jobs) + self._at_work
            if self._closed or ahead >= self._capacity:
                raise OverloadedError("the tier is stopping" if self._closed else f"{ahead} requests are waiting")
            job = _Job(tensor, first, last, threshold, until_s, time.monotonic(), ahead)
            alone = not ahead and until_s > job.entered_s and self._may_run_here()
            if alone:
                self._at_work = 1
            else:
                self._jobs.append(job)
                self._changed.notify_all()
        if alone:
            self._complete([job])
        return job.done

    @property
    def length(self) -> int:
        """Jobs waiting or in service."""
        with self._changed:
            return len(self._jobs) + self._at_work

    def load(self) -> float:
        """Share of the last seconds in which the worker was busy."""
        with self._changed:
            begin = self._forget_old()
            outside_s = max(begin - self._busy[0][0], 0.0) if self._busy else 0.0
            return min(max(self._busy_s - outside_s, 0.0) / _LOAD_WINDOW_S, 1.0)

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _may_run_here(self) -> bool:
        """Whether the calling thread may run a job itself."""
        if not self._inline:
            return False
        caller = threading.get_ident()
        if caller not in self._inline_threads and len(self._inline_threads) < _INLINE_THREADS:
            self._inline_threads.add(caller)
        return caller in self._inline_threads

    def _forget_old(self) -> float:
        """Drop what lies before the window of `load`; the window's begin."""
        begin = time.monotonic() - _LOAD_WINDOW_S
        while self._busy and self._busy[0][1] <= begin:
            start, end = self._busy.popleft()
            self._busy_s = self._busy_s - (end - start) if self._busy else 0.0  # no rounding is carried on
        return begin

    def _loop(self) -> None:
        while batch := self._next_batch():
            self._complete(batch)

    def _complete(self, batch: list[_Job]) -> None:
        started = time.monotonic()
        outcomes: list[Done] = []
        failure: Exception | None = None
        try:
            outcomes = self._serve(batch, started)
        except Exception as error:  # a job must not take the tier with it
            failure = error
        with self._changed:
            self._at_work = 0
            self.served += len(batch)
            self._busy.append((started, ended := time.monotonic()))
            self._busy_s += ended - started
            self._forget_old()
            if self._jobs or self._closed:
                self._changed.notify_all()
        for index, job in enumerate(batch):
            if failure is None:
                job.done.set_result(outcomes[index])
            else:
                job.done.set_exception(failure)

    def _next_batch(self) -> list[_Job]:
        """The next jobs to serve together; empty at the end."""
        with self._changed:
            while True:
                self._drop_late()
                if self._jobs and not self._at_work:
                    break
                if self._closed and not self._jobs and not self._at_work:
                    return []
                self._changed.wait()
            if self._max_batch > 1 and self._max_wait_s > 0:
                self._wait_for_more()
            kind, batch = self._jobs[0].kind, [self._jobs.popleft()]
            # Only what stands next in line: a batch must not overtake.
            while self._jobs and len(batch) < self._max_batch and self._jobs[0].kind == kind:
                batch.append(self._jobs.popleft())
            self._at_work = len(batch)
            return batch

    def _drop_late(self) -> None:
        now = time.monotonic()
        while self._jobs and self._jobs[0].until_s <= now:
            self._jobs.popleft().done.set_exception(DeadlineError("its turn came after the deadline"))
            self.dropped += 1

    def _wait_for_more(self) -> None:
        until = self._jobs[0].entered_s + self._max_wait_s
        while len(self._jobs) < self._max_batch and not self._closed:
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            self._changed.wait(left_s)

    def _serve(self, batch: list[_Job], started: float) -> list[Done]:
        head = batch[0]
        segment, pause_s = self._model.segments.get(head.first, head.last)
        begin, worked = time.monotonic(), time.thread_time()
        results = self._runner.run(segment, [job.tensor for job in batch], head.threshold)
        rest_s = self._rest_s(batch, results, time.thread_time() - worked, time.monotonic() - begin)
        if rest_s > 0.0:
            time.sleep(rest_s)
        service_s = time.monotonic() - begin
        return [
            Done(result, started - job.entered_s, service_s, pause_s, job.ahead, len(batch))
            for job, result in zip(batch, results, strict=True)
        ]

    def _rest_s(
        self, batch: list[_Job], results: list[Answer | Activation], worked_s: float, elapsed_s: float
    ) -> float:
        """What is left of the service of a batch: jobs are paced one after the other."""
        share = 1.0 / len(batch)
        rest_s = 0.0
        for job, result in zip(batch, results, strict=True):
            end = self._model.exits[result.exit] if isinstance(result, Answer) else job.last
            heads = math.isfinite(job.threshold)
            rest_s += self._pace.rest_s(job.first, end, heads, share * worked_s, share * elapsed_s)
        return rest_s
