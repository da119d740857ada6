"""The row of what a controller can measure, written at the end of an interval and before the first decision."""

from __future__ import annotations

import numpy as np

from .compiled import inner
from .link import bin_at, carried_bits
from .measure import EXIT_SLOTS, HISTORY, column
from .state import FLIGHT, TERMS

__all__ = ["first_row", "measure_interval", "sweep_flights"]

_ARRIVED, _FINISHED, _EXPIRED, _IN_FLIGHT = map(TERMS.index, ("arrived", "finished", "expired", "in_flight"))

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
_OTHER = column("other_placement")
_BATTERY, _WEIGHT = column("battery"), column("weights")
_SLOW, _ANSWERS = 0.1, 0.2  # gains of the exponential averages


@inner
def sweep_flights(p, bank, s, i, out, row, end_s, link, exits):  # type: ignore[no-untyped-def]
    """Count who is where at the end of the interval; take out, and learn from, those that are done."""
    first, length, offset = link
    row[_DEVICE_QUEUE : _CLOUD_QUEUE + 1] = 0.0
    seen, answers, confidence = 0, 0, 0.0
    exits[:EXIT_SLOTS] = 0.0
    k, count = 0, s.flights[i]
    while k < count:
        flight = s.flight[i, k]
        _book(p, s, i, flight, end_s)
        if flight[_F_END] <= end_s:
            if flight[_F_LOST] > 0.0:
                out[_EXPIRED] += 1.0
            else:
                out[_FINISHED] += 1.0
                answers += 1
                exits[int(flight[_F_EXIT])] += 1.0
                if not np.isnan(flight[_F_SEEN]):
                    seen += 1
                    confidence += flight[_F_SEEN]
            count -= 1
            for c in range(len(flight)):  # the last one takes the place
                flight[c] = s.flight[i, count, c]
            continue
        if flight[_F_DEVICE_END] > end_s:
            row[_DEVICE_QUEUE] += 1.0
        elif flight[_F_UPLINK_END] > end_s:
            row[_UPLINK_QUEUE] += 1.0
            left = flight[_F_BITS]
            if flight[_F_UPLINK_START] < end_s:
                start = flight[_F_UPLINK_START]
                left -= carried_bits(bank.rate_bps, first, length, offset, p.interval_s, start, end_s)
            row[_UPLINK_BYTES] += max(left, 0.0) / 8.0
        elif flight[_F_EDGE_END] > end_s:
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
    if p.battery_j > 0.0 and flight[_F_UPLINK_END] <= end_s:
        s.battery_j[i] -= flight[_F_JOULES]
        flight[_F_JOULES] = 0.0
    if flight[_F_INSTANCE] >= 0.0 and flight[_F_BEGIN] <= end_s:
        instance = int(flight[_F_INSTANCE])
        s.faas_seen_s[i, instance] = max(s.faas_seen_s[i, instance], flight[_F_FREE])
        flight[_F_INSTANCE] = -1.0


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
def measure_interval(p, bank, s, i, out, load, link, begin_s, scratch):  # type: ignore[no-untyped-def]
    """Write the row of what a controller can measure at the end of the interval."""
    first, length, offset = link
    row = s.measured[i]
    end_s = begin_s + p.interval_s
    sweep_flights(p, bank, s, i, out, row, end_s, link, scratch)
    _observe_pool(p, s, i, row, end_s)
    place = first + bin_at(offset, s.t[i], length)
    rate = bank.rate_bps[place]
    _push(row, _RATE, rate)
    row[_RATE_AVERAGE] += _SLOW * (rate - row[_RATE_AVERAGE])
    row[_RTT] = p.rtt_s if np.isnan(bank.rtt_s[place]) else bank.rtt_s[place]
    _push(row, _COUNTS, out[_ARRIVED])
    row[_COUNT_AVERAGE] += _SLOW * (out[_ARRIVED] - row[_COUNT_AVERAGE])
    row[_EDGE_LOAD] = load
    row[_BATTERY] = max(s.battery_j[i], 0.0) / p.battery_j if p.battery_j > 0.0 else 1.0


@inner
def first_row(p, bank, s, i, link):  # type: ignore[no-untyped-def]
    """What is known before the first decision: the link's recent past, mean arrivals, an idle system."""
    first, length, offset = link
    row = s.measured[i]
    row[:] = 0.0
    for k in range(HISTORY):
        row[_RATE + k] = bank.rate_bps[first + bin_at(offset, length * 2 - 1 - k, length)]
    for k in range(10):
        row[_RATE_AVERAGE] += 0.1 * bank.rate_bps[first + bin_at(offset, length * 10 - 1 - k, length)]
    rtt = bank.rtt_s[first + bin_at(offset, length - 1, length)]
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
