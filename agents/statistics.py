"""What a batch of environments did since the last look: means in their own units, and the distribution of actions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs import ROUTES, TERMS, Problem

__all__ = ["Statistics", "summary"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PARTS = ("reward_latency", "reward_cost", "reward_privacy", "reward_accuracy", "reward_failure")


class Statistics:
    """Running sums over environments and intervals; one vectorised addition per step.

    Attributes:
        intervals: Environment steps summed.
        terms: float64 (len(TERMS),).
        seconds: Wall-clock time that the environment took.
        actions: How often each choice of each of the four parts was made, end to end, int64 (sum(nvec),).
    """

    def __init__(self, nvec: Ints) -> None:
        self._offsets = np.concatenate([[0], np.cumsum(nvec)[:-1]]).astype(np.int64)
        self._size = int(np.sum(nvec))
        self.clear()

    def clear(self) -> None:
        """Start anew."""
        self.intervals = 0
        self.seconds = 0.0
        self.terms: Floats = np.zeros(len(TERMS))
        self.actions: Ints = np.zeros(self._size, dtype=np.int64)

    def add(self, terms: Floats, actions: Ints, seconds: float = 0.0) -> None:
        """Add one interval of a batch, terms (N, len(TERMS)) and actions (N, 4), that took `seconds`."""
        self.seconds += seconds
        self.intervals += len(terms)
        self.terms += terms.sum(axis=0)
        self.actions += np.bincount((actions + self._offsets).ravel(), minlength=self._size)


def summary(statistics: Statistics, problem: Problem) -> dict[str, float]:
    """Means over what was summed; the unit is part of the name.

    `reward/…` are means per interval; `request/…` per request; `money/…` and `energy/…` per thousand requests;
    `action/…` are shares of intervals.
    """
    if not statistics.intervals:
        return {}
    total = dict(zip(TERMS, statistics.terms.tolist(), strict=True))
    arrived = max(total["arrived"], 1.0)
    answered = max(total["arrived"] - total["failed"], 1.0)
    report = {"reward/total": total["reward"] / statistics.intervals}
    report |= {f"reward/{part.removeprefix('reward_')}": total[part] / statistics.intervals for part in _PARTS}
    report |= {
        "request/latency_s": total["latency_s"] / arrived,
        "request/leakage": total["leakage"] / arrived,
        "request/accuracy": total["correct"] / answered,
        "request/failed_share": total["failed"] / arrived,
        "money/usd_per_1000_requests": 1000.0 * total["usd"] / arrived,
        "money/vm_s_per_interval": total["vm_s"] / statistics.intervals,
        "money/cold_start_share": total["cold_starts"] / max(total["faas_requests"], 1.0),
        "energy/j_per_1000_requests": 1000.0 * (total["device_j"] + total["radio_j"]) / arrived,
        "action/repartitions_per_interval": total["repartitions"] / statistics.intervals,
    }
    return report | _shares(statistics, problem)


def _shares(statistics: Statistics, problem: Problem) -> dict[str, float]:
    """Share of intervals in which each cut, threshold, route and VM target was chosen."""
    bounds = np.cumsum(problem.nvec)[:-1]
    parts = np.split(statistics.actions / statistics.intervals, bounds)
    placement, threshold, route, vms = (part.tolist() for part in parts)
    report: dict[str, float] = {}
    for (device, edge), share in zip(problem.placements.tolist(), placement, strict=True):
        for key in (f"action/cut_device_{device}", f"action/cut_edge_{edge}"):
            report[key] = report.get(key, 0.0) + share
    for limit, share in zip(problem.thresholds.tolist(), threshold, strict=True):
        report[f"action/threshold_{'never' if np.isinf(limit) else format(limit, 'g')}"] = share
    report |= {f"action/route_{name}": share for name, share in zip(ROUTES, route, strict=True)}
    report |= {f"action/vm_target_{count}": share for count, share in enumerate(vms)}
    return report
