"""What a comparison consists of: methods, the pieces of logs they ran on, and the raw score of every episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs import Policy
from ..errors import InputError
from .metrics import metric_index

__all__ = ["ActionCounts", "Comparison", "EpisodeLabel", "Method", "Run", "Weights", "methods_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weights = tuple[float, float, float]


@dataclass(frozen=True)
class Method:
    """What one row of a table stands for: a rule, or an agent trained several times.

    Attributes:
        name: Its name in tables.
        members: One policy per training run; a rule has one.
        labels: What tells the members apart (run folders, seeds).
        learned: Whether it is an agent.
    """

    name: str
    members: tuple[Policy, ...]
    labels: tuple[str, ...] = ()
    learned: bool = False

    def __post_init__(self) -> None:
        if not self.members:
            raise InputError("method", self.name, "must have at least one policy")
        if not self.labels:
            object.__setattr__(self, "labels", tuple(str(k) for k in range(len(self.members))))


@dataclass(frozen=True)
class EpisodeLabel:
    """Which piece of which log an episode ran on."""

    trace: str
    mode: str
    start_s: float
    repeat: int


@dataclass(frozen=True, eq=False)
class ActionCounts:
    """How often each action was taken, sparse.

    Attributes:
        actions: int64 (A, 4), the distinct actions.
        counts: int64 (A,).
    """

    actions: Ints
    counts: Ints

    @staticmethod
    def of(actions: Ints) -> ActionCounts:
        """Count the rows of (T, 4)."""
        distinct, counts = np.unique(actions, axis=0, return_counts=True)
        return ActionCounts(distinct.astype(np.int64), counts.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Run:
    """One policy at one preference on every episode.

    Attributes:
        method: The method that it belongs to.
        member: Which of its training runs.
        weights_name: Name of the preference.
        scores: float64 (W, len(METRICS)).
        latency_counts: int64 (W, B), see `envs.rollout.latency_edges_s`.
        actions: One per episode.
        decision_s: Mean seconds of a decision within the batch.
    """

    method: str
    member: str
    weights_name: str
    scores: Floats
    latency_counts: Ints
    actions: tuple[ActionCounts, ...]
    decision_s: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Raw scores of every method, member, preference and episode; every table and plot is computed from them.

    Attributes:
        methods: Names in the order given, agents first.
        learned: Those of them that are agents.
        presets: Preferences by name.
        episodes: What each column of the scores ran on.
        runs: One per method, member and preference.
        decision_one_s: Median seconds of a single decision (a batch of one) by method, of its slowest member.
        seed: Of the worlds.
        facts: What else a reader needs (scenario, fingerprint, placements, thresholds, routes, timeout).
        notes: Remarks for people, for example how the best fixed action was found.
    """

    methods: tuple[str, ...]
    learned: tuple[str, ...]
    presets: dict[str, Weights]
    episodes: tuple[EpisodeLabel, ...]
    runs: tuple[Run, ...]
    decision_one_s: dict[str, float]
    seed: int
    facts: dict[str, object]
    notes: tuple[str, ...] = ()

    def runs_of(self, method: str, weights_name: str) -> tuple[Run, ...]:
        """The runs of one method at one preference, one per member."""
        return tuple(run for run in self.runs if run.method == method and run.weights_name == weights_name)

    def scores(self, method: str, weights_name: str, name: str = "reward") -> Floats:
        """One metric, float64 (members, W)."""
        column = metric_index(name)
        return np.stack([run.scores[:, column] for run in self.runs_of(method, weights_name)])

    @property
    def traces(self) -> list[str]:
        """Log of each episode, (W,)."""
        return [f"{label.mode}/{label.trace}" for label in self.episodes]

    @property
    def strata(self) -> list[str]:
        """Transport mode of each episode's log, (W,): the strata that logs are drawn within."""
        return [label.mode for label in self.episodes]

    @property
    def pieces(self) -> list[str]:
        """Piece of a log that each episode ran on, (W,); its episodes differ in the world drawn."""
        return [f"{label.mode}/{label.trace}@{label.start_s:g}" for label in self.episodes]

    @property
    def modes(self) -> tuple[str, ...]:
        """Transport modes, sorted."""
        return tuple(sorted({label.mode for label in self.episodes}))

    @property
    def timeout_s(self) -> float:
        """The scenario's hard timeout."""
        return float(str(self.facts["timeout_s"]))


def methods_of(policies: Sequence[Policy | Method]) -> tuple[Method, ...]:
    """Methods from a mixed list: policies of the same name become one method with several members."""
    methods: dict[str, Method] = {}
    for entry in policies:
        method = entry if isinstance(entry, Method) else Method(entry.name, (entry,))
        known = methods.get(method.name)
        if known is not None:
            members = (*known.members, *method.members)
            labels = (*known.labels, *method.labels)
            if len(set(labels)) < len(labels):
                labels = tuple(str(k) for k in range(len(members)))
            method = Method(method.name, members, labels, known.learned or method.learned)
        methods[method.name] = method
    return tuple(methods.values())
