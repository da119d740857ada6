"""Dollars per unit of every counter of the simulation kernel."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from .loading import PriceList

__all__ = ["UnitPrices", "unit_prices"]


@dataclass(frozen=True)
class UnitPrices:
    """Floating-point prices of the integers that the kernel counts, with the rules by which it counts them.

    The kernel multiplies a counter by its price when it reports; it never adds dollars up.
    Volume tiers are not applied: the prices are those of the first tier.
    """

    usd_per_vm_s: float
    """Dollars per billed second of one VM."""
    usd_per_faas_ms: float
    """Dollars per billed millisecond of one function instance at `faas_memory_mb`."""
    usd_per_faas_request: float
    """Dollars per request."""
    usd_per_edge_ms: float
    """Dollars per busy millisecond of one edge worker."""
    usd_per_egress_byte: float
    """Dollars per byte that leaves the provider."""
    vm_min_billed_s: int
    vm_granularity_s: int
    vm_vcpu: int
    faas_granularity_ms: int
    faas_min_billed_ms: int
    faas_init_billed: bool
    faas_memory_mb: int
    faas_vcpu: float
    faas_payload_limit_bytes: int | None


def unit_prices(
    prices: PriceList,
    *,
    vm: str = "c6i.large",
    faas: str = "lambda-x86",
    faas_memory_mb: int = 1769,
    edge: str = "region",
    edge_premium: Decimal | float | None = None,
    edge_vcpu: float = 1.0,
    egress: str = "internet",
) -> UnitPrices:
    """Look up what a scenario uses and express it per counter.

    Args:
        prices: The price list.
        vm: Name of the VM type.
        faas: Name of the function service.
        faas_memory_mb: Memory of a function instance, MB.
        edge: Name of the edge price.
        edge_premium: Premium over the regional price; that of the list when None.
        edge_vcpu: vCPUs of one edge worker.
        egress: Name of the egress price.

    Raises:
        InputError: a name is not in the list, or the provider does not sell that memory size.

    >>> from edgecloud.pricing import load_prices
    >>> unit = unit_prices(load_prices(), faas_memory_mb=1024)
    >>> unit.usd_per_faas_ms, round(unit.usd_per_vm_s * 3600, 9)
    (1.66667e-08, 0.085)
    """
    machine, function = prices.vm(vm), prices.faas(faas)
    return UnitPrices(
        usd_per_vm_s=float(machine.usd_per_s),
        usd_per_faas_ms=float(function.usd_per_ms(faas_memory_mb)),
        usd_per_faas_request=float(function.usd_per_request),
        usd_per_edge_ms=float(prices.edge(edge, edge_premium).usd_per_ms(edge_vcpu)),
        usd_per_egress_byte=float(prices.egress(egress).usd_per_byte),
        vm_min_billed_s=machine.min_billed_s,
        vm_granularity_s=machine.granularity_s,
        vm_vcpu=machine.vcpu,
        faas_granularity_ms=function.granularity_ms,
        faas_min_billed_ms=function.min_billed_ms,
        faas_init_billed=function.init_billed,
        faas_memory_mb=function.billed_memory_mb(faas_memory_mb),
        faas_vcpu=float(function.vcpus(faas_memory_mb)),
        faas_payload_limit_bytes=function.payload_limit_bytes,
    )
