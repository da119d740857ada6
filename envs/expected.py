"""One step back in time of the bound for controllers that do not know the requests (`baselines.causal_bound`)."""

from __future__ import annotations

import numpy as np

from . import compiled, coupled, floors, link, path, redraws, rng, state, world
from .compiled import entry, inner
from .coupled import cheapest, look_up, served
from .redraws import RANK, redraw
from .rng import stream

__all__ = ["CHOICES", "expected"]

compiled.refresh(__file__, compiled, link, path, rng, state, world, floors, redraws, coupled)

_SETS = 1 << 41  # counter of an interval's stream, apart from the kernel's
CHOICES = 3
"""Functions without a VM, functions beside VMs, VMs: what `_average` tells apart."""


@inner
def _accuracy_shift(p, drawn, threshold, mean_loss, c):  # type: ignore[no-untyped-def]
    """What the redraws' accuracy term lacks of its expectation, given their numbers of requests (a control variate)."""
    requests, begins, count = drawn
    full = p.correct_by_rank.shape[1] - 1
    total = 0.0
    for k in range(count):
        n = begins[k + 1] - begins[k]
        loss = 0.0
        for j in range(begins[k], begins[k + 1]):
            rank = int(requests[j, RANK])
            right = p.correct_by_rank[rank, p.exit_by_rank[threshold, rank]]
            loss += np.float64(p.correct_by_rank[rank, full]) - np.float64(right)
        if n > 0:
            total += mean_loss - loss / n
    return c[3] * total / count


@inner
def _average(p, bank, known, drawn, plan, c, start, when, tables, levels, out, room):  # type: ignore[no-untyped-def]
    """Fill `out`, float64 (CHOICES,), with the mean over redraws of an action's cost and the cost to go."""
    requests, begins, count = drawn
    table, bins, unit = tables
    first_s, next_s = when
    free, totals, costs, left = room
    battery = p.battery_j > 0.0
    out[:] = 0.0
    for k in range(count):
        n = begins[k + 1] - begins[k]
        for r in range(3):
            free[r] = first_s + start[r]
        served(p, bank, known, requests, begins[k], n, plan, c, free, totals, costs)
        # Whatever fails: the device comes first, and nothing comes before the uplink if the device has no part.
        device_s = first_s + start[0] if battery else free[0]
        uplink_s = free[1] if plan[0] == 0 and not battery else first_s + start[1]
        for level in range(levels):
            after = look_up(table, bins, unit, next_s, free[0], free[1], free[2], level)
            if n == 0:
                out[level] += after
                out[2] += after if level == 1 else 0.0
                continue
            aside = look_up(table, bins, unit, next_s, device_s, uplink_s, first_s + start[2], level)
            out[level] += cheapest(p, c, n, totals[0], costs[0], after, aside, left)
            if level == 1:
                out[2] += cheapest(p, c, n, totals[1], costs[1], after, aside, left)
    for x in range(CHOICES):
        out[x] /= count


@inner
def _evaluate(p, bank, known, drawn, action, shift, c, start, when, tables, levels, out, room):  # type: ignore[no-untyped-def]
    """Least expected cost and cost to go of a placement and threshold without and with a VM, into `out[:2]`."""
    placement, threshold = action
    work = 1 if threshold == p.exit_of.shape[0] - 1 else 0
    plan = (p.placements[placement, 0], p.placements[placement, 1], threshold, work)
    _average(p, bank, known, drawn, plan, c, start, when, tables, levels, out, room)
    out[0] += shift
    out[1] = min(out[1], out[2]) + shift


@inner
def _inherit(lower, c, least):  # type: ignore[no-untyped-def]
    """Costs of a class's actions are no less than those of any class below it."""
    for a in range(least.shape[1]):
        for level in range(least.shape[2]):
            least[c, a, level] = -np.inf
            for k in range(lower.shape[1]):
                if lower[c, k] >= 0:
                    least[c, a, level] = max(least[c, a, level], least[lower[c, k], a, level])


@inner
def _first(least, c):  # type: ignore[no-untyped-def]
    """The action whose bound is lowest: the best where the backlog is smaller."""
    found = 0
    for a in range(least.shape[1]):
        if least[c, a, 0] < least[c, found, 0]:
            found = a
    return found


@inner
def _candidate(least, c, values, chosen, levels):  # type: ignore[no-untyped-def]
    """The action whose bound is lowest against what a level has already, not looked at yet; -1 if none can help."""
    best, found = 0.0, -1
    for a in range(least.shape[1]):
        if chosen[a] == c:
            continue
        for level in range(levels):
            lead = values[c, level] - least[c, a, level]
            if lead > best:
                best, found = lead, a
    return found


@entry
def expected(p, bank, s, i, draws, levels, c, grid, table, mean_loss, half, least, values, buffers):  # type: ignore[no-untyped-def]
    """Least expected cost of the interval that environment `i` is about to enter, with the cost to go.

    Args:
        p: `Params`.
        bank: `Bank`.
        s: `State`; of environment `i` only what moves by itself is read.
        i: Environment.
        draws: Redraws K, and which of many independent sets of so many.
        levels: 1: no VMs; 2: none, or any number.
        c: float64 (5,), `COEFFICIENTS`.
        grid: Classes of backlogs, int64 (C, 3) indices into float64 (G,) in seconds; classes below each, int64 (C, 3),
            -1 none; int64 (B,), index of the greatest backlog that is at most so many units; the unit (s).
        table: float64 (G, G, G, levels): cost to go by backlog of device, uplink, edge, at the next interval's begin.
        mean_loss: float64 (thresholds, 2): accuracy loss of the hard and of the easy half of the samples.
        half: Least and greatest half round trip of the link (s).
        least: float64 (C, actions, levels), overwritten: costs of actions, or less.
        values: float64 (C, levels), overwritten.
        buffers: Scratch, see `baselines.causal_bound`.

    Returns:
        Actions whose mean was computed, over all classes.
    """
    requests, begins, order, times, chosen, out, shift, room = buffers
    classes, backlogs, lower, bins, unit = grid
    count = draws[0]
    base = stream(stream(s.key[i], s.t[i]), _SETS + draws[1])
    redraw(p, s, i, base, count, begins, requests, order, times)
    drawn = (requests, begins, count)
    link = (bank.start[s.trace[i]], bank.length[s.trace[i]], s.offset[i])
    known = (link, p.edge_load[s.edge_state[i]], half)
    when = (s.t[i] * p.interval_s, (s.t[i] + 1) * p.interval_s)
    tables = (table, bins, unit)
    thresholds = p.exit_of.shape[0]
    hard = 1.0 - world.easy_share(s.regime[i])
    for threshold in range(thresholds):
        mean = hard * mean_loss[threshold, 0] + (1.0 - hard) * mean_loss[threshold, 1]
        shift[threshold] = _accuracy_shift(p, drawn, threshold, mean, c)
    chosen[:] = -1
    done = 0
    for k in range(len(classes)):
        start = (backlogs[classes[k, 0]], backlogs[classes[k, 1]], backlogs[classes[k, 2]])
        _inherit(lower, k, least)
        values[k, :] = np.inf
        a = _first(least, k)
        while a >= 0:
            chosen[a] = k
            action = (a // thresholds, a % thresholds)
            own = shift[action[1]]
            _evaluate(p, bank, known, drawn, action, own, c, start, when, tables, levels, out, room)
            done += 1
            for level in range(levels):
                least[k, a, level] = max(least[k, a, level], out[level])
                values[k, level] = min(values[k, level], least[k, a, level])
            a = _candidate(least, k, values, chosen, levels)
    return done
