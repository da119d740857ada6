"""What a price list's file holds: virtual machines, functions, edge servers and egress, each with its source."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import InputError, did_you_mean

__all__ = [
    "EdgeEntry",
    "EgressPrice",
    "EgressTier",
    "FaasPrice",
    "FaasTier",
    "MemoryRange",
    "PriceFile",
    "Source",
    "VmPrice",
]

Usd = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """Where a figure comes from and how far it can be trusted."""

    mark: Literal["verified", "second-hand", "derived", "assumed"]
    """verified: read in the provider's own text or data; second-hand: quoted; derived: computed; assumed: ours."""
    text: Annotated[str, Field(min_length=1)]


class VmPrice(_Frozen):
    """A virtual machine, billed per `granularity_s` with a minimum of `min_billed_s`, used or not."""

    name: str
    usd_per_hour: Annotated[Usd, Field(lt=1000, description="dollars per hour")]
    vcpu: PositiveInt
    memory_gib: Annotated[Decimal, Field(gt=0)]
    accelerator: str = ""
    min_billed_s: Annotated[int, Field(ge=0)] = 60
    granularity_s: PositiveInt = 1
    source: str
    other_sources: tuple[str, ...] = ()

    @property
    def usd_per_s(self) -> Fraction:
        """Dollars per billed second, exactly."""
        return Fraction(self.usd_per_hour) / 3600


class MemoryRange(_Frozen):
    """The memory sizes that a function may have, in MB of 2^20 bytes."""

    min: PositiveInt
    max: PositiveInt
    step: PositiveInt = 1
    round_up: bool = False
    """True: what was used is rounded up to a step (Azure); False: a size is chosen and must be a step (AWS)."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max must be at least min ({self.min})")
        return self


class FaasTier(_Frozen):
    """The GB-second price beyond a monthly volume."""

    above_gb_s: PositiveInt
    usd_per_gb_s: Usd


class FaasPrice(_Frozen):
    """A function service, billed by time, memory (and CPU) and a fee per request.

    Either `usd_per_gb_s` is given (AWS, Azure) or both `usd_per_vcpu_s` and `usd_per_gib_s` (Google).
    A GB is 2^30 bytes and memory is in MB of 2^20 bytes, as the providers compute it.
    """

    name: str
    usd_per_gb_s: Annotated[Usd, Field(lt=Decimal("0.01"))] | None = None
    usd_per_vcpu_s: Annotated[Usd, Field(lt=Decimal("0.1"))] | None = None
    usd_per_gib_s: Annotated[Usd, Field(lt=Decimal("0.01"))] | None = None
    usd_per_request: Annotated[Usd, Field(lt=Decimal("0.001"))]
    """Dollars for one request, not for a million."""
    granularity_ms: PositiveInt
    min_billed_ms: Annotated[int, Field(ge=0)]
    memory_mb: MemoryRange
    mb_per_vcpu: PositiveInt | None = None
    """Memory that brings one vCPU; None where CPU and memory are chosen separately, then `vcpu` is used."""
    vcpu: Annotated[Decimal, Field(gt=0)] = Decimal(1)
    max_vcpu: PositiveInt | None = None
    init_billed: bool
    payload_limit_bytes: PositiveInt | None = None
    source: str
    other_sources: tuple[str, ...] = ()
    tiers: tuple[FaasTier, ...] = ()

    @model_validator(mode="after")
    def _one_formula(self) -> Self:
        by_parts = (self.usd_per_vcpu_s, self.usd_per_gib_s)
        if (self.usd_per_gb_s is None) == (None in by_parts):
            raise ValueError("must have either usd_per_gb_s or both usd_per_vcpu_s and usd_per_gib_s")
        if self.usd_per_gb_s is not None and by_parts != (None, None):
            raise ValueError("must not have usd_per_gb_s beside usd_per_vcpu_s or usd_per_gib_s")
        if self.tiers and self.usd_per_gb_s is None:
            raise ValueError("tiers are only defined for usd_per_gb_s")
        _require_ascending([tier.above_gb_s for tier in self.tiers])
        return self

    def billed_memory_mb(self, memory_mb: int) -> int:
        """The memory that is billed for a size.

        Raises:
            InputError: the provider does not sell this size.
        """
        sizes = self.memory_mb
        billed = max(sizes.min, -(-memory_mb // sizes.step) * sizes.step) if sizes.round_up else memory_mb
        if memory_mb <= 0 or not sizes.min <= billed <= sizes.max or billed % sizes.step:
            rule = f"must be {sizes.min} to {sizes.max} MB in steps of {sizes.step} for {self.name}"
            raise InputError("prices", "memory_mb", rule, memory_mb)
        return billed

    def vcpus(self, memory_mb: int) -> Fraction:
        """The vCPUs that come with a memory size (AWS: proportional; elsewhere the configured number)."""
        if self.mb_per_vcpu is None:
            return Fraction(self.vcpu)
        share = Fraction(self.billed_memory_mb(memory_mb), self.mb_per_vcpu)
        return share if self.max_vcpu is None else min(share, Fraction(self.max_vcpu))

    def usd_per_ms(self, memory_mb: int) -> Fraction:
        """Dollars per billed millisecond at this memory size, exactly, before any volume tier."""
        gib = Fraction(self.billed_memory_mb(memory_mb), 1024)
        if self.usd_per_gb_s is not None:
            return Fraction(self.usd_per_gb_s) * gib / 1000
        cpu, memory = Fraction(self.usd_per_vcpu_s or 0), Fraction(self.usd_per_gib_s or 0)
        return (cpu * self.vcpus(memory_mb) + memory * gib) / 1000


class EdgeEntry(_Frozen):
    """An edge price as a file states it: a regional price, and a premium over it.

    The regional price is that of `base_vm` per vCPU, or `usd_per_vcpu_s`, or `usd_per_gb_s` times the memory that
    brings one vCPU.
    """

    name: str
    base_vm: str | None = None
    usd_per_vcpu_s: Annotated[Usd, Field(lt=Decimal("0.1"))] | None = None
    usd_per_gb_s: Annotated[Usd, Field(lt=Decimal("0.01"))] | None = None
    mb_per_vcpu: PositiveInt | None = None
    premium: Annotated[Decimal, Field(gt=0, le=100)] = Decimal(1)
    source: str
    other_sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_base(self) -> Self:
        given = [self.base_vm, self.usd_per_vcpu_s, self.usd_per_gb_s]
        if sum(value is not None for value in given) != 1:
            raise ValueError("must have exactly one of base_vm, usd_per_vcpu_s and usd_per_gb_s")
        if (self.usd_per_gb_s is None) != (self.mb_per_vcpu is None):
            raise ValueError("must have mb_per_vcpu beside usd_per_gb_s, and only there")
        return self


class EgressTier(_Frozen):
    """The price per GB beyond a monthly volume."""

    above_gb: PositiveInt
    usd_per_gb: Usd


class EgressPrice(_Frozen):
    """Data that leaves the provider, billed per GB of `gb_bytes` bytes."""

    name: str
    usd_per_gb: Annotated[Usd, Field(lt=10)]
    gb_bytes: Literal[1_000_000_000, 1_073_741_824]
    source: str
    other_sources: tuple[str, ...] = ()
    tiers: tuple[EgressTier, ...] = ()

    @model_validator(mode="after")
    def _tiers_ascend(self) -> Self:
        _require_ascending([tier.above_gb for tier in self.tiers])
        return self

    @property
    def usd_per_byte(self) -> Fraction:
        """Dollars per byte before any volume tier, exactly."""
        return Fraction(self.usd_per_gb) / self.gb_bytes


class PriceFile(_Frozen):
    """The content of a price list's file; `load_prices` turns it into a `PriceList`."""

    name: Annotated[str, Field(min_length=1)]
    provider: str
    region: str
    currency: Literal["USD"]
    date: datetime.date
    notes: str = ""
    sources: dict[str, Source]
    vm: dict[str, VmPrice] = {}
    faas: dict[str, FaasPrice] = {}
    edge: dict[str, EdgeEntry] = {}
    egress: dict[str, EgressPrice] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_entries(cls, raw: Any) -> Any:
        """Give each entry its key as its name, and each VM the values of ``[vm_defaults]``."""
        if not isinstance(raw, dict):
            return raw
        data = dict(raw)
        defaults = data.pop("vm_defaults", {})
        if not isinstance(defaults, dict):
            raise ValueError("vm_defaults must be a table")
        for table in ("vm", "faas", "edge", "egress"):
            if isinstance(entries := data.get(table), dict):
                common = defaults if table == "vm" else {}
                data[table] = {key: _named(table, key, entry, common) for key, entry in entries.items()}
        return data

    @model_validator(mode="after")
    def _references(self) -> Self:
        tables: dict[str, dict[str, Any]] = {
            "vm": self.vm,
            "faas": self.faas,
            "edge": self.edge,
            "egress": self.egress,
        }
        for table, entries in tables.items():
            for key, entry in entries.items():
                for source in (entry.source, *entry.other_sources):
                    _require(source, self.sources, f"{table}.{key}.source", "sources")
        for key, edge in self.edge.items():
            if edge.base_vm is not None:
                _require(edge.base_vm, self.vm, f"edge.{key}.base_vm", "vm")
        return self


def _named(table: str, key: str, entry: Any, common: dict[str, Any]) -> Any:
    """An entry with the common values and its key as its name."""
    if not isinstance(entry, dict):
        return entry
    if "name" in entry:
        raise ValueError(f"{table}.{key}.name must not be given: the key is the name")
    return {**common, **entry, "name": key}


def _require(name: str, known: Mapping[str, object], field: str, table: str) -> None:
    if name not in known:
        raise ValueError(f"{field} must name an entry of [{table}], not {name!r}: {did_you_mean(name, known)}")


def _require_ascending(limits: list[int]) -> None:
    if limits != sorted(set(limits)):
        raise ValueError(f"tiers must ascend strictly, not {limits}")
