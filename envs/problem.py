"""A scenario with everything it names looked up, compiled to the arrays that the kernel and the rules read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..pricing import PriceList, UnitPrices, load_prices, unit_prices
from ..profiles import Profile, load_profile
from ..profiles.catalogue import Catalogue, load_catalogue
from ..traces import LinkTrace, load_arrivals
from .encoder import Encoder
from .measure import EXIT_SLOTS
from .measured import MeasuredTimes, load_measured
from .physics import lognormal_factors, lognormal_quantiles
from .scenario import Scenario, load_scenario
from .state import Bank, Params
from .world import MAX_ARRIVALS

__all__ = ["ROUTES", "Problem", "Tier", "build_bank", "compile_problem"]

ROUTES = ("vm", "faas", "spill")
"""How the cloud part is served: VM pool, function, or VMs first and functions for the overflow."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tier:
    """Mean service times of a tier: seconds per stage, shape (M,), and per exit head, shape (E,)."""

    name: str
    speed_flops: float
    stage_s: Floats
    head_s: Floats
    noise_sigma: float

    def cumulative_s(self, exit_position: Ints, heads: bool) -> Floats:
        """Seconds of everything before each cut, shape (M+1,), with or without the exit heads on the way."""
        total = np.concatenate([[0.0], np.cumsum(self.stage_s)])
        stages = len(self.stage_s)
        for position, seconds in zip(exit_position, self.head_s, strict=True):
            if heads or position == stages:  # the final classifier always runs
                total[position:] += seconds
        return total


@dataclass(frozen=True, eq=False)
class Problem:
    """One decision problem, ready to run: what every policy is told besides the measurements."""

    scenario: Scenario
    profile: Profile
    prices: PriceList
    unit_prices: UnitPrices
    tiers: dict[str, Tier]
    """'device', 'edge', 'vm' and 'faas'."""
    placements: Ints
    """All legal (cut_device, cut_edge), shape (P, 2)."""
    thresholds: Floats
    """Confidence thresholds, shape (K,); the last is infinite: never exit early."""
    params: Params = field(repr=False)
    measured: MeasuredTimes | None = field(default=None, repr=False)
    """Where service times and message sizes come from, if not from the profile."""

    @property
    def nvec(self) -> Ints:
        """Sizes of the four parts of an action: placement, threshold, route, VM target."""
        sizes = [len(self.placements), len(self.thresholds), len(ROUTES), self.scenario.vm.max_vms + 1]
        return np.array(sizes, dtype=np.int64)

    @property
    def stages(self) -> int:
        """Stages of the profile, M."""
        return len(self.profile.stages)

    @property
    def link_rtt_s(self) -> float:
        """Round trip of the link alone, where a trace has none: without what a measured system itself adds to it."""
        added_s = self.measured.uplink_overhead_s if self.measured else 0.0
        return max(self.scenario.uplink.rtt_s - added_s, 0.0)

    @cached_property
    def encoder(self) -> Encoder:
        """The observation encoder, from fixed constants of this problem."""
        return Encoder.for_problem(
            placements=self.placements,
            nvec=self.nvec,
            stages=self.stages,
            exits=len(self.profile.exits),
            instances=self.scenario.faas.max_instances,
            raw_bytes=int(self.profile.input_bytes),
            interval_s=self.scenario.control.interval_s,
        )

    @cached_property
    def start_action(self) -> Ints:
        """What is in force before the first decision: all on the device, no early exit, functions, the initial pool."""
        return self.action(self.stages, self.stages, len(self.thresholds) - 1, "faas", self.scenario.vm.initial_vms)

    def placement(self, cut_device: int, cut_edge: int) -> int:
        """Index of a placement.

        Raises:
            InputError: There is no such placement.
        """
        found = np.flatnonzero((self.placements == (cut_device, cut_edge)).all(axis=1))
        if not len(found):
            rule = f"must be 0 <= cut_device <= cut_edge <= {self.stages} and within the payload limits"
            raise InputError("placement", "", rule, (cut_device, cut_edge))
        return int(found[0])

    def action(self, cut_device: int, cut_edge: int, threshold: int, route: str, vm_target: int) -> Ints:
        """An action from its parts, int64 (4,)."""
        parts = [self.placement(cut_device, cut_edge), threshold, ROUTES.index(route), vm_target]
        return np.array(parts, dtype=np.int64)

    def fingerprint(self) -> str:
        """Digest of the scenario and of the profile's numbers: which problem a checkpoint was trained on."""
        parts = [self.scenario.fingerprint(), self.profile.fingerprint()]
        return "-".join(parts + ([self.measured.digest()] if self.measured else []))


def compile_problem(scenario: Scenario | str | Path, profile: Profile | None = None) -> Problem:
    """Look up everything that a scenario names and compile it.

    Args:
        scenario: A scenario, a shipped scenario's name, or the path of a file.
        profile: Overrides the scenario's profile.

    Raises:
        InputError: A name is unknown, or a combination is impossible; the message names file, field and value.
    """
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario)
    profile = profile or load_profile(scenario.profile)
    profile.check_decidable()
    if len(profile.exits) > EXIT_SLOTS:
        raise InputError(profile.name, "exits", f"must be at most {EXIT_SLOTS} exits", len(profile.exits))
    prices = load_prices(scenario.prices)
    catalogue = load_catalogue()
    money = _unit_prices(scenario, prices)
    measured = _measured(scenario, profile)
    tiers = _tiers(scenario, profile, money, catalogue, measured)
    placements = _placements(profile, money)
    thresholds = np.append(np.asarray(scenario.limits.thresholds, dtype=np.float64), np.inf)
    params = _params(scenario, profile, catalogue, tiers, money, placements, thresholds)
    if measured:
        params = measured.apply(params)
    return Problem(scenario, profile, prices, money, tiers, placements, thresholds, params, measured)


def _measured(scenario: Scenario, profile: Profile) -> MeasuredTimes | None:
    """The measured times that a scenario names, if it does."""
    if not scenario.measured:
        return None
    times = load_measured(scenario.measured)
    times.check(len(profile.stages), len(profile.exits), scenario.measured)
    return times


def _tiers(
    scenario: Scenario, profile: Profile, money: UnitPrices, catalogue: Catalogue, measured: MeasuredTimes | None
) -> dict[str, Tier]:
    """Service times: measured ones, or the profile's scaled by the ratio of effective speeds."""
    entries = {
        "device": (scenario.device.compute, 1.0),
        "edge": (scenario.edge.compute, scenario.edge.vcpus),
        "vm": (scenario.vm.compute, float(money.vm_vcpu)),
        "faas": (scenario.faas.compute, money.faas_vcpu),
    }
    stage_s = np.array([stage.latency_s for stage in profile.stages])
    head_s = np.array([head.latency_s for head in profile.exits])
    tiers = {}
    for name, (entry, units) in entries.items():
        compute = catalogue.compute(entry)
        speed = compute.effective_flops * units
        ratio = profile.reference.effective_flops / speed
        tiers[name] = Tier(name, speed, stage_s * ratio, head_s * ratio, compute.noise_sigma)
        if measured:
            mine = measured.tiers[name]
            tiers[name] = Tier(name, speed, np.array(mine.stage_s), np.array(mine.head_s), compute.noise_sigma)
    return tiers


def _unit_prices(scenario: Scenario, prices: PriceList) -> UnitPrices:
    return unit_prices(
        prices,
        vm=scenario.vm.type,
        faas=scenario.faas.platform,
        faas_memory_mb=scenario.faas.memory_mb,
        edge=scenario.edge.price,
        edge_premium=scenario.edge.premium,
        edge_vcpu=scenario.edge.vcpus,
    )


def _placements(profile: Profile, money: UnitPrices) -> Ints:
    """Every (cut_device, cut_edge) whose cloud payload a function accepts."""
    stages = len(profile.stages)
    limit = money.faas_payload_limit_bytes or math.inf
    sizes = profile.cut_bytes
    legal = [(d, e) for d in range(stages + 1) for e in range(d, stages + 1) if e == stages or sizes[e] <= limit]
    return np.array(legal, dtype=np.int64)


def _leave(sojourn_s: Sequence[float], interval_s: float) -> Floats:
    """Probability of leaving a Markov state within an interval."""
    return np.array([-math.expm1(-interval_s / s) for s in sojourn_s])


def _exit_tables(profile: Profile, thresholds: Floats) -> NDArray[np.uint8]:
    """First exit whose confidence reaches each threshold, shape (K, samples)."""
    return np.stack([profile.exit_index(float(t)) for t in thresholds]).astype(np.uint8)


def _device_power(scenario: Scenario, catalogue: Catalogue) -> tuple[float, float]:
    """Idle and busy watts of the device."""
    device = catalogue.compute(scenario.device.compute)
    if device.idle_w is None or device.busy_w is None:
        raise InputError(scenario.name, "device.compute", "must name a device whose power is known", device.name)
    return device.idle_w, device.busy_w


def _params(
    scenario: Scenario,
    profile: Profile,
    catalogue: Catalogue,
    tiers: dict[str, Tier],
    money: UnitPrices,
    placements: Ints,
    thresholds: Floats,
) -> Params:
    control, vm, faas = scenario.control, scenario.vm, scenario.faas
    radio = catalogue.radio(scenario.device.radio)
    idle_w, busy_w = _device_power(scenario, catalogue)
    position = np.array([head.after_stage for head in profile.exits], dtype=np.int64)
    work = {k: np.stack([t.cumulative_s(position, True), t.cumulative_s(position, False)]) for k, t in tiers.items()}
    noise = {k: lognormal_factors(t.noise_sigma) for k, t in tiers.items()}
    arrivals, sojourn_s = scenario.arrivals, scenario.arrivals.sojourn_s or (math.inf,)
    counts = np.zeros(0, dtype=np.int64)
    exits = _exit_tables(profile, thresholds)
    order = np.argsort(profile.confidence.mean(axis=1), kind="stable").astype(np.int32)
    if arrivals.recorded:
        recorded = load_arrivals(arrivals.recorded, dt_s=control.interval_s)
        counts = np.rint(recorded.counts * arrivals.scale).astype(np.int64)
        if counts.max(initial=0) > MAX_ARRIVALS:
            rule = f"times arrivals.scale must be at most {MAX_ARRIVALS} requests per interval"
            raise InputError(arrivals.recorded, "counts", rule, int(counts.max()))
    return Params(
        interval_s=control.interval_s,
        timeout_s=scenario.limits.timeout_s,
        episode_intervals=control.episode_intervals,
        exit_position=position,
        exit_of=exits,
        first_confidence=np.array(profile.confidence[:, 0], dtype=np.float32),
        mean_confidence=float(profile.confidence[:, 0].mean(dtype=np.float64)),
        correct=np.array(profile.correct, dtype=np.uint8),
        difficulty_order=order,
        exit_by_rank=np.ascontiguousarray(exits[:, order]),
        confidence_by_rank=np.array(profile.confidence[order, 0], dtype=np.float32),
        correct_by_rank=np.array(profile.correct[order], dtype=np.uint8, order="C"),
        placements=placements,
        device_work_s=work["device"],
        edge_work_s=work["edge"],
        vm_work_s=work["vm"],
        faas_work_s=work["faas"],
        device_noise=noise["device"],
        edge_noise=noise["edge"],
        vm_noise=noise["vm"],
        faas_noise=noise["faas"],
        cut_bytes=np.array(profile.cut_bytes, dtype=np.int64),
        result_bytes=int(profile.result_bytes),
        leakage=np.array(profile.leakage, dtype=np.float64),
        rtt_s=scenario.uplink.rtt_s,
        backhaul_bps=scenario.backhaul.rate_bps,
        backhaul_rtt_s=scenario.backhaul.rtt_s,
        vm_boot_s=lognormal_quantiles(vm.boot_median_s, vm.boot_sigma),
        vm_initial=vm.initial_vms,
        spill_wait_s=vm.spill_wait_s,
        keep_alive_s=faas.keep_alive_s,
        faas_setup_s=lognormal_quantiles(faas.setup_median_s, faas.setup_sigma),
        faas_init_s=lognormal_quantiles(faas.init_median_s, faas.init_sigma),
        faas_granularity_ms=money.faas_granularity_ms,
        faas_minimum_ms=money.faas_min_billed_ms,
        faas_init_billed=int(money.faas_init_billed),
        vm_minimum_s=money.vm_min_billed_s,
        repartition_s=control.repartition_s,
        arrival_rps=np.asarray(arrivals.rates_rps or (0.0,), dtype=np.float64),
        arrival_leave=_leave(sojourn_s, control.interval_s) if arrivals.sojourn_s else np.ones(1),
        arrival_counts=counts,
        arrival_first=np.zeros(0, dtype=np.int64),
        arrival_share=np.zeros(0),
        arrival_rank=np.zeros(0, dtype=np.int64),
        edge_load=np.asarray(scenario.edge.load_levels, dtype=np.float64),
        edge_leave=_leave(scenario.edge.load_sojourn_s, control.interval_s),
        regime_keep=math.exp(-control.interval_s / scenario.difficulty.correlation_time_s),
        device_busy_w=busy_w,
        device_idle_w=idle_w,
        radio_base_w=radio.base_w,
        radio_w_per_bps=radio.uplink_w_per_bps,
        radio_limit_w=radio.base_w + radio.uplink_w_per_bps * radio.clamp_bps,
        battery_j=scenario.device.battery_j,
        usd_per_vm_s=money.usd_per_vm_s,
        usd_per_faas_ms=money.usd_per_faas_ms,
        usd_per_faas_request=money.usd_per_faas_request,
        usd_per_edge_ms=money.usd_per_edge_ms,
        usd_per_edge_request=scenario.edge.usd_per_million_requests / 1e6,
        usd_per_egress_byte=money.usd_per_egress_byte,
        usd_per_transit_byte=scenario.edge.transit_usd_per_gb / 1e9,
        latency_ref_s=scenario.objective.latency_ref_s,
        cost_ref_usd=scenario.objective.cost_ref_usd,
        accuracy_penalty=scenario.objective.accuracy_penalty,
        failure_penalty=scenario.objective.failure_penalty,
    )


def build_bank(traces: Sequence[LinkTrace], rate_scale: float, interval_s: float) -> Bank:
    """Link traces on the control grid, scaled to the uplink, end to end.

    Raises:
        InputError: There is no trace.
    """
    if not traces:
        raise InputError("traces", "", "must hold at least one link trace")
    # Whole bins only, on the recording's own rows: a shorter last bin would count as a full one when the trace wraps.
    grid = [trace.aligned(interval_s).resample(interval_s, tail="drop") for trace in traces]
    length = np.array([len(trace.rate_bps) for trace in grid], dtype=np.int64)
    rtt = [np.full(len(t.rate_bps), np.nan) if t.rtt_s is None else t.rtt_s for t in grid]
    return Bank(
        rate_bps=np.concatenate([trace.rate_bps for trace in grid]) * rate_scale,
        rtt_s=np.concatenate(rtt),
        start=np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64),
        length=length,
    )
