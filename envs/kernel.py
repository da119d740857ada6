"""One control interval of a batch of environments, request by request, compiled.

Requests are served in order of arrival at every resource (an in-order pipeline, as frames of a stream are), so the
waiting time at each follows Lindley's recursion, start = max(ready, free); Kiefer and Wolfowitz's for the VM pool. A
request's whole path is settled when it arrives, hence its latency belongs to the interval in which it arrived and
nothing is gained by delaying it. The plan in force at arrival (cut, threshold, route) stays with the request.

What moves by itself is in `envs.world`, a request's way in `envs.path` (with `envs.link` and `envs.pool`), the measured
row in `envs.observe`. All take the tuples of `envs.state`; physics that broadcasts over arrays is in `envs.physics`.
"""

from __future__ import annotations

import numpy as np

from . import compiled, link, measure, observe, path, pool, rng, state, world
from .compiled import entry, inner
from .measure import column
from .observe import first_row, measure_interval
from .path import settle_request
from .pool import bill_vms, set_target
from .rng import exponential, key_of, stream, uniform
from .state import TERMS
from .world import (
    BOOT,
    OFFSET,
    TRACE,
    WEIGHTS,
    advance,
    arrival_count,
    arrival_times,
    easy_share,
    enter,
    leave_past,
)

__all__ = ["reset", "serve_interval", "step"]

compiled.refresh(__file__, compiled, link, measure, observe, path, pool, rng, state, world)

_ARRIVED, _FAILED, _LATENCY, _LEAKAGE, _LOSS = map(
    TERMS.index, ("arrived", "failed", "latency_s", "leakage", "accuracy_loss")
)
_VM_S, _FAAS_MS, _FAAS_REQUESTS = map(TERMS.index, ("vm_s", "faas_ms", "faas_requests"))
_EDGE_MS, _EDGE_REQUESTS = map(TERMS.index, ("edge_ms", "edge_requests"))
_EGRESS, _TRANSIT = map(TERMS.index, ("egress_bytes", "transit_bytes"))
_DEVICE_J, _MOVES, _USD = map(TERMS.index, ("device_j", "repartitions", "usd"))
_REWARD, _R_LATENCY, _R_COST, _R_PRIVACY, _R_ACCURACY, _R_FAILURE = map(
    TERMS.index,
    ("reward", "reward_latency", "reward_cost", "reward_privacy", "reward_accuracy", "reward_failure"),
)
_PLACEMENT, _AGE, _OTHER = column("placement"), column("placement_age"), column("other_placement")


@inner
def _move_cut(p, s, i, placement, begin_s):  # type: ignore[no-untyped-def]
    """Put a placement in force; pause device and edge for it unless it is kept loaded. Returns pauses paid (0 or 1)."""
    if s.t[i] == 0:
        s.resident[i, :] = -1
        s.resident[i, 0] = placement
        return 0
    slots = s.resident.shape[1]
    found = slots - 1
    loaded = False
    for k in range(slots):
        if s.resident[i, k] == placement:
            found = k
            loaded = True
            break
    for k in range(found, 0, -1):
        s.resident[i, k] = s.resident[i, k - 1]
    s.resident[i, 0] = placement
    if loaded:
        return 0
    s.device_free_s[i] = max(s.device_free_s[i], begin_s) + p.repartition_s
    s.edge_free_s[i] = max(s.edge_free_s[i], begin_s) + p.repartition_s
    return 1


@inner
def _price(p, s, i, out):  # type: ignore[no-untyped-def]
    """Dollars from the interval's integer meters, and the reward with its parts."""
    out[_USD] = (
        out[_VM_S] * p.usd_per_vm_s
        + out[_FAAS_MS] * p.usd_per_faas_ms
        + out[_FAAS_REQUESTS] * p.usd_per_faas_request
        + out[_EDGE_MS] * p.usd_per_edge_ms
        + out[_EDGE_REQUESTS] * p.usd_per_edge_request
        + out[_EGRESS] * p.usd_per_egress_byte
        + out[_TRANSIT] * p.usd_per_transit_byte
    )
    n = max(out[_ARRIVED], 1.0)
    answered = max(out[_ARRIVED] - out[_FAILED], 1.0)
    out[_R_LATENCY] = -s.weights[i, 0] * out[_LATENCY] / n / p.latency_ref_s
    out[_R_COST] = -s.weights[i, 1] * out[_USD] / p.cost_ref_usd
    out[_R_PRIVACY] = -s.weights[i, 2] * out[_LEAKAGE] / n
    out[_R_ACCURACY] = -p.accuracy_penalty * out[_LOSS] / answered
    out[_R_FAILURE] = -p.failure_penalty * out[_FAILED] / n
    out[_REWARD] = out[_R_LATENCY] + out[_R_COST] + out[_R_PRIVACY] + out[_R_ACCURACY] + out[_R_FAILURE]


@inner
def serve_interval(p, bank, s, i, action, out, record, times):  # type: ignore[no-untyped-def]
    """What an action does to environment `i` in one interval: pool, requests, bills, reward; the world stays.

    Returns:
        The interval's stream, its begin (s), the edge server's load, the link (first bin, length, offset).
    """
    out[:] = 0.0
    begin_s = s.t[i] * p.interval_s
    base = stream(s.key[i], s.t[i])
    link = (bank.start[s.trace[i]], bank.length[s.trace[i]], s.offset[i])
    placement = action[0]
    out[_MOVES] = _move_cut(p, s, i, placement, begin_s)
    set_target(p, s, i, action[3], begin_s, stream(base, BOOT))
    plan = (p.placements[placement, 0], p.placements[placement, 1], action[1], action[2])
    load = p.edge_load[s.edge_state[i]]
    world = (easy_share(s.regime[i]), load, link)
    n = arrival_count(p, s.arrival_offset[i], s.arrival_state[i], s.t[i], base)
    arrival_times(p, s.arrival_offset[i], s.t[i], n, base, times)
    for j in range(n):
        settle_request(p, bank, s, i, out, record, times[j], plan, world, base, j)
    last = s.t[i] + 1 == p.episode_intervals
    out[_VM_S] = bill_vms(p, s, i, begin_s + p.interval_s, last)
    out[_DEVICE_J] += p.device_idle_w * p.interval_s
    if p.battery_j > 0.0:
        s.battery_j[i] -= p.device_idle_w * p.interval_s  # work is booked when it is done
    _price(p, s, i, out)
    return base, begin_s, load, link


@inner
def _step_one(p, bank, s, i, action, out, record, times):  # type: ignore[no-untyped-def]
    """Advance environment `i` by one interval."""
    changed = action[0] != s.action[i, 0] or s.t[i] == 0
    base, begin_s, load, link = serve_interval(p, bank, s, i, action, out, record, times)
    placement = action[0]
    measure_interval(p, bank, s, i, out, load, link, begin_s, times)
    row = s.measured[i]
    row[_AGE] = 0.0 if changed else row[_AGE] + 1.0
    row[_OTHER] = s.resident[i, 1] if s.resident.shape[1] > 1 and s.resident[i, 1] >= 0 else placement
    for k in range(4):
        s.action[i, k] = action[k]
        row[_PLACEMENT + k] = action[k]
    s.arrival_state[i], s.edge_state[i], s.regime[i] = advance(
        p, s.arrival_state[i], s.edge_state[i], s.regime[i], base
    )
    s.t[i] += 1


@entry
def step(p, bank, s, actions, out, records, scratch):  # type: ignore[no-untyped-def]
    """Advance every environment of a batch by one interval.

    Args:
        p: `Params`.
        bank: `Bank` of link traces.
        s: `State`, changed in place.
        actions: int64 (N, 4): placement, threshold, route, VM target.
        out: float64 (N, len(TERMS)), overwritten.
        records: float64 (N, MAX_ARRIVALS, len(RECORD_FIELDS)) to be filled per request, or (N, 0, 0) for none.
        scratch: float64 (MAX_ARRIVALS,), overwritten: the kernel allocates nothing.
    """
    for i in range(len(actions)):
        _step_one(p, bank, s, i, actions[i], out[i], records[i], scratch)


@entry
def reset(p, bank, s, chosen, start_action, weights, traces, offsets):  # type: ignore[no-untyped-def]
    """Start the next episode of some environments.

    Args:
        p: `Params`.
        bank: `Bank`.
        s: `State`, changed in place; its `seed`, `stream` and `episode` say which world this is.
        chosen: bool (N,).
        start_action: int64 (4,): what is reported as being in force before the first decision.
        weights: float64 (N, 3); NaN to draw them uniformly from the simplex.
        traces: int64 (N,), index of the link trace; -1 to draw one.
        offsets: int64 (N,), first bin of the window; -1 to draw one.
    """
    for i in range(len(chosen)):
        if chosen[i]:
            _reset_one(p, bank, s, i, start_action, weights[i], traces[i], offsets[i])


@inner
def _reset_one(p, bank, s, i, start_action, fixed_weights, fixed_trace, fixed_offset):  # type: ignore[no-untyped-def]
    """Start the next episode of environment `i`."""
    key = key_of(s.seed[i], s.stream[i], s.episode[i])
    s.key[i] = key
    base = stream(key, 1 << 40)  # apart from every interval's stream
    s.t[i] = 0
    trace = fixed_trace if fixed_trace >= 0 else int(uniform(stream(base, TRACE)) * len(bank.start))
    s.trace[i] = trace
    length = bank.length[trace]
    s.offset[i] = fixed_offset % length if fixed_offset >= 0 else int(uniform(stream(base, OFFSET)) * length)
    enter(p, s, i, base)
    if np.isnan(fixed_weights[0]):
        total = 0.0
        for k in range(3):
            s.weights[i, k] = exponential(stream(base, WEIGHTS + k))
            total += s.weights[i, k]
        for k in range(3):
            s.weights[i, k] /= total
    else:
        for k in range(3):
            s.weights[i, k] = fixed_weights[k]
    for k in range(4):
        s.action[i, k] = start_action[k]
    s.resident[i, :] = -1
    s.device_free_s[i], s.uplink_free_s[i], s.edge_free_s[i] = 0.0, 0.0, 0.0
    s.vm_launch_s[i, :] = np.nan
    s.vm_ready_s[i, :], s.vm_free_s[i, :], s.vm_stop_s[i, :] = 0.0, 0.0, np.inf
    s.vm_billed_s[i, :] = 0
    for k in range(min(p.vm_initial, s.vm_launch_s.shape[1])):
        s.vm_launch_s[i, k] = -3600.0  # long-running: its minimum is behind it
        s.vm_billed_s[i, k] = 3600
    s.faas_free_s[i, :] = -np.inf
    s.faas_seen_s[i, :] = -np.inf
    for k in range(s.faas_order.shape[1]):
        s.faas_order[i, k] = k
    s.flights[i] = 0
    s.battery_j[i] = p.battery_j
    first_row(p, bank, s, i, (bank.start[trace], length, s.offset[i]))
    leave_past(p, s, i, base)  # what was reported is the interval before the first
