"""What the world will do, whatever anybody decides: the exogenous inputs of the coming intervals.

No policy may see this. A critic may while it is trained: the returns of an input-driven process vary mostly with its
inputs, and a baseline that knows them takes that variance away without bias, because they do not depend on the actions
(Mao et al., "Variance reduction for reinforcement learning in input-driven environments", ICLR 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import compiled, link, rng, state, world
from .compiled import entry
from .link import bin_at
from .rng import stream
from .state import Bank, Params, State
from .world import advance, arrival_count, easy_share

__all__ = ["INPUTS", "foresee"]

compiled.refresh(__file__, compiled, link, rng, state, world)

INPUTS = ("rate_bps", "arrivals", "edge_load", "hard_share")
"""Columns of the foreseen inputs."""


@entry
def _foresee(p, bank, s, out):  # type: ignore[no-untyped-def]
    """Fill `out`, float64 (N, H, 4), by letting the world alone move on."""
    for i in range(len(out)):
        first, length = bank.start[s.trace[i]], bank.length[s.trace[i]]
        a, b, x = s.arrival_state[i], s.edge_state[i], s.regime[i]
        for h in range(out.shape[1]):
            t = s.t[i] + h
            base = stream(s.key[i], t)
            out[i, h, 0] = bank.rate_bps[first + bin_at(s.offset[i], t, length)]
            out[i, h, 1] = arrival_count(p, s.arrival_offset[i], a, t, base)
            out[i, h, 2] = p.edge_load[b]
            out[i, h, 3] = 1.0 - easy_share(x)
            a, b, x = advance(p, a, b, x, base)


def foresee(params: Params, bank: Bank, state: State, intervals: int) -> NDArray[np.float64]:
    """The inputs of the next intervals, float64 (N, intervals, 4), columns `INPUTS`; the state is left as it is."""
    out = np.empty((len(state.t), intervals, len(INPUTS)))
    _foresee(params, bank, state, out)
    return out
