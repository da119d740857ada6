"""Scoring a policy on validation traces while it is trained: always the same windows, worlds and preferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs import Policy, Problem, Window, evaluation_windows, rollout
from ..envs.preferences import preference
from ..traces import LinkTrace

__all__ = ["Scores", "Validation"]

_SEED = 20_000_003
"""Of the validation worlds: fixed, so that scores of different runs compare."""


@dataclass(frozen=True)
class Scores:
    """Mean reward per interval on the validation windows.

    Attributes:
        mean: Over preferences and windows: what 'best' means.
        by_preference: Mean of each preference.
        episodes: Raw scores of each preference, one per window.
    """

    mean: float
    by_preference: dict[str, float]
    episodes: dict[str, list[float]]


class Validation:
    """A fixed set of validation episodes.

    Args:
        problem: The compiled problem.
        traces: Validation traces.
        windows: About this many, spread evenly over what the traces offer; repeats differ in arrivals and noise.
        preferences: Names as of `edgecloud.envs.preferences.preference`; each runs on every window.

    Raises:
        InputError: A preference is unknown.
    """

    def __init__(self, problem: Problem, traces: Sequence[LinkTrace], windows: int, preferences: Sequence[str]) -> None:
        self.problem, self.traces, self.preferences = problem, traces, tuple(preferences)
        every = evaluation_windows(traces, problem)
        every = evaluation_windows(traces, problem, repeats=max(1, round(windows / len(every))))
        chosen = np.unique(np.linspace(0, len(every) - 1, min(max(windows, 1), len(every))).round().astype(int))
        self.windows: tuple[Window, ...] = tuple(every[i] for i in chosen)
        rows = [preference(name, problem.scenario) for name in preferences]
        self._weights: NDArray[np.float64] = np.repeat(np.array(rows), len(self.windows), axis=0)

    def score(self, policy: Policy) -> Scores:
        """Run a policy on every window at every preference, as one batch."""
        windows = self.windows * len(self.preferences)
        episodes = rollout(policy, self.problem, self.traces, windows, self._weights, _SEED)
        rewards = episodes.mean_reward().reshape(len(self.preferences), len(self.windows))
        return Scores(
            mean=float(rewards.mean()),
            by_preference={k: float(row.mean()) for k, row in zip(self.preferences, rewards, strict=True)},
            episodes={k: row.tolist() for k, row in zip(self.preferences, rewards, strict=True)},
        )
