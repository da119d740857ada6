"""The kernel on copies of a state: what actions and plans would bring in the very same world.

A planner that looks at millions of actions needs rewards, not what a controller can measure. The step here is the
kernel's own (`kernel.serve_interval`) without the measured row; the requests in flight are followed only where a
battery depends on them. Rewards are those of `kernel.step` to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import compiled, kernel, link, observe, path, pool, rng, state, world
from .compiled import entry, entry_point, inner
from .kernel import serve_interval
from .observe import sweep_flights
from .problem import Problem
from .simulator import Simulator
from .state import TERMS, State
from .world import MAX_ARRIVALS, advance

__all__ = ["Trials"]

compiled.refresh(__file__, compiled, link, observe, path, pool, rng, state, world, kernel)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_REWARD = TERMS.index("reward")


@inner
def copy_environment(p, source, i, target, j):  # type: ignore[no-untyped-def]
    """Copy what the future depends on from environment `i` of one state to environment `j` of another."""
    target.key[j], target.t[j] = source.key[i], source.t[i]
    target.trace[j], target.offset[j] = source.trace[i], source.offset[i]
    target.arrival_offset[j], target.arrival_state[j] = source.arrival_offset[i], source.arrival_state[i]
    target.edge_state[j], target.regime[j] = source.edge_state[i], source.regime[i]
    for k in range(3):
        target.weights[j, k] = source.weights[i, k]
    for k in range(4):
        target.action[j, k] = source.action[i, k]
    for k in range(source.resident.shape[1]):
        target.resident[j, k] = source.resident[i, k]
    target.device_free_s[j] = source.device_free_s[i]
    target.uplink_free_s[j] = source.uplink_free_s[i]
    target.edge_free_s[j] = source.edge_free_s[i]
    for k in range(source.vm_launch_s.shape[1]):
        target.vm_launch_s[j, k], target.vm_ready_s[j, k] = source.vm_launch_s[i, k], source.vm_ready_s[i, k]
        target.vm_free_s[j, k], target.vm_stop_s[j, k] = source.vm_free_s[i, k], source.vm_stop_s[i, k]
        target.vm_billed_s[j, k] = source.vm_billed_s[i, k]
    for k in range(source.faas_free_s.shape[1]):
        target.faas_free_s[j, k], target.faas_order[j, k] = source.faas_free_s[i, k], source.faas_order[i, k]
    target.battery_j[j] = source.battery_j[i]
    target.flights[j] = 0
    if p.battery_j > 0.0:
        target.flights[j] = source.flights[i]
        for k in range(source.flights[i]):
            for c in range(source.flight.shape[2]):
                target.flight[j, k, c] = source.flight[i, k, c]


@inner
def _move_on(p, bank, s, i, action, out, record, scratch):  # type: ignore[no-untyped-def]
    """One interval of environment `i`; its reward."""
    base, begin_s, _, link = serve_interval(p, bank, s, i, action, out, record, scratch)
    if p.battery_j > 0.0:
        sweep_flights(p, bank, s, i, out, s.measured[i], begin_s + p.interval_s, link, scratch)
    else:
        s.flights[i] = 0
    for k in range(4):
        s.action[i, k] = action[k]
    s.arrival_state[i], s.edge_state[i], s.regime[i] = advance(
        p, s.arrival_state[i], s.edge_state[i], s.regime[i], base
    )
    s.t[i] += 1
    return out[_REWARD]


@inner
def _same_free(a, b, now):  # type: ignore[no-untyped-def]
    return max(a, now) == max(b, now)


@inner
def _same_instances(p, a, i, b, j, now):  # type: ignore[no-untyped-def]
    """Whether function instances answer alike until the episode's end."""
    end = p.episode_intervals * p.interval_s
    for k in range(a.faas_order.shape[1]):
        mine, theirs = a.faas_free_s[i, a.faas_order[i, k]], b.faas_free_s[j, b.faas_order[j, k]]
        if mine == theirs:
            continue
        lasting = min(mine, theirs) + p.keep_alive_s > end and max(mine, theirs) <= now
        expired = now - max(mine, theirs) >= p.keep_alive_s
        if not (lasting or expired):
            return False
    return True


@inner
def _merged(p, a, i, b, j):  # type: ignore[no-untyped-def]
    """Whether two environments of one world, at the same interval, have the same future under the same actions."""
    now = a.t[i] * p.interval_s
    for k in range(a.resident.shape[1]):
        if a.resident[i, k] != b.resident[j, k]:
            return False
    if not _same_free(a.device_free_s[i], b.device_free_s[j], now):
        return False
    if not _same_free(a.uplink_free_s[i], b.uplink_free_s[j], now):
        return False
    if not _same_free(a.edge_free_s[i], b.edge_free_s[j], now):
        return False
    if a.battery_j[i] != b.battery_j[j]:
        return False
    for k in range(a.vm_launch_s.shape[1]):
        mine, theirs = a.vm_launch_s[i, k], b.vm_launch_s[j, k]
        if np.isnan(mine) and np.isnan(theirs):
            continue
        if mine != theirs or a.vm_stop_s[i, k] != b.vm_stop_s[j, k] or a.vm_billed_s[i, k] != b.vm_billed_s[j, k]:
            return False
        if a.vm_ready_s[i, k] != b.vm_ready_s[j, k] or not _same_free(a.vm_free_s[i, k], b.vm_free_s[j, k], now):
            return False
    return _same_instances(p, a, i, b, j, now)


@entry
def _try(p, bank, source, parents, moves, path, plan, rewards, target, slots, most, give_up, gains, buffers):  # type: ignore[no-untyped-def]
    """See `Trials.run`."""
    out, record, scratch, action = buffers
    steps = 0
    for b in range(len(parents)):
        slot = slots[b]
        copy_environment(p, source, parents[b], target, slot)
        gain, begin = 0.0, target.t[slot]
        end = begin + moves[b, 0]
        t, last = begin, min(begin + most, len(plan))
        while t < last:
            for k in range(4):
                part = moves[b, 1 + k]
                action[k] = part if t < end and part >= 0 else plan[t, k]
            gain += _move_on(p, bank, target, slot, action, out, record, scratch) - rewards[t]
            steps += 1
            t += 1
            if gain < -give_up:
                gain = -np.inf
                break
            if end <= t < last and _merged(p, target, slot, path, t):
                break
        gains[b] = gain
    return steps


class Trials:
    """Actions and plans tried on copies of one episode's state.

    Args:
        simulator: A simulator just reset; it is left as it is.
        episode: Which of its environments.

    Attributes:
        path: `State` of T + 1 environments: what the plan in force leads to; row 0 is the episode's start.
        plan: int64 (T, 4), in force.
        rewards: float64 (T,), the plan's.
        steps: Intervals simulated so far.
    """

    def __init__(self, simulator: Simulator, episode: int) -> None:
        self.problem: Problem = simulator.problem
        self.bank = simulator.bank
        self._like = simulator.state
        self._length = self.problem.params.episode_intervals
        self.path = self.room(self._length + 1)
        for mine, theirs in zip(self.path, simulator.state, strict=True):
            mine[0] = theirs[episode]
        self.plan: Ints = np.zeros((self._length, 4), dtype=np.int64)
        self.rewards: Floats = np.zeros(self._length)
        self.steps = 0
        self._zero = np.zeros(self._length)
        self._work = self.room(1)
        action = np.zeros(4, dtype=np.int64)
        self._buffers = (np.zeros(len(TERMS)), np.zeros((0, 0)), np.empty(MAX_ARRIVALS), action)
        self._entry: Any = None

    def room(self, size: int) -> State:
        """Space for the states of `size` environments."""
        return State._make(np.zeros((size, *array.shape[1:]), dtype=array.dtype) for array in self._like)

    def follow(self, plan: Ints, begin: int = 0) -> None:
        """Put a plan in force, int64 (T, 4), that differs from the present one from interval `begin` on only."""
        self.plan[begin:] = plan[begin:]
        parents = np.arange(begin, self._length)
        self.rewards[begin:] = self.successors(self.path, parents, self.plan[begin:], self.path, parents + 1)

    def successors(self, source: State, parents: Ints, actions: Ints, target: State, slots: Ints) -> Floats:
        """Take one action from one state each, one after the other: rewards, float64 (B,).

        Args:
            source: States to copy from.
            parents: int64 (B,), which of them.
            actions: int64 (B, 4).
            target: Receives the successors.
            slots: int64 (B,), where.
        """
        moves = np.column_stack([np.ones(len(parents), dtype=np.int64), actions])
        rewards = np.empty(len(parents))
        self._run(source, parents, moves, self._zero, target, slots, 1, np.inf, rewards)
        return rewards

    def rewards_of(self, source: State, parents: Ints, actions: Ints) -> Floats:
        """As `successors`, without keeping them."""
        return self.successors(source, parents, actions, self._work, np.zeros(len(parents), dtype=np.int64))

    def gains(self, begins: Ints, moves: Ints, give_up: float) -> Floats:
        """What replacing blocks of the plan in force would bring over the whole episode, each alone, float64 (B,).

        A trial goes on with the plan's own actions until it has merged with the plan's way (equal futures), has lost
        more than `give_up` (then its gain is -inf), or the episode ends.

        Args:
            begins: int64 (B,), first interval of the block.
            moves: int64 (B, 5): length of the block and the parts of its action; -1 keeps the plan's.
            give_up: See above.
        """
        gains = np.empty(len(begins))
        slots = np.zeros(len(begins), dtype=np.int64)
        self._run(self.path, begins, moves, self.rewards, self._work, slots, self._length, give_up, gains)
        return gains

    def _run(
        self,
        source: State,
        parents: Ints,
        moves: Ints,
        rewards: Floats,
        target: State,
        slots: Ints,
        most: int,
        give_up: float,
        gains: Floats,
    ) -> None:
        """Call the compiled loop: from `source[parents]`, at most `most` intervals each."""
        parents, slots = np.ascontiguousarray(parents), np.ascontiguousarray(slots)
        moves = np.ascontiguousarray(moves)
        p = self.problem.params
        given = (p, self.bank, source, parents, moves, self.path, self.plan, rewards, target, slots)
        arguments = (*given, most, float(give_up), gains, self._buffers)
        if self._entry is None:
            self._entry = entry_point(_try, arguments)
        self.steps += int(self._entry(*arguments))
