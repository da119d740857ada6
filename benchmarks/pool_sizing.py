"""How many VMs pay when arrivals vary: the indifference point applied to the share that each further VM would take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecloud.baselines.indifference import indifference_rps


@dataclass(frozen=True)
class Service:
    """Something that is deployed: what a request of it takes on a VM and costs at a function.

    Attributes:
        vm_s: Mean seconds on a VM.
        request_usd: Mean price of a request at a function.
        vm_usd_per_s: Price of the VM.
        utilisation: Share of its time that a VM may be busy.
    """

    vm_s: float
    request_usd: float
    vm_usd_per_s: float
    utilisation: float = 1.0

    @property
    def capacity_rps(self) -> float:
        """Requests per second that a VM takes at most."""
        return self.utilisation / self.vm_s


def usd_per_s(service: Service, rates_rps: np.ndarray, vms: int) -> float:
    """Mean bill of a fixed pool when functions take, second by second, what it cannot."""
    over = np.maximum(rates_rps - vms * service.capacity_rps, 0.0)
    return float(vms * service.vm_usd_per_s + over.mean() * service.request_usd)


def pool_size(service: Service, rates_rps: np.ndarray) -> int:
    """The fixed pool of the lowest bill.

    A further VM pays while the mean rate that it would take, what the VMs before it leave and at most its capacity,
    lies above the indifference point. That rate falls with every VM, so that the first that does not pay ends it.

    Args:
        service: What is served.
        rates_rps: Requests per second over time, (n,).
    """
    point = float(indifference_rps(service.vm_usd_per_s, service.request_usd))
    vms = 0
    while np.clip(rates_rps - vms * service.capacity_rps, 0.0, service.capacity_rps).mean() > point:
        vms += 1
    return vms
