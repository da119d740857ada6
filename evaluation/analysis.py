"""Is a scenario a real decision: how the simple policies fare and why, and whether moments differ in what they want."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..envs import Episodes, Policy, Problem, evaluation_windows
from ..traces import LinkTrace
from .branching import BestActions, branch
from .comparison import Progress, compare
from .fixed import BEST_FIXED
from .load import Load, load_of
from .scores import Comparison, Method
from .statistics import Paired, paired_difference
from .summary import Row, rows_of

__all__ = [
    "DRAIN_LIMIT",
    "FAILURE_LIMIT",
    "GAP_LIMIT",
    "KINDS_WANTED",
    "KIND_SHARE",
    "Analysis",
    "analyse",
    "kind_text",
]

GAP_LIMIT = 0.2
"""The best fixed action should be at least this much worse than the best policy known, relative to its |reward|."""

KIND_SHARE, KINDS_WANTED = 0.1, 4
"""At least this many clearly different actions should each be best in at least this share of the intervals."""

FAILURE_LIMIT = 0.01
"""The best policy known should fail less than this share of the requests."""

DRAIN_LIMIT = 0.2
"""Its longest time without empty queues should be below this share of an episode."""

_WORDS = {
    "reward_latency": "latency",
    "reward_cost": "price",
    "reward_privacy": "leakage",
    "reward_accuracy": "lost accuracy",
    "reward_failure": "failures",
}


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the analysis found.

    Attributes:
        comparison: Raw scores of every policy.
        weights_name: The preference.
        rows: The comparison's rows, best first.
        loads: By method.
        best: The best policy known (no constant).
        gap: (reward of `best` - reward of the best fixed action) / |reward of `best`|.
        gap_paired: The difference itself with its interval.
        reasons: By method, why it is behind `best`.
        branches: Best actions per interval along the way of `best`, one per holding time.
    """

    comparison: Comparison
    weights_name: str
    rows: tuple[Row, ...]
    loads: dict[str, Load]
    best: str
    gap: float
    gap_paired: Paired
    reasons: dict[str, str]
    branches: tuple[BestActions, ...]

    def row(self, method: str) -> Row:
        """A method's row."""
        return next(row for row in self.rows if row.method == method)

    def findings(self) -> list[tuple[str, bool]]:
        """Each question with its answer in words, and whether it is answered as a real decision should."""
        best, load = self.row(self.best), self.loads[self.best]
        failed = best.values["failure_rate"]
        length_s = float(str(self.comparison.facts["episode_intervals"])) * float(
            str(self.comparison.facts["interval_s"])
        )
        gap = f"best fixed action is {self.gap:.0%} worse than {self.best} (wanted: at least {GAP_LIMIT:.0%})"
        failures = f"{self.best} fails {failed:.2%} of the requests (wanted: below {FAILURE_LIMIT:.0%})"
        queues = (
            f"no place holds more than one request at the end of {load.clear_share:.0%} of the intervals under "
            f"{self.best}; the longest time otherwise was {load.longest_s:g} s "
            f"(wanted: below {DRAIN_LIMIT:.0%} of an episode)"
        )
        found = [
            (gap, self.gap >= GAP_LIMIT),
            (failures, failed < FAILURE_LIMIT),
            (queues, load.longest_s < DRAIN_LIMIT * length_s),
        ]
        for result in self.branches:
            kinds = sum(share >= KIND_SHARE for share in result.shares().values())
            text = (
                f"{kinds} clearly different actions are each best in at least {KIND_SHARE:.0%} of the intervals "
                f"when held for {result.hold} (wanted: {KINDS_WANTED})"
            )
            found.append((text, kinds >= KINDS_WANTED))
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "scenario": self.comparison.facts,
            "weights": {self.weights_name: list(self.comparison.presets[self.weights_name])},
            "seed": self.comparison.seed,
            "best": self.best,
            "gap": self.gap,
            "gap_difference": asdict(self.gap_paired),
            "findings": [{"text": text, "holds": holds} for text, holds in self.findings()],
            "policies": [
                {
                    "name": row.method,
                    "reward": asdict(row.reward),
                    "metrics": row.values,
                    "top_action_share": row.top_action_share,
                    "distinct_actions": row.distinct_actions,
                    "reason": self.reasons.get(row.method, ""),
                    "load": asdict(self.loads[row.method]),
                }
                for row in self.rows
            ],
            "intervals": [_branch_json(result) for result in self.branches],
            "notes": list(self.comparison.notes),
        }


def kind_text(kind: tuple[int, int, str], stages: int) -> str:
    """A placement and route in words.

    >>> kind_text((2, 4, "faas"), 6), kind_text((6, 6, ""), 6)
    ('device 0–2, edge 2–4, cloud 4–6, faas', 'device 0–6')
    """
    device, edge, route = kind
    parts = [("device", 0, device), ("edge", device, edge), ("cloud", edge, stages)]
    words = [f"{name} {a}–{b}" for name, a, b in parts if b > a]
    return ", ".join(words + ([route] if route else []))


def _branch_json(result: BestActions) -> dict[str, Any]:
    problem = result.problem
    sizes = problem.nvec
    best = np.array([rewards.max() for rewards in result.rewards])
    return {
        "hold": result.hold,
        "continuations": result.continuations,
        "points": len(result.actions),
        "best_kinds": [{"kind": list(kind), "share": share} for kind, share in result.shares().items()],
        "among_the_best": [{"kind": list(kind), "share": share} for kind, share in result.inclusive_shares().items()],
        "best_kinds_within_2_percent": [
            {"kind": list(kind), "share": share} for kind, share in result.shares(0.02).items()
        ],
        "threshold_shares": result.part_shares(1, int(sizes[1])).tolist(),
        "route_shares": result.part_shares(2, int(sizes[2])).tolist(),
        "mean_best_reward": float(best.mean()),
        "mean_own_reward": float(result.own.mean()),
    }


def analyse(
    problem: Problem,
    traces: Sequence[LinkTrace],
    policies: Sequence[Policy | Method],
    weights: tuple[float, float, float] | None = None,
    weights_name: str = "default",
    seed: int = 0,
    repeats: int = 1,
    *,
    holds: Sequence[int] = (1, 5),
    points: int = 300,
    continuations: int = 8,
    exhaustive: bool = False,
    progress: Progress | None = None,
) -> Analysis:
    """Analyse a scenario on traces.

    Args:
        problem: The compiled problem.
        traces: Link traces.
        policies: Reference policies and the best ones known; the best fixed action is added.
        weights: The preference; None: the scenario's own.
        weights_name: Its name.
        seed: Of the worlds.
        repeats: Episodes per window.
        holds: Intervals for which each action is tried.
        points: Moments at which actions are tried.
        continuations: Worlds that every action is tried in at each of them, see `branch`.
        exhaustive: See `compare`.
        progress: Called with a text, steps done and steps in all.
    """
    preference = weights or problem.scenario.objective.weights
    loads: dict[str, Load] = {}

    def keep(method: str, _: str, episodes: Episodes) -> None:
        loads.setdefault(method, load_of(episodes, problem))

    comparison = compare(
        policies,
        problem,
        traces,
        {weights_name: preference},
        seed,
        repeats,
        best_fixed=True,
        exhaustive=exhaustive,
        progress=progress,
        on_episodes=keep,
    )
    rng = np.random.default_rng(seed)
    rows = rows_of(comparison, weights_name, rng)
    best = next((row for row in rows if row.method != BEST_FIXED), rows[0])
    paired = paired_difference(
        comparison.scores(best.method, weights_name),
        comparison.scores(BEST_FIXED, weights_name),
        comparison.traces,
        rng,
        strata=comparison.strata,
    )
    windows = evaluation_windows(traces, problem, repeats)
    guide = _policy_of(best.method, policies)
    branches = []
    for hold in holds:

        def tick(share: float, hold: int = hold) -> None:
            if progress is not None:
                progress(f"every action held {hold} s", round(1000 * share), 1000)

        branches.append(
            branch(
                guide,
                problem,
                traces,
                windows,
                preference,
                seed,
                hold=hold,
                points=points,
                continuations=continuations,
                progress=tick,
            )
        )
    return Analysis(
        comparison=comparison,
        weights_name=weights_name,
        rows=rows,
        loads=loads,
        best=best.method,
        gap=paired.difference.mean / max(abs(best.reward.mean), 1e-12),
        gap_paired=paired,
        reasons={row.method: _reason(row, best, loads) for row in rows if row.method != best.method},
        branches=tuple(branches),
    )


def _policy_of(name: str, policies: Sequence[Policy | Method]) -> Policy:
    for entry in policies:
        if entry.name == name:
            return entry.members[0] if isinstance(entry, Method) else entry
    raise KeyError(name)


def _reason(row: Row, best: Row, loads: dict[str, Load]) -> str:
    """Why a method is behind the best: the parts that make up most of the difference, and where its queue is."""
    deficit = {part: best.values[part] - row.values[part] for part in _WORDS}
    total = best.reward.mean - row.reward.mean
    if total <= 0:
        return "not behind"
    parts = sorted((part for part in deficit if deficit[part] >= 0.2 * total), key=lambda part: -deficit[part])
    words = [_part_text(part, row, best, deficit[part]) for part in parts]
    load = loads[row.method]
    place = load.bottleneck
    if {"reward_latency", "reward_failure"} & set(parts):
        busy = {
            "device": f"the device is busy {load.device_busy:.0%} of the time",
            "uplink": f"the link is the bottleneck, {load.uplink_used:.0%} of its capacity used",
            "edge": f"the edge server is busy {load.edge_busy:.0%} of the time",
            "cloud": "requests wait in the cloud (boots, cold starts, pool too small)",
        }
        words.append(f"{busy[place]} (mean queue {load.queue_mean[place]:.1f})")
    return "; ".join(words)


def _part_text(part: str, row: Row, best: Row, lost: float) -> str:
    mine, theirs = row.values, best.values
    facts = {
        "reward_latency": f"mean {1e3 * mine['latency_s']:.0f} ms against {1e3 * theirs['latency_s']:.0f} ms",
        "reward_cost": f"${mine['usd_per_1000']:.4f} against ${theirs['usd_per_1000']:.4f} per 1000",
        "reward_privacy": f"{mine['leakage']:.2f} against {theirs['leakage']:.2f}",
        "reward_accuracy": f"{100 * mine['accuracy']:.1f} % right against {100 * theirs['accuracy']:.1f} %",
        "reward_failure": f"{100 * mine['failure_rate']:.1f} % against {100 * theirs['failure_rate']:.1f} %",
    }
    return f"{_WORDS[part]} (-{lost:.3f}): {facts[part]}"
