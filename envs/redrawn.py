"""What an interval could have brought: its terms with other draws of its requests, from the same state and world."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import compiled, kernel, link, path, pool, rng, state, trials, world
from .compiled import entry, entry_point
from .kernel import serve_interval
from .rng import stream
from .simulator import Simulator
from .state import TERMS, State
from .trials import copy_environment
from .world import MAX_ARRIVALS

__all__ = ["RedrawnTerms"]

compiled.refresh(__file__, compiled, link, path, pool, rng, state, world, kernel, trials)

_KEYS = 1 << 52  # counter of an episode's streams of redraws, apart from its intervals'


@entry
def _fill(p, bank, s, spare, actions, terms, record, scratch):  # type: ignore[no-untyped-def]
    """Fill `terms`, float64 (N, K, len(TERMS)); `spare` has room for one environment."""
    for i in range(len(actions)):
        for k in range(terms.shape[1]):
            copy_environment(p, s, i, spare, 0)
            spare.key[0] = stream(stream(s.key[i], _KEYS + s.t[i]), k)
            serve_interval(p, bank, spare, 0, actions[i], terms[i, k], record, scratch)


class RedrawnTerms:
    """The coming interval's terms under given actions, its requests drawn anew several times.

    Link, arrival rate, edge load and difficulty are the interval's own, and so are recorded arrivals; number and
    instants of the requests, their samples and service times, boots and cold starts are other draws from the same
    distributions. So each draw has the distribution that the kernel's own has given the state, and the mean of K varies
    less: it is the reward's expectation, estimated (compare `envs.redraws`, whose draws are stratified for the causal
    bound).

    Args:
        simulator: Never changed.
        count: Draws, K.
    """

    def __init__(self, simulator: Simulator, count: int) -> None:
        self._simulator = simulator
        self._spare = State._make(np.zeros((1, *a.shape[1:]), dtype=a.dtype) for a in simulator.state)
        self._terms = np.zeros((simulator.num_envs, count, len(TERMS)))
        self._buffers = np.zeros((0, 0)), np.empty(MAX_ARRIVALS)
        self._entry: Any = None

    def __call__(self, actions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Terms of each draw, float64 (N, K, len(TERMS)), a view that the next call overwrites.

        Args:
            actions: int64 (N, 4).
        """
        s = self._simulator
        given = s.problem.params, s.bank, s.state, self._spare, np.ascontiguousarray(actions), self._terms
        arguments = (*given, *self._buffers)
        if self._entry is None:
            self._entry = entry_point(_fill, arguments)
        self._entry(*arguments)
        return self._terms
