"""The size of the VM pool: when a VM is cheaper than what else would serve, over the minutes that it lives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs.problem import Problem

__all__ = ["PoolPricer"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PoolPricer:
    """LIBRA's indifference point (IC2E 2021), with the whole objective in the place of dollars alone.

    A decision that looks one interval ahead never launches a VM: it boots for tens of seconds and is billed for a
    minute. This component compares pools of every size instead: the optimal expected cost of an interval with that
    many VMs running, plus their dollars, averaged over the last intervals. Where the smoothed saving over the present
    target exceeds `margin`, the target becomes the best size. A VM that has just been launched is kept for the
    minimum that is billed anyway.

    Args:
        gain: Weight of the newest values in the exponential average.
        margin: Saving that a change must bring, in reward per interval.
    """

    def __init__(self, gain: float, margin: float) -> None:
        self._gain, self._margin = gain, margin

    def reset(self, problem: Problem, num_envs: int, weights: Floats) -> None:
        """Start from the scenario's initial pool."""
        p = problem.params
        self.sizes = np.arange(int(problem.nvec[3]), dtype=np.int64)
        usd = p.usd_per_vm_s * p.interval_s * self.sizes
        self._price = np.asarray(weights)[:, 1:2] * usd / p.cost_ref_usd
        self._smooth: Floats | None = None
        self._hold = int(np.ceil(p.vm_minimum_s / p.interval_s))
        self._age = np.full(num_envs, self._hold, dtype=np.int64)
        self.target = np.full(num_envs, p.vm_initial, dtype=np.int64)

    def update(self, cost: Floats, intervals: int) -> Ints:
        """Take new values of the pools into account.

        Args:
            cost: Optimal expected cost of an interval with each number of VMs running, (N, V+1).
            intervals: How many have passed since the last update.

        Returns:
            The target, int64 (N,).
        """
        total = cost + self._price
        keep = (1.0 - self._gain) ** intervals
        self._smooth = total if self._smooth is None else keep * self._smooth + (1.0 - keep) * total
        self._age += intervals
        best = np.argmin(self._smooth, axis=1)
        rows = np.arange(len(best))
        saving = self._smooth[rows, self.target] - self._smooth[rows, best]
        change = (saving > self._margin) & ((best > self.target) | (self._age >= self._hold))
        self._age[change & (best > self.target)] = 0
        self.target = np.where(change, best, self.target)
        return self.target.copy()
