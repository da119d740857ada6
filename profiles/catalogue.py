"""The catalogue of devices, servers, radios and start-up delays: speeds, watts and seconds, each with its source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import InputError, did_you_mean
from ..settings import read_settings

__all__ = ["Catalogue", "Compute", "Delay", "Radio", "load_catalogue"]

T = TypeVar("T")
Mark = Literal["verified", "second-hand", "derived", "measured"]
Kind = Literal["device", "server", "function", "gpu"]
Per = Literal["machine", "vcpu"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Compute:
    """Something that runs a network."""

    name: str
    kind: Kind
    per: Per
    """What the figures are for: the whole machine, or one vCPU of it."""
    effective_flops: float
    """FLOP per second on a convolutional network; a multiply-accumulate counts as two."""
    idle_w: float | None
    """Watts when idle; None where no figure was found."""
    busy_w: float | None
    """Watts under full load; None where no figure was found."""
    noise_sigma: float
    """Sigma of the natural logarithm of the service time around its median; 0 where no figure was found."""
    conditions: str
    """Batch, runtime and network of the measurement."""
    source: str
    mark: Mark


@dataclass(frozen=True)
class Radio:
    """Power of a radio as a line in its rates (Huang et al., MobiSys 2012)."""

    name: str
    uplink_w_per_bps: float
    downlink_w_per_bps: float
    base_w: float
    tail_s: float
    tail_w: float
    clamp_bps: float
    source: str
    mark: Mark

    def power_w(self, uplink_bps: float, downlink_bps: float = 0.0) -> float:
        """Watts while transferring; each rate counts at most as `clamp_bps`, since the line was fitted below it.

        >>> radio = load_catalogue().radio("lte-huang-2012")
        >>> round(radio.power_w(5.85e6), 2), radio.power_w(50e6) == radio.power_w(20e6)
        (3.85, True)
        """
        up, down = min(uplink_bps, self.clamp_bps), min(downlink_bps, self.clamp_bps)
        return self.base_w + self.uplink_w_per_bps * up + self.downlink_w_per_bps * down


@dataclass(frozen=True)
class Delay:
    """A start-up time or keep-alive: lognormal with this median."""

    name: str
    median_s: float
    sigma_ln: float
    source: str
    mark: Mark


@dataclass(frozen=True)
class Catalogue:
    """Everything in the catalogue, by name; look-ups of unknown names raise `InputError` with a suggestion."""

    computes: Mapping[str, Compute]
    radios: Mapping[str, Radio]
    delays: Mapping[str, Delay]
    noises: Mapping[str, float]

    def compute(self, name: str, count: float = 1.0) -> Compute:
        """A machine, or `count` vCPUs of one whose figures are per vCPU.

        Speed and watts scale linearly with `count`. For a function, ``count = memory_mb / 1769``.

        Raises:
            InputError: unknown name, a count that is not positive, or several of a whole machine.

        >>> load_catalogue().compute("edge-vcpu", count=4).effective_flops
        139600000000.0
        """
        entry = _find("compute", self.computes, name)
        if not (math.isfinite(count) and count > 0):
            raise InputError("catalogue", f"compute.{name}.count", "must be positive", count)
        if count == 1.0:
            return entry
        if entry.per == "machine":
            raise InputError("catalogue", f"compute.{name}.count", "must be 1 for a whole machine", count)
        return replace(
            entry,
            name=f"{count:g} x {entry.name}",
            effective_flops=entry.effective_flops * count,
            idle_w=None if entry.idle_w is None else entry.idle_w * count,
            busy_w=None if entry.busy_w is None else entry.busy_w * count,
        )

    def radio(self, name: str) -> Radio:
        """A radio's power model."""
        return _find("radio", self.radios, name)

    def delay(self, name: str) -> Delay:
        """A start-up time or keep-alive."""
        return _find("delay", self.delays, name)

    def noise(self, name: str) -> float:
        """Sigma of the logarithm of the service time of a kind of work ('cpu-bound', 'io-bound')."""
        return _find("noise", self.noises, name)


def load_catalogue(path: str | Path | None = None) -> Catalogue:
    """Read the catalogue that ships, or a file of the same form.

    Raises:
        InputError: the file is missing or breaks a rule (unknown key, unknown source, speed that is not positive).

    >>> load_catalogue().compute("lambda-vcpu").effective_flops
    15000000000.0
    """
    return _build(read_settings("catalogue" if path is None else path, _File, Path(__file__).parent, "catalogue"))


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Source(_Strict):
    mark: Mark
    text: Annotated[str, Field(min_length=1)]


class _Compute(_Strict):
    kind: Kind
    per: Per = "machine"
    effective_flops: Positive
    idle_w: NotNegative | None = None
    busy_w: Positive | None = None
    noise: str | None = None
    conditions: str
    source: str
    power_source: str | None = None

    @model_validator(mode="after")
    def _power(self) -> Self:
        if (self.idle_w is not None or self.busy_w is not None) and self.power_source is None:
            raise ValueError("watts must have a power_source")
        if self.idle_w is not None and self.busy_w is not None and self.busy_w < self.idle_w:
            raise ValueError("busy_w must be at least idle_w")
        return self


class _Noise(_Strict):
    sigma_ln: NotNegative
    source: str


class _Radio(_Strict):
    uplink_w_per_bps: NotNegative
    downlink_w_per_bps: NotNegative
    base_w: NotNegative
    tail_s: NotNegative
    tail_w: NotNegative
    clamp_bps: Positive
    source: str


class _Delay(_Strict):
    median_s: Positive
    sigma_ln: NotNegative
    source: str


class _File(_Strict):
    sources: dict[str, _Source]
    compute: dict[str, _Compute] = {}
    noise: dict[str, _Noise] = {}
    radio: dict[str, _Radio] = {}
    delay: dict[str, _Delay] = {}

    @model_validator(mode="after")
    def _references(self) -> Self:
        tables: dict[str, Mapping[str, _Compute | _Noise | _Radio | _Delay]] = {
            "compute": self.compute,
            "noise": self.noise,
            "radio": self.radio,
            "delay": self.delay,
        }
        for table, entries in tables.items():
            for name, entry in entries.items():
                for key in (entry.source, getattr(entry, "power_source", None)):
                    _require(key, self.sources, f"{table}.{name}.source", "sources")
        for name, machine in self.compute.items():
            _require(machine.noise, self.noise, f"compute.{name}.noise", "noise")
        return self


def _require(key: str | None, known: Mapping[str, object], field: str, table: str) -> None:
    if key is not None and key not in known:
        raise ValueError(f"{field} must name an entry of [{table}], not {key!r}: {did_you_mean(key, known)}")


def _build(file: _File) -> Catalogue:
    def origin(key: str) -> tuple[str, Mark]:
        return file.sources[key].text, file.sources[key].mark

    computes, radios, delays = {}, {}, {}
    for name, item in file.compute.items():
        text, mark = origin(item.source)
        if item.power_source is not None and item.power_source != item.source:
            text = f"{text}. Power: {origin(item.power_source)[0]}"
        sigma = 0.0 if item.noise is None else file.noise[item.noise].sigma_ln
        computes[name] = Compute(
            name=name,
            **item.model_dump(include={"kind", "per", "effective_flops", "idle_w", "busy_w", "conditions"}),
            noise_sigma=sigma,
            source=text,
            mark=mark,
        )
    for name, radio in file.radio.items():
        text, mark = origin(radio.source)
        radios[name] = Radio(name=name, **radio.model_dump(exclude={"source"}), source=text, mark=mark)
    for name, delay in file.delay.items():
        text, mark = origin(delay.source)
        delays[name] = Delay(name, delay.median_s, delay.sigma_ln, text, mark)
    return Catalogue(computes, radios, delays, {name: item.sigma_ln for name, item in file.noise.items()})


def _find(table: str, entries: Mapping[str, T], name: str) -> T:
    if name not in entries:
        raise InputError("catalogue", table, "must name an entry", name, did_you_mean(name, entries))
    return entries[name]
