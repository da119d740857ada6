"""Billing meters that count in integers, so that money never drifts.

A meter keeps counts only: billed seconds, billed MB-milliseconds, requests, bytes. Dollars are computed from the counts
when somebody asks, in exact rational arithmetic, and become a `Decimal` in one rounding at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from ..errors import InputError
from .models import EgressPrice, FaasPrice, VmPrice

__all__ = ["EgressMeter", "FaasMeter", "VmMeter", "exact_usd", "faas_billed_ms", "tiered_usd", "vm_billed_s"]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def exact_usd(amount: Fraction) -> Decimal:
    """A rational amount as a decimal: exactly where it terminates, else to 18 places, half to even.

    >>> exact_usd(Fraction(1, 1024)), exact_usd(Fraction(1, 3))
    (Decimal('0.0009765625'), Decimal('0.333333333333333333'))
    """
    rest, places = amount.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    places = places if rest == 1 else 18
    return Decimal(f"{round(amount * 10**places)}E-{places}") if places else Decimal(int(amount))


def vm_billed_s(uptime_s: float, min_billed_s: int = 60, granularity_s: int = 1) -> int:
    """Seconds billed for one run of a VM, from its start to its end.

    The uptime is read to the nanosecond, rounded up to the granularity, and is at least the minimum.

    >>> vm_billed_s(12.3), vm_billed_s(60.0), vm_billed_s(60.001)
    (60, 60, 61)
    """
    units = -(-_nanoseconds(uptime_s, "uptime_s") // (granularity_s * NS_PER_S))
    return max(min_billed_s, units * granularity_s)


def faas_billed_ms(duration_s: float, granularity_ms: int = 1, min_billed_ms: int = 1, init_s: float = 0.0) -> int:
    """Milliseconds billed for one request: run time plus billed initialisation, rounded up together.

    >>> faas_billed_ms(0.2), faas_billed_ms(0.2001), faas_billed_ms(0.2001, granularity_ms=100)
    (200, 201, 300)
    >>> faas_billed_ms(0.07867, init_s=0.10893)
    188
    """
    total = _nanoseconds(duration_s, "duration_s") + _nanoseconds(init_s, "init_s")
    units = -(-total // (granularity_ms * NS_PER_MS))
    return max(min_billed_ms, units * granularity_ms)


def tiered_usd(quantity: Fraction, first: Decimal, tiers: Sequence[tuple[int, Decimal]]) -> Fraction:
    """Dollars for a monthly quantity under progressive tiers: each part is paid at the price of its own tier.

    >>> tiered_usd(Fraction(15), Decimal(2), [(10, Decimal(1))])
    Fraction(25, 1)
    """
    limits = [Fraction(0), *(Fraction(above) for above, _ in tiers)]
    prices = [first, *(price for _, price in tiers)]
    total = Fraction(0)
    for index, (low, price) in enumerate(zip(limits, prices, strict=True)):
        part = quantity - low if index + 1 == len(limits) else min(quantity, limits[index + 1]) - low
        total += max(part, Fraction(0)) * Fraction(price)
    return total


class VmMeter:
    """Counts the billed seconds of one VM type.

    >>> from edgecloud.pricing import load_prices
    >>> meter = VmMeter(load_prices().vm("c6i.large"))
    >>> meter.add_run(12.3); meter.add_run(3600.0); meter.billed_s, meter.usd
    (3660, Decimal('0.086416666666666667'))
    """

    def __init__(self, price: VmPrice) -> None:
        self.price = price
        self.billed_s = 0

    def add_run(self, uptime_s: float) -> None:
        """One VM ran from start to stop for this long."""
        self.billed_s += vm_billed_s(uptime_s, self.price.min_billed_s, self.price.granularity_s)

    def add_billed_s(self, seconds: int) -> None:
        """Seconds that are already billed ones, as the simulation counts them."""
        self.billed_s += _count(seconds, "seconds")

    @property
    def usd(self) -> Decimal:
        """Dollars so far."""
        return exact_usd(self.billed_s * self.price.usd_per_s)


class FaasMeter:
    """Counts the requests, billed milliseconds and MB-milliseconds of one function service.

    Volume tiers apply to what this meter has counted, as if its first request were the first of the month.

    >>> from edgecloud.pricing import load_prices
    >>> meter = FaasMeter(load_prices().faas("lambda-x86"))
    >>> meter.add_request(memory_mb=1024, duration_s=0.0495, init_s=0.150)
    >>> meter.billed_ms, meter.usd
    (200, Decimal('0.00000353334'))
    """

    def __init__(self, price: FaasPrice) -> None:
        self.price = price
        self.requests = 0
        self.billed_ms = 0
        self.mb_ms = 0

    def add_request(self, memory_mb: int, duration_s: float, init_s: float = 0.0, count: int = 1) -> None:
        """Some equal requests; `init_s` is the initialisation of a cold start (ignored where it is not billed)."""
        init = init_s if self.price.init_billed else 0.0
        each_ms = faas_billed_ms(duration_s, self.price.granularity_ms, self.price.min_billed_ms, init)
        self.add_billed_ms(memory_mb, each_ms * _count(count, "count"), count)

    def add_billed_ms(self, memory_mb: int, milliseconds: int, requests: int) -> None:
        """Milliseconds that are already billed ones, as the simulation counts them."""
        self.requests += _count(requests, "requests")
        self.billed_ms += _count(milliseconds, "milliseconds")
        self.mb_ms += self.price.billed_memory_mb(memory_mb) * milliseconds

    @property
    def gb_s(self) -> Fraction:
        """GB-seconds so far, exactly (a GB is 1024 MB)."""
        return Fraction(self.mb_ms, 1024 * 1000)

    @property
    def usd(self) -> Decimal:
        """Dollars so far, request fees included."""
        fees = self.requests * Fraction(self.price.usd_per_request)
        if self.price.usd_per_gb_s is not None:
            tiers = [(tier.above_gb_s, tier.usd_per_gb_s) for tier in self.price.tiers]
            return exact_usd(tiered_usd(self.gb_s, self.price.usd_per_gb_s, tiers) + fees)
        cpu_s = Fraction(self.billed_ms, 1000) * Fraction(self.price.vcpu)
        cpu = cpu_s * Fraction(self.price.usd_per_vcpu_s or 0)
        return exact_usd(cpu + self.gb_s * Fraction(self.price.usd_per_gib_s or 0) + fees)


class EgressMeter:
    """Counts the bytes that left the provider.

    >>> from edgecloud.pricing import load_prices
    >>> meter = EgressMeter(load_prices().egress("internet"))
    >>> meter.add(2**30 // 2); meter.usd
    Decimal('0.045')
    """

    def __init__(self, price: EgressPrice) -> None:
        self.price = price
        self.bytes = 0

    def add(self, payload_bytes: int) -> None:
        """Bytes that left."""
        self.bytes += _count(payload_bytes, "payload_bytes")

    @property
    def usd(self) -> Decimal:
        """Dollars so far; volume tiers apply to what this meter has counted."""
        tiers = [(tier.above_gb, tier.usd_per_gb) for tier in self.price.tiers]
        return exact_usd(tiered_usd(Fraction(self.bytes, self.price.gb_bytes), self.price.usd_per_gb, tiers))


def _nanoseconds(seconds: float, field: str) -> int:
    """Whole nanoseconds: 0.007 s is 7 ms, although 0.007 * 1000 is above 7 in floating point."""
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InputError("meter", field, "must be finite and not negative", seconds)
    return round(Fraction(seconds) * NS_PER_S)


def _count(value: int, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError("meter", field, "must be a whole number, not negative", value)
    return value
