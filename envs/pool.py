"""The cloud's two kinds of server inside the kernel: a pool of VMs that boot and drain, and function instances."""

from __future__ import annotations

import numpy as np

from .compiled import inner
from .rng import TABLE_BITS, stream

__all__ = ["bill_vms", "choose_vm", "serve_function", "set_target"]

_SHIFT = np.uint64(64 - TABLE_BITS)


@inner
def choose_vm(s, i):  # type: ignore[no-untyped-def]
    """The accepting VM that is free first (booting ones are free when ready); -1 if there is none."""
    best = -1
    for k in range(s.vm_launch_s.shape[1]):
        if np.isnan(s.vm_launch_s[i, k]) or s.vm_stop_s[i, k] != np.inf:
            continue
        if best < 0 or s.vm_free_s[i, k] < s.vm_free_s[i, best]:
            best = k
    return best


@inner
def set_target(p, s, i, target, now_s, key):  # type: ignore[no-untyped-def]
    """Launch, keep or drain VMs so that `target` of them accept requests.

    Up: VMs that are draining are kept first, then new ones boot. Down: VMs still booting go first, then those that are
    free first; a VM stops when its last request is done.
    """
    slots = s.vm_launch_s.shape[1]
    accepting = 0
    for k in range(slots):
        if not np.isnan(s.vm_launch_s[i, k]) and s.vm_stop_s[i, k] == np.inf:
            accepting += 1
    for k in range(slots):
        if accepting < target and not np.isnan(s.vm_launch_s[i, k]) and s.vm_stop_s[i, k] != np.inf:
            s.vm_stop_s[i, k] = np.inf
            accepting += 1
    for k in range(slots):
        if accepting < target and np.isnan(s.vm_launch_s[i, k]):
            ready = now_s + p.vm_boot_s[np.int64(stream(key, k) >> _SHIFT)]
            s.vm_launch_s[i, k], s.vm_ready_s[i, k], s.vm_free_s[i, k] = now_s, ready, ready
            s.vm_stop_s[i, k] = np.inf
            s.vm_billed_s[i, k] = 0
            accepting += 1
    while accepting > target:
        victim = -1
        for k in range(slots):
            if np.isnan(s.vm_launch_s[i, k]) or s.vm_stop_s[i, k] != np.inf:
                continue
            if victim < 0:
                victim = k
                continue
            booting, other = s.vm_ready_s[i, k] > now_s, s.vm_ready_s[i, victim] > now_s
            if booting != other:
                victim = k if booting else victim
            elif s.vm_free_s[i, k] < s.vm_free_s[i, victim]:
                victim = k
        idle = s.vm_free_s[i, victim] <= max(now_s, s.vm_ready_s[i, victim])
        s.vm_stop_s[i, victim] = now_s if idle else s.vm_free_s[i, victim]
        accepting -= 1


@inner
def bill_vms(p, s, i, now_s, settle):  # type: ignore[no-untyped-def]
    """Seconds billed since the last call: started seconds of every VM; the minimum falls due when a VM stops.

    With `settle` (end of an episode) the minimum of VMs that still run falls due too, so that no policy profits from
    the end.
    """
    total = 0
    for k in range(s.vm_launch_s.shape[1]):
        if np.isnan(s.vm_launch_s[i, k]):
            continue
        stopped = s.vm_stop_s[i, k] <= now_s
        seconds = int(np.ceil(min(now_s, s.vm_stop_s[i, k]) - s.vm_launch_s[i, k] - 1e-9))
        if stopped or settle:
            seconds = max(seconds, p.vm_minimum_s)
        if seconds > s.vm_billed_s[i, k]:
            total += seconds - s.vm_billed_s[i, k]
            s.vm_billed_s[i, k] = seconds
        if stopped:
            s.vm_launch_s[i, k] = np.nan
    return total


@inner
def serve_function(p, s, i, ready_s, deadline_s, seconds, bits):  # type: ignore[no-untyped-def]
    """Run one invocation: the warm instance used last, else a new one, else (at the limit) the one that is free first.

    A request that could only begin after its deadline is refused. One that has begun cannot be cancelled: it runs, and
    is billed, to its end.

    Returns:
        Instance (-1: refused), begin and end of the occupation (s), milliseconds billed, and whether it was a cold
        start.
    """
    slots = s.faas_order.shape[1]
    rank = 0  # instances are kept in order of when they are free, latest first: look past those at work
    while rank < slots and s.faas_free_s[i, s.faas_order[i, rank]] > ready_s:
        rank += 1
    full = rank == slots
    slot = s.faas_order[i, slots - 1 if full else rank]
    begin = s.faas_free_s[i, slot] if full else ready_s
    cold = not full and ready_s - s.faas_free_s[i, slot] >= p.keep_alive_s
    if begin >= deadline_s:
        return -1, begin, begin, 0.0, False
    end = begin + seconds
    billed = seconds
    if cold:
        init = p.faas_init_s[np.int64(bits >> _SHIFT)]
        end += p.faas_setup_s[np.int64(stream(bits, 0) >> _SHIFT)] + init
        if p.faas_init_billed:
            billed += init
    s.faas_free_s[i, slot] = end
    rank = min(rank, slots - 1)
    while rank > 0 and s.faas_free_s[i, s.faas_order[i, rank - 1]] < end:
        s.faas_order[i, rank] = s.faas_order[i, rank - 1]
        rank -= 1
    s.faas_order[i, rank] = slot
    steps = np.ceil((billed * 1000.0 - 1e-6) / p.faas_granularity_ms)
    return slot, begin, end, max(steps * p.faas_granularity_ms, np.float64(p.faas_minimum_ms)), cold
