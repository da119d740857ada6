"""Measuring a running system: service times per tier, bytes on the wire, overheads, cold starts."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..envs import Scenario
from ..envs.measured import MeasuredTier, MeasuredTimes
from ..errors import InputError
from .serving.observer import ServedRequest
from .serving.plan import Plan
from .system import System
from .workload import Images

__all__ = ["Calibration", "calibrate", "calibrated_scenario"]

Floats = NDArray[np.float64]

_HEADS = 2.0  # a threshold that asks every head and satisfies none
_QUANTILES = 64
_SETTLE = 2  # answers left out after each change of plan: parts are loaded with the first


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        times: Service times and sizes, as a scenario takes them.
        uplink_rtt_s: Round trip between device and edge with the system's own overhead, median.
        backhaul_rtt_s: The same between edge and cloud.
        setup_s: Cold starts: process until it answers, without `init_s`; one entry per start.
        init_s: Imports and weights; one entry per start.
        requests: Answers behind it.
    """

    times: MeasuredTimes
    uplink_rtt_s: float
    backhaul_rtt_s: float
    setup_s: tuple[float, ...]
    init_s: tuple[float, ...]
    requests: int


@dataclass
class _Samples:
    """Service seconds by (tier, first cut, last cut, heads asked), and what else the records show."""

    service: dict[tuple[str, int, int, bool], list[float]] = field(default_factory=lambda: defaultdict(list))
    edge_overhead_s: list[float] = field(default_factory=list)
    cloud_overhead_s: list[float] = field(default_factory=list)
    bytes: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    cold: list[tuple[float, float]] = field(default_factory=list)
    count: int = 0


def calibrate(
    system: System,
    images: Images,
    repeats: int = 20,
    cold_starts: int = 3,
    source: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Measure an idle system, one request at a time, through the processes that serve.

    The functions' keep-alive must be short (see `cold_starts`): each pause of twice that time ends with cold starts,
    of as many instances at a time as there may be: that is how they come under load, and here they share the cores.

    Args:
        system: Running, with a fast link.
        images: Taken in turn.
        repeats: Answers per tier, cut and way of asking the heads.
        cold_starts: How often to see them.
        source: Command, machine and date.
        progress: Called with plans done and in all.

    Raises:
        InputError: A request was not answered.
    """
    plans = _plans(system.model.stages, cold_starts)
    samples = _Samples()
    _boot(system)
    for done, (plan, heads, cold) in enumerate(plans):
        if cold:
            time.sleep(2.0 * system.problem.scenario.faas.keep_alive_s + 0.3)
            for record in _at_once(system, images, plan, system.problem.scenario.faas.max_instances):
                if record.cold:
                    _note(samples, plan, heads, record, 0, system.model.stages)
        for number in range(0 if cold else repeats + _SETTLE):
            sent_before = system.shaper.stats().up.bytes if system.shaper else 0
            record = system.device.submit(images.tensor(number % len(images.pixels)), -1, plan).result(120.0)
            _must_be_answered(plan, record)
            if number >= _SETTLE:
                sent = system.shaper.stats().up.bytes - sent_before if system.shaper else record.uplink_bytes
                _note(samples, plan, heads, record, sent, system.model.stages)
        if progress is not None:
            progress(done + 1, len(plans))
    return _calibration(system, samples, source)


def _plans(stages: int, cold_starts: int) -> list[tuple[Plan, bool, bool]]:
    """Plans with whether heads are asked, and whether the function has been left alone for its keep-alive."""
    plans: list[tuple[Plan, bool, bool]] = [(Plan(0, 0, route="faas"), False, True) for _ in range(cold_starts)]
    asked = ((float("inf"), False), (_HEADS, True))
    # All of the function's at a stretch: it would be forgotten while other tiers are measured.
    for route in ("faas", "vm"):
        plans += [(Plan(cut, cut, t, route), heads, False) for t, heads in asked for cut in range(stages)]
    for cut in range(1, stages + 1):
        for t, heads in asked:
            plans += [(Plan(cut, stages, t), heads, False), (Plan(0, cut, t, "vm"), heads, False)]
    return plans


def _at_once(system: System, images: Images, plan: Plan, count: int) -> list[ServedRequest]:
    """Answers to several requests that are there at the same time."""
    asked = [system.device.submit(images.tensor(number % len(images.pixels)), -1, plan) for number in range(count)]
    records = [answer.result(120.0) for answer in asked]
    for record in records:
        _must_be_answered(plan, record)
    return records


def _must_be_answered(plan: Plan, record: ServedRequest) -> None:
    if record.failed:
        raise InputError("calibration", f"plan {plan}", "must be answered", record.reason)


def _boot(system: System) -> None:
    """One VM, ready."""
    from ..envs import Action

    start = system.problem.stages
    system.apply(Action(start, start, len(system.problem.thresholds) - 1, "vm", 1))
    until = time.monotonic() + system.problem.scenario.vm.boot_median_s * 3 + 60.0
    while system.bills().get("vm_running", 0.0) < 1.0:
        if time.monotonic() > until:
            raise InputError("calibration", "vm", "did not become ready", remedy="see the gateway's log")
        time.sleep(0.2)


def _note(samples: _Samples, plan: Plan, heads: bool, record: ServedRequest, sent: int, stages: int) -> None:
    """Sort one answer's seconds and bytes."""
    samples.count += 1
    if record.cold:
        init_s = max(record.billed_ms / 1000.0 - record.cloud_service_s, 0.0)
        samples.cold.append((max(record.init_s - init_s, 0.0), init_s))
        return
    if plan.cut_device > 0:
        samples.service["device", 0, plan.cut_device, heads].append(record.device_service_s)
    if plan.cut_edge > plan.cut_device:
        samples.service["edge", plan.cut_device, plan.cut_edge, heads].append(record.edge_service_s)
    if plan.cut_edge < stages:
        tier = "faas" if record.faas else "vm"
        samples.service[tier, plan.cut_edge, stages, heads].append(record.cloud_service_s)
        samples.cloud_overhead_s.append(record.backhaul_s)
    if plan.cut_device < stages:
        # On a fast link a transfer's seconds are overhead, too: they do not shrink with the bytes.
        samples.edge_overhead_s.append(record.propagation_s + record.uplink_queue_s + record.uplink_s)
        samples.bytes[plan.cut_device].append(float(sent))


def _calibration(system: System, samples: _Samples, source: str) -> Calibration:
    problem, stages = system.problem, system.model.stages
    exits = [head.after_stage for head in problem.profile.exits]
    tiers = {name: _tier(samples.service, name, stages, exits) for name in ("device", "edge", "vm", "faas")}
    sizes = [round(statistics.median(samples.bytes[cut])) for cut in range(stages)]
    rtt_s = statistics.median(samples.edge_overhead_s)
    times = MeasuredTimes(
        model=system.model.fingerprint,
        source=source,
        tiers=tiers,
        cut_bytes=(*sizes, 0),
        uplink_overhead_s=max(rtt_s - problem.link_rtt_s, 0.0),
    )
    return Calibration(
        times,
        rtt_s,
        statistics.median(samples.cloud_overhead_s),
        tuple(setup for setup, _ in samples.cold),
        tuple(init for _, init in samples.cold),
        samples.count,
    )


def _tier(
    service: Mapping[tuple[str, int, int, bool], Sequence[float]], name: str, stages: int, exits: Sequence[int]
) -> MeasuredTier:
    """Mean seconds per stage and head from those of whole parts, and how single requests spread around them."""
    plain, asked = (_per_stage(service, name, stages, heads) for heads in (False, True))
    # The last stage's part always has the final head: its seconds stay with the stage.
    head_s = [max(float(asked[after - 1] - plain[after - 1]), 0.0) if after < stages else 0.0 for after in exits]
    ratios = [
        value / statistics.fmean(values)
        for (tier, first, last, _), values in service.items()
        if tier == name and last - first >= 2
        for value in values
    ]
    at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    factors = np.quantile(ratios, at)
    return MeasuredTier(
        stage_s=tuple(float(value) for value in plain),
        head_s=tuple(head_s),
        factors=tuple(float(value) for value in factors / factors.mean()),
    )


def _per_stage(
    service: Mapping[tuple[str, int, int, bool], Sequence[float]], name: str, stages: int, heads: bool
) -> Floats:
    """Differences of the means of parts that grow by one stage: from the input, or towards the answer in the cloud."""
    total = np.zeros(stages + 1)
    for (tier, first, last, asked), values in service.items():
        if tier == name and asked == heads:
            if first == 0 and name in ("device", "edge"):
                total[last] = statistics.fmean(values)
            elif last == stages and name in ("vm", "faas"):
                total[stages - first] = statistics.fmean(values)
    steps = np.diff(np.maximum.accumulate(total))
    return steps if name in ("device", "edge") else steps[::-1]


def calibrated_scenario(scenario: Scenario, found: Calibration, times_file: str, name: str) -> Scenario:
    """A scenario with the measured values in the place of its own.

    Args:
        scenario: The base.
        found: What was measured.
        times_file: Where `found.times` is stored.
        name: Of the new scenario.
    """

    def section(part: str, **values: float) -> object:
        return getattr(scenario, part).model_copy(update=values)

    faas: dict[str, float] = {}
    for key, seconds in (("setup", found.setup_s), ("init", found.init_s)):
        if seconds:
            faas |= {f"{key}_median_s": max(statistics.median(seconds), 1e-3), f"{key}_sigma": _sigma(seconds)}
    measured = ["uplink.rtt_s", "backhaul.rtt_s", "control.repartition_s", *(f"faas.{key}" for key in faas)]
    return scenario.model_copy(
        update={
            "name": name,
            "measured": times_file,
            "control": section("control", repartition_s=0.0),
            "uplink": section("uplink", rtt_s=found.uplink_rtt_s),
            "backhaul": section("backhaul", rtt_s=found.backhaul_rtt_s),
            "faas": section("faas", **faas),
            "sources": {**scenario.sources, **dict.fromkeys(measured, f"measured: {found.times.source}")},
        }
    )


def _sigma(seconds: Iterable[float]) -> float:
    """Standard deviation of the logarithm; 0 with fewer than two."""
    logs = np.log([max(value, 1e-6) for value in seconds])
    return float(np.std(logs, ddof=1)) if len(logs) > 1 else 0.0
