"""What an interval costs at least, whatever happened before it: its requests served from empty queues.

For every placement the least cost over thresholds and routes, given that every request of the interval is answered. It
is a lower bound because every time on a request's way grows with the times at which the resources are free: FIFO queues
are max-plus maps and a transfer that begins later ends later. What stays in: the requests' own samples, service factors
and order, the link's integral, waiting among the interval's own requests and behind those of the interval before, the
pause of a move. What is left out: all earlier backlog, cold starts, the limit of instances. See docs/bounds.md.
"""

from __future__ import annotations

import numpy as np

from . import compiled, link, path, rng, state, world
from .compiled import entry, inner
from .link import bin_at, send
from .path import _MASK, _S10, _S21, rank_of
from .rng import mix, stream
from .world import REQUEST, advance, arrival_count, arrival_times, easy_share

__all__ = ["COEFFICIENTS", "floors"]

compiled.refresh(__file__, compiled, link, path, rng, state, world)

COEFFICIENTS = ("latency_s", "usd", "leakage", "accuracy_loss", "failure")
"""Columns of the cost coefficients: cost of a second, a dollar, a unit of leakage, of accuracy loss and of failures;
dollars are summed over the interval, the others averaged over its requests."""

_NEVER = np.inf
_DEVICE, _UPLINK, _EDGE = 0, 1, 2


@inner
def _gather(p, s, i, base, times, requests):  # type: ignore[no-untyped-def]
    """Fill rows of `requests`: arrival, rank, and the factors of device, edge, VM and function. Returns the count."""
    n = arrival_count(p, s.arrival_offset[i], s.arrival_state[i], s.t[i], base)
    arrival_times(p, s.arrival_offset[i], s.t[i], n, base, times)
    easy = easy_share(s.regime[i])
    for j in range(n):
        h0 = stream(base, REQUEST + j)
        h1 = mix(h0 + np.uint64(0x632BE59BD9B4E019))
        row = requests[j]
        row[0], row[1] = times[j], rank_of(p, s.arrival_offset[i], s.t[i], j, h1, easy)
        row[2], row[3] = p.device_noise[(h1 >> _S21) & _MASK], p.edge_noise[(h1 >> _S10) & _MASK]
        row[4], row[5] = p.vm_noise[h0 & _MASK], p.faas_noise[h0 & _MASK]
    return n


@inner
def _half_trips(p, bank, link, end_s, limit_s):  # type: ignore[no-untyped-def]
    """At the edge at the earliest, and the least half round trip back, for a transfer that ends at `end_s` or later."""
    first, length, offset = link
    index = int(end_s / p.interval_s)
    last = int(limit_s / p.interval_s)
    ready, back = _NEVER, _NEVER
    for b in range(index, last + 1):
        rtt = bank.rtt_s[first + bin_at(offset, b, length)]
        half = 0.5 * (p.rtt_s if np.isnan(rtt) else rtt)
        ready = min(ready, max(end_s, b * p.interval_s) + half)
        back = min(back, half)
    return ready, back


@inner
def _to_cloud(p, bank, requests, n, link, load, cuts, threshold, free, way):  # type: ignore[no-untyped-def]
    """All requests through device, uplink and edge, from the times `free` at which these are free (overwritten).

    Fills rows of `way`: time at the edge's exit (or of the answer at the device), least half trip back, exit stage,
    whether it goes on to the cloud. Returns whether all can be in time, dollars so far, leakage, and accuracy loss.
    """
    cut_device, cut_edge = cuts
    work = 1 if threshold == p.exit_of.shape[0] - 1 else 0
    full = p.correct_by_rank.shape[1] - 1
    first, length, offset = link
    usd, leaked, loss = 0.0, 0.0, 0.0
    for j in range(n):
        row = requests[j]
        rank, limit = int(row[1]), row[0] + p.timeout_s
        exit_index = p.exit_by_rank[threshold, rank]
        last = p.exit_position[exit_index]
        loss += np.float64(p.correct_by_rank[rank, full]) - np.float64(p.correct_by_rank[rank, exit_index])
        now, back = row[0], 0.0
        stop = min(last, cut_device)
        if stop > 0:
            now = max(now, free[_DEVICE]) + p.device_work_s[work, stop] * row[2]
            free[_DEVICE] = now
        if last > cut_device:
            now = max(now, free[_UPLINK])
            bits = 8.0 * p.cut_bytes[cut_device]
            now = send(bank.rate_bps, first, length, offset, p.interval_s, now, bits, limit)
            if now > limit:
                return False, usd, leaked, loss
            free[_UPLINK] = now
            leaked += p.leakage[cut_device]
            now, back = _half_trips(p, bank, link, now, limit)
            if cut_edge > cut_device:
                seconds = p.edge_work_s[work, min(last, cut_edge)] - p.edge_work_s[work, cut_device]
                seconds *= row[3] / (1.0 - load)
                now = max(now, free[_EDGE]) + seconds
                free[_EDGE] = now
                usd += np.ceil(seconds * 1000.0 - 2e-6) * p.usd_per_edge_ms + p.usd_per_edge_request
        if now > limit:
            return False, usd, leaked, loss
        way[j, 0], way[j, 1], way[j, 2], way[j, 3] = now, back, last, 1.0 if last > cut_edge else 0.0
    return True, usd, leaked, loss


@inner
def _invocation_usd(p, seconds):  # type: ignore[no-untyped-def]
    """Dollars of a warm invocation."""
    steps = np.ceil((seconds * 1000.0 - 2e-6) / p.faas_granularity_ms)
    billed = max(steps * p.faas_granularity_ms, np.float64(p.faas_minimum_ms))
    return billed * p.usd_per_faas_ms + p.usd_per_faas_request


@inner
def _vm_end(servers, count, ready, seconds):  # type: ignore[no-untyped-def]
    """Serve at the VM that is free first; `count` 0: there is always one free."""
    if count == 0:
        return ready + seconds
    best = 0
    for k in range(1, count):
        if servers[k] < servers[best]:
            best = k
    servers[best] = max(ready, servers[best]) + seconds
    return servers[best]


@inner
def _finish(p, requests, n, cut, threshold, route, vms, way, servers):  # type: ignore[no-untyped-def]
    """Through the cloud and back: the sum of latencies (infinite if a request is too late) and dollars there.

    Route 0: VMs, `vms` of them (0: any number); 1: warm functions; 2: the faster of the two, free of charge.
    """
    work = 1 if threshold == p.exit_of.shape[0] - 1 else 0
    servers[:] = 0.0
    total, usd = 0.0, 0.0
    for j in range(n):
        now = way[j, 0]
        row = requests[j]
        if way[j, 3] > 0.0:
            last = int(way[j, 2])
            now += 8.0 * p.cut_bytes[cut] / p.backhaul_bps + 0.5 * p.backhaul_rtt_s
            vm_s = (p.vm_work_s[work, last] - p.vm_work_s[work, cut]) * row[4]
            faas_s = (p.faas_work_s[work, last] - p.faas_work_s[work, cut]) * row[5]
            if route == 0:
                now = _vm_end(servers, vms, now, vm_s)
            elif route == 1:
                now += faas_s
                usd += _invocation_usd(p, faas_s)
            else:
                now += min(vm_s, faas_s)
            now += 0.5 * p.backhaul_rtt_s
            usd += p.cut_bytes[cut] * p.usd_per_transit_byte + p.result_bytes * p.usd_per_egress_byte
        now += way[j, 1]
        if now > row[0] + p.timeout_s:
            return _NEVER, usd
        total += now - row[0]
    return total, usd


@inner
def _take(best, coefficients, n, latency_s, usd, leaked, loss):  # type: ignore[no-untyped-def]
    """Lower `best`, float64 (W,), by an outcome where that is cheaper."""
    if latency_s == _NEVER:  # not even at a price of zero
        return
    for w in range(len(coefficients)):
        c = coefficients[w]
        cost = (c[0] * latency_s + c[2] * leaked + c[3] * loss) / n + c[1] * usd
        best[w] = min(best[w], cost)


@inner
def _same_exits(p, requests, n, a, b):  # type: ignore[no-untyped-def]
    for j in range(n):
        rank = int(requests[j, 1])
        if p.exit_by_rank[a, rank] != p.exit_by_rank[b, rank]:
            return False
    return True


@inner
def _failing(p, requests, n, coefficients, fail):  # type: ignore[no-untyped-def]
    """Least cost of the interval if some of its requests fail: the failures alone, and the best luck with accuracy."""
    lucky = 0
    full = p.correct_by_rank.shape[1] - 1
    for j in range(n):
        rank = int(requests[j, 1])
        right = False
        for e in range(full):
            right = right or p.correct_by_rank[rank, e] > p.correct_by_rank[rank, full]
        lucky += 1 if right else 0
    for w in range(len(coefficients)):
        c = coefficients[w]
        fail[w] = _NEVER
        for f in range(1, n + 1):
            gain = min(lucky, n - f) / (n - f) if f < n else 0.0
            fail[w] = min(fail[w], f * (c[4] + c[0] * p.timeout_s) / n - c[3] * gain)


@inner
def _placement_floor(p, bank, known, start, q, levels, slots, coefficients, best, after, room):  # type: ignore[no-untyped-def]
    """Lower `best`, float64 (W, levels + 1), by every threshold and route; and `after`, if there is no backlog."""
    requests, n, link, load = known
    begin, before, follows, pause_s = start
    free, way, servers = room
    cuts = (p.placements[q, 0], p.placements[q, 1])
    never = p.exit_of.shape[0] - 1
    for threshold in range(never + 1):
        if 0 < threshold < never and _same_exits(p, requests, n, threshold, threshold - 1):
            continue
        for r in range(3):
            free[r] = max(before[r], begin) if follows else begin
        free[_DEVICE] += pause_s
        free[_EDGE] += pause_s
        fine, usd, leaked, loss = _to_cloud(p, bank, requests, n, link, load, cuts, threshold, free, way)
        if not fine:
            continue
        if not follows and pause_s == 0.0:
            for r in range(3):
                after[r] = min(after[r], free[r])
        clouded = False
        for j in range(n):
            clouded = clouded or way[j, 3] > 0.0
        latency_s, more = _finish(p, requests, n, cuts[1], threshold, 1, 0, way, servers)
        for level in range(levels + 1):
            _take(best[:, level], coefficients, n, latency_s, usd + more, leaked, loss)
        if not clouded:
            continue
        for level in range(1, levels + 1):
            used = 0 if level == levels and levels < slots else level
            for route in range(0, 3, 2):
                latency_s, more = _finish(p, requests, n, cuts[1], threshold, route, used, way, servers)
                _take(best[:, level], coefficients, n, latency_s, usd + more, leaked, loss)


@inner
def _copy_row(answered, source, target):  # type: ignore[no-untyped-def]
    """Copy the costs after one placement to those after another."""
    for w in range(answered.shape[0]):
        for level in range(answered.shape[1]):
            for q in range(answered.shape[3]):
                for pause in range(2):
                    answered[w, level, target, q, pause] = answered[w, level, source, q, pause]


@entry
def floors(p, bank, s, i, levels, coefficients, before, after, answered, fail, buffers):  # type: ignore[no-untyped-def]
    """Least costs of the interval that environment `i` is about to enter; the world of `i` then moves on by one.

    Args:
        p: `Params`.
        bank: `Bank`.
        s: `State`; of environment `i` only what moves by itself is read and changed.
        i: Environment.
        levels: VM pools to look at: 0 to `levels` VMs, the last one standing for so many or more.
        coefficients: float64 (W, 5), see `COEFFICIENTS`; not negative.
        before: float64 (P + 1, 3): when device, uplink and edge are free if a placement was in force in the interval
            before and all its requests were answered; the last row: nothing is known.
        after: float64 (P + 1, 3), overwritten: the same for this interval.
        answered: float64 (W, levels + 1, P + 1, P, 2), overwritten: least cost if all requests are answered, by pool,
            placement before, placement, and whether the placement has to be loaded.
        fail: float64 (W,), overwritten: least cost if a request fails.
        buffers: Scratch: float64 (MAX_ARRIVALS,), (MAX_ARRIVALS, 6), (MAX_ARRIVALS, 4), (levels + 1,), (3,).

    Returns:
        Requests that arrive.
    """
    times, requests, way, servers, free = buffers
    base = stream(s.key[i], s.t[i])
    n = _gather(p, s, i, base, times, requests)
    begin = s.t[i] * p.interval_s
    link = (bank.start[s.trace[i]], bank.length[s.trace[i]], s.offset[i])
    load = p.edge_load[s.edge_state[i]]
    slots = s.vm_launch_s.shape[1]
    count = len(p.placements)
    answered[:] = np.inf if n > 0 else 0.0
    after[:] = 0.0
    fail[:] = np.inf
    if n > 0:
        _failing(p, requests, n, coefficients, fail)
        after[:count, :] = np.inf
    if n > 0:
        for a in range(count, -1, -1):
            late = before[a, 0] > begin or before[a, 1] > begin or before[a, 2] > begin
            if a < count and not late:
                _copy_row(answered, count, a)
                continue
            for q in range(count):
                for pause in range(2):
                    start = (begin, before[a], a < count, pause * p.repartition_s)
                    known = (requests, n, link, load)
                    room = (free, way, servers)
                    best = answered[:, :, a, q, pause]
                    _placement_floor(p, bank, known, start, q, levels, slots, coefficients, best, after[q], room)
        for q in range(count):
            if after[q, 0] == np.inf:  # no way to answer all: nothing follows from it
                after[q, :] = 0.0
    s.arrival_state[i], s.edge_state[i], s.regime[i] = advance(
        p, s.arrival_state[i], s.edge_state[i], s.regime[i], base
    )
    s.t[i] += 1
    return n
