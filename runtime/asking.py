"""Asking a policy for a decision within a time limit, in a thread of its own that may hang without harm."""

from __future__ import annotations

import queue
import threading
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..envs import Measurements, Policy, Problem

__all__ = ["Answer", "Asker"]

Action = tuple[int, int, int, int]


class Answer(NamedTuple):
    """What came of asking.

    Attributes:
        action: Indices: placement, threshold, route, VM target; None: there is none.
        outcome: 'decided'; 'stale': based on an earlier row, because it came late; 'late', 'failed' or 'invalid': none.
        seconds: That the policy took; for a late one, that it was waited for.
        reason: Why there is none; empty if there is one.
    """

    action: Action | None
    outcome: str
    seconds: float
    reason: str = ""


class Asker:
    """Asks a policy, waits no longer than it is told, and checks what comes back.

    A policy that is still thinking when the next decision is due is not asked again until it is done; what it then says
    is used once, as a stale answer, if there is no fresh one.

    Args:
        policy: Reset for one environment.
        problem: Its action space.
    """

    def __init__(self, policy: Policy, problem: Problem) -> None:
        self._policy, self._nvec = policy, problem.nvec
        self._questions: queue.SimpleQueue[Measurements | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._thinking = False
        self._thread = threading.Thread(target=self._work, name="edgecloud-policy", daemon=True)
        self._thread.start()

    def ask(self, measured: Measurements, timeout_s: float) -> Answer:
        """A decision for the row (1, D), within the time limit or not at all."""
        stale: Answer | None = None
        if self._thinking:
            try:
                stale = self._answers.get_nowait()
            except queue.Empty:
                return Answer(None, "late", timeout_s, "the policy is still busy with an earlier interval")
        self._questions.put(measured)
        self._thinking = True
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            if stale is not None and stale.action is not None:
                return stale._replace(outcome="stale")
            return Answer(None, "late", timeout_s, f"the policy took longer than {timeout_s:.3g} s")
        self._thinking = False
        return answer

    def close(self) -> None:
        """End the thread; one that hangs ends with the process."""
        self._questions.put(None)

    def _work(self) -> None:
        while (measured := self._questions.get()) is not None:
            before = time.perf_counter()
            try:
                given: NDArray[np.int64] = np.asarray(self._policy.act(measured))
                answer = self._checked(given, time.perf_counter() - before)
            except Exception as error:
                taken = time.perf_counter() - before
                answer = Answer(None, "failed", taken, f"{type(error).__name__}: {error}")
            self._answers.put(answer)

    def _checked(self, given: NDArray[np.int64], seconds: float) -> Answer:
        legal = given.shape == (1, 4) and given.dtype.kind in "iu"
        if not legal or (given < 0).any() or (given[0] >= self._nvec).any():
            shown = given.tolist() if given.size <= 8 else f"{given.dtype} {given.shape}"
            return Answer(None, "invalid", seconds, f"the policy chose {shown}, outside the action space")
        placement, threshold, route, target = (int(part) for part in given[0])
        return Answer((placement, threshold, route, target), "decided", seconds)
