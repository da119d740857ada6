"""The cost indifference point: the request rate above which a VM is cheaper than functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from ..errors import InputError
from .loading import PriceList
from .meters import exact_usd, faas_billed_ms
from .models import FaasPrice

__all__ = ["Indifference", "compare", "indifference_rate_rph", "request_usd"]


def indifference_rate_rph(vm_usd_per_hour: float | Decimal, request_usd: float | Decimal) -> float:
    """Requests per hour at which one VM costs as much as functions: ``r* = P_vm / c_request``.

    Below it functions are cheaper, above it the VM is, as long as it can serve that many. This is the standard form
    of the indifference point that LIBRA (IC2E 2021, arXiv 2104.05491) and SERFLOW (arXiv 2510.27182) build on.

    Args:
        vm_usd_per_hour: Price of the VM, dollars per hour.
        request_usd: Price of one request as a function, dollars.

    Returns:
        Requests per hour; infinity where functions are free.

    The image-recognition benchmark of SeBS on a t2.micro (its artifact, q3_iaas_breakpoint):

    >>> round(indifference_rate_rph(0.0116, 15.833365e-6), 2)
    732.63
    """
    if vm_usd_per_hour < 0 or request_usd < 0:
        raise InputError("indifference", "price", "must not be negative", float(min(vm_usd_per_hour, request_usd)))
    return float(vm_usd_per_hour) / float(request_usd) if request_usd > 0 else math.inf


def request_usd(price: FaasPrice, memory_mb: int, duration_s: float) -> Decimal:
    """Dollars for one warm request, fee included, at the first tier's price.

    >>> from edgecloud.pricing import load_prices
    >>> request_usd(load_prices().faas("lambda-x86"), memory_mb=1024, duration_s=0.1)
    Decimal('0.00000186667')
    """
    billed_ms = faas_billed_ms(duration_s, price.granularity_ms, price.min_billed_ms)
    return exact_usd(billed_ms * price.usd_per_ms(memory_mb) + Fraction(price.usd_per_request))


@dataclass(frozen=True)
class Indifference:
    """A VM type against a function service for one kind of request."""

    vm: str
    faas: str
    memory_mb: int
    faas_duration_s: float
    vm_duration_s: float
    workers: int
    vm_usd_per_hour: Decimal
    faas_usd_per_request: Decimal
    indifference_rph: float
    """Requests per hour at which both cost the same."""
    capacity_rph: float
    """Requests per hour that the VM can serve."""

    @property
    def utilisation(self) -> float:
        """Utilisation of the VM at the indifference point; above 1 the VM never pays."""
        return self.indifference_rph / self.capacity_rph

    @property
    def vm_ever_cheaper(self) -> bool:
        """Whether some rate that the VM can serve makes it the cheaper one."""
        return self.indifference_rph < self.capacity_rph


def compare(
    prices: PriceList,
    *,
    vm: str,
    faas: str,
    memory_mb: int,
    duration_s: float,
    vm_duration_s: float | None = None,
    workers: int | None = None,
) -> Indifference:
    """Compare a VM with functions for requests of one kind.

    Args:
        prices: The price list.
        vm: Name of the VM type.
        faas: Name of the function service.
        memory_mb: Memory of the function, MB.
        duration_s: Run time of one warm request as a function, seconds.
        vm_duration_s: Its run time on one worker of the VM, seconds. None: one worker per vCPU, and a vCPU is as fast
            there as in the function, so the time scales with the function's vCPUs (at most one is used).
        workers: Requests that the VM serves side by side; its vCPUs when None.

    Raises:
        InputError: a name is unknown, or a duration or worker count is not positive.

    >>> from edgecloud.pricing import load_prices
    >>> point = compare(load_prices(), vm="c6i.large", faas="lambda-x86", memory_mb=1769, duration_s=0.1)
    >>> round(point.indifference_rph), round(point.utilisation, 3)
    (27604, 0.383)
    """
    for field, value in (("duration_s", duration_s), ("vm_duration_s", vm_duration_s), ("workers", workers)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError("compare", field, "must be positive", value)
    machine, function = prices.vm(vm), prices.faas(faas)
    if vm_duration_s is None:
        vm_duration_s = duration_s * float(min(Fraction(1), function.vcpus(memory_mb)))
    count = machine.vcpu if workers is None else workers
    each = request_usd(function, memory_mb, duration_s)
    return Indifference(
        vm=vm,
        faas=faas,
        memory_mb=memory_mb,
        faas_duration_s=duration_s,
        vm_duration_s=vm_duration_s,
        workers=count,
        vm_usd_per_hour=machine.usd_per_hour,
        faas_usd_per_request=each,
        indifference_rph=indifference_rate_rph(machine.usd_per_hour, each),
        capacity_rph=count * 3600.0 / vm_duration_s,
    )
