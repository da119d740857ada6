"""The expected objective again, for one action at a time in plain Python: an independent reading of its definition."""

from __future__ import annotations

import math
from typing import Any

from edgecloud.envs import Problem
from edgecloud.envs.problem import ROUTES


def erlang(offered: float, servers: float, room: float = 0.0) -> float:
    places = servers + (room if servers >= 1 else 0.0)
    if places <= 0:
        return 1.0
    value, k = 1.0, 0
    while True:
        count = min(k + 1, max(servers, 1.0))
        step = offered * value / (count + offered * value)
        if places - k <= 1.0:
            return value + (places - k) * (step - value)
        value, k = step, k + 1


def joined(stationary: float, built: float) -> float:
    return stationary * built / (stationary + built) if stationary + built > 0 else 0.0


def wait(rate: float, mean: float, square: float, scv: float, span: float) -> float:
    variance = max(rate * (square + (scv - 1) * mean**2), 0.0)
    return joined(variance / (2 * max(1 - rate * mean, 1e-9)), 0.53 * math.sqrt(variance * span))


def tail(slack: float, mean: float) -> float:
    return math.exp(-max(slack, 0.0) / max(mean, 1e-12))


def clip(value: float, limit: float) -> float:
    return min(max(value, 0.0), limit)


class PlainObjective:
    """Expected cost of single actions for environment `i` of an outlook, straight from the problem's parameters."""

    def __init__(self, problem: Problem, outlook: Any, i: int, servers: int, cold_survival: Any) -> None:
        self.problem, self.p, self.o, self.i, self.servers = problem, problem.params, outlook, i, servers
        self.survival = cold_survival
        self.rate, self.easy = float(outlook.arrivals_rps[i]), float(outlook.easy[i])
        self.rtt, self.slow = float(outlook.rtt_s[i]), float(outlook.edge_slow[i])
        self.links = [float(r) for r in outlook.rate_bps[i]]
        self.times = [(z + 0.5) / outlook.nodes * outlook.span_s for z in range(outlook.nodes)]
        order = [int(s) for s in self.p.difficulty_order]
        half = len(order) // 2
        self.shares = dict.fromkeys(order[:half], (1 - self.easy) / half)
        self.shares |= {s: self.easy / (len(order) - half) for s in order[half:]}

    def samples(self, k: int) -> list[tuple[float, int, float]]:
        """(probability, position of the exit, accuracy lost) of every sample."""
        last = self.p.correct.shape[1] - 1
        rows = []
        for sample, share in self.shares.items():
            e = int(self.p.exit_of[k, sample])
            lost = float(self.p.correct[sample, last]) - float(self.p.correct[sample, e])
            rows.append((share, int(self.p.exit_position[e]), lost))
        grouped: dict[int, list[float]] = {}
        for share, position, lost in rows:
            entry = grouped.setdefault(position, [0.0, 0.0])
            entry[0] += share
            entry[1] += share * lost
        return [(share, position, lost) for position, (share, lost) in grouped.items()]

    def work(self, k: int) -> int:
        return int(k == len(self.problem.thresholds) - 1)

    def uplink(self, k: int, d: int, moved: bool) -> dict[str, Any]:
        """The device and the uplink for every node."""
        p, o, i, w = self.p, self.o, self.i, self.work(k)
        groups = self.samples(k)
        reach = sum(share for share, at, _ in groups if at > d)
        noise = float((p.device_noise**2).mean())
        mean = sum(share * p.device_work_s[w, min(at, d)] for share, at, _ in groups)
        square = sum(share * p.device_work_s[w, min(at, d)] ** 2 for share, at, _ in groups) * noise
        full = float(p.device_work_s[w, d])
        rho = self.rate * mean
        hold = wait(self.rate, mean, square, 1.0, o.span_s)
        begin = float(o.device_backlog_s[i]) + (p.repartition_s if moved else 0.0) if d > 0 else 0.0
        early = (mean - reach * full) / max(1 - reach, 1e-9)
        busy = min(rho, 1.0) ** 2
        scv = 1 - busy + busy * max(square / max(mean**2, 1e-12) - 1, 0.0)
        scv = 1 - reach + reach * scv
        out = self.rate * reach / max(rho, 1.0)
        bits = 8.0 * p.cut_bytes[d]
        latency = miss = 0.0
        arrived, doubt = [], []
        for q, link in enumerate(self.links):
            send = bits / link
            doubt.append(wait(out, send, send**2, scv, o.span_s))
            arrived.append([])
            for at in self.times:
                queue = clip(begin + (rho - 1) * at, p.timeout_s) if d > 0 else 0.0
                before = queue + hold + full
                ready = max(float(o.uplink_backlog_bits[i]) / link, float(o.uplink_after_s[i]))
                held = clip(max(ready - before, 0.0) + (out * send - 1) * at, p.timeout_s)
                arrived[q].append(before + held + doubt[q] + send + self.rtt / 2)
                late = tail(p.timeout_s - queue - early, hold + o.spread * early)
                n = len(self.links) * len(self.times)
                latency += ((1 - late) * min(queue + hold + early, p.timeout_s) + late * p.timeout_s) / n
                miss += late / n
        flow = sum(out / max(out * bits / link, 1.0) for link in self.links) / len(self.links)
        risk = [x + hold for x in doubt]
        return {
            "reach": reach,
            "latency": latency,
            "miss": miss,
            "arrived": arrived,
            "risk": risk,
            "flow": flow,
            "groups": groups,
        }

    def edge(self, k: int, d: int, e: int, leg: dict[str, Any]) -> tuple[float, float]:
        """Mean service and stochastic wait of requests that reach the edge."""
        p, w = self.p, self.work(k)
        noise = float((p.edge_noise**2).mean())
        reach = max(leg["reach"], 1e-9)
        times = [
            (share, (p.edge_work_s[w, min(at, e)] - p.edge_work_s[w, d]) * self.slow)
            for share, at, _ in leg["groups"]
            if at > d
        ]
        mean = sum(share * s for share, s in times) / reach
        square = sum(share * s**2 for share, s in times) * noise / reach
        return mean, wait(leg["flow"], mean, square, 1.0, self.o.span_s)

    def fastest(self, k: int, e: int) -> float:
        best = self.p.timeout_s
        for d, other in self.problem.placements:
            if other != e:
                continue
            leg = self.uplink(k, int(d), False)
            if leg["reach"] <= 0:
                continue
            mean, hold = self.edge(k, int(d), int(e), leg)
            start = sum(map(sum, leg["arrived"])) / (len(self.links) * len(self.times))
            if e > d:
                start = max(start, float(self.o.edge_backlog_s[self.i]))
            best = min(best, start + mean + hold)
        return best

    def tier(self, k: int, e: int, work: Any, noise: Any) -> tuple[float, float]:
        """Mean and mean square of the cloud's service per request that reaches it."""
        w = self.work(k)
        parts = [(share, work[w, at] - work[w, e]) for share, at, _ in self.samples(k) if at > e]
        total = max(sum(share for share, _ in parts), 1e-9)
        mean = sum(share * s for share, s in parts) / total
        return mean, sum(share * s**2 for share, s in parts) * float((noise**2).mean()) / total

    def cost(self, placement: int, k: int, route: int) -> float:
        p, o, i = self.p, self.o, self.i
        d, e = (int(c) for c in self.problem.placements[placement])
        moved = not bool(o.resident[i, placement])
        leg = self.uplink(k, d, moved)
        reach = leg["reach"]
        some = 1 - math.exp(-self.rate * p.interval_s)
        weights = [float(w) for w in o.weights[i]]
        per_s = weights[0] / p.latency_ref_s
        per_usd = weights[1] / p.cost_ref_usd * self.rate * p.interval_s
        cost = some * p.accuracy_penalty * sum(lost for _, _, lost in leg["groups"])
        cost += some * (1 - reach) * (per_s * leg["latency"] + p.failure_penalty * leg["miss"])
        service, hold = self.edge(k, d, e, leg)
        onward = sum(share for share, at, _ in leg["groups"] if at > e)
        way = 8.0 * p.cut_bytes[e] / p.backhaul_bps + p.backhaul_rtt_s
        vm, vm2 = self.tier(k, e, p.vm_work_s, p.vm_noise)
        faas, _ = self.tier(k, e, p.faas_work_s, p.faas_noise)
        least = (vm if o.vms[i] > 0 else faas) + way
        back = self.rtt / 2
        after = back + onward * least / max(reach, 1e-9)
        latency = miss = 0.0
        n = len(self.links) * len(self.times)
        for q in range(len(self.links)):
            for z, at in enumerate(self.times):
                now = leg["arrived"][q][z]
                begin = float(o.edge_backlog_s[i]) + (p.repartition_s if moved else 0.0)
                queue = clip(max(begin - now, 0.0) + (leg["flow"] * service - 1) * at, p.timeout_s) if e > d else 0.0
                done = now + queue + hold + service
                risk = leg["risk"][q] + hold
                late = tail(p.timeout_s - after - done + risk, risk + o.spread * done)
                latency += ((1 - late) * min(done + back, p.timeout_s) + late * p.timeout_s) / n
                miss += late / n
        cost += some * reach * (per_s * latency + p.failure_penalty * miss + weights[2] * p.leakage[d])
        edge_ms = 1000 * service * reach + (0.5 * reach if e > d else 0.0)
        cost += per_usd * edge_ms * p.usd_per_edge_ms
        cost += per_usd * (reach * p.usd_per_edge_request if e > d else 0.0)
        if onward <= 0:
            return cost
        return cost + self.cloud(k, e, route, onward, (vm, vm2, faas), way, some, (per_s, per_usd))

    def cloud(
        self,
        k: int,
        e: int,
        route: int,
        onward: float,
        times: tuple[float, float, float],
        way: float,
        some: float,
        prices: tuple[float, float],
    ) -> float:
        p, o, i, c = self.p, self.o, self.i, self.servers
        vm, vm2, faas = times
        rate, elapsed = self.rate * onward, self.fastest(k, e)
        slack = p.timeout_s - elapsed - way - self.rtt / 2
        jam = float(o.vm_backlog_s[i]) / max(c, 1)
        share = {"vm": 0.0, "faas": 1.0, "spill": 1.0}[ROUTES[route]]
        if ROUTES[route] == "spill" and c > 0:
            share = erlang(rate * vm, c, min(c * p.spill_wait_s / max(vm, 1e-9), 32.0))
            late = min(jam / o.span_s, 1.0) if jam > p.spill_wait_s else 0.0
            share = late + (1 - late) * share
        latency = miss = usd = 0.0
        if share > 0:
            warm, cold = float(o.instances[i]), 0.0
            intervals = max(1, round(o.span_s / p.interval_s))
            for _ in range(intervals):
                missing = erlang(rate * share * faas, warm)
                cold += missing / intervals
                warm += missing * rate * share * p.interval_s
            left = slack - faas
            last = len(self.survival) - 1
            late = float(self.survival[int(clip(left / p.timeout_s * last, last))]) if left > 0 else 1.0
            init = float(p.faas_init_s.mean())
            billed = faas + (cold * init if p.faas_init_billed else 0.0) + 0.5e-3 * p.faas_granularity_ms
            latency += share * (faas + cold * (init + float(p.faas_setup_s.mean())))
            miss += share * cold * late
            usd += share * (1000 * billed * p.usd_per_faas_ms + p.usd_per_faas_request)
        if share < 1 and c == 0:
            latency, miss = latency + (1 - share) * p.timeout_s, miss + (1 - share)
        elif share < 1:
            limit = p.spill_wait_s if ROUTES[route] == "spill" else p.timeout_s
            own = rate * (1 - share)
            rho = min(own * vm / c, 1.0)
            held = 0.5 * vm2 / vm**2 * vm / c * rho ** (math.sqrt(2 * (c + 1)) - 1) / max(1 - rho, 1e-9)
            hold = min(joined(held, 0.53 * math.sqrt(own * vm2 * o.span_s) / c), limit)
            for at in self.times:
                queue = clip(jam + (own * vm / c - 1) * at, limit)
                late = tail(slack - vm - queue, hold + o.spread * vm)
                latency += (1 - share) * min(queue + hold + vm, p.timeout_s) / len(self.times)
                miss += (1 - share) * late / len(self.times)
        latency = (1 - miss) * (latency + way) + miss * max(p.timeout_s - elapsed, 0.0)
        usd += p.usd_per_egress_byte * p.result_bytes + p.cut_bytes[e] * p.usd_per_transit_byte
        return onward * (some * (prices[0] * latency + p.failure_penalty * miss) + prices[1] * usd)
