"""Beam search over copied kernel states: many ways through an episode at once, the promising ones kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..envs import State
from ..envs.trials import Trials

__all__ = ["beam_search"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_WARM = 3  # classes of warm instances: none, one, more
_PER_STRATUM = 3


def beam_search(trials: Trials, choices: Callable[[int], Ints], width: int) -> Ints:
    """A plan for the whole episode, int64 (T, 4).

    From every state that is kept, every choice is taken on a copy. Kept are those with the best sum of rewards so far
    less what their backlog will cost the next arrivals, a few per set of loaded placements and a share per number of
    warm instances, so that what is an investment (loading a placement, a cold start) is not dropped before it pays.

    Args:
        trials: Of the episode.
        choices: For an interval, the actions to try, int64 (C, 4).
        width: States kept.
    """
    length = len(trials.plan)
    source, selected = trials.path, np.zeros(1, dtype=np.int64)
    totals = np.zeros(1)
    rooms: list[State] = []
    history: list[tuple[Ints, Ints]] = []
    for t in range(length):
        actions = choices(t)
        parents = np.repeat(selected, len(actions))
        if len(rooms) < 2 or len(rooms[t % 2].t) < len(parents):
            size = max(2 * len(parents), width * len(actions))
            rooms = [*rooms, trials.room(size)] if len(rooms) < 2 else _grown(rooms, t % 2, trials, size)
        target = rooms[t % 2]
        tried = np.tile(actions, (len(selected), 1))
        rewards = trials.successors(source, parents, tried, target, np.arange(len(parents)))
        sums = np.repeat(totals, len(actions)) + rewards
        now_s = (t + 1) * trials.problem.params.interval_s
        kept = _select(target, len(parents), sums, _outlook(trials, target, len(parents), now_s), width)
        history.append((kept // len(actions), tried[kept]))
        source, selected, totals = target, kept, sums[kept]
    return _trace_back(history, int(totals.argmax()))


def _grown(rooms: list[State], which: int, trials: Trials, size: int) -> list[State]:
    rooms = list(rooms)
    rooms[which] = trials.room(size)
    return rooms


def _outlook(trials: Trials, state: State, count: int, now_s: float) -> Floats:
    """What backlog will cost: requests that arrive while it lasts wait half of it on average."""
    p = trials.problem.params
    free_s = np.maximum(np.maximum(state.device_free_s[:count], state.uplink_free_s[:count]), state.edge_free_s[:count])
    left_s = np.maximum(free_s - now_s, 0.0)
    weight = float(trials.path.weights[0, 0]) / p.latency_ref_s
    return np.asarray(weight * left_s**2 / (2.0 * p.interval_s))


def _select(state: State, count: int, sums: Floats, outlook: Floats, width: int) -> Ints:
    """Which successors to keep, best first: a few of every stratum and a share for every number of warm instances."""
    score = sums - outlook
    warm = np.minimum((state.faas_free_s[:count] > -np.inf).sum(axis=1), _WARM - 1)
    key = warm.astype(np.int64)
    for column in state.resident[:count].T:
        key = key * 4099 + column + 1
    order = np.lexsort((-score, key))
    ranked, value = key[order], score[order]
    same = np.concatenate([[False], ranked[1:] == ranked[:-1]])
    twin = same & np.concatenate([[False], value[1:] == value[:-1]])
    order, same = order[~twin], same[~twin]
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    order = order[np.arange(len(order)) - starts < _PER_STRATUM]
    order = order[np.argsort(-score[order], kind="stable")]
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[:width] = True
    for level in range(_WARM):
        chosen[np.flatnonzero(warm[order] == level)[: width // 4]] = True
    return np.asarray(order[chosen], dtype=np.int64)


def _trace_back(history: list[tuple[Ints, Ints]], last: int) -> Ints:
    """The actions that lead to one of the last states."""
    plan = np.empty((len(history), 4), dtype=np.int64)
    for t in range(len(history) - 1, -1, -1):
        parents, actions = history[t]
        plan[t] = actions[last]
        last = int(parents[last])
    return plan
