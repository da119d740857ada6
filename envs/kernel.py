"""One control interval of a batch of environments, request by request, compiled.

Requests are served in order of arrival at every resource (an in-order pipeline, as frames of a stream are), so the
waiting time at each follows Lindley's recursion, start = max(ready, free); Kiefer and Wolfowitz's for the VM pool. A
request's whole path is settled when it arrives, hence its latency belongs to the interval in which it arrived and
nothing is gained by delaying it. The plan in force at arrival (cut, threshold, route) stays with the request.

Functions here take the tuples of `envs.state`; physics that broadcasts over arrays is in `envs.physics`.
"""

from __future__ import annotations

import numpy as np

from . import compiled, measure, pool, rng, state
from .compiled import entry, inner
from .measure import EXIT_SLOTS, HISTORY, column
from .pool import bill_vms, choose_vm, serve_function, set_target
from .rng import TABLE_BITS, exponential, key_of, mix, poisson, stream, uniform
from .state import FLIGHT, TERMS

__all__ = ["MAX_ARRIVALS", "reset", "step"]

compiled.refresh(__file__, compiled, measure, pool, rng, state)

MAX_ARRIVALS = 512
"""Arrivals of one interval are capped here; scenarios keep their mean far below (at most 300)."""

_SHIFT = np.uint64(64 - TABLE_BITS)
_MASK = np.uint64((1 << TABLE_BITS) - 1)
_S32, _S21, _S10 = np.uint64(32), np.uint64(21), np.uint64(10)
_TWO_POW_MINUS_32 = 1.0 / 4294967296.0

# Counters of an interval's stream; requests start at _REQUEST.
_COUNT, _ARRIVAL_SWITCH, _ARRIVAL_TO, _EDGE_SWITCH, _EDGE_TO, _NORMAL_A, _NORMAL_B, _LAST_GAP = range(8)
_BOOT = 16
_REQUEST = 64
# Counters of the stream that `reset` uses.
_TRACE, _OFFSET, _ARRIVAL_OFFSET, _ARRIVAL_STATE, _EDGE_STATE, _WEIGHTS = 0, 1, 2, 3, 4, 8
_FIRST_ARRIVAL_SWITCH, _FIRST_ARRIVAL_TO, _FIRST_EDGE_SWITCH, _FIRST_EDGE_TO = range(16, 20)

_T = {name: index for index, name in enumerate(TERMS)}
_ARRIVED, _FAILED, _LATENCY, _LEAKAGE, _CORRECT, _LOSS = (
    _T[name] for name in ("arrived", "failed", "latency_s", "leakage", "correct", "accuracy_loss")
)
_FINISHED, _EXPIRED, _IN_FLIGHT = _T["finished"], _T["expired"], _T["in_flight"]
_VM_S, _FAAS_MS, _FAAS_REQUESTS, _COLD = (_T[name] for name in ("vm_s", "faas_ms", "faas_requests", "cold_starts"))
_EDGE_MS, _EDGE_REQUESTS = _T["edge_ms"], _T["edge_requests"]
_EGRESS, _TRANSIT, _UPLINK = _T["egress_bytes"], _T["transit_bytes"], _T["uplink_bytes"]
_DEVICE_J, _RADIO_J, _MOVES, _USD = (_T[name] for name in ("device_j", "radio_j", "repartitions", "usd"))
_REWARD, _R_LATENCY, _R_COST, _R_PRIVACY, _R_ACCURACY, _R_FAILURE = (
    _T[name]
    for name in ("reward", "reward_latency", "reward_cost", "reward_privacy", "reward_accuracy", "reward_failure")
)
_NEVER = np.inf

(
    _DEVICE_END,
    _UPLINK_START,
    _UPLINK_END,
    _EDGE_END,
    _END,
    _BITS,
    _EXIT,
    _SEEN,
    _LOST,
    _JOULES,
    _INSTANCE,
    _BEGIN,
    _FREE,
) = range(len(FLIGHT))


@inner
def _bin(offset, index, length):  # type: ignore[no-untyped-def]
    """Bin of a trace that wraps around at its end."""
    place = offset + index
    return place if place < length else place % length


@inner
def send(rate, first, length, offset, width_s, begin_s, bits, limit_s):  # type: ignore[no-untyped-def]
    """When the link has carried `bits` from `begin_s` on, exactly; infinity if that is after `limit_s`."""
    now = begin_s
    index = int(now / width_s)
    while now < limit_s:
        edge = (index + 1) * width_s
        r = rate[first + _bin(offset, index, length)]
        capacity = r * (edge - now)
        if capacity >= bits:
            end = now + bits / r if bits > 0.0 else now
            return end if end <= limit_s else _NEVER
        bits -= capacity
        now = edge
        index += 1
    return _NEVER


@inner
def carried_bits(rate, first, length, offset, width_s, begin_s, end_s):  # type: ignore[no-untyped-def]
    """Bits that the link can carry between two instants."""
    total = 0.0
    now = begin_s
    index = int(now / width_s)
    while now < end_s:
        edge = min((index + 1) * width_s, end_s)
        total += rate[first + _bin(offset, index, length)] * (edge - now)
        now = edge
        index += 1
    return total


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
def _arrivals(p, s, i, base, begin_s, times):  # type: ignore[no-untyped-def]
    """Fill `times` with this interval's arrival instants (order statistics of uniforms) and return how many."""
    if len(p.arrival_counts) > 0:
        n = min(p.arrival_counts[(s.arrival_offset[i] + s.t[i]) % len(p.arrival_counts)], MAX_ARRIVALS)
    else:
        mean = p.arrival_rps[s.arrival_state[i]] * p.interval_s
        n = poisson(mean, stream(base, _COUNT), MAX_ARRIVALS)
    total = 0.0
    for j in range(n):
        total += exponential(stream(base, _REQUEST + j))
        times[j] = total
    total += exponential(stream(base, _LAST_GAP))
    scale = p.interval_s / total
    for j in range(n):
        times[j] = begin_s + times[j] * scale
    return n


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
    rtt = bank.rtt_s[first + _bin(offset, int(end / p.interval_s), length)]
    return begin, end, done, p.rtt_s if np.isnan(rtt) else rtt, radio_j, p.leakage[cut]


@inner
def _cloud(p, s, i, out, ready_s, deadline_s, route, vm_s, faas_s, bits):  # type: ignore[no-untyped-def]
    """Serve a request in the cloud.

    Returns:
        End, whether there is one, function instance (-1: none), begin and end of its occupation, whether it was cold.
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
        return end, done, -1, 0.0, 0.0, False
    if route == 0:  # the pool is empty: nobody answers before the timeout
        return ready_s, False, -1, 0.0, 0.0, False
    instance, begin, end, billed_ms, cold = serve_function(p, s, i, ready_s, deadline_s, faas_s, bits)
    if instance >= 0:
        out[_FAAS_MS] += billed_ms
        out[_FAAS_REQUESTS] += 1.0
        out[_COLD] += 1.0 if cold else 0.0
    return end, instance >= 0, instance, begin, end, cold


@inner
def _request(p, bank, s, i, out, record, arrival_s, plan, world, base, j):  # type: ignore[no-untyped-def]
    """Settle one request: its path, waiting, failure, energy and cost; and note it as in flight."""
    cut_device, cut_edge, threshold, route = plan
    easy_share, load, link = world
    h0 = stream(base, _REQUEST + j)
    h1 = mix(h0 + np.uint64(0x632BE59BD9B4E019))
    rank = _draw_rank(p, h1, easy_share)
    never = threshold == p.exit_of.shape[0] - 1
    work = 1 if never else 0  # without exit heads, nothing is spent on them
    exit_index = p.exit_by_rank[threshold, rank]
    last = p.exit_position[exit_index]
    deadline = arrival_s + p.timeout_s
    alive = p.battery_j <= 0.0 or s.battery_j[i] > 0.0
    now, joules, leaked, rtt = arrival_s, 0.0, 0.0, p.rtt_s
    uplink_start, device_end, uplink_end, edge_end = _NEVER, deadline, deadline, deadline
    instance, begin, free, cold = -1, 0.0, 0.0, False

    stop = min(last, cut_device)
    if alive and stop > 0:
        seconds = p.device_work_s[work, stop] * p.device_noise[(h1 >> _S21) & _MASK]
        start, now, began, alive = _serve(now, s.device_free_s[i], seconds, deadline)
        if began:
            s.device_free_s[i] = now
            joules = (now - start) * (p.device_busy_w - p.device_idle_w)
            out[_DEVICE_J] += joules
    if alive:
        device_end = now
    if alive and last > cut_device:
        uplink_start, now, alive, rtt, radio_j, leaked = _uplink(p, bank, s, i, out, now, deadline, cut_device, link)
        joules += radio_j
        if alive:
            uplink_end = now
            now += 0.5 * rtt
        if alive and cut_edge > cut_device:
            seconds = p.edge_work_s[work, min(last, cut_edge)] - p.edge_work_s[work, cut_device]
            seconds *= p.edge_noise[(h1 >> _S10) & _MASK] / (1.0 - load)
            start, now, began, alive = _serve(now, s.edge_free_s[i], seconds, deadline)
            if began:
                s.edge_free_s[i] = now
                out[_EDGE_MS] += np.ceil((now - start) * 1000.0 - 1e-6)
                out[_EDGE_REQUESTS] += 1.0
        if alive:
            edge_end = now
        if alive and last > cut_edge:
            now += 8.0 * p.cut_bytes[cut_edge] / p.backhaul_bps + 0.5 * p.backhaul_rtt_s
            out[_TRANSIT] += p.cut_bytes[cut_edge]
            vm_s = (p.vm_work_s[work, last] - p.vm_work_s[work, cut_edge]) * p.vm_noise[h0 & _MASK]
            faas_s = (p.faas_work_s[work, last] - p.faas_work_s[work, cut_edge]) * p.faas_noise[h0 & _MASK]
            now, alive, instance, begin, free, cold = _cloud(p, s, i, out, now, deadline, route, vm_s, faas_s, mix(h1))
            if alive:
                now += 0.5 * p.backhaul_rtt_s
                out[_EGRESS] += p.result_bytes
        now += 0.5 * rtt
        alive = alive and now <= deadline
    now = now if alive else deadline

    latency = now - arrival_s if alive else p.timeout_s
    right = p.correct_by_rank[rank, exit_index]
    out[_ARRIVED] += 1.0
    out[_LATENCY] += latency
    out[_LEAKAGE] += leaked
    if alive:
        out[_CORRECT] += right
        out[_LOSS] += np.float64(p.correct_by_rank[rank, p.correct_by_rank.shape[1] - 1]) - np.float64(right)
    else:
        out[_FAILED] += 1.0

    k = s.flights[i]
    if k >= s.flight.shape[1]:
        raise OverflowError("more requests in flight than the state has room for")
    flight = s.flight[i, k]
    flight[_DEVICE_END], flight[_UPLINK_START], flight[_UPLINK_END] = (
        min(device_end, now),
        uplink_start,
        min(uplink_end, now),
    )
    # An answer of the edge is the edge's until it is back.
    flight[_EDGE_END], flight[_END] = min(edge_end, now) if last > cut_edge else now, now
    flight[_BITS] = 8.0 * p.cut_bytes[cut_device]
    flight[_EXIT], flight[_LOST] = exit_index, 0.0 if alive else 1.0
    flight[_SEEN] = np.nan if never else p.confidence_by_rank[rank]
    flight[_JOULES] = joules
    flight[_INSTANCE], flight[_BEGIN], flight[_FREE] = instance, begin, free
    s.flights[i] = k + 1
    if len(record) > 0:
        row = record[j]
        row[0], row[1], row[2] = arrival_s, p.difficulty_order[rank], exit_index
        row[3], row[4], row[5], row[6] = flight[_DEVICE_END], flight[_UPLINK_END], min(edge_end, now), now
        row[7], row[8], row[9], row[10] = latency, flight[_LOST], leaked, right
        row[11], row[12] = 1.0 if instance >= 0 else 0.0, 1.0 if cold else 0.0


_RATE, _RATE_AVERAGE, _RTT = column("rate_bps"), column("rate_average_bps"), column("rtt_s")
_COUNTS, _COUNT_AVERAGE = column("arrivals"), column("arrivals_average")
_DEVICE_QUEUE, _UPLINK_QUEUE, _UPLINK_BYTES = (
    column("device_queue"),
    column("uplink_queue"),
    column("uplink_queue_bytes"),
)
_EDGE_QUEUE, _CLOUD_QUEUE, _EDGE_LOAD = column("edge_queue"), column("cloud_queue"), column("edge_load")
_VM_RUNNING, _VM_BOOTING = column("vm_running"), column("vm_booting")
_WARM, _BUSY = column("warm_instances"), column("busy_instances")
_CONFIDENCE, _EXITS, _PLACEMENT = column("confidence"), column("exit_fraction"), column("placement")
_AGE, _OTHER = column("placement_age"), column("other_placement")
_BATTERY, _WEIGHT = column("battery"), column("weights")
_SLOW, _ANSWERS = 0.1, 0.2  # gains of the exponential averages


@inner
def _sweep(p, bank, s, i, out, row, end_s, link, exits):  # type: ignore[no-untyped-def]
    """Count who is where at the end of the interval; take out, and learn from, those that are done."""
    first, length, offset = link
    row[_DEVICE_QUEUE : _CLOUD_QUEUE + 1] = 0.0
    seen, answers, confidence = 0, 0, 0.0
    exits[:EXIT_SLOTS] = 0.0
    k, count = 0, s.flights[i]
    while k < count:
        flight = s.flight[i, k]
        _book(p, s, i, flight, end_s)
        if flight[_END] <= end_s:
            if flight[_LOST] > 0.0:
                out[_EXPIRED] += 1.0
            else:
                out[_FINISHED] += 1.0
                answers += 1
                exits[int(flight[_EXIT])] += 1.0
                if not np.isnan(flight[_SEEN]):
                    seen += 1
                    confidence += flight[_SEEN]
            count -= 1
            for c in range(len(flight)):  # the last one takes the place
                flight[c] = s.flight[i, count, c]
            continue
        if flight[_DEVICE_END] > end_s:
            row[_DEVICE_QUEUE] += 1.0
        elif flight[_UPLINK_END] > end_s:
            row[_UPLINK_QUEUE] += 1.0
            left = flight[_BITS]
            if flight[_UPLINK_START] < end_s:
                start = flight[_UPLINK_START]
                left -= carried_bits(bank.rate_bps, first, length, offset, p.interval_s, start, end_s)
            row[_UPLINK_BYTES] += max(left, 0.0) / 8.0
        elif flight[_EDGE_END] > end_s:
            row[_EDGE_QUEUE] += 1.0
        else:
            row[_CLOUD_QUEUE] += 1.0
        k += 1
    s.flights[i] = count
    out[_IN_FLIGHT] = count
    if answers > 0:
        for e in range(EXIT_SLOTS):
            row[_EXITS + e] += _ANSWERS * (exits[e] / answers - row[_EXITS + e])
    if seen > 0:
        row[_CONFIDENCE] += _ANSWERS * (confidence / seen - row[_CONFIDENCE])


@inner
def _book(p, s, i, flight, end_s):  # type: ignore[no-untyped-def]
    """Take notice of what has happened to a request by now, and of nothing that is still to come."""
    if p.battery_j > 0.0 and flight[_UPLINK_END] <= end_s:
        s.battery_j[i] -= flight[_JOULES]
        flight[_JOULES] = 0.0
    if flight[_INSTANCE] >= 0.0 and flight[_BEGIN] <= end_s:
        instance = int(flight[_INSTANCE])
        s.faas_seen_s[i, instance] = max(s.faas_seen_s[i, instance], flight[_FREE])
        flight[_INSTANCE] = -1.0


@inner
def _observe_pool(p, s, i, row, end_s):  # type: ignore[no-untyped-def]
    """VMs and function instances as a control plane reports them."""
    running, booting = 0, 0
    for k in range(s.vm_launch_s.shape[1]):
        if not np.isnan(s.vm_launch_s[i, k]) and s.vm_stop_s[i, k] == np.inf:
            if s.vm_ready_s[i, k] <= end_s:
                running += 1
            else:
                booting += 1
    warm, busy = 0, 0
    for k in range(s.faas_seen_s.shape[1]):
        free = s.faas_seen_s[i, k]
        if free > end_s:
            busy += 1
        elif end_s - free < p.keep_alive_s:
            warm += 1
    row[_VM_RUNNING], row[_VM_BOOTING], row[_WARM], row[_BUSY] = running, booting, warm, busy


@inner
def _push(row, at, value):  # type: ignore[no-untyped-def]
    """Shift a history by one and put the newest value first."""
    for k in range(HISTORY - 1, 0, -1):
        row[at + k] = row[at + k - 1]
    row[at] = value


@inner
def _measure(p, bank, s, i, out, load, link, begin_s, scratch):  # type: ignore[no-untyped-def]
    """Write the row of what a controller can measure at the end of the interval."""
    first, length, offset = link
    row = s.measured[i]
    end_s = begin_s + p.interval_s
    _sweep(p, bank, s, i, out, row, end_s, link, scratch)
    _observe_pool(p, s, i, row, end_s)
    place = first + _bin(offset, s.t[i], length)
    rate = bank.rate_bps[place]
    _push(row, _RATE, rate)
    row[_RATE_AVERAGE] += _SLOW * (rate - row[_RATE_AVERAGE])
    row[_RTT] = p.rtt_s if np.isnan(bank.rtt_s[place]) else bank.rtt_s[place]
    _push(row, _COUNTS, out[_ARRIVED])
    row[_COUNT_AVERAGE] += _SLOW * (out[_ARRIVED] - row[_COUNT_AVERAGE])
    row[_EDGE_LOAD] = load
    row[_BATTERY] = max(s.battery_j[i], 0.0) / p.battery_j if p.battery_j > 0.0 else 1.0


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
def _step_one(p, bank, s, i, action, out, record, times):  # type: ignore[no-untyped-def]
    """Advance environment `i` by one interval."""
    out[:] = 0.0
    begin_s = s.t[i] * p.interval_s
    base = stream(s.key[i], s.t[i])
    link = (bank.start[s.trace[i]], bank.length[s.trace[i]], s.offset[i])
    placement = action[0]
    changed = placement != s.action[i, 0] or s.t[i] == 0
    out[_MOVES] = _move_cut(p, s, i, placement, begin_s)
    set_target(p, s, i, action[3], begin_s, stream(base, _BOOT))
    plan = (p.placements[placement, 0], p.placements[placement, 1], action[1], action[2])
    # P(hard) = logistic(1.7 x) is within 0.01 of the normal distribution function, so its mean over time is 1/2 and
    # the samples drawn over time are the whole test set.
    easy_share = 1.0 / (1.0 + np.exp(1.7 * s.regime[i]))
    load = p.edge_load[s.edge_state[i]]
    n = _arrivals(p, s, i, base, begin_s, times)
    for j in range(n):
        _request(p, bank, s, i, out, record, times[j], plan, (easy_share, load, link), base, j)
    last = s.t[i] + 1 == p.episode_intervals
    out[_VM_S] = bill_vms(p, s, i, begin_s + p.interval_s, last)
    out[_DEVICE_J] += p.device_idle_w * p.interval_s
    if p.battery_j > 0.0:
        s.battery_j[i] -= p.device_idle_w * p.interval_s  # work is booked when it is done
    _price(p, s, i, out)
    _measure(p, bank, s, i, out, load, link, begin_s, times)
    row = s.measured[i]
    row[_AGE] = 0.0 if changed else row[_AGE] + 1.0
    row[_OTHER] = s.resident[i, 1] if s.resident.shape[1] > 1 and s.resident[i, 1] >= 0 else placement
    for k in range(4):
        s.action[i, k] = action[k]
        row[_PLACEMENT + k] = action[k]
    # The world moves on by itself: nothing here depends on the action.
    a, b = s.arrival_state[i], s.edge_state[i]
    s.arrival_state[i] = _switch(a, len(p.arrival_rps), p.arrival_leave[a], base, _ARRIVAL_SWITCH, _ARRIVAL_TO)
    s.edge_state[i] = _switch(b, len(p.edge_load), p.edge_leave[b], base, _EDGE_SWITCH, _EDGE_TO)
    radius = np.sqrt(-2.0 * np.log(uniform(stream(base, _NORMAL_A))))
    normal = radius * np.cos(2.0 * np.pi * uniform(stream(base, _NORMAL_B)))
    s.regime[i] = p.regime_keep * s.regime[i] + np.sqrt(1.0 - p.regime_keep**2) * normal
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
    trace = fixed_trace if fixed_trace >= 0 else int(uniform(stream(base, _TRACE)) * len(bank.start))
    s.trace[i] = trace
    length = bank.length[trace]
    s.offset[i] = fixed_offset % length if fixed_offset >= 0 else int(uniform(stream(base, _OFFSET)) * length)
    if len(p.arrival_counts) > 0:
        s.arrival_offset[i] = int(uniform(stream(base, _ARRIVAL_OFFSET)) * len(p.arrival_counts))
    s.arrival_state[i] = _stationary(p.arrival_leave, stream(base, _ARRIVAL_STATE))
    s.edge_state[i] = _stationary(p.edge_leave, stream(base, _EDGE_STATE))
    radius = np.sqrt(-2.0 * np.log(uniform(stream(base, _NORMAL_A))))
    s.regime[i] = radius * np.cos(2.0 * np.pi * uniform(stream(base, _NORMAL_B)))
    if np.isnan(fixed_weights[0]):
        total = 0.0
        for k in range(3):
            s.weights[i, k] = exponential(stream(base, _WEIGHTS + k))
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
    _first_row(p, bank, s, i, (bank.start[trace], length, s.offset[i]))
    # What was reported is the interval before the first; the world then moves on.
    a, b = s.arrival_state[i], s.edge_state[i]
    leave_a, leave_b = p.arrival_leave[a], p.edge_leave[b]
    s.arrival_state[i] = _switch(a, len(p.arrival_rps), leave_a, base, _FIRST_ARRIVAL_SWITCH, _FIRST_ARRIVAL_TO)
    s.edge_state[i] = _switch(b, len(p.edge_load), leave_b, base, _FIRST_EDGE_SWITCH, _FIRST_EDGE_TO)


@inner
def _first_row(p, bank, s, i, link):  # type: ignore[no-untyped-def]
    """What is known before the first decision: the link's recent past, mean arrivals, an idle system."""
    first, length, offset = link
    row = s.measured[i]
    row[:] = 0.0
    for k in range(HISTORY):
        row[_RATE + k] = bank.rate_bps[first + _bin(offset, length * 2 - 1 - k, length)]
    for k in range(10):
        row[_RATE_AVERAGE] += 0.1 * bank.rate_bps[first + _bin(offset, length * 10 - 1 - k, length)]
    rtt = bank.rtt_s[first + _bin(offset, length - 1, length)]
    row[_RTT] = p.rtt_s if np.isnan(rtt) else rtt
    if len(p.arrival_counts) > 0:
        total = len(p.arrival_counts)
        for k in range(HISTORY):
            row[_COUNTS + k] = p.arrival_counts[(s.arrival_offset[i] + total * HISTORY - 1 - k) % total]
        for k in range(HISTORY):
            row[_COUNT_AVERAGE] += row[_COUNTS + k] / HISTORY
    else:
        row[_COUNTS : _COUNTS + HISTORY] = p.arrival_rps[s.arrival_state[i]] * p.interval_s
        row[_COUNT_AVERAGE] = p.arrival_rps[s.arrival_state[i]] * p.interval_s
    row[_EDGE_LOAD] = p.edge_load[s.edge_state[i]]
    _observe_pool(p, s, i, row, 0.0)
    row[_CONFIDENCE] = p.mean_confidence
    for k in range(4):
        row[_PLACEMENT + k] = s.action[i, k]
    row[_OTHER] = s.action[i, 0]
    row[_BATTERY] = 1.0
    for k in range(3):
        row[_WEIGHT + k] = s.weights[i, k]
