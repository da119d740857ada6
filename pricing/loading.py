"""Price lists: finding and reading them, and looking prices up."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from ..errors import InputError, did_you_mean
from ..settings import read_settings
from .models import EdgeEntry, EgressPrice, FaasPrice, PriceFile, Source, VmPrice

__all__ = ["DEFAULT_PRICES", "EdgePrice", "PriceList", "list_prices", "load_prices"]

DEFAULT_PRICES = "aws-us-east-1"
SHIPPED = Path(__file__).parent / "lists"
T = TypeVar("T")


@dataclass(frozen=True)
class EdgePrice:
    """What a vCPU of an edge server costs: a regional price times a premium.

    The premium is the parameter of a study: edge capacity is scarce, and its prices are seldom public.
    """

    name: str
    base: str
    """What the regional price is taken from."""
    regional_usd_per_vcpu_s: Fraction
    premium: Decimal
    source: str

    @property
    def usd_per_vcpu_s(self) -> Fraction:
        """Dollars per vCPU-second with the premium, exactly."""
        return self.regional_usd_per_vcpu_s * Fraction(self.premium)

    def usd_per_ms(self, vcpu: int | float | Fraction = 1) -> Fraction:
        """Dollars per millisecond of an edge worker with that many vCPUs, exactly."""
        return self.usd_per_vcpu_s * Fraction(vcpu) / 1000


@dataclass(frozen=True)
class PriceList:
    """A dated list of prices; read it with `load_prices`. An unknown name is an `InputError` with a suggestion."""

    name: str
    provider: str
    region: str
    date: datetime.date
    notes: str
    sources: Mapping[str, Source]
    vms: Mapping[str, VmPrice]
    functions: Mapping[str, FaasPrice]
    edges: Mapping[str, EdgePrice]
    egresses: Mapping[str, EgressPrice]

    def vm(self, name: str) -> VmPrice:
        """The price of a virtual machine."""
        return self._find("vm", self.vms, name)

    def faas(self, name: str) -> FaasPrice:
        """The price of a function service."""
        return self._find("faas", self.functions, name)

    def edge(self, name: str = "region", premium: Decimal | float | None = None) -> EdgePrice:
        """The price of edge capacity, with another premium where one is given."""
        found = self._find("edge", self.edges, name)
        if premium is None:
            return found
        value = Decimal(str(premium))
        if not 0 < value <= 100:
            raise InputError(self.name, f"edge.{name}.premium", "must be above 0 and at most 100", premium)
        return replace(found, premium=value)

    def egress(self, name: str = "internet") -> EgressPrice:
        """The price of data that leaves the provider."""
        return self._find("egress", self.egresses, name)

    def source_of(self, entry: VmPrice | FaasPrice | EdgePrice | EgressPrice) -> Source:
        """The main source of an entry."""
        return self.sources[entry.source]

    def _find(self, table: str, entries: Mapping[str, T], name: str) -> T:
        if name not in entries:
            remedy = did_you_mean(name, entries)
            raise InputError(self.name, table, "must name an entry of the price list", name, remedy)
        return entries[name]


def list_prices() -> tuple[str, ...]:
    """The names of the price lists that ship.

    >>> list_prices()
    ('aws-us-east-1', 'azure-functions', 'google-cloud-run')
    """
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_prices(name_or_path: str | Path = DEFAULT_PRICES) -> PriceList:
    """Read a price list.

    Args:
        name_or_path: The name of a list that ships, or the path of a TOML file of the same form.

    Raises:
        InputError: there is no such list or file, or it breaks a rule (negative price, unknown key, missing source).

    >>> load_prices().vm("c6i.large").usd_per_hour
    Decimal('0.085')
    """
    file = read_settings(name_or_path, PriceFile, SHIPPED, "price list")
    edges = {
        key: EdgePrice(key, *_regional(entry, file), premium=entry.premium, source=entry.source)
        for key, entry in file.edge.items()
    }
    return PriceList(
        name=file.name,
        provider=file.provider,
        region=file.region,
        date=file.date,
        notes=file.notes,
        sources=dict(file.sources),
        vms=dict(file.vm),
        functions=dict(file.faas),
        edges=edges,
        egresses=dict(file.egress),
    )


def _regional(entry: EdgeEntry, file: PriceFile) -> tuple[str, Fraction]:
    """What an edge price is based on, and that base in dollars per vCPU-second."""
    if entry.base_vm is not None:
        machine = file.vm[entry.base_vm]
        return entry.base_vm, machine.usd_per_s / machine.vcpu
    if entry.usd_per_vcpu_s is not None:
        return "vCPU-s", Fraction(entry.usd_per_vcpu_s)
    return "GB-s", Fraction(entry.usd_per_gb_s or 0) * (entry.mb_per_vcpu or 0) / 1024
