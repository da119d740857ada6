"""What moves whatever anybody decides: arrivals, the edge server's background load, the difficulty of the inputs.

Everything here is a function of the state and of the interval's random stream, never of an action, so the world ahead
can be computed without simulating (`envs.foresight`).
"""

from __future__ import annotations

import numpy as np

from .compiled import inner
from .rng import exponential, poisson, stream, uniform

__all__ = [
    "BOOT",
    "MAX_ARRIVALS",
    "OFFSET",
    "REQUEST",
    "TRACE",
    "WEIGHTS",
    "advance",
    "arrival_count",
    "arrival_count_of",
    "arrival_times",
    "easy_share",
    "enter",
    "leave_past",
]

MAX_ARRIVALS = 512
"""Arrivals of one interval are capped here; scenarios keep their mean far below (at most 300)."""

# Counters of an interval's stream.
_COUNT, _ARRIVAL_SWITCH, _ARRIVAL_TO, _EDGE_SWITCH, _EDGE_TO, _NORMAL_A, _NORMAL_B, _LAST_GAP = range(8)
BOOT = 16
"""Counter of the boot times of the VMs that an interval launches."""
REQUEST = 64
"""Counter of an interval's first request; the others follow."""

# Counters of the stream of an episode's start.
TRACE, OFFSET, _ARRIVAL_OFFSET, _ARRIVAL_STATE, _EDGE_STATE = range(5)
WEIGHTS = 8
"""Counter of the first of three preference weights."""
_FIRST_ARRIVAL_SWITCH, _FIRST_ARRIVAL_TO, _FIRST_EDGE_SWITCH, _FIRST_EDGE_TO = range(16, 20)


@inner
def _switch(state, states, leave, base, switch, target):  # type: ignore[no-untyped-def]
    """The next state of a Markov chain that leaves a state with a given probability to any other, equally likely."""
    if states == 1 or uniform(stream(base, switch)) >= leave:
        return state
    step = 1 + int(uniform(stream(base, target)) * (states - 1))
    return (state + step) % states


@inner
def _stationary(leave, bits):  # type: ignore[no-untyped-def]
    """A state drawn from the chain's stationary distribution (proportional to the mean sojourn)."""
    total = 0.0
    for k in range(len(leave)):
        total += 1.0 / leave[k]
    u = uniform(bits) * total
    for k in range(len(leave)):
        u -= 1.0 / leave[k]
        if u < 0.0:
            return k
    return len(leave) - 1


@inner
def _normal(base):  # type: ignore[no-untyped-def]
    """A standard normal draw (Box and Muller)."""
    radius = np.sqrt(-2.0 * np.log(uniform(stream(base, _NORMAL_A))))
    return radius * np.cos(2.0 * np.pi * uniform(stream(base, _NORMAL_B)))


@inner
def arrival_count(p, offset, arrival_state, t, base):  # type: ignore[no-untyped-def]
    """Requests that arrive in interval `t`: recorded (read from `offset` on), or Poisson at the Markov state's rate."""
    return arrival_count_of(p, offset, arrival_state, t, stream(base, _COUNT))


@inner
def arrival_count_of(p, offset, arrival_state, t, bits):  # type: ignore[no-untyped-def]
    """The same from 64 random bits."""
    if len(p.arrival_counts) > 0:
        return min(p.arrival_counts[(offset + t) % len(p.arrival_counts)], MAX_ARRIVALS)
    return poisson(p.arrival_rps[arrival_state] * p.interval_s, bits, MAX_ARRIVALS)


@inner
def arrival_times(p, offset, t, n, base, times):  # type: ignore[no-untyped-def]
    """Fill `times` with the instants of the `n` arrivals of interval `t`: recorded, or order statistics of uniforms."""
    begin_s = t * p.interval_s
    if len(p.arrival_share) > 0:
        first = p.arrival_first[(offset + t) % len(p.arrival_first)]
        for j in range(n):
            times[j] = begin_s + p.arrival_share[first + j] * p.interval_s
        return
    total = 0.0
    for j in range(n):
        total += exponential(stream(base, REQUEST + j))
        times[j] = total
    total += exponential(stream(base, _LAST_GAP))
    scale = p.interval_s / total
    for j in range(n):
        times[j] = begin_s + times[j] * scale


@inner
def easy_share(regime):  # type: ignore[no-untyped-def]
    """Probability that a request's sample is of the easy half.

    P(hard) = logistic(1.7 x) is within 0.01 of the normal distribution function, so its mean over time is 1/2 and the
    samples drawn over time are the whole test set.
    """
    return 1.0 / (1.0 + np.exp(1.7 * regime))


@inner
def advance(p, arrival_state, edge_state, regime, base):  # type: ignore[no-untyped-def]
    """Arrival state, edge state and difficulty regime of the next interval."""
    a, b = arrival_state, edge_state
    a = _switch(a, len(p.arrival_rps), p.arrival_leave[a], base, _ARRIVAL_SWITCH, _ARRIVAL_TO)
    b = _switch(b, len(p.edge_load), p.edge_leave[b], base, _EDGE_SWITCH, _EDGE_TO)
    return a, b, p.regime_keep * regime + np.sqrt(1.0 - p.regime_keep**2) * _normal(base)


@inner
def enter(p, s, i, base):  # type: ignore[no-untyped-def]
    """Draw the world of the interval before an episode's first, the one that is reported before the first decision."""
    if len(p.arrival_counts) > 0:
        s.arrival_offset[i] = int(uniform(stream(base, _ARRIVAL_OFFSET)) * len(p.arrival_counts))
    s.arrival_state[i] = _stationary(p.arrival_leave, stream(base, _ARRIVAL_STATE))
    s.edge_state[i] = _stationary(p.edge_leave, stream(base, _EDGE_STATE))
    s.regime[i] = _normal(base)


@inner
def leave_past(p, s, i, base):  # type: ignore[no-untyped-def]
    """Move arrivals and edge load on from the reported interval to the episode's first."""
    a, b = s.arrival_state[i], s.edge_state[i]
    leave_a, leave_b = p.arrival_leave[a], p.edge_leave[b]
    s.arrival_state[i] = _switch(a, len(p.arrival_rps), leave_a, base, _FIRST_ARRIVAL_SWITCH, _FIRST_ARRIVAL_TO)
    s.edge_state[i] = _switch(b, len(p.edge_load), leave_b, base, _FIRST_EDGE_SWITCH, _FIRST_EDGE_TO)
