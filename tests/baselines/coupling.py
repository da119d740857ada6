"""The bound's own step fed with the requests that the kernel draws, to be held against the kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from edgecloud.envs import Problem, Simulator
from edgecloud.envs.coupled import CLOUD_WAYS, cheapest, served
from edgecloud.envs.path import _MASK, _S10, _S21, _draw_rank
from edgecloud.envs.redraws import ROW
from edgecloud.envs.rng import mix, stream
from edgecloud.envs.world import MAX_ARRIVALS, REQUEST, arrival_count, arrival_times, easy_share

_MIXER = np.uint64(0x632BE59BD9B4E019)


@njit(error_model="numpy", _nrt=False)
def _serve(p, bank, s, i, plan, c, half, free, totals, costs, requests, times, least):  # type: ignore[no-untyped-def]
    base = stream(s.key[i], s.t[i])
    n = arrival_count(p, s.arrival_offset[i], s.arrival_state[i], s.t[i], base)
    arrival_times(p, s.arrival_offset[i], s.t[i], n, base, times)
    for j in range(n):
        h0 = stream(base, REQUEST + j)
        h1 = mix(h0 + _MIXER)
        row = requests[j]
        row[0], row[1] = times[j], _draw_rank(p, h1, easy_share(s.regime[i]))
        row[2], row[3], row[4] = (h1 >> _S21) & _MASK, (h1 >> _S10) & _MASK, h0 & _MASK
    link = (bank.start[s.trace[i]], bank.length[s.trace[i]], s.offset[i])
    known = (link, p.edge_load[s.edge_state[i]], half)
    served(p, bank, known, requests, 0, n, plan, c, free, totals, costs)
    for way in range(CLOUD_WAYS):
        least[way] = cheapest(p, c, n, totals[way], costs[way], 0.0, 0.0, times) if n > 0 else 0.0
    return n


class Served(NamedTuple):
    """What the bound says of one interval."""

    free: np.ndarray  # (3,)
    failed: np.ndarray  # (ways, n)
    least: np.ndarray  # (ways,)


def serve(problem: Problem, simulator: Simulator, s: Any, i: int, action: np.ndarray, c: Any, free: Any) -> Served:
    """Serve environment `i`'s next interval, with the kernel's own requests, from given free times."""
    p, bank = problem.params, simulator.bank
    rtt = np.where(np.isnan(bank.rtt_s), p.rtt_s, bank.rtt_s) / 2
    never = len(p.exit_of) - 1
    plan = (*p.placements[action[0]].tolist(), int(action[1]), 1 if action[1] == never else 0)
    after, totals, least = np.array(free, dtype=np.float64), np.zeros((CLOUD_WAYS, 5)), np.zeros(CLOUD_WAYS)
    costs, requests, times = np.zeros((CLOUD_WAYS, MAX_ARRIVALS)), np.zeros((MAX_ARRIVALS, ROW)), np.zeros(MAX_ARRIVALS)
    half = (float(rtt.min()), float(rtt.max()))
    n = _serve(p, bank, s, i, plan, np.asarray(c), half, after, totals, costs, requests, times, least)
    return Served(after, np.isinf(costs[:, :n]), least)
