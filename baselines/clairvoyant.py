"""A planner that knows the whole trace and everything that is random: what hindsight can attain.

It copies the simulation's state, so it knows the link ahead, arrivals, samples, service factors, boot times and load
of the very world that it plans for. Its plan is executed by the kernel like anybody's actions: its value is attained,
hence no more than the optimum. It starts from the best of the plans that it is given and from its own, and takes
improvements only: it is never below a policy whose actions it was given.

The search: (1) a schedule for one VM, exact for what an idle system would gain from it; (2) a beam search for each of
several schedules (`baselines.beam`); (3) the plan is changed block by block where that helps (`Trials.gains`), every
change judged by its effect on the whole episode, until nothing helps or the budget is spent. The budget counts
simulated intervals, not seconds, so the same arguments give the same plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs import Measurements, Policy, Problem, Simulator, Window
from ..envs.simulator import check_weights
from ..envs.trials import Trials
from ..errors import InputError
from ..traces import LinkTrace
from .beam import beam_search
from .plan_moves import Ideal, block_moves, pool_schedule

__all__ = ["BUDGET", "Plan", "RecordedPlan", "check_plans", "clairvoyant", "improve_episode"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BUDGET = 1_000_000
"""Simulated intervals per episode that the search may take: one to two seconds."""

_NARROW, _WIDE, _CHOICES = 8, 24, 16
_GIVE_UP = 1.5
_LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class Plan:
    """What the planner found for one episode.

    Attributes:
        actions: int64 (T, 4).
        rewards: float64 (T,), executed by the kernel.
        given: Mean reward of the best given plan; -inf without one.
        steps: Intervals simulated.
    """

    actions: Ints
    rewards: Floats
    given: float
    steps: int

    @property
    def reward(self) -> float:
        """Mean reward per interval."""
        return float(self.rewards.mean())


class RecordedPlan(Policy):
    """Plays back recorded actions, int64 (T, N, 4), whatever it measures."""

    name = "clairvoyant"

    def __init__(self, actions: Ints, name: str = "clairvoyant") -> None:
        self._actions, self.name, self._t = actions, name, 0

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Start from the first interval.

        Raises:
            InputError: The record is of another number of episodes.
        """
        if self._actions.shape[1] != num_envs:
            raise InputError(self.name, "actions", f"must be of {num_envs} episodes", self._actions.shape[1])
        self._t = 0

    def act(self, measurements: Measurements) -> Ints:
        """The actions of the next interval, int64 (N, 4)."""
        self._t += 1
        actions: Ints = self._actions[self._t - 1]
        return actions


def clairvoyant(
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    weights: Floats | tuple[float, float, float],
    seed: int = 0,
    plans: Sequence[Ints] = (),
    *,
    budget: int = BUDGET,
    progress: Callable[[int, int], None] | None = None,
) -> list[Plan]:
    """Plan every episode with full knowledge of its world.

    Args:
        problem: The compiled problem.
        traces: Link traces.
        windows: One per episode, N; worlds are those that `rollout` uses for them.
        weights: Preference (3,) or (N, 3).
        seed: Of the worlds.
        plans: Recorded actions of other policies in these worlds, int64 (T, N, 4) each (`Episodes.actions`).
        budget: Simulated intervals per episode; 0 only picks the best of the given plans.
        progress: Called with episodes done and in all.

    Raises:
        InputError: A given plan has another shape, or an action lies outside the action space.
    """
    rows = check_weights(weights, len(windows))
    simulator = Simulator(problem, traces, len(windows), weights=rows, windows=windows)
    simulator.reset(seed)
    check_plans(plans, problem, len(windows))
    found = []
    for i in range(len(windows)):
        found.append(improve_episode(simulator, i, [plan[:, i] for plan in plans], budget))
        if progress is not None:
            progress(i + 1, len(windows))
    return found


def check_plans(plans: Sequence[Ints], problem: Problem, count: int) -> None:
    """Refuse recorded actions that are not of `count` episodes of a problem.

    Raises:
        InputError: Wrong shape, or an action outside the action space.
    """
    shape = (problem.params.episode_intervals, count, 4)
    for k, plan in enumerate(plans):
        if plan.shape != shape or plan.dtype.kind not in "iu":
            raise InputError("plans", str(k), f"must be whole numbers of shape {shape}", f"{plan.dtype} {plan.shape}")
        if (plan < 0).any() or (plan >= problem.nvec).any():
            raise InputError("plans", str(k), f"must hold actions from 0 to below {problem.nvec.tolist()}")


def improve_episode(simulator: Simulator, episode: int, plans: Sequence[Ints], budget: int = BUDGET) -> Plan:
    """Plan one episode.

    Args:
        simulator: A simulator just reset; it is left as it is.
        episode: Which of its environments.
        plans: Given plans, int64 (T, 4) each.
        budget: Simulated intervals.
    """
    search = _Search(simulator, episode, budget)
    rewards = [search.offer(plan) for plan in plans]
    given = max(rewards, default=-np.inf)
    if budget > 0 or not plans:
        search.explore([plan[:, 3] for plan in plans])
        search.descend()
    trials = search.trials
    trials.follow(search.best)  # what is reported is what the kernel does
    return Plan(search.best, trials.rewards.copy(), given, trials.steps)


class _Search:
    """The best plan so far of one episode, and the ways to a better one."""

    def __init__(self, simulator: Simulator, episode: int, budget: int) -> None:
        self._simulator, self._episode, self._budget = simulator, episode, budget
        self.trials = Trials(simulator, episode)
        length = len(self.trials.plan)
        self.best: Ints = np.tile(simulator.problem.start_action, (length, 1))
        self._value = -np.inf
        self._candidates: dict[tuple[int, bool], Ints] = {}

    def offer(self, plan: Ints) -> float:
        """Execute a plan, keep it if it is the best so far, and return its mean reward."""
        self.trials.follow(np.ascontiguousarray(plan, dtype=np.int64))
        value = float(self.trials.rewards.mean())
        if value > self._value:
            self._value, self.best = value, self.trials.plan.copy()
        return value

    def _left(self) -> bool:
        return self.trials.steps < self._budget

    def explore(self, pools: Sequence[Ints]) -> None:
        """Beam searches: narrow ones for several VM schedules, a wide one for the best of them."""
        trials = self.trials
        self.offer(self.best)
        self._ideal = Ideal(self._simulator, self._episode, trials.path)
        trials.steps += self._ideal.steps
        gain = self._ideal.vm_gain()
        p = trials.problem.params
        usd_weight = float(trials.path.weights[0, 1]) / p.cost_ref_usd
        own = [pool_schedule(trials, share * gain, usd_weight) for share in (1.0, 0.7, 0.4)]
        schedules = {pool.tobytes(): pool for pool in [*own, np.zeros_like(own[0]), *pools, self.best[:, 3]]}
        best, chosen = -np.inf, self.best[:, 3]
        for pool in schedules.values():
            if self._left():
                value = self.offer(beam_search(trials, self._choices(pool), _NARROW))
                best, chosen = (value, pool) if value > best else (best, chosen)
        if self._left():
            self.offer(beam_search(trials, self._choices(chosen), _WIDE))

    def _choices(self, pool: Ints) -> Callable[[int], Ints]:
        """Actions to try with a given VM schedule."""

        def choose(t: int) -> Ints:
            actions = self._near(t, bool(pool[t])).copy()
            actions[:, 3] = pool[t]
            return actions

        return choose

    def _near(self, t: int, vms: bool) -> Ints:
        if (t, vms) not in self._candidates:
            self._candidates[t, vms] = self._ideal.candidates(t, vms, _CHOICES)
        return self._candidates[t, vms]

    def descend(self) -> None:
        """Change blocks of the best plan while that helps and the budget lasts."""
        trials = self.trials
        most = int(trials.problem.nvec[3]) - 1
        trials.follow(self.best)
        every = np.insert(self._ideal.actions, 0, 1, axis=1)
        every[:, 4] = -1
        while self._left():
            near = self._sweep(lambda t: block_moves(trials.plan, t, self._near(t, bool(trials.plan[t, 3])), most))
            if not near and not self._sweep(lambda _: every):  # every action of a single interval, where little helps
                break

    def _sweep(self, moves_at: Callable[[int], Ints]) -> bool:
        """Make the best change at every interval in turn, as far as the budget lasts; whether anything helped."""
        helped = False
        for t in range(len(self.best)):
            if not self._left():
                break
            moves = moves_at(t)
            gains = self.trials.gains(np.full(len(moves), t), moves, _GIVE_UP)
            k = int(gains.argmax())
            if gains[k] > _LEAST:
                helped |= self._apply(t, moves[k])
        return helped

    def _apply(self, t: int, move: Ints) -> bool:
        """Make a change if the whole episode is the better for it."""
        trials, before = self.trials, self.trials.plan.copy()
        changed = before.copy()
        block = changed[t : t + move[0]]
        block[:] = np.where(move[1:] >= 0, move[1:], block)
        trials.follow(changed, t)
        value = float(trials.rewards.mean())
        if value > self._value:
            self._value, self.best = value, changed
            return True
        trials.follow(before, t)
        return False
