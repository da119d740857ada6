"""The plan that travels with a request: where the network is cut, how sure an exit must be, who serves the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import InputError

__all__ = ["ROUTES", "Plan"]

ROUTES = ("vm", "faas", "spill")
MAX_STAGES = 4096


@dataclass(frozen=True)
class Plan:
    """A decision as a server needs it; `edgecloud.envs.Action` with the threshold's value instead of its index.

    Raises:
        InputError: If the cuts are not in order, the threshold is not positive, or the route is unknown.
    """

    cut_device: int
    """Stages before it run on the device; the number of stages: nothing leaves the device."""
    cut_edge: int
    """Stages from `cut_device` to it run on the edge server, the rest in the cloud."""
    threshold: float = math.inf
    """Confidence at which a head answers; infinite: none but the last does."""
    route: str = "vm"
    """How the cloud part is served: `vm`, `faas` or `spill`."""

    def __post_init__(self) -> None:
        if not 0 <= self.cut_device <= self.cut_edge <= MAX_STAGES:
            value = (self.cut_device, self.cut_edge)
            raise InputError("plan", "cuts", "must satisfy 0 <= cut_device <= cut_edge", value)
        if not self.threshold > 0:
            raise InputError("plan", "threshold", "must be positive (infinite: no early exit)", self.threshold)
        if self.route not in ROUTES:
            raise InputError("plan", "route", f"must be one of {', '.join(ROUTES)}", self.route)
