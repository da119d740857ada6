"""How much is left to win: the bracket of a clairvoyant plan and a relaxation, and what a policy lacks of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..baselines.relaxation import coefficients_of
from ..envs import TERMS, Episodes, Problem, Window
from ..errors import InputError

__all__ = ["UNITS", "Bracket", "Regret", "regret_of", "units_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNITS = ("latency_s", "usd_per_1000", "leakage")
"""What a regret is also counted in: seconds and leakage as the reward has them (the mean over intervals of the
interval's mean), dollars per thousand arrived requests."""


@dataclass(frozen=True, eq=False)
class Bracket:
    """The best that is known to be possible, and what is known to be impossible, in N worlds at one preference.

    Attributes:
        windows: Where each episode starts.
        weights: float64 (N, 3).
        seed: Of the worlds.
        actions: int64 (T, N, 4): the clairvoyant plan.
        terms: float64 (T, N, len(TERMS)): what it brings, as the kernel executed it.
        relaxed: float64 (N,): mean reward per interval that no policy exceeds.
        least: float64 (N, 3), `UNITS`: what every policy has at least whose reward is no less than the plan's.
        given: float64 (N,): reward of the best plan that the planner was given; -inf without.
        steps: int64 (N,): intervals that the planner simulated.
        fingerprint: Of the problem.
    """

    windows: tuple[Window, ...]
    weights: Floats
    seed: int
    actions: Ints
    terms: Floats
    relaxed: Floats
    least: Floats
    given: Floats
    steps: Ints
    fingerprint: str

    @property
    def reward(self) -> Floats:
        """Mean reward per interval of the plan, float64 (N,)."""
        return np.asarray(self.terms[:, :, TERMS.index("reward")].mean(axis=0))

    @property
    def units(self) -> Floats:
        """The plan in `UNITS`, float64 (N, 3)."""
        return units_of(self.terms)

    @property
    def episodes(self) -> Episodes:
        """The plan as what a policy called 'clairvoyant' did (no measured rows, no latency counts)."""
        rows = np.empty((len(self.terms), len(self.windows), 0))
        return Episodes("clairvoyant", self.windows, self.weights, self.terms, self.actions, rows, 0.0, self.seed)


@dataclass(frozen=True, eq=False)
class Regret:
    """What a policy lacks, per episode; positive is worse than the bound.

    Attributes:
        to_plan: float64 (N,): the plan's reward minus the policy's: at least this much was possible.
        to_relaxed: float64 (N,): the relaxation's minus the policy's: no more than this was possible.
        units: float64 (N, 3), `UNITS`: the policy's minus the plan's. One can be negative: the plan may spend more on
            one thing to save on another.
        most: float64 (N, 3), `UNITS`: the policy's minus the least of any policy that is as good as the plan.
        worth: float64 (N, 3), `UNITS`: `to_plan` expressed in each unit alone, at the preference's rate of exchange;
            NaN where its weight is zero.
    """

    to_plan: Floats
    to_relaxed: Floats
    units: Floats
    most: Floats
    worth: Floats


def units_of(terms: Floats) -> Floats:
    """Terms (T, N, len(TERMS)) in `UNITS`, float64 (N, 3)."""
    arrived = terms[:, :, TERMS.index("arrived")]
    per_interval = np.maximum(arrived, 1.0)
    latency_s = (terms[:, :, TERMS.index("latency_s")] / per_interval).mean(axis=0)
    leakage = (terms[:, :, TERMS.index("leakage")] / per_interval).mean(axis=0)
    usd = 1e3 * terms[:, :, TERMS.index("usd")].sum(axis=0) / np.maximum(arrived.sum(axis=0), 1.0)
    return np.stack([latency_s, usd, leakage], axis=1)


def regret_of(episodes: Episodes, bracket: Bracket, problem: Problem) -> Regret:
    """The regret of a policy that ran in the bracket's worlds.

    Raises:
        InputError: It ran in other worlds or at another preference.
    """
    same = episodes.windows == bracket.windows and episodes.seed == bracket.seed
    if not (same and np.array_equal(episodes.weights, bracket.weights)):
        rule = "must have run on the bracket's windows, with its seed and preference"
        raise InputError("episodes", episodes.policy, rule, episodes.seed)
    reward, units = episodes.mean_reward(), units_of(episodes.terms)
    to_plan = bracket.reward - reward
    price = coefficients_of(problem, bracket.weights)[:, :3]
    arrived = np.maximum(episodes.total("arrived"), 1.0) / len(episodes.terms)
    price[:, 1] *= arrived / 1e3  # a dollar per thousand requests, per interval
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.where(price > 0.0, to_plan[:, None] / price, np.nan)
    return Regret(to_plan, bracket.relaxed - reward, units - bracket.units, units - bracket.least, worth)
