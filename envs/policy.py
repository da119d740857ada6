"""The one interface of everything that decides: the trained agent, every rule, every bound, a rule of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measure import Measurements
from .problem import Problem

__all__ = ["Action", "Policy", "Rule"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Action:
    """A decision for the next interval, in the field's words.

    Attributes:
        cut_device: Stages before it run on the device (0: raw input is sent; M: nothing is).
        cut_edge: Stages from `cut_device` to it run on the edge server, the rest in the cloud.
        threshold: Index into `problem.thresholds`; the last never exits early.
        route: 'vm', 'faas' or 'spill'.
        vm_target: VMs to aim at.
    """

    cut_device: int
    cut_edge: int
    threshold: int
    route: str
    vm_target: int


class Policy(ABC):
    """Decides for a batch of environments from what a real controller can measure."""

    name: str = "policy"
    """How tables call it."""

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:  # noqa: B027
        """Prepare for new episodes.

        Args:
            problem: Profile, prices, limits: all that is known beforehand.
            num_envs: Batch size, N.
            weights: Preferences, float64 (N, 3).
            seed: For rules that draw random numbers.
        """

    @abstractmethod
    def act(self, measurements: Measurements) -> Ints:
        """Choose actions, int64 (N, 4): placement, threshold, route, VM target."""


class Rule(Policy):
    """A rule that looks at one environment at a time: override `decide` (and `start`, if it needs preparation).

    Example:
        >>> class RawToEdge(Rule):
        ...     name = "raw-to-edge"
        ...     def decide(self, measured):
        ...         return Action(cut_device=0, cut_edge=self.problem.stages, threshold=0, route="faas", vm_target=0)
    """

    problem: Problem

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Keep the problem and call `start`."""
        self.problem = problem
        self.start(seed)

    def start(self, seed: int) -> None:
        """Prepare for new episodes; `self.problem` is set."""

    @abstractmethod
    def decide(self, measured: Measurements) -> Action:
        """Choose for one environment.

        Args:
            measured: A batch of one: attributes have shape (1,) or (1, size).
        """

    def act(self, measurements: Measurements) -> Ints:
        """Apply `decide` to each row."""
        rows = [self.decide(Measurements(measurements.rows[i : i + 1])) for i in range(len(measurements))]
        p = self.problem
        return np.stack([p.action(a.cut_device, a.cut_edge, a.threshold, a.route, a.vm_target) for a in rows])
