"""The control loop: each interval, measure, ask the policy, put its action in force, record."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, Self

from numpy.typing import ArrayLike

from ..envs import Action, Policy, Problem
from ..envs.problem import ROUTES
from ..errors import InputError
from .asking import Answer, Asker
from .metrics import Metrics
from .recording import Decided, Recorder
from .telemetry import Interval, Telemetry

__all__ = ["Controller", "Exported", "run_clock"]

_BUDGET = 0.8  # share of the interval that a decision may take before the last action is kept


class Exported(Protocol):
    """A policy from an artifact: see `edgecloud.runtime.Policy`."""

    def as_policy(self) -> Policy:
        """The policy behind the environments' interface."""
        ...


def run_clock() -> Callable[[], float]:
    """A clock that gives seconds since now: the run's time, for the device client and the controller alike."""
    start = time.monotonic()
    return lambda: time.monotonic() - start


class Controller:
    """Decides once per interval, in a thread of its own; serving never waits for it.

    The last action stays in force when the policy raises, answers with something that is no action, takes too long, or
    when the action cannot be applied; all of these are counted in `failures` and recorded.

    Args:
        policy: Any policy of the environments, or one from an artifact.
        problem: The compiled problem that the system serves.
        telemetry: Gets the system's events; its rows are what the policy sees.
        apply: Puts an action in force; must return at once. Called every interval, also when nothing changes.
        interval_s: Length of an interval; None: the scenario's.
        weights: Preference (3,); None: as the telemetry has it.
        seed: For policies that draw.
        recorder: Where the run is recorded; None: nowhere. It is left open at the end.
        metrics: Where the run is shown; None: nowhere.
        clock: Seconds since the start of the run, the clock of all events.
        budget_s: Seconds that a decision may take; None: 0.8 intervals.
        probe: Called when no transfer has shown the link's rate for `probe_every` intervals (nothing is sent while all
            runs on the device, so a policy would never learn that the link is back); must return at once.
        probe_every: See `probe`.
        log: A structured logger (`edgecloud.runtime.logs`); None: the standard library's.

    Raises:
        InputError: The policy does not fit the problem.
    """

    def __init__(
        self,
        policy: Policy | Exported,
        problem: Problem,
        telemetry: Telemetry,
        apply: Callable[[Action], None],
        interval_s: float | None = None,
        weights: ArrayLike | None = None,
        *,
        seed: int = 0,
        recorder: Recorder | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] | None = None,
        budget_s: float | None = None,
        probe: Callable[[], None] | None = None,
        probe_every: int = 5,
        log: Any = None,
    ) -> None:
        self.problem, self.telemetry, self._apply = problem, telemetry, apply
        self.interval_s = problem.scenario.control.interval_s if interval_s is None else interval_s
        if not self.interval_s > 0.0:
            raise InputError("controller", "interval_s", "must be positive", interval_s)
        if weights is not None:
            telemetry.set_weights(weights)
        decider = policy if isinstance(policy, Policy) else policy.as_policy()
        decider.reset(problem, 1, telemetry.weights[None], seed)
        self.name = decider.name
        self._asker = Asker(decider, problem)
        self._recorder, self._metrics = recorder, metrics
        self._clock = clock or run_clock()
        self._budget_s = _BUDGET * self.interval_s if budget_s is None else budget_s
        self._probe, self._probe_every = probe, probe_every
        self._log = log or _Plain()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.t = 0
        """Number of the interval that is decided next."""
        self.action: tuple[int, int, int, int] = tuple(problem.start_action.tolist())
        """Indices in force: placement, threshold, route, VM target."""
        self.failures = dict.fromkeys(("failed", "invalid", "late", "stale", "unapplied", "missed", "internal"), 0)
        """How often the policy raised, gave no legal action, came too late, was used late; an action could not be
        applied; an interval was missed because the machine was busy; the loop itself had an error."""

    # -- the thread

    def start(self) -> Self:
        """Start deciding."""
        self._thread = threading.Thread(target=self._run, name="edgecloud-controller", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the interval under way, which is closed and recorded; the last action stays in force."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._budget_s + 5.0)
            self._thread = None
        self._guarded(self._close, self._clock())
        self._asker.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        start, k = self._clock(), 0
        while not self._stop.is_set():
            due = start + k * self.interval_s
            if self._stop.wait(max(0.0, due - self._clock())):
                return
            now = self._clock()
            missed = int((now - due) / self.interval_s)
            if missed > 0:
                self.failures["missed"] += missed
                self._log.warning("missed intervals", missed=missed, t=self.t)
            self.tick(now)
            k += 1 + missed

    def _guarded(self, part: Callable[[float], None], now: float) -> None:
        try:
            part(now)
        except Exception as error:  # whatever happens here, serving goes on with the last action
            self.failures["internal"] += 1
            self._log.error("control loop", error=f"{type(error).__name__}: {error}", t=self.t)

    # -- one interval

    def tick(self, now: float) -> None:
        """End the interval at `now` and decide for the next one; never raises."""
        self._guarded(self._close, now)
        self._guarded(self._decide, now)

    def _close(self, now: float) -> None:
        if not self.t:
            self.telemetry.begin(now)
            return
        interval = self.telemetry.close(now)
        records = self.telemetry.take_records()
        if self._recorder is not None:
            self._recorder.interval(self.t - 1, interval)
            for record in records:
                self._recorder.request(record)
        if self._metrics is not None:
            self._metrics.interval(interval, records, self._recorder)
        self._ask_for_probe(interval)

    def _ask_for_probe(self, interval: Interval) -> None:
        if self._probe is not None and self.telemetry.unmeasured_intervals >= self._probe_every:
            self._log.info("probing the link", t=self.t, at_s=interval.end_s)
            self._probe()

    def _decide(self, now: float) -> None:
        measured = self.telemetry.measurements
        answer = self._asker.ask(measured, self._budget_s)
        if answer.outcome != "decided":
            self.failures[answer.outcome] += 1
            self._log.warning("no fresh decision", outcome=answer.outcome, reason=answer.reason, t=self.t)
        answer = self._put_in_force(answer)
        self.telemetry.decided(self.action)
        decided = Decided(self.t, now, measured.rows[0], self.action, answer.seconds, answer.outcome)
        if self._recorder is not None:
            self._recorder.decision(decided)
        if self._metrics is not None:
            self._metrics.decision(decided)
        self.t += 1

    def _put_in_force(self, answer: Answer) -> Answer:
        """Apply the answer's action, or the last one again; what came of it."""
        wanted = answer.action or self.action
        try:
            self._apply(self.action_of(wanted))
        except Exception as error:
            self.failures["unapplied"] += 1
            reason = f"{type(error).__name__}: {error}"
            self._log.error("action not applied", action=list(wanted), reason=reason, t=self.t)
            return answer._replace(outcome="unapplied", reason=reason)
        if wanted != self.action:
            self._log.info("action", t=self.t, action=list(wanted), decision_s=answer.seconds)
        self.action = wanted
        return answer

    def action_of(self, indices: tuple[int, int, int, int]) -> Action:
        """An action in the field's words."""
        cut_device, cut_edge = self.problem.placements[indices[0]].tolist()
        return Action(cut_device, cut_edge, indices[1], ROUTES[indices[2]], indices[3])


class _Plain:
    """The standard library's logger behind structlog's way of calling."""

    _log = logging.getLogger(__name__)

    def info(self, event: str, **facts: Any) -> None:
        self._log.info("%s %s", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._log.warning("%s %s", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._log.error("%s %s", event, facts)
