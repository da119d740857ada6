"""The simulator against the running system: latency per cut and part, cost, exits and cold starts, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..envs import RECORD_FIELDS, TERMS, Measurements, Policy, Problem
from ..errors import InputError
from .journal import Recording
from .records import RequestRecord
from .replay import Replay

__all__ = [
    "PARTS",
    "CutError",
    "HeldCuts",
    "PartError",
    "Ranked",
    "compare_cuts",
    "compare_parts",
    "cut_name",
    "ranking",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_AT = {name: RECORD_FIELDS.index(name) for name in RECORD_FIELDS}
PARTS = {
    "device": ("device_queue_s", "device_service_s"),
    "uplink": ("uplink_queue_s", "uplink_s"),
    "edge": ("edge_queue_s", "edge_service_s"),
    "cloud": ("backhaul_s", "cloud_queue_s", "cloud_service_s", "init_s"),
    "round trip": ("propagation_s",),
    "loading": ("pause_s",),
}
"""Parts of a request's way, by the seconds of its record that they are made of."""


class CutError(NamedTuple):
    """One cut, measured and predicted; seconds, over all requests: a failed one has the timeout as its latency."""

    placement: int
    measured: int
    """Requests measured."""
    failed: int
    """Of these."""
    predicted_failed: float
    """The same in the simulator, mean over its draws."""
    median_s: float
    predicted_median_s: float
    p95_s: float
    predicted_p95_s: float

    @property
    def median_error(self) -> float:
        """Predicted against measured, relative."""
        return self.predicted_median_s / self.median_s - 1.0

    @property
    def p95_error(self) -> float:
        """The same at the 95th percentile."""
        return self.predicted_p95_s / self.p95_s - 1.0


class PartError(NamedTuple):
    """One part of the way at one cut: mean seconds, measured and predicted."""

    placement: int
    part: str
    measured_s: float
    predicted_s: float


class Ranked(NamedTuple):
    """One policy: mean reward per interval, measured and predicted, and between what 95 % of the draws lie."""

    policy: str
    measured: float
    predicted: float
    low: float
    high: float


@dataclass
class HeldCuts(Policy):
    """Goes through placements, each held for some intervals: shows every cut to a comparison of latencies.

    Args:
        placements: Cuts (cut_device, cut_edge) in turn; the cloud's part of all is served by one route.
        hold: Intervals.
        route: 'vm', 'faas' or 'spill'.
        threshold: Index of the exit threshold; -1: the last, no early exit.
        vm_target: Size of the pool.
    """

    placements: Sequence[tuple[int, int]]
    hold: int = 20
    route: str = "faas"
    threshold: int = -1
    vm_target: int = 0
    name = "held-cuts"

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Start with the first placement."""
        threshold = self.threshold % len(problem.thresholds)
        self._actions = [problem.action(d, e, threshold, self.route, self.vm_target) for d, e in self.placements]
        self._envs, self._t = num_envs, 0

    def act(self, measurements: Measurements) -> Ints:
        """The placement whose turn it is."""
        action = self._actions[self._t // self.hold % len(self._actions)]
        self._t += 1
        return np.tile(action, (self._envs, 1))


def compare_cuts(runs: Sequence[tuple[Recording, Replay]], problem: Problem, fewest: int = 20) -> list[CutError]:
    """Latency per cut, measured and predicted, over all runs together.

    Args:
        runs: Served runs, each with the same run in the simulator, the recorded actions taken.
        problem: What was served.
        fewest: Cuts with fewer measured requests are left out.
    """
    measured = _by_placement(runs, problem)
    rows = []
    for placement, records in sorted(measured.items()):
        chosen = _predicted(runs, placement)
        if len(records) >= fewest and len(chosen):
            predicted = chosen[:, _AT["latency_s"]]
            lost = len(records) * float(chosen[:, _AT["failed"]].mean())
            seconds = np.array([record.latency_s for record in records])
            median, high = (float(np.quantile(seconds, q)) for q in (0.5, 0.95))
            mine, mine_high = (float(np.quantile(predicted, q)) for q in (0.5, 0.95))
            failed = sum(record.failed for record in records)
            rows.append(CutError(placement, len(records), failed, lost, median, mine, high, mine_high))
    return rows


def compare_parts(runs: Sequence[tuple[Recording, Replay]], problem: Problem, fewest: int = 20) -> list[PartError]:
    """Mean seconds of each part of an answer's way per cut, measured and predicted; arguments as for `compare_cuts`."""
    rows = []
    for placement, served in sorted(_by_placement(runs, problem).items()):
        records = [record for record in served if not record.failed]
        chosen = _predicted(runs, placement)
        chosen = chosen[chosen[:, _AT["failed"]] == 0.0]
        if len(records) < fewest or not len(chosen):
            continue
        predictions = _predicted_parts(chosen, problem)
        for part, names in PARTS.items():
            spent = [sum(getattr(record, name) for name in names) for record in records]
            rows.append(PartError(placement, part, float(np.mean(spent)), float(predictions[part].mean())))
    return rows


def ranking(measured: dict[str, Floats], predicted: dict[str, Floats]) -> list[Ranked]:
    """Policies by measured mean reward per interval, best first, with the predicted one and its spread.

    Args:
        measured: Terms of each policy's served run, (T, len(TERMS)).
        predicted: Terms of its own decisions in the simulator on the same world, (T, N, len(TERMS)).

    Raises:
        InputError: The two are of different policies.
    """
    if measured.keys() != predicted.keys():
        raise InputError("ranking", "", "must compare the same policies", sorted(measured.keys() ^ predicted.keys()))
    at = TERMS.index("reward")
    rows = []
    for name, terms in measured.items():
        draws = predicted[name][..., at].mean(axis=0)
        low, high = np.quantile(draws, (0.025, 0.975))
        rows.append(Ranked(name, float(terms[:, at].mean()), float(draws.mean()), float(low), float(high)))
    return sorted(rows, key=lambda row: -row.measured)


def cut_name(problem: Problem, placement: int) -> str:
    """A placement in words.

    >>> from edgecloud.envs import compile_problem
    >>> cut_name(compile_problem("camera-lte"), 0)
    'cloud 0-6'
    """
    device, edge = (int(cut) for cut in problem.placements[placement])
    spans = (("device", 0, device), ("edge", device, edge), ("cloud", edge, problem.stages))
    return ", ".join(f"{tier} {begin}-{end}" for tier, begin, end in spans if end > begin)


def _predicted_parts(records: Floats, problem: Problem) -> dict[str, Floats]:
    """Seconds of each part in the simulator; half of the scenario's round trip comes before the edge."""
    arrival, device, uplink, edge, end = (
        records[:, _AT[name]] for name in ("arrival_s", "device_end_s", "uplink_end_s", "edge_end_s", "end_s")
    )
    left = uplink > device
    there = np.where(left, 0.5 * problem.params.rtt_s, 0.0)
    return {
        "device": device - arrival,
        "uplink": uplink - device,
        "edge": np.maximum(edge - uplink - there, 0.0),
        "cloud": np.maximum(end - edge - there, 0.0),
        "round trip": 2.0 * there,
        "loading": np.zeros(len(records)),
    }


def _predicted(runs: Sequence[tuple[Recording, Replay]], placement: int) -> Floats:
    """Simulated records under a placement, (R, len(RECORD_FIELDS))."""
    return np.concatenate([replayed.records[replayed.placements == placement] for _, replayed in runs])


def _by_placement(runs: Sequence[tuple[Recording, Replay]], problem: Problem) -> dict[int, list[RequestRecord]]:
    """Requests that arrived in the recorded intervals, by the placement that each was served under."""
    index = {tuple(cuts): k for k, cuts in enumerate(problem.placements.tolist())}
    found: dict[int, list[RequestRecord]] = {}
    for recording, _ in runs:
        begin, end = recording.intervals[0].begin_s, recording.intervals[-1].end_s
        for record in recording.requests:
            if begin <= record.arrival_s < end:
                found.setdefault(index[record.cut_device, record.cut_edge], []).append(record)
    return found
