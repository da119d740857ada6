"""Who decides how many VMs run: a small network beside the actor, asked every few intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..envs import State

__all__ = ["PoolControl", "PoolNetwork"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_TARGET = 3  # column of the action
_SHORTEST, _LONGEST = 60, 300  # intervals for which a pool is given
_CHEAP, _ELSEWHERE = 0.25, 0.1  # weight of the cost below which pools are often given; how much less often above it
_POOLS = np.array([1, 1, 1, 1, 1, 2, 2, 3])  # what is given; the smallest pool is the one that pays most often


class PoolNetwork:
    """What each pool size is predicted to bring, from an encoded observation; one hidden layer, NumPy only.

    Args:
        arrays: Parameters by name, see `shapes`.
        margin: Predicted gain that a change must bring, in reward per interval.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], margin: float = 0.0) -> None:
        self.arrays, self.margin = dict(arrays), margin

    @staticmethod
    def shapes(observation: int, hidden: int, targets: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters."""
        return {
            "0.weight": (hidden, observation),
            "0.bias": (hidden,),
            "2.weight": (targets, hidden),
            "2.bias": (targets,),
        }

    @classmethod
    def untrained(cls, observation: int, hidden: int, targets: int, margin: float = 0.0) -> PoolNetwork:
        """Knows nothing and rents nothing."""
        arrays = {
            name: np.zeros(shape, dtype=np.float32) for name, shape in cls.shapes(observation, hidden, targets).items()
        }
        arrays["2.bias"][1:] = -1e3
        return cls(arrays, margin)

    def gains(self, observations: Floats) -> Floats:
        """Predicted relative worth of each target in reward per interval, (N, D) to (N, targets)."""
        a = self.arrays
        hidden = np.maximum(observations @ a["0.weight"].T + a["0.bias"], 0.0)
        result: Floats = hidden @ a["2.weight"].T + a["2.bias"]
        return result

    def targets(self, observations: Floats, current: Ints) -> Ints:
        """The most promising target of each, or the current one where it is nearly as good, int64 (N,)."""
        gains, rows = self.gains(observations), np.arange(len(observations))
        best = gains.argmax(axis=1)
        change = gains[rows, best] > gains[rows, current] + self.margin
        return np.where(change, best, current).astype(np.int64)


class PoolControl:
    """The VM targets that come into force while a policy learns.

    A target holds for `review` intervals: a VM boots for tens of seconds and is billed for a minute. A share of the
    episodes begins with a pool that is given for a while, so that the rest of the policy learns to use VMs and what
    they are worth can be found out (exploring starts, Sutton and Barto 2018, section 5.3): many where the preference
    makes dollars count little, few where a VM cannot pay.

    Args:
        review: Intervals between decisions.
        exploration: Share of the episodes that begin with a given pool where dollars weigh less than a quarter.
        most: Largest target.
    """

    def __init__(self, review: int, exploration: float, most: int) -> None:
        self._review, self._exploration, self._most = review, exploration if most else 0.0, most

    def targets(self, state: State, decided: Ints) -> Ints:
        """Targets in force; a function of the state alone (the episode's key is the randomness): resuming repeats it.

        Args:
            state: Before the interval.
            decided: What would be decided now, int64 (N,).
        """
        target = np.where(self.due(state), decided, state.action[:, _TARGET])
        if self._exploration:
            bits = _mixed(state.key)
            share = np.where(state.weights[:, 1] < _CHEAP, self._exploration, _ELSEWHERE * self._exploration)
            given = (bits & np.uint64(0xFFFF)).astype(np.float64) / 0x10000 < share
            until = _SHORTEST + ((bits >> np.uint64(32)) % np.uint64(_LONGEST - _SHORTEST)).astype(np.int64)
            draw = ((bits >> np.uint64(16)) % np.uint64(len(_POOLS))).astype(np.int64)
            pool = np.minimum(_POOLS[draw], self._most)
            target = np.where(given & (state.t < until), pool, target)
        return target

    def due(self, state: State) -> NDArray[np.bool_]:
        """Where a decision is due, bool (N,)."""
        return np.asarray(state.t % self._review == 0)


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits that depend on every bit of the keys (one round of SplitMix64)."""
    z = keys + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed
