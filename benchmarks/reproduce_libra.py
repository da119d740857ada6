"""LIBRA (IC2E 2021): the indifference point between VMs and functions, and the cost curve over the request rate.

    python benchmarks/reproduce_libra.py

Check values: the published break-evens of SeBS (artifact, q3_iaas_breakpoint). The crossing of the two billed curves is
found by bisection over the billing meters and compared with the closed form. The curves then meet recorded arrivals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from burst_arrivals import Bursts, load_bursts
from pool_sizing import Service, pool_size, usd_per_s
from reproduction import Figure, options, print_figures, print_table

from edgecloud.baselines.indifference import vm_count
from edgecloud.pricing import FaasMeter, PriceList, VmMeter, load_prices
from edgecloud.pricing.indifference import Indifference, compare, indifference_rate_rph

SEBS = {
    "uploader": (3.54, 3275, 11371),
    "thumbnailer (Python)": (2.29, 5062, 27503),
    "compression": (32.08, 362, 1284),
    "image recognition": (15.83, 733, 15312),
    "graph-bfs": (2.08, 5568, 117153),
}
"""SeBS: dollars per million requests at the cheapest memory, break-even requests per hour, capacity of a t2.micro."""

HOUR_S = 3600
PAIRS = (
    ("c5.large", "lambda-x86"),
    ("c6i.large", "lambda-x86"),
    ("c7i.large", "lambda-x86"),
    ("c7g.large", "lambda-arm"),
    ("c8g.large", "lambda-arm"),
    ("m6i.large", "lambda-x86"),
    ("t3.medium", "lambda-x86"),
)


def vm_usd(prices: PriceList, vm: str, count: int, seconds: float = HOUR_S) -> float:
    """What the meter bills for some VMs over a time."""
    meter = VmMeter(prices.vm(vm))
    for _ in range(count):
        meter.add_run(seconds)
    return float(meter.usd)


def faas_usd(prices: PriceList, faas: str, memory_mb: int, duration_s: float, requests: int) -> float:
    """What the meter bills for warm requests."""
    meter = FaasMeter(prices.faas(faas))
    meter.add_request(memory_mb, duration_s, count=requests)
    return float(meter.usd)


def crossing_rph(prices: PriceList, point: Indifference) -> int:
    """The fewest requests per hour for which the functions' bill exceeds the VM's, by bisection over the meters."""
    bill = vm_usd(prices, point.vm, 1)
    low, high = 0, 1
    while faas_usd(prices, point.faas, point.memory_mb, point.faas_duration_s, high) <= bill:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        dear = faas_usd(prices, point.faas, point.memory_mb, point.faas_duration_s, middle) > bill
        low, high = (low, middle) if dear else (middle, high)
    return high


@dataclass(frozen=True)
class Curve:
    """Dollars per hour at one request rate."""

    rate_rph: float
    vm_usd: float
    faas_usd: float
    mixed_usd: float
    vms: int


def curve(prices: PriceList, point: Indifference, rates_rph: Sequence[float], utilisation: float = 1.0) -> list[Curve]:
    """VMs for all, functions for all, and LIBRA's mix: full VMs as long as they pay, functions for the rest."""
    per_vm = utilisation * point.capacity_rph
    usd, each = float(point.vm_usd_per_hour), float(point.faas_usd_per_request)
    found = []
    for rate in rates_rph:
        vms = int(vm_count(rate / HOUR_S, HOUR_S / point.capacity_rph, each, usd / HOUR_S, utilisation))
        rest = max(rate - vms * per_vm, 0.0)
        found.append(Curve(rate, int(np.ceil(rate / per_vm)) * usd, rate * each, vms * usd + rest * each, vms))
    return found


def print_points(prices: PriceList, duration_s: float) -> None:
    """Utilisation above which a VM wins, per pair of VM and function, at equal speed per virtual CPU."""
    rows = []
    for vm, faas in PAIRS:
        point = compare(prices, vm=vm, faas=faas, memory_mb=1769, duration_s=duration_s)
        met = crossing_rph(prices, point)
        rows.append([f"{vm} against {faas}", f"{point.indifference_rph:.0f}", str(met), f"{point.utilisation:.1%}"])
    print(f"\nA request takes {duration_s:g} s on one virtual CPU (1769 MB):")
    print_table(["", "closed form, requests/h", "meters cross at", "VM pays above utilisation"], rows)


def print_curve(prices: PriceList, quick: bool) -> None:
    """The cost curve of one pair."""
    point = compare(prices, vm="c6i.large", faas="lambda-x86", memory_mb=1769, duration_s=0.1)
    shares = (0.1, 0.383, 1.0) if quick else (0.05, 0.1, 0.2, 0.3, 0.383, 0.5, 0.75, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0)
    print("\nDollars per hour over the load (in VMs' worth), c6i.large and lambda-x86, 0.1 s a request:")
    rows = [
        [f"{share:.3f}", f"{c.vm_usd:.4f}", f"{c.faas_usd:.4f}", f"{c.mixed_usd:.4f}", str(c.vms)]
        for share, c in zip(shares, curve(prices, point, [s * point.capacity_rph for s in shares]), strict=True)
    ]
    print_table(["load", "VMs only", "functions only", "mix", "VMs in it"], rows)


def burst_savings(prices: PriceList, bursts: Bursts, load: float) -> tuple[float, float, float, int, int]:
    """Functions' dollars per hour, what the best mix saves on them and on a pool for the peak, VMs in mix and peak.

    Args:
        prices: The price list.
        bursts: Requests per second.
        load: Mean load in VMs' worth of work; sets how long a request takes.
    """
    point = compare(prices, vm="c6i.large", faas="lambda-x86", memory_mb=1769, duration_s=2.0 * load / bursts.mean_rps)
    usd = float(point.vm_usd_per_hour) / HOUR_S
    own = Service(HOUR_S / point.capacity_rph, float(point.faas_usd_per_request), usd)
    peak = int(np.ceil(bursts.counts.max() / own.capacity_rps))
    vms = pool_size(own, bursts.counts)
    functions, mix = usd_per_s(own, bursts.counts, 0), usd_per_s(own, bursts.counts, vms)
    return HOUR_S * functions, 1.0 - mix / functions, 1.0 - mix / (peak * usd), vms, peak


def print_bursts(prices: PriceList, bursts: Bursts) -> float:
    """What the mix saves where arrivals vary, on functions alone and on a pool for the peak; returns the best case."""
    rows, savings = [], []
    for load in (0.5, 1.0, 2.0, 4.0, 8.0):
        functions, over_faas, over_vm, vms, peak = burst_savings(prices, bursts, load)
        savings.append(min(over_faas, over_vm))
        rows.append([f"{load:g}", f"{functions:.4f}", str(peak), str(vms), f"{over_faas:.0%}", f"{over_vm:.0%}"])
    print(f"\n{bursts.name}, variance / mean {bursts.dispersion:.1f}:")
    head = [
        "load in VMs' worth",
        "functions $/h",
        "VMs for the peak",
        "VMs in the mix",
        "saved on functions",
        "on the peak pool",
    ]
    print_table(head, rows)
    return max(savings)


def main(argv: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, argv)
    prices = load_prices()
    hourly = prices.vm("t2.micro").usd_per_hour
    figures = []
    for name, (usd_per_million, rph, capacity) in SEBS.items():
        point = indifference_rate_rph(hourly, usd_per_million * 1e-6)
        figures.append(Figure(f"{name}: requests/h", rph, point))
        figures.append(Figure(f"{name}: utilisation of a t2.micro", 100 * rph / capacity, 100 * point / capacity, "%"))
    print_figures("Break-even of SeBS (t2.micro, 2020, billing in 100 ms)", figures)
    for duration_s in (0.1,) if chosen.quick else (0.02, 0.1, 1.0):
        print_points(prices, duration_s)
    print_curve(prices, chosen.quick)
    kinds = ("both",) if chosen.quick else ("code", "both", "conv")
    best = [print_bursts(prices, load_bursts(kind, chosen.seed, chosen.quick)) for kind in kinds]
    figures = [Figure("mix, on the better of functions and peak pool: most", 53.0, 100 * max(best), "%")]
    print_figures("Saving (theirs: 'up to', over other policies, on another workload)", figures)


if __name__ == "__main__":
    main()
