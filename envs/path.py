"""One request's way through device, uplink, edge, backhaul and cloud, settled when it arrives."""

from __future__ import annotations

import numpy as np

from .compiled import inner
from .link import bin_at, carried_bits, send
from .pool import choose_vm, serve_function
from .rng import TABLE_BITS, mix, stream
from .state import FLIGHT, TERMS
from .world import REQUEST

__all__ = ["rank_of", "settle_request"]

_MASK = np.uint64((1 << TABLE_BITS) - 1)
_S32, _S21, _S10 = np.uint64(32), np.uint64(21), np.uint64(10)
_TWO_POW_MINUS_32 = 1.0 / 4294967296.0
_NEVER = np.inf

_ARRIVED, _FAILED, _LATENCY, _LEAKAGE, _CORRECT, _LOSS = map(
    TERMS.index, ("arrived", "failed", "latency_s", "leakage", "correct", "accuracy_loss")
)
_FAAS_MS, _FAAS_REQUESTS, _COLD = map(TERMS.index, ("faas_ms", "faas_requests", "cold_starts"))
_EDGE_MS, _EDGE_REQUESTS = map(TERMS.index, ("edge_ms", "edge_requests"))
_EGRESS, _TRANSIT, _UPLINK = map(TERMS.index, ("egress_bytes", "transit_bytes", "uplink_bytes"))
_DEVICE_J, _RADIO_J = map(TERMS.index, ("device_j", "radio_j"))

(
    _F_DEVICE_END,
    _F_UPLINK_START,
    _F_UPLINK_END,
    _F_EDGE_END,
    _F_END,
    _F_BITS,
    _F_EXIT,
    _F_SEEN,
    _F_LOST,
    _F_JOULES,
    _F_INSTANCE,
    _F_BEGIN,
    _F_FREE,
) = range(len(FLIGHT))


@inner
def _draw_rank(p, bits, easy_share):  # type: ignore[no-untyped-def]
    """A test sample, by difficulty: one draw picks the half (hard with the regime's probability) and a place in it."""
    samples = len(p.difficulty_order)
    half = samples // 2
    hard_share = 1.0 - easy_share
    u = (np.float64(bits >> _S32) + 0.5) * _TWO_POW_MINUS_32
    if u < hard_share:
        return min(int(u / hard_share * half), half - 1)
    return half + min(int((u - hard_share) / easy_share * (samples - half)), samples - half - 1)


@inner
def rank_of(p, offset, t, j, bits, easy_share):  # type: ignore[no-untyped-def]
    """The rank of the sample of request `j` in interval `t`: recorded, or drawn from 64 random bits."""
    if len(p.arrival_rank) > 0:
        return p.arrival_rank[p.arrival_first[(offset + t) % len(p.arrival_first)] + j]
    return _draw_rank(p, bits, easy_share)


@inner
def _serve(ready_s, free_s, seconds, deadline_s):  # type: ignore[no-untyped-def]
    """Lindley's recursion with a deadline: nothing starts after it and what runs is cut off by it.

    Returns:
        Begin, end (that of the server's work for this request), and whether the server began and finished it.
    """
    begin = max(ready_s, free_s)
    if begin >= deadline_s:
        return begin, begin, False, False
    end = begin + seconds
    return begin, min(end, deadline_s), True, end <= deadline_s


@inner
def _device(p, s, i, out, ready_s, deadline_s, seconds):  # type: ignore[no-untyped-def]
    """Run the device's stages. Returns when they end, whether they were finished, and the energy above idling."""
    joules = 0.0
    start, end, began, done = _serve(ready_s, s.device_free_s[i], seconds, deadline_s)
    if began:
        s.device_free_s[i] = end
        joules = (end - start) * (p.device_busy_w - p.device_idle_w)
        out[_DEVICE_J] += joules
    return end, done, joules


@inner
def _uplink(p, bank, s, i, out, ready_s, deadline_s, cut, link):  # type: ignore[no-untyped-def]
    """Send the tensor at a cut. Returns begin, end, whether it arrived, round-trip time, radio energy, and leakage."""
    first, length, offset = link
    bits = 8.0 * p.cut_bytes[cut]
    begin = max(ready_s, s.uplink_free_s[i])
    if begin >= deadline_s:
        return _NEVER, deadline_s, False, p.rtt_s, 0.0, 0.0
    end = send(bank.rate_bps, first, length, offset, p.interval_s, begin, bits, deadline_s)
    done = end <= deadline_s
    if not done:
        end = deadline_s
        bits = carried_bits(bank.rate_bps, first, length, offset, p.interval_s, begin, end)
    s.uplink_free_s[i] = end
    mean_bps = bits / (end - begin) if end > begin else 0.0
    radio_j = min(p.radio_base_w + p.radio_w_per_bps * mean_bps, p.radio_limit_w) * (end - begin)
    out[_RADIO_J] += radio_j
    out[_UPLINK] += p.cut_bytes[cut]
    rtt = bank.rtt_s[first + bin_at(offset, int(end / p.interval_s), length)]
    return begin, end, done, p.rtt_s if np.isnan(rtt) else rtt, radio_j, p.leakage[cut]


@inner
def _edge(s, i, out, ready_s, deadline_s, seconds):  # type: ignore[no-untyped-def]
    """Run the edge server's stages. Returns when they end and whether they were finished."""
    start, end, began, done = _serve(ready_s, s.edge_free_s[i], seconds, deadline_s)
    if began:
        s.edge_free_s[i] = end
        out[_EDGE_MS] += np.ceil((end - start) * 1000.0 - 1e-6)
        out[_EDGE_REQUESTS] += 1.0
    return end, done


@inner
def _serve_in_cloud(p, s, i, out, ready_s, deadline_s, route, vm_s, faas_s, bits):  # type: ignore[no-untyped-def]
    """Serve a request in the cloud.

    Returns:
        End, whether there is one, and the use of a function: instance (-1: none), begin and end of its occupation,
        whether it was cold.
    """
    slot = -1
    if route != 1:
        slot = choose_vm(s, i)
        if route == 2 and (slot < 0 or s.vm_free_s[i, slot] > ready_s + p.spill_wait_s):
            slot = -1
    if slot >= 0:
        _, end, began, done = _serve(ready_s, s.vm_free_s[i, slot], vm_s, deadline_s)
        if began:
            s.vm_free_s[i, slot] = end
        return end, done, (-1, 0.0, 0.0, False)
    if route == 0:  # the pool is empty: nobody answers before the timeout
        return ready_s, False, (-1, 0.0, 0.0, False)
    instance, begin, end, billed_ms, cold = serve_function(p, s, i, ready_s, deadline_s, faas_s, bits)
    if instance >= 0:
        out[_FAAS_MS] += billed_ms
        out[_FAAS_REQUESTS] += 1.0
        out[_COLD] += 1.0 if cold else 0.0
    return end, instance >= 0, (instance, begin, end, cold)


@inner
def _cloud(p, s, i, out, now_s, deadline_s, work, cut, last, route, draws):  # type: ignore[no-untyped-def]
    """Over the backhaul to the cloud and back. Returns what `_serve_in_cloud` does; the end is at the edge."""
    h0, h1 = draws
    now_s += 8.0 * p.cut_bytes[cut] / p.backhaul_bps + 0.5 * p.backhaul_rtt_s
    out[_TRANSIT] += p.cut_bytes[cut]
    vm_s = (p.vm_work_s[work, last] - p.vm_work_s[work, cut]) * p.vm_noise[h0 & _MASK]
    faas_s = (p.faas_work_s[work, last] - p.faas_work_s[work, cut]) * p.faas_noise[h0 & _MASK]
    end, done, use = _serve_in_cloud(p, s, i, out, now_s, deadline_s, route, vm_s, faas_s, mix(h1))
    if done:
        end += 0.5 * p.backhaul_rtt_s
        out[_EGRESS] += p.result_bytes
    return end, done, use


@inner
def _tally(p, out, alive, latency_s, leaked, rank, exit_index):  # type: ignore[no-untyped-def]
    """Add a request to the interval's terms."""
    out[_ARRIVED] += 1.0
    out[_LATENCY] += latency_s
    out[_LEAKAGE] += leaked
    if alive:
        right = p.correct_by_rank[rank, exit_index]
        out[_CORRECT] += right
        out[_LOSS] += np.float64(p.correct_by_rank[rank, p.correct_by_rank.shape[1] - 1]) - np.float64(right)
    else:
        out[_FAILED] += 1.0


@inner
def _travel(p, bank, s, i, out, arrival_s, deadline_s, plan, load, link, work, last, draws):  # type: ignore[no-untyped-def]
    """The way of one request, as far as it comes by its deadline.

    Returns:
        When it left the device, when its transfer began and ended, when the edge was done with it, when it ended
        altogether and whether that was with an answer (s; the deadline where it did not come so far); its energy on the
        device and its leakage; and its use of a function: instance (-1: none), begin, end, whether it was cold.
    """
    cut_device, cut_edge, route = plan
    h1 = draws[1]
    alive = p.battery_j <= 0.0 or s.battery_j[i] > 0.0
    now, joules, leaked, rtt = arrival_s, 0.0, 0.0, p.rtt_s
    uplink_start, device_end, uplink_end, edge_end = _NEVER, deadline_s, deadline_s, deadline_s
    use = (-1, 0.0, 0.0, False)
    stop = min(last, cut_device)
    if alive and stop > 0:
        seconds = p.device_work_s[work, stop] * p.device_noise[(h1 >> _S21) & _MASK]
        now, alive, joules = _device(p, s, i, out, now, deadline_s, seconds)
    if alive:
        device_end = now
    if alive and last > cut_device:
        uplink_start, now, alive, rtt, radio_j, leaked = _uplink(p, bank, s, i, out, now, deadline_s, cut_device, link)
        joules += radio_j
        if alive:
            uplink_end = now
            now += 0.5 * rtt
        if alive and cut_edge > cut_device:
            seconds = p.edge_work_s[work, min(last, cut_edge)] - p.edge_work_s[work, cut_device]
            seconds *= p.edge_noise[(h1 >> _S10) & _MASK] / (1.0 - load)
            now, alive = _edge(s, i, out, now, deadline_s, seconds)
        if alive:
            edge_end = now
        if alive and last > cut_edge:
            now, alive, use = _cloud(p, s, i, out, now, deadline_s, work, cut_edge, last, route, draws)
        now += 0.5 * rtt
        alive = alive and now <= deadline_s
    end = now if alive else deadline_s
    return (device_end, uplink_start, uplink_end, edge_end, end, alive), joules, leaked, use


@inner
def _write_record(row, arrival_s, sample, exit_index, times, latency_s, lost, leaked, right, use):  # type: ignore[no-untyped-def]
    """Write a request's row of `RECORD_FIELDS`."""
    device_end, _, uplink_end, edge_end, end, _ = times
    row[0], row[1], row[2] = arrival_s, sample, exit_index
    row[3], row[4], row[5], row[6] = min(device_end, end), min(uplink_end, end), min(edge_end, end), end
    row[7], row[8], row[9], row[10] = latency_s, lost, leaked, right
    row[11], row[12] = 1.0 if use[0] >= 0 else 0.0, 1.0 if use[3] else 0.0


@inner
def settle_request(p, bank, s, i, out, record, arrival_s, plan, world, base, j):  # type: ignore[no-untyped-def]
    """Settle one request: its path, waiting, failure, energy and cost; and note it as in flight."""
    cut_device, cut_edge, threshold, route = plan
    easy_share, load, link = world
    h0 = stream(base, REQUEST + j)
    h1 = mix(h0 + np.uint64(0x632BE59BD9B4E019))
    rank = rank_of(p, s.arrival_offset[i], s.t[i], j, h1, easy_share)
    never = threshold == p.exit_of.shape[0] - 1
    work = 1 if never else 0  # without exit heads, nothing is spent on them
    exit_index = p.exit_by_rank[threshold, rank]
    last = p.exit_position[exit_index]
    way = (cut_device, cut_edge, route)
    deadline = arrival_s + p.timeout_s
    times, joules, leaked, use = _travel(p, bank, s, i, out, arrival_s, deadline, way, load, link, work, last, (h0, h1))
    device_end, uplink_start, uplink_end, edge_end, end, alive = times
    latency = end - arrival_s if alive else p.timeout_s
    lost = 0.0 if alive else 1.0
    _tally(p, out, alive, latency, leaked, rank, exit_index)

    k = s.flights[i]
    if k >= s.flight.shape[1]:
        raise OverflowError("more requests in flight than the state has room for")
    s.flights[i] = k + 1
    flight = s.flight[i, k]
    flight[_F_DEVICE_END], flight[_F_UPLINK_START] = min(device_end, end), uplink_start
    flight[_F_UPLINK_END] = min(uplink_end, end)
    # An answer of the edge is the edge's until it is back.
    flight[_F_EDGE_END], flight[_F_END] = min(edge_end, end) if last > cut_edge else end, end
    flight[_F_BITS] = 8.0 * p.cut_bytes[cut_device]
    flight[_F_EXIT], flight[_F_LOST] = exit_index, lost
    flight[_F_SEEN] = np.nan if never else p.confidence_by_rank[rank]
    flight[_F_JOULES] = joules
    flight[_F_INSTANCE], flight[_F_BEGIN], flight[_F_FREE] = use[0], use[1], use[2]
    if len(record) > 0:
        sample, right = p.difficulty_order[rank], p.correct_by_rank[rank, exit_index]
        _write_record(record[j], arrival_s, sample, exit_index, times, latency, lost, leaked, right, use)
