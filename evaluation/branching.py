"""Which action is best when: the simulation's state is copied along a policy's way and every action tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs import ROUTES, TERMS, Policy, Problem, Simulator, State, Window
from ..traces import LinkTrace
from .fixed import distinct_actions

__all__ = ["BestActions", "branch"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_REWARD = TERMS.index("reward")
Kind = tuple[int, int, str]


@dataclass(frozen=True, eq=False)
class BestActions:
    """Rewards of every action at chosen points of a policy's way, each held for some intervals in the same worlds.

    Attributes:
        hold: Intervals that an action was held for.
        continuations: Worlds that each was tried in.
        actions: One int64 (A, 4) per point: the actions tried; the pool size is the policy's.
        rewards: One float64 (A,) per point: mean reward per interval while held, over the continuations.
        own: Reward of the policy's own action at each point, held as long.
    """

    hold: int
    continuations: int
    actions: tuple[Ints, ...]
    rewards: tuple[Floats, ...]
    own: Floats
    problem: Problem

    def kinds(self, actions: Ints) -> list[Kind]:
        """Placement and route of actions; the route is left out where nothing runs in the cloud."""
        cuts = self.problem.placements[actions[:, 0]]
        return [
            (int(d), int(e), ROUTES[route] if e < self.problem.stages else "")
            for (d, e), route in zip(cuts, actions[:, 2], strict=True)
        ]

    def shares(self, tolerance: float = 0.0) -> dict[Kind, float]:
        """In which share of the points each kind of action is best, most frequent first.

        Several kinds can be equally good at a point (a request that exits on the device does not care about the rest).
        Such points are given to the kind that serves most points (greedy cover), so that the number of kinds is not
        inflated.

        Args:
            tolerance: Kinds whose reward is within this share of the best one's size count as equally good.
        """
        covers = self._covers(tolerance)
        left, shares = set(range(len(self.actions))), {}
        while left:
            kind = max(sorted(covers), key=lambda name: len(covers[name] & left))
            shares[kind] = len(covers[kind] & left) / len(self.actions)
            left -= covers.pop(kind)
        return shares

    def inclusive_shares(self) -> dict[Kind, float]:
        """In which share of the points each kind is among the best, ties counted for all; most frequent first."""
        counts = {kind: len(points) / len(self.actions) for kind, points in self._covers(0.0).items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def _covers(self, tolerance: float) -> dict[Kind, set[int]]:
        """The points at which each kind is as good as the best."""
        covers: dict[Kind, set[int]] = {}
        for point, (actions, rewards) in enumerate(zip(self.actions, self.rewards, strict=True)):
            best = float(rewards.max())
            good = rewards >= best - max(tolerance * abs(best), 1e-12)
            for kind in set(self.kinds(actions[good])):
                covers.setdefault(kind, set()).add(point)
        return covers

    def part_shares(self, part: int, size: int) -> Floats:
        """How often each value of one part of the action is best, ties shared equally, float64 (size,)."""
        total = np.zeros(size)
        for actions, rewards in zip(self.actions, self.rewards, strict=True):
            good = np.unique(actions[rewards >= rewards.max() - 1e-12, part])
            total[good] += 1.0 / len(good)
        return total / max(len(self.actions), 1)


def branch(
    policy: Policy,
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    weights: tuple[float, float, float],
    seed: int = 0,
    *,
    hold: int = 1,
    points: int = 400,
    continuations: int = 1,
    progress: Callable[[float], None] | None = None,
) -> BestActions:
    """Try every placement, threshold and route (with the policy's pool size) at points along a policy's way.

    What few requests happen to be decides which action turns out best in one world. With several continuations the
    arrivals, samples, noise and background load after a point are drawn anew and every action's reward is the mean over
    the same draws; the link goes on as recorded.

    Args:
        policy: Whose way is followed, preferably the best one known.
        problem: The compiled problem.
        traces: Link traces.
        windows: One per episode; worlds are those that `rollout` uses for them.
        weights: The preference.
        seed: Of the worlds.
        hold: Intervals that each action is held for.
        points: About how many points to look at, spread evenly over the episodes.
        continuations: Worlds that every action is tried in from each point; the first is the policy's own.
        progress: Called with the share done.
    """
    count, length = len(windows), problem.params.episode_intervals
    simulator = Simulator(problem, traces, count, weights=weights, windows=windows)
    measured = simulator.reset(seed)
    policy.reset(problem, count, simulator.state.weights.copy(), seed)
    last = max(length - hold, 0)
    stride = max(1, round(count * (last + 1) / max(points, 1)))
    trials = _Trials(problem, traces, weights, hold, max(1, continuations))
    tried: list[Ints] = []
    rewards: list[Floats] = []
    own: list[float] = []
    for t in range(last + 1):
        chosen = policy.act(measured).copy()
        for i in range(count):
            if (t * count + i * 7919) % stride < 1:
                actions, scores, mine = trials.run(simulator.state, i, chosen[i])
                tried.append(actions)
                rewards.append(scores)
                own.append(mine)
        measured = simulator.step(chosen)
        if progress is not None:
            progress((t + 1) / (last + 1))
    return BestActions(hold, trials.continuations, tuple(tried), tuple(rewards), np.array(own), problem)


class _Trials:
    """Simulators that hold copies of one environment's state, one per action."""

    def __init__(
        self,
        problem: Problem,
        traces: Sequence[LinkTrace],
        weights: tuple[float, float, float],
        hold: int,
        continuations: int,
    ) -> None:
        self._problem, self._traces, self._weights = problem, traces, weights
        self._hold, self.continuations = hold, continuations
        self._actions: dict[int, Ints] = {}
        self._simulators: dict[int, Simulator] = {}

    def run(self, state: State, i: int, chosen: Ints) -> tuple[Ints, Floats, float]:
        """Actions tried from environment `i`, their mean rewards, and the chosen action's."""
        target = int(chosen[3])
        if target not in self._actions:
            self._actions[target] = distinct_actions(self._problem, [target])
        actions = np.vstack([self._actions[target], chosen[None]])
        simulator = self._simulator(len(actions))
        total = np.zeros(len(actions))
        for continuation in range(self.continuations):
            for mine, theirs in zip(simulator.state, state, strict=True):
                mine[:] = theirs[i]
            if continuation:
                entropy = [int(state.key[i]), continuation]
                simulator.state.key[:] = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
            for _ in range(self._hold):
                simulator.step(actions)
                total += simulator.terms[:, _REWARD]
        total /= self._hold * self.continuations
        return actions[:-1], total[:-1], float(total[-1])

    def _simulator(self, size: int) -> Simulator:
        if size not in self._simulators:
            window = [Window(0, 0)] * size
            self._simulators[size] = Simulator(self._problem, self._traces, size, weights=self._weights, windows=window)
        return self._simulators[size]
