"""Scenario files: topology, device, profile, prices, arrivals, limits and weights of one decision problem."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..settings import read_settings

__all__ = ["DEFAULT_SCENARIO", "SHIPPED", "Scenario", "list_scenarios", "load_scenario"]

SHIPPED = Path(__file__).parent / "scenarios"
DEFAULT_SCENARIO = "camera-lte"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Load = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Control(_Section):
    """How often and how freely the controller acts."""

    interval_s: Positive = 1.0
    """Control interval."""
    episode_intervals: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    """Intervals until an episode is truncated."""
    resident_placements: Annotated[int, Field(ge=1, le=64)] = 2
    """Placements kept loaded on device and edge; moving to one of them costs no pause."""
    repartition_s: NonNegative
    """Pause of device and edge when a placement has to be loaded."""


class Device(_Section):
    """The device that the requests come from."""

    compute: str
    """Catalogue entry."""
    radio: str
    """Radio power model in the catalogue."""
    battery_j: NonNegative = 0.0
    """Charge at the start of an episode; 0: mains."""


class Uplink(_Section):
    """What the link traces mean."""

    rate_scale: Positive = 1.0
    """Factor on the recorded rate (downlink logs used as uplink)."""
    rtt_s: NonNegative
    """Round-trip time where the trace has none."""


class Edge(_Section):
    """The edge server."""

    compute: str
    """Catalogue entry of one virtual CPU."""
    vcpus: Positive
    load_levels: Annotated[tuple[Load, ...], Field(min_length=1)]
    """Background utilisation of each Markov state; service slows by 1 / (1 - load)."""
    load_sojourn_s: Annotated[tuple[Positive, ...], Field(min_length=1)]
    price: str
    """Edge entry of the price list; busy time is billed."""
    premium: Positive | None = None
    """Premium over that entry's base; None: the price list's."""
    usd_per_million_requests: NonNegative = 0.0
    """Fee per request that the edge server works on."""
    transit_usd_per_gb: NonNegative = 0.0
    """Price of bytes from the edge to the cloud."""


class Backhaul(_Section):
    """Edge to cloud."""

    rate_bps: Positive
    rtt_s: NonNegative


class Vm(_Section):
    """The VM pool."""

    type: str
    """Entry of the price list."""
    compute: str
    """Catalogue entry of one virtual CPU."""
    max_vms: Annotated[int, Field(ge=0, le=64)]
    initial_vms: Annotated[int, Field(ge=0, le=64)] = 0
    boot_median_s: Positive
    boot_sigma: NonNegative
    spill_wait_s: NonNegative
    """Route 'spill' goes to a function when no VM is free within this time."""


class Faas(_Section):
    """The function."""

    platform: str
    """Entry of the price list."""
    compute: str
    """Catalogue entry of one virtual CPU's worth of memory."""
    memory_mb: Annotated[int, Field(ge=128)]
    max_instances: Annotated[int, Field(ge=1, le=1000)] = 64
    keep_alive_s: NonNegative
    setup_median_s: Positive
    setup_sigma: NonNegative
    init_median_s: Positive
    init_sigma: NonNegative


class Arrivals(_Section):
    """Requests: Markov-modulated Poisson, or recorded counts."""

    rates_rps: tuple[NonNegative, ...] = ()
    sojourn_s: tuple[Positive, ...] = ()
    recorded: str = ""
    """File of recorded arrivals (see `edgecloud.traces.load_arrivals`); excludes the rates."""
    scale: Positive = 1.0
    """Factor on the recorded counts."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.recorded) == bool(self.rates_rps):
            raise ValueError("must have either rates_rps (one per Markov state) or recorded")
        if len(self.rates_rps) != len(self.sojourn_s):
            raise ValueError("rates_rps and sojourn_s must have the same length")
        return self


class Difficulty(_Section):
    """How the mix of easy and hard samples drifts."""

    correlation_time_s: Positive


class Limits(_Section):
    """What an answer must satisfy, and the exit thresholds to choose from."""

    timeout_s: Positive
    accuracy_target: Share
    """Reported against; the reward charges accuracy lost to early exits."""
    thresholds: Annotated[tuple[Share, ...], Field(max_length=32)]
    """Increasing confidence thresholds; 'never exit early' is added as the last one."""

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if any(b <= a for a, b in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise ValueError("thresholds must be strictly increasing")
        return self


class Objective(_Section):
    """The reward's references, penalties and default preference."""

    latency_ref_s: Positive
    cost_ref_usd: Positive
    accuracy_penalty: NonNegative
    failure_penalty: NonNegative
    weights: tuple[Share, Share, Share]

    @model_validator(mode="after")
    def _simplex(self) -> Self:
        if abs(sum(self.weights) - 1.0) > 1e-6:
            raise ValueError("weights (latency, cost, privacy) must sum to 1")
        return self


class Scenario(_Section):
    """One decision problem, as read from its file. Every number's origin stands in `sources`."""

    format: Literal[1]
    name: str
    description: str
    profile: str
    measured: str = ""
    """File of service times and message sizes that a running system measured, in place of the profile's scaled ones."""
    prices: str
    control: Control
    device: Device
    uplink: Uplink
    edge: Edge
    backhaul: Backhaul
    vm: Vm
    faas: Faas
    arrivals: Arrivals
    difficulty: Difficulty
    limits: Limits
    objective: Objective
    sources: dict[str, str]
    """Where each value comes from, keyed by section.field."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.edge.load_levels) != len(self.edge.load_sojourn_s):
            raise ValueError("edge.load_levels and edge.load_sojourn_s must have the same length")
        if max(self.arrivals.rates_rps, default=0.0) * self.control.interval_s > 300:
            raise ValueError("arrivals.rates_rps must be at most 300 requests per interval (control.interval_s)")
        if self.vm.initial_vms > self.vm.max_vms:
            raise ValueError("vm.initial_vms must be at most vm.max_vms")
        if self.limits.timeout_s > 3600 * self.control.interval_s:
            raise ValueError("limits.timeout_s must be at most 3600 control intervals")
        return self

    def fingerprint(self) -> str:
        """A short digest of everything that changes the problem (not of names, descriptions, sources and other files).

        A checkpoint carries it: a policy is only valid for the problem that it was trained on.
        """
        content: dict[str, Any] = self.model_dump(mode="json", exclude={"name", "description", "sources", "measured"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def numeric_fields(self) -> list[str]:
        """Dotted names of the fields that the file sets to numbers: each wants an entry in `sources`."""
        names = []
        for section, content in self:
            if isinstance(content, BaseModel):
                for name, value in content:
                    if value == type(content).model_fields[name].default and name not in content.model_fields_set:
                        continue
                    values = value if isinstance(value, tuple) else (value,)
                    if values and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
                        names.append(f"{section}.{name}")
        return names


def list_scenarios() -> list[str]:
    """Names of the shipped scenarios."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_scenario(name_or_path: str | Path = DEFAULT_SCENARIO) -> Scenario:
    """Read a shipped scenario by name, or a file of one's own.

    Raises:
        InputError: The file is missing, has an unknown key or breaks a rule; the message names file, field and value.
    """
    return read_settings(name_or_path, Scenario, SHIPPED, "scenario")
