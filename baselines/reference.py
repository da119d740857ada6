"""Reference policies: what anybody would try first, and what a table needs as its floor."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.policy import Policy
from ..envs.problem import ROUTES, Problem
from ..errors import InputError

__all__ = [
    "AlwaysCloudVm",
    "AlwaysDevice",
    "AlwaysEdge",
    "AlwaysFaas",
    "FixedAction",
    "RandomPolicy",
    "threshold_index",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def threshold_index(problem: Problem, threshold: float) -> int:
    """Index of the grid's smallest threshold that is at least `threshold`; infinity is the last one, never exit early.

    Raises:
        InputError: `threshold` is not a number >= 0.
    """
    if not threshold >= 0:
        raise InputError("threshold", "", "must be a confidence >= 0 (inf: never exit early)", threshold)
    return int(np.searchsorted(problem.thresholds, threshold))


class RandomPolicy(Policy):
    """Uniform over the action space, from a generator of its own seeded by the run's seed."""

    name = "random"

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Start the generator."""
        self._nvec = problem.nvec
        self._rng = np.random.default_rng(np.random.SeedSequence([seed % 2**63, 0x5EED]))

    def act(self, measurements: Measurements) -> Ints:
        """Draw, int64 (N, 4)."""
        return self._rng.integers(0, self._nvec, size=(len(measurements), 4))


class FixedAction(Policy):
    """The same action always.

    Args:
        action: Placement, threshold, route, VM target (4,).
    """

    name = "fixed"

    def __init__(self, action: tuple[int, int, int, int] | Ints) -> None:
        self._action = np.array(action, dtype=np.int64)
        self.name = "fixed-" + "-".join(str(part) for part in self._action)

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Check the action.

        Raises:
            InputError: It lies outside the problem's action space.
        """
        if self._action.shape != (4,) or (self._action < 0).any() or (self._action >= problem.nvec).any():
            rule = f"must be [placement, threshold, route, vm_target] below {problem.nvec.tolist()}"
            raise InputError("fixed", "action", rule, self._action.tolist())

    def act(self, measurements: Measurements) -> Ints:
        """Repeat the action, int64 (N, 4)."""
        return np.repeat(self._action[None], len(measurements), axis=0)


class _Always(Policy):
    """One placement always; no early exit unless a threshold is given.

    Args:
        threshold: Confidence from which requests exit early; infinity runs the whole network, as today's services do.
    """

    route = "faas"

    def __init__(self, threshold: float = math.inf) -> None:
        self._threshold = threshold

    def _cuts(self, stages: int) -> tuple[int, int]:
        raise NotImplementedError

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Look the action up."""
        cut_device, cut_edge = self._cuts(problem.stages)
        exit_at = threshold_index(problem, self._threshold)
        self._action = problem.action(cut_device, cut_edge, exit_at, self.route, 0)

    def act(self, measurements: Measurements) -> Ints:
        """Repeat the action, int64 (N, 4)."""
        return np.repeat(self._action[None], len(measurements), axis=0)


class AlwaysDevice(_Always):
    """The whole network on the device: nothing leaves it, nothing is paid."""

    name = "always-device"

    def _cuts(self, stages: int) -> tuple[int, int]:
        return stages, stages


class AlwaysEdge(_Always):
    """Raw input to the edge server, which runs the whole network."""

    name = "always-edge"

    def _cuts(self, stages: int) -> tuple[int, int]:
        return 0, stages


class AlwaysFaas(_Always):
    """Raw input through the edge to a function, which runs the whole network."""

    name = "always-faas"

    def _cuts(self, stages: int) -> tuple[int, int]:
        return 0, 0


class AlwaysCloudVm(_Always):
    """Raw input through the edge to a pool of VMs, sized for the mean load plus one standard deviation.

    The pool follows the arrivals of the last ten seconds as LIBRA (IC2E 2021) sizes one for Poisson arrivals: enough
    VMs for mean + sqrt(mean) concurrent requests at `utilisation`. It grows at once and shrinks when it has been too
    large for `patience` intervals (a VM is billed for a minute anyway). While no VM runs yet functions answer (route
    'spill'); otherwise every request would fail for the half minute that the first boot takes.

    Args:
        threshold: As for the others.
        vms: A fixed pool instead; -1 follows the load.
        utilisation: Busy share of a VM that the pool aims at.
        patience: Intervals before it shrinks.
    """

    name = "always-cloud-vm"

    def __init__(
        self, threshold: float = math.inf, vms: int = -1, utilisation: float = 0.8, patience: int = 60
    ) -> None:
        super().__init__(threshold)
        self._vms, self._utilisation, self._patience = vms, utilisation, patience

    def _cuts(self, stages: int) -> tuple[int, int]:
        return 0, 0

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Look the action up and start without a pool."""
        super().reset(problem, num_envs, weights, seed)
        self._most = int(problem.nvec[3]) - 1
        if self._vms > self._most:
            raise InputError(self.name, "vms", f"must be at most {self._most}", self._vms)
        params = problem.params
        position = params.exit_position[params.exit_of[self._action[1]]]
        work = int(self._action[1] < len(problem.thresholds) - 1)
        self._service_s = float(params.vm_work_s[1 - work][position].mean())
        self._interval_s = params.interval_s
        self._target = np.zeros(num_envs, dtype=np.int64)
        self._idle = np.zeros(num_envs, dtype=np.int64)

    def act(self, measurements: Measurements) -> Ints:
        """Size the pool, int64 (N, 4)."""
        actions = super().act(measurements)
        if self._vms >= 0:
            self._target[:] = self._vms
        else:
            offered = measurements.arrivals_average / self._interval_s * self._service_s
            wanted = np.ceil((offered + np.sqrt(offered * self._service_s)) / self._utilisation).astype(np.int64)
            wanted = np.clip(wanted, min(1, self._most), self._most)
            self._idle = np.where(wanted < self._target, self._idle + 1, 0)
            shrink = self._idle > self._patience
            self._target = np.where(shrink, wanted, np.maximum(self._target, wanted))
            self._idle[shrink] = 0
        actions[:, 3] = self._target
        actions[:, 2] = np.where(measurements.vm_running > 0, ROUTES.index("vm"), ROUTES.index("spill"))
        return actions
