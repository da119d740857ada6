"""From events of a serving system to the environment's measured row: the same numbers that the simulator shows."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..envs import Measurements, Problem
from ..envs.measure import EXIT_SLOTS, HISTORY, column, width
from ..envs.simulator import check_weights
from ..errors import InputError, did_you_mean
from .in_force import InForce
from .link_rate import RateEstimate
from .records import RequestRecord, completed
from .served import Judge, ServedLike, record_of
from .serving.observer import GAUGES as REPORTED

__all__ = ["GAUGES", "METERS", "Interval", "Telemetry"]

Floats = NDArray[np.float64]
Gauges = Mapping[str, float]

GAUGES = (*REPORTED, "battery")
"""Fields of the measured row that are read as they are when an interval ends."""

METERS = ("vm_billed_s", "faas_billed_ms", "faas_requests", "cold_starts")
"""Running totals of who bills; an interval gets what they have grown by."""

_SLOW, _ANSWERS = 0.1, 0.2  # gains of the exponential averages, as in envs.observe
_log = logging.getLogger(__name__)


class Interval(NamedTuple):
    """What a control interval amounted to, besides the requests themselves.

    Attributes:
        begin_s: Its start, seconds since the start of the run.
        end_s: Its end.
        row: Measured row at its end, float64 (D,).
        finished: Requests answered in it.
        expired: Requests that failed in it.
        in_flight: Requests inside the system at its end.
        vm_s: VM seconds billed.
        repartitions: Pauses for loading a placement.
        faas_ms: Function milliseconds billed; None: nobody meters, and the answers tell (a request that nobody waited
            for until its end is billed, too, but has no answer).
        faas_requests: Function invocations billed, likewise.
        cold_starts: Instances started, likewise.
    """

    begin_s: float
    end_s: float
    row: Floats
    finished: int
    expired: int
    in_flight: int
    vm_s: float
    repartitions: int
    faas_ms: float | None = None
    faas_requests: float | None = None
    cold_starts: float | None = None


class Telemetry:
    """Collects events from any thread and makes one measured row per control interval.

    Times are seconds since the start of the run. What nobody has reported yet is what the environment shows before its
    first decision: an idle system, mean arrivals, the profile's mean confidence. A link's rate is unknown (0) until it
    has been measured once; that value then stands for its past too. Give `rate_bps` if it is known.

    The rate of an interval is that of the transfers which ended in it; without one, the last rate holds, but not above
    what a transfer still under way has shown (an outage therefore shows). A system whose modem or shaper knows the rate
    reports it with `link_rate`, which takes precedence, as in the environment.

    Args:
        problem: The compiled problem: the row's constants, prices, power.
        weights: Preference (3,); None: the scenario's.
        rate_bps: Uplink rate before the first transfer; None: unknown.
        judge: Says of an answer whether it was right; None: nobody knows, and accuracy is not charged.
        first: Row (D,) to start from, for example the last one before a restart; its plan and preference are replaced.
    """

    def __init__(
        self,
        problem: Problem,
        weights: ArrayLike | None = None,
        rate_bps: float | None = None,
        judge: Judge | None = None,
        first: ArrayLike | None = None,
    ) -> None:
        self.problem, self._judge = problem, judge
        self._weights: Floats = check_weights(problem.scenario.objective.weights if weights is None else weights, 1)[0]
        self._lock = threading.RLock()
        self._sources: list[Callable[[], Gauges]] = []
        self.source_failures = 0
        """Times that a watched source raised."""
        self._in_force = InForce(problem.start_action.tolist(), problem.scenario.control.resident_placements)
        self._arrivals: list[float] = []
        self._answers: list[RequestRecord] = []
        self._fresh: list[RequestRecord] = []
        self._inside = 0
        self._begin_s = 0.0
        self._link = RateEstimate()
        self._rate_known = False
        self._meters: dict[str, float] = {}
        self._billed: dict[str, float] = {}
        self._unmetered = False  # whether an interval has been closed without some meter
        self._again = first is not None
        self._pauses = 0
        self._row = self._first_row()
        if first is not None:
            self._row[:] = _checked_row(first)
            self._row[column("weights") : column("weights") + 3] = self._weights
            self._show_plan(self._row)
            self._rate_known = True
            self._link.last_bps = float(self._row[column("rate_bps")])
        if rate_bps is not None:
            self._link.last_bps = rate_bps
            self._push_rate(self._row, rate_bps)

    def _first_row(self) -> Floats:
        p, row = self.problem.params, np.zeros(width())
        if len(p.arrival_counts):
            mean = float(p.arrival_counts.mean())
        else:  # the chain's stationary mean: states in proportion to their sojourns
            mean = float(np.average(p.arrival_rps, weights=1.0 / p.arrival_leave)) * p.interval_s
        row[column("arrivals") : column("arrivals") + HISTORY] = mean
        row[column("arrivals_average")] = mean
        row[column("rtt_s")] = p.rtt_s
        row[column("edge_load")] = p.edge_load[0]
        row[column("vm_running")] = p.vm_initial
        row[column("confidence")] = p.mean_confidence
        row[column("battery")] = 1.0
        row[column("weights") : column("weights") + 3] = self._weights
        self._show_plan(row)
        return row

    def begin(self, now: float) -> None:
        """The first interval starts at `now`; what was reported as arrived before is forgotten.

        So is what was billed before, if this goes on where another telemetry stopped (`first`).
        """
        if self._again:
            self._ask_sources()
        with self._lock:
            if self._again:
                self._billed = dict(self._meters)
            early = [t for t in self._arrivals if t < now]
            self._inside -= len(early)
            self._arrivals = self._arrivals[len(early) :]
            self._begin_s = now

    # -- events, from any thread

    def arrived(self, t: float) -> None:
        """A request arrived at the device at `t`."""
        with self._lock:
            self._arrivals.append(t)
            self._inside += 1

    def uplink_started(self, size_bytes: float, t: float | None = None) -> None:
        """A transfer of so many bytes began; with its time, an outage shows before the transfer ends."""
        with self._lock:
            self._link.started(size_bytes, t)

    def uplink_finished(self, size_bytes: float, seconds: float) -> None:
        """A transfer of so many bytes ended after so many seconds (one given up: what was sent until then)."""
        with self._lock:
            self._link.finished(size_bytes, seconds)

    def link_rate(self, rate_bps: float) -> None:
        """What modem or shaper say the uplink's mean rate was in this interval; holds until they say another."""
        with self._lock:
            self._link.modem_bps = rate_bps

    def rtt(self, seconds: float) -> None:
        """A round trip between device and edge took this long."""
        with self._lock:
            self._row[column("rtt_s")] = seconds

    def answered(self, record: RequestRecord | ServedLike) -> None:
        """A request was answered, or failed: its record, or what the device client knows of it."""
        if isinstance(record, RequestRecord):
            complete = completed(self.problem, record)
        else:
            complete = record_of(self.problem, record, self._judge)
        with self._lock:
            self._answers.append(complete)

    def gauge(self, name: str, value: float) -> None:
        """Set one of `GAUGES` or `METERS`; it holds until it is set again.

        Raises:
            InputError: There is no such gauge, or the value is negative or not finite.
        """
        if name not in GAUGES and name not in METERS:
            raise InputError("gauge", name, "is unknown", None, did_you_mean(name, (*GAUGES, *METERS)))
        if not (math.isfinite(value) and value >= 0.0):
            raise InputError("gauge", name, "must be finite and not negative", value)
        with self._lock:
            if name in METERS:
                self._meters[name] = float(value)
            else:
                self._row[column(name)] = value

    def gauges(self, values: Gauges) -> None:
        """Set several gauges."""
        for name, value in values.items():
            self.gauge(name, value)

    def watch(self, source: Callable[[], Gauges]) -> None:
        """Ask a source for gauges whenever an interval ends; it must not wait. One that raises is counted."""
        self._sources.append(source)

    @property
    def unmeasured_intervals(self) -> int:
        """Intervals in a row that showed nothing of the link's rate."""
        return self._link.unmeasured_intervals

    @property
    def weights(self) -> Floats:
        """Preference in force, float64 (3,)."""
        return np.array(self._weights)

    def set_weights(self, weights: ArrayLike) -> None:
        """Change the preference, (3,) on the simplex; the next row shows it.

        Raises:
            InputError: It is not on the simplex.
        """
        checked = check_weights(weights, 1)[0]
        with self._lock:
            self._weights = checked
            self._row[column("weights") : column("weights") + 3] = checked

    def decided(self, action: Iterable[int]) -> None:
        """An action (placement, threshold, route, VM target) came into force for the coming interval."""
        with self._lock:
            self._pauses += self._in_force.decide([int(part) for part in action])
            self._show_plan(self._row)

    # -- rows

    @property
    def measurements(self) -> Measurements:
        """The row as it stands (a copy), shape (1, D); at the start, what the first decision is based on."""
        with self._lock:
            return Measurements(self._row[None].copy())

    def close_interval(self, now: float) -> Measurements:
        """End the interval at `now`; the measured row, shape (1, D)."""
        return Measurements(self.close(now).row[None])

    def close(self, now: float) -> Interval:
        """End the interval at `now`: row and counts. `take_records` then gives the requests that ended in it."""
        self._ask_sources()
        with self._lock:
            row = self._row
            count = self._take_arrivals(now)
            ended = [record for record in self._answers if record.end_s <= now]
            self._answers = [record for record in self._answers if record.end_s > now]
            self._fresh += ended
            self._inside -= len(ended)
            answers = [record for record in ended if not record.failed]
            self._learn(row, answers)
            rate_bps = self._link.of_interval(now)
            if rate_bps is not None:
                self._push_rate(row, rate_bps)
            _push(row, column("arrivals"), count)
            row[column("arrivals_average")] += _SLOW * (count - row[column("arrivals_average")])
            pauses, self._pauses = self._pauses, 0
            begin_s, self._begin_s = self._begin_s, now
            inside = self._inside - len(self._arrivals)  # those that arrived after `now` belong to the next interval
            counts = (len(answers), len(ended) - len(answers), inside)
            vm_s, *functions = self._grown()
            return Interval(begin_s, now, row.copy(), *counts, vm_s or 0.0, pauses, *functions)

    def take_records(self) -> list[RequestRecord]:
        """Requests that ended in intervals closed since the last call, in the order of their reports."""
        with self._lock:
            taken, self._fresh = self._fresh, []
            return taken

    def _ask_sources(self) -> None:
        for source in self._sources:
            try:
                self.gauges(source())
            except Exception:
                self.source_failures += 1
                _log.exception("a source of gauges failed; its last values hold")

    def _grown(self) -> list[float | None]:
        """What each of `METERS` has grown by since the last interval; None: it was not reported before.

        A meter that has fallen was started anew with its server. One that is reported for the first time after other
        intervals says nothing of this one.
        """
        grown: list[float | None] = []
        for name in METERS:
            if name not in self._meters or (self._unmetered and name not in self._billed):
                grown.append(None)
            else:
                now, before = self._meters[name], self._billed.get(name, 0.0)
                grown.append(now - before if now >= before else now)
        self._billed = dict(self._meters)
        self._unmetered = True
        return grown

    def _take_arrivals(self, now: float) -> int:
        early = [t for t in self._arrivals if t < now]
        self._arrivals = [t for t in self._arrivals if t >= now]
        return len(early)

    def _learn(self, row: Floats, answers: list[RequestRecord]) -> None:
        """Exponential averages over the intervals that had answers, as the kernel keeps them."""
        if answers:
            at, share = column("exit_fraction"), np.zeros(EXIT_SLOTS)
            for record in answers:
                if 0 <= record.exit < EXIT_SLOTS:
                    share[record.exit] += 1.0
            row[at : at + EXIT_SLOTS] += _ANSWERS * (share / len(answers) - row[at : at + EXIT_SLOTS])
        seen = [record.first_confidence for record in answers if not math.isnan(record.first_confidence)]
        if seen:
            row[column("confidence")] += _ANSWERS * (sum(seen) / len(seen) - row[column("confidence")])

    def _push_rate(self, row: Floats, rate_bps: float) -> None:
        """Add an interval's rate to history and average; the first one known stands for the past as well."""
        at, average = column("rate_bps"), column("rate_average_bps")
        if self._rate_known:
            _push(row, at, rate_bps)
            row[average] += _SLOW * (rate_bps - row[average])
        else:
            row[at : at + HISTORY] = row[average] = rate_bps
            self._rate_known = True

    def _show_plan(self, row: Floats) -> None:
        for name, value in self._in_force.fields().items():
            row[column(name)] = value


def _checked_row(row: ArrayLike) -> Floats:
    values = np.asarray(row, dtype=np.float64).reshape(-1)
    if values.shape != (width(),) or not np.isfinite(values).all():
        raise InputError("telemetry", "first", f"must be {width()} finite numbers", values.shape)
    return values


def _push(row: Floats, at: int, value: float) -> None:
    """Shift a history by one and put the newest value first."""
    row[at + 1 : at + HISTORY] = row[at : at + HISTORY - 1].copy()
    row[at] = value
