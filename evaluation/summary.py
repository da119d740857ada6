"""From raw scores to the rows of a table; the terminal, the report and the tests all read these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import METRICS, histogram_quantile_s, metric_index
from .scores import Comparison
from .statistics import Estimate, Paired, estimate, paired_difference

__all__ = ["ActionShares", "Row", "action_shares", "mode_values", "pooled_latency_s", "reference_method", "rows_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_PERCENTILES = {"latency_p50_s": 0.5, "latency_p95_s": 0.95, "latency_p99_s": 0.99}


@dataclass(frozen=True)
class Row:
    """One method at one preference.

    Attributes:
        method: Name.
        learned: Whether it is an agent.
        members: Training runs.
        reward: Mean reward per interval with its interval.
        values: Mean of every other metric over episodes and members, percentiles over all requests; stored units.
        versus: Reference minus this method, paired; None for the reference itself.
        decision_one_s: Median seconds of a single decision.
        decision_batch_s: Mean seconds of a decision within the batch.
        top_action_share: Share of the intervals with the method's most frequent action.
        distinct_actions: How many different actions it took.
    """

    method: str
    learned: bool
    members: int
    reward: Estimate
    values: dict[str, float]
    versus: Paired | None
    decision_one_s: float
    decision_batch_s: float
    top_action_share: float
    distinct_actions: int


def reference_method(comparison: Comparison, weights_name: str | None = None) -> str:
    """What the others are compared with: the first agent; without one, the method with the highest mean reward."""
    if comparison.learned:
        return comparison.learned[0]
    name = weights_name or next(iter(comparison.presets))
    return max(comparison.methods, key=lambda method: float(comparison.scores(method, name).mean()))


def rows_of(comparison: Comparison, weights_name: str, rng: np.random.Generator | None = None) -> tuple[Row, ...]:
    """One row per method at a preference, the best mean reward first.

    Args:
        comparison: Raw scores.
        weights_name: One of its preferences.
        rng: Draws the bootstrap's resamples; None: a generator seeded with the comparison's seed.
    """
    rng = rng or np.random.default_rng(comparison.seed)
    reference = reference_method(comparison, weights_name)
    rows = [_row(comparison, method, weights_name, reference, rng) for method in comparison.methods]
    return tuple(sorted(rows, key=lambda row: -row.reward.mean))


def _row(comparison: Comparison, method: str, weights_name: str, reference: str, rng: np.random.Generator) -> Row:
    runs = comparison.runs_of(method, weights_name)
    rewards = comparison.scores(method, weights_name)
    versus = None
    if method != reference:
        theirs = comparison.scores(reference, weights_name)
        versus = paired_difference(theirs, rewards, comparison.traces, rng, strata=comparison.strata)
    shares = action_shares(comparison, method, weights_name)
    return Row(
        method=method,
        learned=method in comparison.learned,
        members=len(runs),
        reward=estimate(rewards, comparison.traces, rng, strata=comparison.strata),
        values=_values(comparison, method, weights_name),
        versus=versus,
        decision_one_s=comparison.decision_one_s.get(method, float("nan")),
        decision_batch_s=float(np.mean([run.decision_s for run in runs])),
        top_action_share=shares.top_share,
        distinct_actions=shares.distinct,
    )


def _values(comparison: Comparison, method: str, weights_name: str, chosen: Bools | None = None) -> dict[str, float]:
    """Means of the metrics over members and the chosen episodes; latency percentiles over all their requests."""
    runs = comparison.runs_of(method, weights_name)
    keep = np.ones(len(comparison.episodes), dtype=np.bool_) if chosen is None else chosen
    scores = np.stack([run.scores[keep] for run in runs])
    values = {entry.name: float(scores[:, :, metric_index(entry.name)].mean()) for entry in METRICS}
    values |= pooled_latency_s(comparison, method, weights_name, keep)
    return values


def pooled_latency_s(
    comparison: Comparison, method: str, weights_name: str, chosen: Bools | None = None
) -> dict[str, float]:
    """Latency percentiles over all requests of a method (of the chosen episodes), in seconds."""
    runs = comparison.runs_of(method, weights_name)
    keep = np.ones(len(comparison.episodes), dtype=np.bool_) if chosen is None else chosen
    counts = np.sum([run.latency_counts[keep].sum(axis=0) for run in runs], axis=0)
    return {
        name: float(histogram_quantile_s(counts, comparison.timeout_s, share)) for name, share in _PERCENTILES.items()
    }


def mode_values(comparison: Comparison, method: str, weights_name: str) -> dict[str, dict[str, float]]:
    """The metrics' means per transport mode of the log."""
    of = np.array([label.mode for label in comparison.episodes])
    return {mode: _values(comparison, method, weights_name, of == mode) for mode in comparison.modes}


@dataclass(frozen=True, eq=False)
class ActionShares:
    """Share of the intervals per value of each part of the action.

    Attributes:
        placement: float64 (P,).
        threshold: float64 (K,).
        route: float64 (3,).
        vm_target: float64 (V + 1,).
        top_share: Share of the most frequent whole action.
        distinct: Different whole actions taken.
    """

    placement: Floats
    threshold: Floats
    route: Floats
    vm_target: Floats
    top_share: float
    distinct: int


def action_shares(comparison: Comparison, method: str, weights_name: str, mode: str | None = None) -> ActionShares:
    """How a method spread its decisions, over all its members (and one transport mode's episodes)."""
    facts = comparison.facts
    sizes = [len(_list(facts[name])) for name in ("placements", "thresholds", "routes")]
    sizes.append(int(str(facts["vm_targets"])))
    counts = np.zeros(sizes)
    for run in comparison.runs_of(method, weights_name):
        for label, taken in zip(comparison.episodes, run.actions, strict=True):
            if mode in (None, label.mode):
                np.add.at(counts, tuple(taken.actions.T), taken.counts)
    share = counts / max(counts.sum(), 1.0)
    axes = [tuple(j for j in range(4) if j != k) for k in range(4)]
    placement, threshold, route, target = (share.sum(axis=axis) for axis in axes)
    return ActionShares(
        placement, threshold, route, target, top_share=float(share.max()), distinct=int((counts > 0).sum())
    )


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
