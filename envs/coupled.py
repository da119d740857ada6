"""One interval served from earliest free times: its least cost, and the earliest free times after it.

The requests go the kernel's way (`envs.path`), from free times that are no later than the true ones. Then no request is
earlier in truth, none is answered that fails here, and the free times after are again no later than the true ones; a
failure that is none here can only take the queues behind it out of this, which `cheapest` allows for. What is left out:
cold starts, the limit of instances, waiting for VMs, pauses. Proofs in docs/bounds.md.
"""

from __future__ import annotations

import numpy as np

from .compiled import inner
from .floors import _half_trips, _invocation_usd
from .link import send
from .redraws import ARRIVAL, CLOUD, DEVICE, EDGE, RANK

__all__ = ["CLOUD_WAYS", "cheapest", "look_up", "served"]

CLOUD_WAYS = 2
"""Ways through the cloud: 0 warm functions; 1 the faster of a VM without a queue and a function, free of charge."""

_NEVER = np.inf
_FAILED, _SUM, _MOST, _LUCKY, _LOSSES = range(5)  # of a way: forced failures; of the others: cost, largest, exits


@inner
def _cloud_cost(p, row, work, last, cut, way):  # type: ignore[no-untyped-def]
    """Seconds in the cloud and its dollars but for the bytes."""
    vm_s = (p.vm_work_s[work, last] - p.vm_work_s[work, cut]) * p.vm_noise[int(row[CLOUD])]
    faas_s = (p.faas_work_s[work, last] - p.faas_work_s[work, cut]) * p.faas_noise[int(row[CLOUD])]
    if way == 1:
        return min(vm_s, faas_s), 0.0
    return faas_s, _invocation_usd(p, faas_s)


@inner
def _edge_arrival(p, bank, link, half, end_s, limit_s):  # type: ignore[no-untyped-def]
    """At the edge at the earliest and the least way back, for a transfer that ends at `end_s` or later."""
    if half[0] == half[1]:
        return end_s + half[0], half[0]
    return _half_trips(p, bank, link, end_s, limit_s)


@inner
def _until_cloud(p, bank, known, row, plan, free):  # type: ignore[no-untyped-def]
    """One request through device, uplink and edge; `free` moves on.

    Returns:
        When it is there at the earliest (infinite: it fails), the least way back, dollars, leakage, its last stage.
    """
    link, load, half = known
    cut_device, cut_edge, threshold, work = plan
    arrival, rank = row[ARRIVAL], int(row[RANK])
    limit = arrival + p.timeout_s
    last = p.exit_position[p.exit_by_rank[threshold, rank]]
    now, back, usd, leaked = arrival, 0.0, 0.0, 0.0
    stop = min(last, cut_device)
    if stop > 0:
        now = max(now, free[0]) + p.device_work_s[work, stop] * p.device_noise[int(row[DEVICE])]
        free[0] = max(free[0], min(now, limit))
        if now > limit:
            return _NEVER, 0.0, 0.0, 0.0, last
    if last <= cut_device:
        return now, 0.0, 0.0, 0.0, last
    begin = max(now, free[1])
    bits = 8.0 * p.cut_bytes[cut_device]
    if begin >= limit:
        return _NEVER, 0.0, 0.0, 0.0, last
    now = send(bank.rate_bps, link[0], link[1], link[2], p.interval_s, begin, bits, limit)
    free[1] = min(now, limit)
    if now > limit:
        return _NEVER, 0.0, 0.0, 0.0, last
    leaked = p.leakage[cut_device]
    now, back = _edge_arrival(p, bank, link, half, now, limit)
    if cut_edge > cut_device:
        seconds = p.edge_work_s[work, min(last, cut_edge)] - p.edge_work_s[work, cut_device]
        seconds *= p.edge_noise[int(row[EDGE])] / (1.0 - load)
        now = max(now, free[2]) + seconds
        free[2] = max(free[2], min(now, limit - (half[1] - half[0])))
        usd = np.ceil(seconds * 1000.0 - 2e-6) * p.usd_per_edge_ms + p.usd_per_edge_request
    return (now if now <= limit else _NEVER), back, usd, leaked, last


@inner
def _enter(totals, costs, j, cost, loss):  # type: ignore[no-untyped-def]
    """Book a request with one way's totals; an infinite cost is a failure."""
    costs[j] = cost
    if cost == _NEVER:
        totals[_FAILED] += 1.0
        return
    totals[_SUM] += cost
    totals[_MOST] = max(totals[_MOST], cost)
    if loss < 0.0:
        totals[_LUCKY] += 1.0
    elif loss > 0.0:
        totals[_LOSSES] += 1.0


@inner
def served(p, bank, known, requests, begin, n, plan, c, free, totals, costs):  # type: ignore[no-untyped-def]
    """Serve requests `begin` to `begin + n` of an interval.

    Args:
        p: `Params`.
        bank: `Bank`.
        known: Link (first bin, length, offset), load of the edge, least and greatest half round trip of the link.
        requests: Rows of `envs.redraws`.
        begin: First row.
        n: Rows.
        plan: Cut of the device, of the edge, threshold, row of the tables of work.
        c: float64 (5,), `COEFFICIENTS`.
        free: float64 (3,): earliest free times of device, uplink, edge; overwritten by those after.
        totals: float64 (CLOUD_WAYS, 5), overwritten: what `cheapest` reads.
        costs: float64 (CLOUD_WAYS, at least n), overwritten: of each request but accuracy, infinite where it fails.
    """
    cut_edge, threshold, work = plan[1], plan[2], plan[3]
    full = p.correct_by_rank.shape[1] - 1
    totals[:] = 0.0
    for j in range(n):
        row = requests[begin + j]
        now, back, usd, leaked, last = _until_cloud(p, bank, known, row, plan, free)
        rank = int(row[RANK])
        right = p.correct_by_rank[rank, p.exit_by_rank[threshold, rank]]
        loss = np.float64(p.correct_by_rank[rank, full]) - np.float64(right)
        limit = row[ARRIVAL] + p.timeout_s
        if last > cut_edge and now != _NEVER:
            usd += p.cut_bytes[cut_edge] * p.usd_per_transit_byte + p.result_bytes * p.usd_per_egress_byte
            there = now + 8.0 * p.cut_bytes[cut_edge] / p.backhaul_bps + 0.5 * p.backhaul_rtt_s
            for way in range(CLOUD_WAYS):
                seconds, more = _cloud_cost(p, row, work, last, cut_edge, way)
                end = there + seconds + 0.5 * p.backhaul_rtt_s + back
                cost = (c[0] * (end - row[ARRIVAL]) + c[2] * leaked) / n + c[1] * (usd + more)
                _enter(totals[way], costs[way], j, cost if end <= limit else _NEVER, loss)
        else:
            end = now + back
            cost = (c[0] * (end - row[ARRIVAL]) + c[2] * leaked) / n + c[1] * usd
            cost = cost if end <= limit else _NEVER
            for way in range(CLOUD_WAYS):
                _enter(totals[way], costs[way], j, cost, loss)


@inner
def _accuracy(c, lucky, others, answered):  # type: ignore[no-untyped-def]
    """Least cost of accuracy if so many of the requests are answered: those with the smallest losses."""
    if answered <= 0.0:
        return 0.0
    return c[3] * (max(0.0, answered - lucky - others) - min(lucky, answered)) / answered


@inner
def cheapest(p, c, n, totals, costs, after, aside, left):  # type: ignore[no-untyped-def]
    """Least cost of an interval and of what follows it.

    Args:
        p: `Params`.
        c: float64 (5,), `COEFFICIENTS`.
        n: Requests, at least one.
        totals: float64 (5,), of one way.
        costs: float64 (at least n,), of that way.
        after: Cost to go if exactly those requests fail that fail in `served`.
        aside: Cost to go if others do, no more than `after`.
        left: float64 (at least n,), scratch.
    """
    failed, total = totals[_FAILED], totals[_SUM]
    answered = n - failed
    each = (c[4] + c[0] * p.timeout_s) / n
    lucky, losses = totals[_LUCKY], totals[_LOSSES]
    others = answered - lucky - losses
    own = failed * each + total
    if answered > 0.0:
        own += c[3] * (losses - lucky) / answered
    best = own + (aside if failed > 0.0 else after)
    if answered == 0.0:
        return best
    if lucky == 0.0:
        gain = each - totals[_MOST] - c[3] / answered  # at least, per failure
        if gain >= 0.0 and best <= own + gain + aside:
            return best
    for j in range(n):
        left[j] = costs[j]
    while answered > 0.0:
        worst = -1
        for j in range(n):
            if left[j] != _NEVER and (worst < 0 or left[j] > left[worst]):
                worst = j
        left_most = left[worst]
        total -= left_most
        left[worst] = _NEVER
        failed += 1.0
        answered -= 1.0
        base = failed * each + total + aside
        best = min(best, base + _accuracy(c, lucky, others, answered))
        if left_most <= each and base - (c[3] if lucky > 0.0 else 0.0) >= best:
            return best  # more failures cost more than they save, and accuracy cannot make up for it
    return best


@inner
def look_up(table, bins, unit, begin_s, device_s, uplink_s, edge_s, level):  # type: ignore[no-untyped-def]
    """Cost to go at or below the free times, with `level` VMs: those past `begin_s`, rounded down to the table's."""
    last = len(bins) - 1
    a = min(max(int((device_s - begin_s) / unit - 1e-9), 0), last)
    b = min(max(int((uplink_s - begin_s) / unit - 1e-9), 0), last)
    e = min(max(int((edge_s - begin_s) / unit - 1e-9), 0), last)
    return table[bins[a], bins[b], bins[e], level]
