"""The expected objective of one interval, from measurements: what each action is expected to cost, in reward units.

The reward of `edgecloud.envs` in expectation: weighted mean latency, dollars, leakage, accuracy lost, failures. Given
a threshold it is a sum over tiers,

    cost(cut_device, cut_edge, route) = near(cut_device, cut_edge) + cloud(cut_edge, route),

so that a dynamic programme over the tiers finds its optimum exactly. Latency is work (weighted by the probability of
reaching it), transfer at the forecast rate, fluid backlog and stationary waiting at every queue. Link rate and time of
arrival within the horizon are averaged over nodes, because waiting and failing are not linear in them. What the
separation costs: a request that waits in the cloud is judged by the slack of the fastest way to that cut.

With a horizon of one interval this is the expected reward of the next interval. A longer horizon is the mean over that
many intervals of keeping the action: a pause and a cold start weigh less, a growing queue weighs more.

Axes: N environments, D = M + 1 cuts, P placements, K thresholds, Z times of arrival, Q link rates, S pool sizes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..envs.problem import ROUTES
from .tables import Tables
from .waiting import blocking, exponential_tail, fluid_backlog_s, mean_wait_s, pool_wait_s

__all__ = ["Costs", "Outlook", "expected_costs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_HALF_MS = 5e-4  # edge time is billed in started milliseconds


class Outlook(NamedTuple):
    """What a batch expects of the next intervals."""

    rate_bps: Floats  # (N, Q) link rates of equal weight, positive
    rtt_s: Floats  # (N,)
    arrivals_rps: Floats  # (N,)
    easy: Floats  # (N,) share of requests from the easy half of the test set
    edge_slow: Floats  # (N,) factor on the edge's service times
    device_backlog_s: Floats  # (N,) work waiting
    uplink_backlog_bits: Floats  # (N,)
    uplink_after_s: Floats  # (N,) until when requests now on the device keep the uplink, which serves in order
    edge_backlog_s: Floats  # (N,)
    vm_backlog_s: Floats  # (N,) work waiting for the pool
    vms: Ints  # (N,) running
    instances: Floats  # (N,) warm or busy function instances
    resident: NDArray[np.bool_]  # (N, P) moving there costs no pause
    weights: Floats  # (N, 3)
    span_s: float  # horizon
    nodes: int  # times of arrival within it, Z
    spread: float  # share of the elapsed time that is uncertain besides waiting

    def rows(self, part: slice) -> Outlook:
        """Some of the environments."""
        fields: dict[str, Any] = self._asdict()
        cut: dict[str, Any] = {k: value[part] for k, value in fields.items() if isinstance(value, np.ndarray)}
        return self._replace(**cut)


class Costs(NamedTuple):
    """Expected costs, without the pool's dollars; the total is near[n, p, k] + cloud[n, cut_edge of p, k, s, route]."""

    near: Floats  # (N, P, K) device, uplink, edge, and accuracy
    cloud: Floats  # (N, D, K, S, R)


class _Departures(NamedTuple):
    """What leaves the device; axis 1 of some: without and with a pause for loading the placement."""

    reach: Floats  # (N, D, K)
    latency_s: Floats  # (N, 2, D, K) of requests that exit on the device
    miss: Floats  # (N, 2, D, K) of those
    elapsed_s: Floats  # (N, 2, D, K, Z, Q) until the edge has the data
    doubt_s: Floats  # (N, D, K, Q) stochastic waiting in it
    flow_rps: Floats  # (N, D, K) that reaches the edge


def expected_costs(t: Tables, o: Outlook, sizes: Ints) -> Costs:
    """Expected cost of every placement, threshold, route and pool size.

    Args:
        t: The problem's tables.
        o: The outlook.
        sizes: int64 (N, S) numbers of running VMs.
    """
    leaving = _leave_device(t, o)
    near, fastest = _near(t, o, leaving)
    return Costs(near, _cloud(t, o, sizes, fastest))


def _mix(table: Floats, easy: Floats) -> Floats:
    """Mixture of the hard and the easy half: (2, X, K) and (N,) to (N, X, K)."""
    return np.asarray(table[0] + easy[:, None, None] * (table[1] - table[0]))


def _some(t: Tables, o: Outlook) -> Floats:
    """P(an interval has an arrival), (N,): the reward's means over requests are zero without one."""
    return np.asarray(-np.expm1(-o.arrivals_rps * t.interval_s))


def _since(o: Outlook) -> Floats:
    """Times of arrival, (Z,)."""
    return np.asarray((np.arange(o.nodes) + 0.5) / o.nodes * o.span_s)


def _leave_device(t: Tables, o: Outlook) -> _Departures:
    """Device and uplink."""
    rate = o.arrivals_rps[:, None, None]
    reach, work, work2 = _mix(t.reach, o.easy), _mix(t.device_s, o.easy), _mix(t.device_s2, o.easy)
    used = rate * work
    wait = mean_wait_s(rate, work, work2, 1.0, o.span_s)
    pause = np.array([0.0, t.repartition_s])[None, :, None]
    on_device = np.arange(reach.shape[1]) > 0
    begin = (o.device_backlog_s[:, None, None] + pause) * on_device  # (N, 2, D)
    queue = fluid_backlog_s(begin[..., None, None], used[:, None, :, :, None], _since(o), t.timeout_s)
    queue *= on_device[:, None, None]
    early = (work - reach * t.device_full_s) / np.maximum(1.0 - reach, 1e-9)
    late = exponential_tail(
        t.timeout_s - queue - early[:, None, ..., None], (wait + o.spread * early)[:, None, ..., None]
    )
    local = np.minimum(queue + (wait + early)[:, None, ..., None], t.timeout_s)
    latency = ((1.0 - late) * local + late * t.timeout_s).mean(axis=-1)
    # Departures of a busy server are as regular as its service; thinning makes them random again (Whitt's QNA).
    busy = np.minimum(used, 1.0) ** 2
    scv = 1.0 - busy + busy * np.maximum(work2 / np.maximum(work * work, 1e-12) - 1.0, 0.0)
    scv = 1.0 - reach + reach * scv
    out = rate * reach / np.maximum(used, 1.0)
    send = t.cut_bits[:, None] / o.rate_bps[:, None, :]  # (N, D, Q)
    load = out[..., None] * send[:, :, None]  # (N, D, K, Q)
    doubt = mean_wait_s(out[..., None], send[:, :, None], (send * send)[:, :, None], scv[..., None], o.span_s)
    before = queue + (wait + t.device_full_s)[:, None, ..., None]  # (N, 2, D, K, Z)
    ready = np.maximum(o.uplink_backlog_bits[:, None] / o.rate_bps, o.uplink_after_s[:, None])  # (N, Q)
    left = np.maximum(ready[:, None, None, None, None] - before[..., None], 0.0)
    elapsed = fluid_backlog_s(left, load[:, None, :, :, None], _since(o)[:, None], t.timeout_s)
    elapsed += before[..., None]
    elapsed += (doubt + send[:, :, None] + 0.5 * o.rtt_s[:, None, None, None])[:, None, :, :, None]
    flow = (out[..., None] / np.maximum(load, 1.0)).mean(axis=-1)
    return _Departures(reach, latency, late.mean(axis=-1), elapsed, doubt + wait[..., None], flow)


def _near(t: Tables, o: Outlook, leaving: _Departures) -> tuple[Floats, Floats]:
    """Cost up to and including the edge with the way back, (N, P, K); mean seconds to each edge cut, (N, D, K)."""
    d, e = t.placements[:, 0], t.placements[:, 1]
    rows, moved = np.arange(len(o.rtt_s))[:, None], (~o.resident).astype(np.int64)
    reach = leaving.reach[:, d]
    some = np.maximum(reach, 1e-9)
    slow = o.edge_slow[:, None, None]
    work = _mix(t.edge_s, o.easy) * slow  # (N, P, K)
    service, square = work / some, _mix(t.edge_s2, o.easy) * slow**2 / some
    flow = leaving.flow_rps[:, d]
    wait = mean_wait_s(flow, service, square, 1.0, o.span_s)
    begin = (o.edge_backlog_s[:, None] + moved * t.repartition_s)[..., None, None, None]
    elapsed = leaving.elapsed_s[rows, moved, d]  # (N, P, K, Z, Q)
    used = (flow * service)[..., None, None]
    queue = fluid_backlog_s(np.maximum(begin - elapsed, 0.0), used, _since(o)[:, None], t.timeout_s)
    done = elapsed + queue * (e > d)[:, None, None, None] + (wait + service)[..., None, None]
    risk = leaving.doubt_s[:, d] + wait[..., None]  # (N, P, K, Q)
    slack = (
        t.timeout_s - done + (risk - (0.5 * o.rtt_s[:, None, None] + _onward_s(t, o, reach))[..., None])[..., None, :]
    )
    late = exponential_tail(slack, risk[..., None, :] + o.spread * done)
    answer = np.minimum(done + 0.5 * o.rtt_s[:, None, None, None, None], t.timeout_s)
    latency = ((1.0 - late) * answer + late * t.timeout_s).mean(axis=(-1, -2))
    weight_s = o.weights[:, 0, None, None] / t.latency_ref_s
    gone = reach * (
        weight_s * latency
        + t.failure_penalty * late.mean(axis=(-1, -2))
        + o.weights[:, 2, None, None] * t.leakage[d][:, None]
    )
    stayed = weight_s * leaving.latency_s[rows, moved, d] + t.failure_penalty * leaving.miss[rows, moved, d]
    lost = t.accuracy_penalty * _mix(t.loss[:, None], o.easy)
    used_edge = reach * (e > d)[:, None]
    usd = t.usd_per_edge_s * (work + used_edge * _HALF_MS) + t.usd_per_edge_request * used_edge
    dollars = o.weights[:, 1] / t.cost_ref_usd * o.arrivals_rps * t.interval_s
    cost = _some(t, o)[:, None, None] * (gone + (1.0 - reach) * stayed + lost) + dollars[:, None, None] * usd
    return cost, _fastest(t, o, leaving, wait + service)


def _onward_s(t: Tables, o: Outlook, reach: Floats) -> Floats:
    """Mean seconds that the cloud adds at least, per request that leaves the device, (N, P, K)."""
    e = t.placements[:, 1]
    vm_s, faas_s = _mix(t.vm_s, o.easy), _mix(t.faas_s, o.easy)
    fastest = np.where((o.vms > 0)[:, None, None], vm_s, faas_s) + _mix(t.reach, o.easy) * _backhaul_s(t)[:, None]
    return np.asarray(fastest[:, e] / np.maximum(reach, 1e-9))


def _backhaul_s(t: Tables) -> Floats:
    """Seconds to the cloud and back for each edge cut, (D,)."""
    return t.cut_bits / t.backhaul_bps + t.backhaul_rtt_s


def _fastest(t: Tables, o: Outlook, leaving: _Departures, edge_s: Floats) -> Floats:
    """Mean seconds until the edge is done, on the fastest way to each edge cut, without a pause, (N, D, K)."""
    at_edge = leaving.elapsed_s[:, 0].mean(axis=(-1, -2))  # (N, D, K)
    start = np.maximum(at_edge, o.edge_backlog_s[:, None, None])
    d, e = t.placements[:, 0], t.placements[:, 1]
    done = np.where((e > d)[:, None], start[:, d], at_edge[:, d]) + edge_s
    done = np.where(leaving.reach[:, d] > 0.0, done, t.timeout_s)
    return np.stack([done[:, e == cut].min(axis=1, initial=t.timeout_s) for cut in range(at_edge.shape[1])], axis=1)


def _cloud(t: Tables, o: Outlook, sizes: Ints, fastest: Floats) -> Floats:
    """Cost of the cloud part for each edge cut, threshold, pool size and route, (N, D, K, S, R)."""
    reach = _mix(t.reach, o.easy)
    some = np.maximum(reach, 1e-9)
    rate = (o.arrivals_rps[:, None, None] * reach)[..., None]
    vm_s, vm_s2 = (_mix(t.vm_s, o.easy) / some)[..., None], (_mix(t.vm_s2, o.easy) / some)[..., None]
    faas_s = (_mix(t.faas_s, o.easy) / some)[..., None]
    way_s = _backhaul_s(t)[:, None, None]
    elapsed = fastest[..., None]
    slack = t.timeout_s - elapsed - way_s - 0.5 * o.rtt_s[:, None, None, None]
    servers = np.maximum(sizes, 1)[:, None, None].astype(np.float64)
    backlog = o.vm_backlog_s[:, None, None, None] / servers
    spilt = blocking(rate * vm_s, servers, np.minimum(servers * t.spill_wait_s / np.maximum(vm_s, 1e-9), 32.0))
    jam = np.where(backlog > t.spill_wait_s, np.minimum(backlog / o.span_s, 1.0), 0.0)
    spilt = np.where(sizes[:, None, None] > 0, jam + (1.0 - jam) * spilt, 1.0)  # (N, D, K, S)
    function = _functions(t, o, faas_s, rate, slack - faas_s)
    overflow = _functions(t, o, faas_s, rate * spilt, slack - faas_s)
    pool = _pool(t, o, vm_s, vm_s2, rate, servers, slack, t.timeout_s)
    served = _pool(t, o, vm_s, vm_s2, rate * (1.0 - spilt), servers, slack, t.spill_wait_s)
    none = sizes[:, None, None] == 0
    route: list[tuple[Floats, ...]] = [
        (np.where(none, t.timeout_s, pool[0]), np.where(none, 1.0, pool[1]), 0.0 * spilt),
        tuple(part + 0.0 * spilt for part in function),
        tuple(spilt * a + (1.0 - spilt) * b for a, b in zip(overflow, (*served, np.zeros(1)), strict=True)),
    ]
    assert len(route) == len(ROUTES)
    latency, miss, usd = (np.stack([part[k] for part in route], axis=-1) for k in range(3))
    latency = (1.0 - miss) * (latency + way_s[..., None])
    latency += miss * np.maximum(t.timeout_s - elapsed, 0.0)[..., None]
    usd = usd + (t.usd_per_result + t.cut_bits * t.usd_per_transit_bit)[:, None, None, None]
    weight_s = o.weights[:, 0] / t.latency_ref_s
    cost = _some(t, o)[:, None, None, None, None] * (
        weight_s[:, None, None, None, None] * latency + t.failure_penalty * miss
    )
    dollars = o.weights[:, 1] / t.cost_ref_usd * o.arrivals_rps * t.interval_s
    return np.asarray(reach[..., None, None] * (cost + dollars[:, None, None, None, None] * usd))


def _functions(t: Tables, o: Outlook, service: Floats, rate: Floats, slack: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean latency (s), miss probability and dollars of one function request, at most (N, D, K, S) each.

    The share of cold starts is Erlang's blocking with the warm instances as servers; each cold start adds one.
    """
    warm = o.instances[:, None, None, None] + 0.0 * rate
    cold = np.zeros_like(warm)
    intervals = max(1, round(o.span_s / t.interval_s))
    for _ in range(intervals):
        share = blocking(rate * service, warm)
        cold += share / intervals
        warm = warm + share * rate * t.interval_s
    last = len(t.cold_survival) - 1
    place = np.clip(slack / t.timeout_s * last, 0, last).astype(np.int64)
    late = np.where(slack > 0.0, t.cold_survival[place], 1.0)
    billed = service + cold * t.cold_billed_s + 0.5 * t.faas_granularity_s
    return service + cold * t.cold_s, cold * late, t.usd_per_faas_s * billed + t.usd_per_faas_request


def _pool(
    t: Tables,
    o: Outlook,
    service: Floats,
    square: Floats,
    rate: Floats,
    servers: Floats,
    slack: Floats,
    limit_s: float,
) -> tuple[Floats, Floats]:
    """Mean latency (s) and miss probability of one request to the pool that waits at most `limit_s`, (N, D, K, S)."""
    wait = np.minimum(pool_wait_s(rate, service, square, servers, o.span_s), limit_s)[..., None]
    begin = (o.vm_backlog_s[:, None, None, None] / servers)[..., None]
    queue = fluid_backlog_s(begin, (rate * service / servers)[..., None], _since(o), limit_s)
    late = exponential_tail((slack - service)[..., None] - queue, wait + o.spread * service[..., None])
    latency = np.minimum(queue + wait + service[..., None], t.timeout_s)
    return latency.mean(axis=-1), late.mean(axis=-1)
