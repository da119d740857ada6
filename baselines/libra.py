"""LIBRA and SERFLOW as policies: virtual machines for the steady part of the traffic, functions for the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.policy import Policy
from ..envs.problem import ROUTES, Problem
from ..errors import InputError
from .indifference import vm_count
from .tables import make_tables

__all__ = ["Libra", "Serflow"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Libra(Policy):
    """LIBRA (IC2E 2021): whole requests in the cloud, VMs as far as they are cheaper, functions for what is left.

    Optimises: dollars per second of serving the steady part of the arrivals (their average over `window_s` plus
    `spread` standard deviations of an interval's Poisson count), by the indifference point in `indifference`; the
    overflow, and everything while VMs boot, goes to functions (route 'spill'). Assumes: raw inputs sent to the cloud,
    the whole network without exits, known prices and times; no latency, privacy. A pool that is larger than wanted is
    kept for `patience_s`, since a VM is billed for a minimum anyway. O(1) per decision. The abstract and second-hand
    accounts were read: the original sizes its VMs for about the mean plus or minus one standard deviation.

    Args:
        window_s: Of the exponential average of arrivals.
        spread: Standard deviations added to the mean.
        utilisation: Share of its time that a VM may be busy.
        patience_s: How long a pool that is too large is kept.
    """

    name = "libra"

    def __init__(
        self, window_s: float = 60.0, spread: float = 0.0, utilisation: float = 0.8, patience_s: float = 60.0
    ) -> None:
        if not (window_s > 0 and utilisation > 0 and patience_s >= 0):
            rule = "must be positive (patience_s: not negative)"
            raise InputError(self.name, "options", rule, (window_s, utilisation, patience_s))
        self._window_s, self._spread, self._utilisation, self._patience_s = window_s, spread, utilisation, patience_s

    def _threshold(self, loss: Floats) -> int:
        """Index of the threshold: never exit early."""
        return len(loss) - 1

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Work out what a request takes and costs, and start from the initial pool."""
        t, p = make_tables(problem), problem.params
        k = self._threshold(t.loss.mean(axis=0))
        self._action = problem.action(0, 0, k, "faas", 0)
        self._interval_s, self._vm_usd_per_s = p.interval_s, p.usd_per_vm_s
        self._service_s = float(t.vm_s[:, 0, k].mean())
        billed_s = float(t.faas_s[:, 0, k].mean()) + 0.5 * t.faas_granularity_s
        self._request_usd = t.usd_per_faas_s * billed_s + t.usd_per_faas_request
        self._most = int(problem.nvec[3]) - 1
        self._keep = max(1, round(self._patience_s / p.interval_s))
        self._mean: Floats | None = None
        self._target = np.full(num_envs, min(p.vm_initial, self._most), dtype=np.int64)
        self._idle = np.zeros(num_envs, dtype=np.int64)

    def wanted(self, rate_rps: Floats) -> Ints:
        """VMs for a mean rate of arrivals, (N,)."""
        steady = np.maximum(rate_rps + self._spread * np.sqrt(rate_rps / self._interval_s), 0.0)
        vms = vm_count(steady, self._service_s, self._request_usd, self._vm_usd_per_s, self._utilisation)
        return np.minimum(vms, self._most)

    def act(self, measurements: Measurements) -> Ints:
        """Size the pool, int64 (N, 4)."""
        newest = measurements.arrivals[:, 0]
        gain = 1.0 - np.exp(-self._interval_s / self._window_s)
        self._mean = newest.copy() if self._mean is None else self._mean + gain * (newest - self._mean)
        wanted = self.wanted(self._mean / self._interval_s)
        self._idle = np.where(wanted < self._target, self._idle + 1, 0)
        shrink = self._idle >= self._keep
        self._target = np.where(shrink, wanted, np.maximum(self._target, wanted))
        self._idle[shrink] = 0
        actions = np.repeat(self._action[None], len(measurements), axis=0)
        actions[:, 2] = np.where(self._target > 0, ROUTES.index("spill"), ROUTES.index("faas"))
        actions[:, 3] = self._target
        return actions


class Serflow(Libra):
    """SERFLOW (Zhang and Matta, arXiv 2510.27182): as LIBRA, for what early exits leave of the work.

    Optimises: dollars per second, with the stages' work weighted by the probability of *reaching* them (one minus the
    exits before; a survey's account of it weights by the fraction that exits up to the cut). The threshold is the
    laxest whose accuracy loss is at most `drop`. Assumes what LIBRA does. Departures: SERFLOW provisions every stage on
    its own, VMs for the early ones and functions for the sparse, deep ones (`indifference.plan_stages`, exact); the
    action space has one pool and one route for the whole cloud part of a request, so that one decision is taken here
    from the sum of the stages. O(1) per decision. The abstract and second-hand accounts were read.

    Args:
        drop: Accuracy that may be lost.
        window_s: As for `Libra`, like the rest.
        spread: See there.
        utilisation: See there.
        patience_s: See there.
    """

    name = "serflow"

    def __init__(
        self,
        drop: float = 0.01,
        window_s: float = 60.0,
        spread: float = 0.0,
        utilisation: float = 0.8,
        patience_s: float = 60.0,
    ) -> None:
        super().__init__(window_s, spread, utilisation, patience_s)
        self._drop = drop

    def _threshold(self, loss: Floats) -> int:
        """Index of the laxest threshold that loses little enough."""
        return int(np.argmax(loss <= self._drop + 1e-12)) if (loss <= self._drop + 1e-12).any() else len(loss) - 1
