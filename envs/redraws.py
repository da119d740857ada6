"""An interval's requests, drawn anew: what could have come instead, to whoever does not know what will come.

A redraw has the interval's own link, arrival rate, edge load and difficulty; how many requests arrive, when, which
sample each is and how long it takes are drawn again, from the distributions of `envs.world` and `envs.path`. Redraws of
an interval are stratified against each other (Latin hypercubes; McKay, Beckman & Conover, Technometrics 1979): each by
itself is distributed as the kernel's draw, their mean varies less than that of independent ones.
"""

from __future__ import annotations

import numpy as np

from .compiled import inner
from .path import _draw_rank
from .rng import TABLE_BITS, stream, uniform
from .world import arrival_count_of, arrival_times, easy_share

__all__ = ["ARRIVAL", "CLOUD", "DEVICE", "EDGE", "RANK", "ROW", "redraw"]

ARRIVAL, RANK, DEVICE, EDGE, CLOUD, ROW = range(6)
"""Columns of a request: arrival (s), rank of its sample, indices into the tables of service factors; their number."""

_TIMES = 1 << 20
_TWO_POW_52 = 4503599627370496.0
_SHIFT = np.uint64(64 - TABLE_BITS)


@inner
def _shuffle(key, count, order):  # type: ignore[no-untyped-def]
    """Fill `order` with a random permutation of 0 .. count - 1 (Fisher and Yates)."""
    for k in range(count):
        order[k] = k
    for k in range(count - 1, 0, -1):
        other = int(uniform(stream(key, k)) * (k + 1))
        order[k], order[other] = order[other], order[k]


@inner
def _stratum(key, place, count, order):  # type: ignore[no-untyped-def]
    """Random bits whose place among all 64-bit words is in stratum `order[place]` of `count`."""
    u = (order[place] + uniform(stream(key, count + place))) / count
    return np.uint64(min(u * _TWO_POW_52, _TWO_POW_52 - 1.0)) << np.uint64(12)


@inner
def redraw(p, s, i, base, count, begins, requests, order, times):  # type: ignore[no-untyped-def]
    """Draw the interval that environment `i` is about to enter `count` times.

    Args:
        p: `Params`.
        s: `State`; of environment `i` only what moves by itself is read.
        i: Environment.
        base: Stream of these redraws.
        count: Redraws, K.
        begins: int64 (K + 1,), overwritten: where the rows of each begin.
        requests: float64 (at least K MAX_ARRIVALS, ROW), overwritten.
        order: int64 (at least K,), scratch.
        times: float64 (MAX_ARRIVALS,), scratch.
    """
    key = stream(base, 0)
    _shuffle(key, count, order)
    begins[0], most = 0, 0
    for k in range(count):
        bits = _stratum(key, k, count, order)
        n = arrival_count_of(p, s.arrival_offset[i], s.arrival_state[i], s.t[i], bits)
        begins[k + 1] = begins[k] + n
        most = max(most, n)
        arrival_times(p, s.arrival_offset[i], s.t[i], n, stream(base, _TIMES + k), times)
        for j in range(n):
            requests[begins[k] + j, ARRIVAL] = times[j]
    easy = easy_share(s.regime[i])
    for j in range(most):
        some = 0  # redraws that have a request j: they share its strata
        for k in range(count):
            some += 1 if begins[k + 1] - begins[k] > j else 0
        for column in range(RANK, ROW):
            key = stream(base, 1 + j * ROW + column)
            _shuffle(key, some, order)
            place = 0
            for k in range(count):
                if begins[k + 1] - begins[k] > j:
                    bits = _stratum(key, place, some, order)
                    drawn = _draw_rank(p, bits, easy) if column == RANK else int(bits >> _SHIFT)
                    requests[begins[k] + j, column] = drawn
                    place += 1
