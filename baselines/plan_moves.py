"""What a planner tries: few actions per interval, and when to rent a VM; both judged by an idle system."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ..envs import ROUTES, State
from ..envs.simulator import Simulator
from ..envs.trials import Trials

__all__ = ["Ideal", "block_moves", "pool_schedule"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_VM, _FAAS = ROUTES.index("vm"), ROUTES.index("faas")


class Ideal:
    """Rewards of actions from an idle system: nothing queues, all functions are warm, VMs run unpaid, no move pauses.

    Args:
        simulator: A simulator just reset.
        episode: Which of its environments.
        world: State rows of an episode's intervals, of which only what moves by itself is used.

    Attributes:
        actions: int64 (A, 4), pool size 0.
        rewards: float64 (T, A).
    """

    def __init__(self, simulator: Simulator, episode: int, world: State) -> None:
        problem = simulator.problem
        p, length = problem.params, problem.params.episode_intervals
        trials = Trials(simulator, episode)
        trials.problem = dataclasses.replace(problem, params=p._replace(repartition_s=0.0))
        rich = trials.room(length)
        for mine, theirs in zip(rich, world, strict=True):
            mine[:] = theirs[:length]
        begin_s = np.arange(length) * p.interval_s
        for array in (rich.device_free_s, rich.uplink_free_s, rich.edge_free_s):
            array[:] = 0.0
        rich.faas_free_s[:] = begin_s[:, None]
        rich.faas_order[:] = np.arange(rich.faas_order.shape[1])
        rich.vm_launch_s[:], rich.vm_ready_s[:], rich.vm_free_s[:], rich.vm_stop_s[:] = 0.0, 0.0, 0.0, np.inf
        rich.vm_billed_s[:] = 2**40
        most = int(problem.nvec[3]) - 1
        self.actions = _kinds(problem.nvec, problem.placements[:, 1] < problem.stages, most > 0)
        tried = self.actions.copy()
        tried[:, 3] = most
        parents = np.repeat(np.arange(length), len(tried))
        rewards = trials.rewards_of(rich, parents, np.tile(tried, (length, 1)))
        self.rewards: Floats = rewards.reshape(length, len(tried))
        self.steps = trials.steps
        self.on_vm = (self.actions[:, 2] != _FAAS) & (problem.placements[self.actions[:, 0], 1] < problem.stages)

    def candidates(self, t: int, vms: bool, count: int, margin: float = 3.0) -> Ints:
        """Actions worth trying in an interval, int64 (C, 4): the best of every placement, then the best of the rest."""
        rewards = self.rewards[t] if vms else np.where(self.on_vm, -np.inf, self.rewards[t])
        order = np.argsort(-rewards, kind="stable")
        order = order[rewards[order] > rewards[order[0]] - margin]
        placements = self.actions[order, 0]
        first = np.zeros(len(order), dtype=np.bool_)
        first[np.unique(placements, return_index=True)[1]] = True
        chosen = np.concatenate([order[first][:count], order[~first][: max(count // 3, 1)]])
        actions: Ints = self.actions[chosen]
        return actions

    def vm_gain(self) -> Floats:
        """What running VMs would bring in each interval, float64 (T,)."""
        gain: Floats = self.rewards.max(axis=1) - self.rewards[:, ~self.on_vm].max(axis=1)
        return gain


def _kinds(nvec: Ints, in_cloud: NDArray[np.bool_], vms: bool) -> Ints:
    """Placements, thresholds and routes that can differ in what they do, pool size 0."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in nvec[:3]), [0], indexing="ij"), axis=-1).reshape(-1, 4)
    keep = (grid[:, 2] == _FAAS) | (in_cloud[grid[:, 0]] & vms)
    return np.ascontiguousarray(grid[keep], dtype=np.int64)


def pool_schedule(trials: Trials, gain: Floats, usd_weight: float) -> Ints:
    """When one VM pays for itself, int64 (T,): exact over launch and stop, boot times and the minimum included.

    Args:
        trials: Of the episode.
        gain: float64 (T,), what a running VM brings per interval.
        usd_weight: Reward that a dollar costs.
    """
    p, length = trials.problem.params, len(gain)
    schedule = np.zeros(length, dtype=np.int64)
    if int(trials.problem.nvec[3]) < 2:
        return schedule
    usable = _usable_from(trials)
    total = np.concatenate([[0.0], np.cumsum(gain)])
    price = usd_weight * p.usd_per_vm_s
    best, back = np.zeros(length + 1), np.full(length + 1, -1)
    launch = np.arange(length)
    for stop in range(1, length + 1):
        starts = launch[:stop]
        kept_s = np.maximum((stop - starts) * p.interval_s, p.vm_minimum_s)
        value = best[:stop] + np.maximum(total[stop] - total[np.minimum(usable[:stop], stop)], 0.0) - price * kept_s
        k = int(value.argmax())
        best[stop], back[stop] = (value[k], k) if value[k] > best[stop - 1] else (best[stop - 1], -1)
    stop = length
    while stop > 0:
        start = int(back[stop])
        if start >= 0:
            schedule[start:stop] = 1
        stop = start if start >= 0 else stop - 1
    return schedule


def _usable_from(trials: Trials) -> Ints:
    """First interval at whose begin a VM is ready that is launched in each interval, int64 (T,)."""
    length = len(trials.plan)
    empty, after = trials.room(length), trials.room(length)
    for mine, theirs in zip(empty, trials.path, strict=True):
        mine[:] = theirs[:length]
    empty.vm_launch_s[:] = np.nan
    actions = trials.plan.copy()
    actions[:, 3] = 1
    trials.successors(empty, np.arange(length), actions, after, np.arange(length))
    ready = np.ceil(after.vm_ready_s[:, 0] / trials.problem.params.interval_s)
    return np.minimum(ready, length).astype(np.int64)


def block_moves(plan: Ints, t: int, candidates: Ints, most: int) -> Ints:
    """Changes to try from an interval on, int64 (B, 5): length and parts of the action, -1 to keep the plan's."""
    moves = [[1, *action[:3].tolist(), -1] for action in candidates]
    length = len(plan)
    for size in (2, 3, 5, 8, 13, 21):
        neighbours = [plan[t - 1]] if t else []
        neighbours += [plan[t + size]] if t + size < length else []
        moves += [[size, *action[:3].tolist(), -1] for action in (*neighbours, *candidates[:3])]
    for size in (1, 4, 16, 64):
        for target in {max(plan[t, 3] - 1, 0), min(plan[t, 3] + 1, most), 0} - {plan[t, 3]}:
            moves.append([size, -1, -1, -1, int(target)])
            if t + 1 < length and target < plan[t, 3]:
                moves.append([size, *plan[t, :2].tolist(), _FAAS, int(target)])
    return np.array(moves, dtype=np.int64)
