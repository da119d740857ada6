"""When a virtual machine is cheaper than a function: LIBRA's indifference point, and SERFLOW's two per stage.

Sources: LIBRA, IC2E 2021 (arXiv 2104.05491); Zhang and Matta, SERFLOW, 2025 (arXiv 2510.27182). Of both the abstract
and second-hand accounts were read, so the formulas are derived here from the meters' definitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["StagePlan", "indifference_reach", "indifference_rps", "plan_stages", "vm_count"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def indifference_rps(vm_usd_per_s: ArrayLike, request_usd: ArrayLike) -> Floats:
    """Rate above which a VM costs less than functions for the requests that it takes (T-CIP): its price over theirs.

    Args:
        vm_usd_per_s: Price of the VM.
        request_usd: Price of one request at a function: execution, memory, fee.

    >>> round(float(indifference_rps(0.0116 / 3600, 15.833365e-6)) * 3600)  # SeBS, image recognition on a t2.micro
    733
    """
    request = np.asarray(request_usd, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(request > 0.0, np.asarray(vm_usd_per_s) / request, np.inf))


def indifference_reach(vm_usd_per_s: ArrayLike, request_usd: ArrayLike, rate_rps: ArrayLike) -> Floats:
    """Share of the requests that must reach a stage for a VM of its own to pay (S-CIP); above 1: none does.

    One minus it is the exit fraction before the stage from which functions are cheaper.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(indifference_rps(vm_usd_per_s, request_usd) / np.asarray(rate_rps, dtype=np.float64))


def vm_count(
    rate_rps: ArrayLike, service_s: ArrayLike, request_usd: ArrayLike, vm_usd_per_s: float, utilisation: float = 1.0
) -> Ints:
    """VMs that serve a steady rate most cheaply when functions take the rest.

    A VM takes up to utilisation / service requests per second. Full VMs pay if that is above the indifference point;
    a last one, partly used, pays if what is left for it is.

    Args:
        rate_rps: The steady rate, (...).
        service_s: Mean service time on a VM, (...).
        request_usd: Price of a request at a function, (...).
        vm_usd_per_s: Price of a VM.
        utilisation: Share of its time that a VM may be busy.
    """
    rate, service = np.asarray(rate_rps, dtype=np.float64), np.maximum(np.asarray(service_s, dtype=np.float64), 1e-12)
    capacity = utilisation / service
    point = indifference_rps(vm_usd_per_s, request_usd)
    full = np.floor(rate / capacity * (1.0 + 1e-12))
    rest = rate - full * capacity
    return np.asarray(np.where(capacity > point, full + (rest > point), 0.0), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class StagePlan:
    """What serves each stage, and what it costs.

    Attributes:
        vms: VMs of each stage, (S,).
        vm_rps: Requests per second that they take, (S,); functions take the rest.
        usd_per_s: Of all stages.
    """

    vms: Ints
    vm_rps: Floats
    usd_per_s: float


def plan_stages(
    rate_rps: float,
    reach: ArrayLike,
    vm_service_s: ArrayLike,
    request_usd: ArrayLike,
    vm_usd_per_s: float,
    utilisation: float = 1.0,
) -> StagePlan:
    """SERFLOW's provisioning: every stage of an early-exit network on VMs of its own for its steady part, or functions.

    Optimises: dollars per second, exactly (the stages do not share VMs, so each is decided by its own two indifference
    points). Assumes: every stage is deployed on its own, its rate is the request rate times the probability of
    *reaching* it (one minus the exits before it), functions scale without limit.

    Args:
        rate_rps: Requests per second.
        reach: Probability that a request reaches each stage, (S,).
        vm_service_s: Seconds of each stage on a VM, (S,).
        request_usd: Price of each stage at a function, cold starts included, (S,).
        vm_usd_per_s: Price of a VM.
        utilisation: Share of its time that a VM may be busy.
    """
    rate = rate_rps * np.asarray(reach, dtype=np.float64)
    price = np.asarray(request_usd, dtype=np.float64)
    vms = vm_count(rate, vm_service_s, price, vm_usd_per_s, utilisation)
    taken = np.minimum(rate, vms * utilisation / np.maximum(np.asarray(vm_service_s, dtype=np.float64), 1e-12))
    usd = float((vms * vm_usd_per_s + (rate - taken) * price).sum())
    return StagePlan(vms, taken, usd)
