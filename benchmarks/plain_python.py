"""The decision problem once more, in plain Python: lists, floats, one object per request, VM and function instance.

It is written from the formulation (docs/formulation.md), not from the compiled kernel, and shares with it only the
layout of the random draws and the quantile tables. The tests demand that both give the same transitions; the speed
benchmark takes it as 'the same physics in plain Python'. One environment at a time, all nine effects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from edgecloud.envs.measure import EXIT_SLOTS, HISTORY, SCHEMA
from edgecloud.envs.problem import Problem
from edgecloud.envs.state import TERMS, Bank
from edgecloud.envs.world import MAX_ARRIVALS

__all__ = ["PlainSimulator"]

MASK64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
# Which draw is for what: counters of the interval's stream, of a request's, and of the reset's.
COUNT, ARRIVAL_SWITCH, ARRIVAL_TO, EDGE_SWITCH, EDGE_TO, NORMAL_A, NORMAL_B, LAST_GAP = range(8)
BOOT, REQUEST = 16, 64
TRACE, OFFSET, ARRIVAL_OFFSET, ARRIVAL_STATE, EDGE_STATE, WEIGHTS = 0, 1, 2, 3, 4, 8
SECOND_WORD = 0x632BE59BD9B4E019


def mix(z: int) -> int:
    """SplitMix64's finaliser."""
    z &= MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


def draw(key: int, counter: int) -> int:
    """64 random bits."""
    return mix(key + (counter + 1) * GOLDEN)


def uniform(bits: int) -> float:
    """A number in (0, 1)."""
    return ((bits >> 12) + 0.5) * 2.0**-52


def normal(key: int, a: int, b: int) -> float:
    """A standard normal number (Box and Muller)."""
    return math.sqrt(-2.0 * math.log(uniform(draw(key, a)))) * math.cos(2.0 * math.pi * uniform(draw(key, b)))


def from_table(table: list[float], eleven_bits: int) -> float:
    """An entry of a quantile table."""
    return table[eleven_bits & 2047]


@dataclass
class Request:
    """One request and when it passes each point; infinity: never."""

    arrival: float
    exit: int
    confidence: float | None
    device_end: float = math.inf
    uplink_start: float = math.inf
    uplink_end: float = math.inf
    edge_end: float = math.inf
    end: float = math.inf
    bits: float = 0.0
    joules: float = 0.0
    failed: bool = False
    booked: bool = False


@dataclass
class Vm:
    """A virtual machine."""

    launch: float
    ready: float
    free: float
    slot: int
    stop: float | None = None
    billed: int = 0


@dataclass
class Instance:
    """A function instance and its invocations, (begin, end), in the order in which they were assigned."""

    invocations: list[tuple[float, float]] = field(default_factory=list)

    @property
    def free(self) -> float:
        return self.invocations[-1][1]


class PlainSimulator:
    """One environment.

    Args:
        problem: The compiled problem.
        bank: Link traces on the control grid.
        stream: Index of the environment within its batch.
        weights: Preference; None: drawn.
        window: (trace, offset); None: drawn.
    """

    def __init__(
        self,
        problem: Problem,
        bank: Bank,
        stream: int = 0,
        weights: tuple[float, float, float] | None = None,
        window: tuple[int, int] | None = None,
    ) -> None:
        p = problem.params
        self.p: dict[str, Any] = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in p._asdict().items()}
        self.traces = []
        for start, length in zip(bank.start.tolist(), bank.length.tolist(), strict=True):
            part = slice(start, start + length)
            self.traces.append((bank.rate_bps[part].tolist(), bank.rtt_s[part].tolist()))
        self.start_action = problem.start_action.tolist()
        self.max_vms = problem.scenario.vm.max_vms
        self.max_instances = problem.scenario.faas.max_instances
        self.slots = problem.scenario.control.resident_placements
        self.stream, self.given_weights, self.window = stream, weights, window
        self.names = [
            field.name if field.size == 1 else f"{field.name}_{k}" for field in SCHEMA for k in range(field.size)
        ]

    # -- the start of an episode

    def reset(self, seed: int, episode: int = 0) -> list[float]:
        """Start an episode; returns the measured row."""
        p = self.p
        self.key = draw(draw(mix(seed + GOLDEN), self.stream), episode)
        base = draw(self.key, 1 << 40)
        if self.window is None:
            trace = int(uniform(draw(base, TRACE)) * len(self.traces))
            self.rates, self.rtts = self.traces[trace]
            self.offset = int(uniform(draw(base, OFFSET)) * len(self.rates))
        else:
            self.rates, self.rtts = self.traces[self.window[0]]
            self.offset = self.window[1] % len(self.rates)
        counts = p["arrival_counts"]
        self.arrival_offset = int(uniform(draw(base, ARRIVAL_OFFSET)) * len(counts)) if counts else 0
        before_arrival = self._stationary(p["arrival_leave"], draw(base, ARRIVAL_STATE))
        before_edge = self._stationary(p["edge_leave"], draw(base, EDGE_STATE))
        self.arrival_state = self._switch(before_arrival, p["arrival_leave"], base, 16, 17)
        self.edge_state = self._switch(before_edge, p["edge_leave"], base, 18, 19)
        self.regime = normal(base, NORMAL_A, NORMAL_B)
        if self.given_weights is None:
            parts = [-math.log(uniform(draw(base, WEIGHTS + k))) for k in range(3)]
            self.weights = [part / (parts[0] + parts[1] + parts[2]) for part in parts]
        else:
            self.weights = list(self.given_weights)
        self.t = 0
        self.resident: list[int] = []
        self.device_free = self.uplink_free = self.edge_free = 0.0
        self.vms = [Vm(-3600.0, 0.0, 0.0, k, billed=3600) for k in range(p["vm_initial"])]
        self.instances: list[Instance] = []
        self.inside: list[Request] = []
        self.battery = p["battery_j"]
        row = self.row = dict.fromkeys(self.names, 0.0)
        for k in range(HISTORY):
            row[f"rate_bps_{k}"] = self._rate(-1 - k)
            row[f"arrivals_{k}"] = (
                float(counts[(self.arrival_offset - 1 - k) % len(counts)])
                if counts
                else p["arrival_rps"][before_arrival] * p["interval_s"]
            )
        row["rate_average_bps"] = sum(0.1 * self._rate(-1 - k) for k in range(10))
        row["rtt_s"] = self._rtt(-1)
        if counts:
            row["arrivals_average"] = sum(row[f"arrivals_{k}"] for k in range(HISTORY)) / HISTORY
        else:
            row["arrivals_average"] = row["arrivals_0"]
        row["edge_load"] = p["edge_load"][before_edge]
        row["vm_running"] = float(len(self.vms))
        row["confidence"] = sum(p["first_confidence"]) / len(p["first_confidence"])
        row["battery"] = 1.0
        for k, name in enumerate(("placement", "threshold", "route", "vm_target")):
            row[name] = float(self.start_action[k])
        row["other_placement"] = float(self.start_action[0])
        for k in range(3):
            row[f"weights_{k}"] = self.weights[k]
        return list(row.values())

    @staticmethod
    def _stationary(leave: list[float], bits: int) -> int:
        """A state of a Markov chain, in proportion to the mean sojourns."""
        sojourn = [1.0 / probability for probability in leave]
        left = uniform(bits) * sum(sojourn)
        for state, seconds in enumerate(sojourn):
            left -= seconds
            if left < 0.0:
                return state
        return len(leave) - 1

    @staticmethod
    def _switch(state: int, leave: list[float], base: int, whether: int, where: int) -> int:
        """The next state: with some probability any other, equally likely."""
        n = len(leave)
        if n == 1 or uniform(draw(base, whether)) >= leave[state]:
            return state
        return (state + 1 + int(uniform(draw(base, where)) * (n - 1))) % n

    def _rate(self, index: int) -> float:
        return self.rates[(self.offset + index) % len(self.rates)]

    def _rtt(self, index: int) -> float:
        recorded = self.rtts[(self.offset + index) % len(self.rates)]
        return self.p["rtt_s"] if math.isnan(recorded) else recorded

    # -- one interval

    def step(self, action: list[int]) -> tuple[dict[str, float], list[float]]:
        """Advance by one interval; returns its terms and the measured row."""
        p = self.p
        self.terms = dict.fromkeys(TERMS, 0.0)
        self.begin = self.t * p["interval_s"]
        self.until = self.begin + p["interval_s"]
        self.base = draw(self.key, self.t)
        moved = self.t == 0 or action[0] != int(self.row["placement"])
        self._load_placement(action[0])
        self._aim_at(action[3])
        for j, arrival in enumerate(self._arrivals()):
            self._serve(j, arrival, action)
        self.terms["vm_s"] = float(self._bill_vms(self.t + 1 == p["episode_intervals"]))
        self.terms["device_j"] += p["device_idle_w"] * p["interval_s"]
        self._reward()
        self._measure()
        self.row["placement_age"] = 0.0 if moved else self.row["placement_age"] + 1.0
        for k, name in enumerate(("placement", "threshold", "route", "vm_target")):
            self.row[name] = float(action[k])
        self.row["other_placement"] = float(self.resident[1] if len(self.resident) > 1 else action[0])
        self.arrival_state = self._switch(self.arrival_state, p["arrival_leave"], self.base, ARRIVAL_SWITCH, ARRIVAL_TO)
        self.edge_state = self._switch(self.edge_state, p["edge_leave"], self.base, EDGE_SWITCH, EDGE_TO)
        keep = p["regime_keep"]
        self.regime = keep * self.regime + math.sqrt(1.0 - keep**2) * normal(self.base, NORMAL_A, NORMAL_B)
        self.t += 1
        return self.terms, list(self.row.values())

    def _load_placement(self, placement: int) -> None:
        """Least recently used placements are unloaded; loading one pauses device and edge."""
        if self.t == 0:
            self.resident = [placement]
            return
        known = placement in self.resident
        self.resident = [placement, *(other for other in self.resident if other != placement)][: self.slots]
        if not known:
            self.device_free = max(self.device_free, self.begin) + self.p["repartition_s"]
            self.edge_free = max(self.edge_free, self.begin) + self.p["repartition_s"]
            self.terms["repartitions"] = 1.0

    def _aim_at(self, target: int) -> None:
        """Keep, launch or drain VMs."""
        accepting = [vm for vm in self.vms if vm.stop is None]
        for vm in sorted(self.vms, key=lambda vm: vm.slot):
            if len(accepting) < target and vm.stop is not None:
                vm.stop = None
                accepting.append(vm)
        key = draw(self.base, BOOT)
        for slot in range(self.max_vms):
            if len(accepting) < target and all(vm.slot != slot for vm in self.vms):
                ready = self.begin + from_table(self.p["vm_boot_s"], draw(key, slot) >> 53)
                vm = Vm(self.begin, ready, ready, slot)
                self.vms.append(vm)
                accepting.append(vm)
        for vm in sorted(accepting, key=lambda vm: (vm.ready <= self.begin, vm.free, vm.slot))[
            : len(accepting) - target
        ]:
            idle = vm.free <= max(self.begin, vm.ready)
            vm.stop = self.begin if idle else vm.free

    def _arrivals(self) -> list[float]:
        """Instants of a Poisson number (or the recorded one) of arrivals: exponential gaps, scaled to the interval."""
        p = self.p
        if p["arrival_counts"]:
            n = p["arrival_counts"][(self.arrival_offset + self.t) % len(p["arrival_counts"])]
        else:
            mean = p["arrival_rps"][self.arrival_state] * p["interval_s"]
            u, n, mass = uniform(draw(self.base, COUNT)), 0, math.exp(-mean)
            below = mass
            while u > below and n < MAX_ARRIVALS:
                n += 1
                mass *= mean / n
                below += mass
        sums, total = [], 0.0
        for j in range(n):
            total += -math.log(uniform(draw(self.base, REQUEST + j)))
            sums.append(total)
        total += -math.log(uniform(draw(self.base, LAST_GAP)))
        return [self.begin + part * (p["interval_s"] / total) for part in sums]

    def _serve(self, j: int, arrival: float, action: list[int]) -> None:
        """Follow a request to its end."""
        p, terms = self.p, self.terms
        cut_device, cut_edge = p["placements"][action[0]]
        threshold, route = action[1], action[2]
        first_word = draw(self.base, REQUEST + j)
        second_word = mix(first_word + SECOND_WORD)
        sample = self._sample(second_word)
        never = threshold == len(p["exit_of"]) - 1
        table = 1 if never else 0
        exit_index = p["exit_of"][threshold][sample]
        last = p["exit_position"][exit_index]
        request = Request(arrival, exit_index, None if never else p["first_confidence"][sample])
        deadline = arrival + p["timeout_s"]
        leaked = 0.0

        def fail() -> None:
            request.failed = True

        now = arrival
        if p["battery_j"] > 0.0 and self.battery <= 0.0:
            fail()
        # the device
        if not request.failed and min(last, cut_device) > 0:
            start = max(now, self.device_free)
            if start >= deadline:
                fail()
            else:
                factor = from_table(p["device_noise"], second_word >> 21)
                now = start + p["device_work_s"][table][min(last, cut_device)] * factor
                if now > deadline:
                    fail()
                self.device_free = min(now, deadline)
                request.joules = (self.device_free - start) * (p["device_busy_w"] - p["device_idle_w"])
                terms["device_j"] += request.joules
        if not request.failed:
            request.device_end = now
        # the uplink
        rtt = p["rtt_s"]
        if not request.failed and last > cut_device:
            request.bits = 8.0 * p["cut_bytes"][cut_device]
            start = max(now, self.uplink_free)
            if start >= deadline:
                fail()
            else:
                request.uplink_start = start
                end, sent = self._transfer(start, request.bits, deadline)
                leaked = p["leakage"][cut_device]
                terms["uplink_bytes"] += p["cut_bytes"][cut_device]
                self.uplink_free = min(end, deadline)
                seconds = self.uplink_free - start
                watts = p["radio_base_w"] + p["radio_w_per_bps"] * (sent / seconds if seconds > 0 else 0.0)
                joules = min(watts, p["radio_limit_w"]) * seconds
                terms["radio_j"] += joules
                request.joules += joules
                rtt = self._rtt(int(self.uplink_free / p["interval_s"]))
                if end > deadline:
                    fail()
                else:
                    request.uplink_end = end
                    now = end + 0.5 * rtt
        # the edge server
        if not request.failed and last > cut_device and cut_edge > cut_device:
            start = max(now, self.edge_free)
            if start >= deadline:
                fail()
            else:
                work = p["edge_work_s"][table][min(last, cut_edge)] - p["edge_work_s"][table][cut_device]
                factor = from_table(p["edge_noise"], second_word >> 10)
                now = start + work * (factor / (1.0 - p["edge_load"][self.edge_state]))
                if now > deadline:
                    fail()
                self.edge_free = min(now, deadline)
                terms["edge_ms"] += math.ceil((self.edge_free - start) * 1000.0 - 1e-6)
                terms["edge_requests"] += 1.0
        if not request.failed and last > cut_device:
            request.edge_end = now
        # the cloud
        through_cloud = last > cut_edge
        if not request.failed and through_cloud:
            now += 8.0 * p["cut_bytes"][cut_edge] / p["backhaul_bps"] + 0.5 * p["backhaul_rtt_s"]
            terms["transit_bytes"] += p["cut_bytes"][cut_edge]
            done = self._cloud(now, deadline, table, last, cut_edge, route, first_word, second_word)
            if done is None:
                fail()
            else:
                now = done + 0.5 * p["backhaul_rtt_s"]
                terms["egress_bytes"] += p["result_bytes"]
        if not request.failed and last > cut_device:
            if not through_cloud:
                request.edge_end = math.inf  # the edge's until the answer is back
            now += 0.5 * rtt
            if now > deadline:
                fail()
        request.end = deadline if request.failed else now
        self._count(request, sample, leaked)

    def _sample(self, bits: int) -> int:
        """The regime decides between the harder and the easier half; within a half all are equally likely."""
        order = self.p["difficulty_order"]
        samples = len(order)
        half = samples // 2
        easy = 1.0 / (1.0 + math.exp(1.7 * self.regime))
        hard = 1.0 - easy
        u = ((bits >> 32) + 0.5) * 2.0**-32
        if u < hard:
            return order[min(int(u / hard * half), half - 1)]
        return order[half + min(int((u - hard) / easy * (samples - half)), samples - half - 1)]

    def _transfer(self, start: float, bits: float, deadline: float) -> tuple[float, float]:
        """End of a transfer (infinity: after the deadline) and the bits that were sent by then."""
        width, now, sent = self.p["interval_s"], start, 0.0
        index = int(now / width)
        while now < deadline:
            rate, edge = self._rate(index), (index + 1) * width
            if rate * (edge - now) >= bits - sent:
                end = now + (bits - sent) / rate if bits > sent else now
                if end <= deadline:
                    return end, bits
            edge = min(edge, deadline)
            sent += rate * (edge - now)
            now, index = edge, index + 1
        return math.inf, sent

    def _cloud(
        self, ready: float, deadline: float, table: int, last: int, cut: int, route: int, first: int, second: int
    ) -> float | None:
        """End of the cloud's part; None: not before the deadline, or nobody is there."""
        p = self.p
        vm = None
        if route in (0, 2):
            accepting = [vm for vm in self.vms if vm.stop is None]
            vm = min(accepting, key=lambda vm: (vm.free, vm.slot), default=None)
            if route == 2 and vm is not None and vm.free > ready + p["spill_wait_s"]:
                vm = None
        if vm is not None:
            start = max(ready, vm.free)
            if start >= deadline:
                return None
            end = start + (p["vm_work_s"][table][last] - p["vm_work_s"][table][cut]) * from_table(p["vm_noise"], first)
            vm.free = min(end, deadline)
            return end if end <= deadline else None
        if route == 0:
            return None
        seconds = (p["faas_work_s"][table][last] - p["faas_work_s"][table][cut]) * from_table(p["faas_noise"], first)
        return self._invoke(ready, deadline, seconds, mix(second))

    def _invoke(self, ready: float, deadline: float, seconds: float, bits: int) -> float | None:
        """One invocation: the warm instance used last, else a new one, else the one that is free first."""
        p, terms = self.p, self.terms
        # An instance whose keep-alive has run out is gone for this request; later requests may be ready earlier.
        warm = [x for x in self.instances if x.free <= ready and ready - x.free < p["keep_alive_s"]]
        expired = [x for x in self.instances if x.free <= ready and ready - x.free >= p["keep_alive_s"]]
        cold = not warm and (bool(expired) or len(self.instances) < self.max_instances)
        begin = ready
        if warm:
            instance = max(warm, key=lambda x: x.free)
        elif cold:
            instance = max(expired, key=lambda x: x.free) if expired else Instance()
        else:
            instance = min(self.instances, key=lambda x: x.free)
            begin = instance.free
        if begin >= deadline:
            return None
        end, billed = begin + seconds, seconds
        if cold:
            init = from_table(p["faas_init_s"], bits >> 53)
            end += from_table(p["faas_setup_s"], draw(bits, 0) >> 53) + init
            billed += init if p["faas_init_billed"] else 0.0
            terms["cold_starts"] += 1.0
            if not instance.invocations:
                self.instances.append(instance)
        instance.invocations.append((begin, end))
        steps = math.ceil((billed * 1000.0 - 1e-6) / p["faas_granularity_ms"])
        terms["faas_ms"] += max(steps * p["faas_granularity_ms"], p["faas_minimum_ms"])
        terms["faas_requests"] += 1.0
        return end

    def _count(self, request: Request, sample: int, leaked: float) -> None:
        """The interval's sums."""
        p, terms = self.p, self.terms
        terms["arrived"] += 1.0
        terms["latency_s"] += p["timeout_s"] if request.failed else request.end - request.arrival
        terms["leakage"] += leaked
        if request.failed:
            terms["failed"] += 1.0
        else:
            right = p["correct"][sample]
            terms["correct"] += right[request.exit]
            terms["accuracy_loss"] += right[-1] - right[request.exit]
        self.inside.append(request)

    def _bill_vms(self, settle: bool) -> int:
        """Started seconds; the minimum falls due when a VM stops and at the end of the episode."""
        total = 0
        for vm in list(self.vms):
            stopped = vm.stop is not None and vm.stop <= self.until
            up_to = min(self.until, vm.stop) if vm.stop is not None else self.until
            seconds = math.ceil(up_to - vm.launch - 1e-9)
            if stopped or settle:
                seconds = max(seconds, self.p["vm_minimum_s"])
            total += max(0, seconds - vm.billed)
            vm.billed = max(vm.billed, seconds)
            if stopped:
                self.vms.remove(vm)
        return total

    def _reward(self) -> None:
        """Dollars and the weighted sum."""
        p, terms = self.p, self.terms
        terms["usd"] = (
            terms["vm_s"] * p["usd_per_vm_s"]
            + terms["faas_ms"] * p["usd_per_faas_ms"]
            + terms["faas_requests"] * p["usd_per_faas_request"]
            + terms["edge_ms"] * p["usd_per_edge_ms"]
            + terms["edge_requests"] * p["usd_per_edge_request"]
            + terms["egress_bytes"] * p["usd_per_egress_byte"]
            + terms["transit_bytes"] * p["usd_per_transit_byte"]
        )
        arrived = max(terms["arrived"], 1.0)
        answered = max(terms["arrived"] - terms["failed"], 1.0)
        terms["reward_latency"] = -self.weights[0] * terms["latency_s"] / arrived / p["latency_ref_s"]
        terms["reward_cost"] = -self.weights[1] * terms["usd"] / p["cost_ref_usd"]
        terms["reward_privacy"] = -self.weights[2] * terms["leakage"] / arrived
        terms["reward_accuracy"] = -p["accuracy_penalty"] * terms["accuracy_loss"] / answered
        terms["reward_failure"] = -p["failure_penalty"] * terms["failed"] / arrived
        terms["reward"] = sum(terms[f"reward_{part}"] for part in ("latency", "cost", "privacy", "accuracy", "failure"))

    def _measure(self) -> None:
        """What is known at the end of the interval."""
        p, row, now = self.p, self.row, self.until
        if p["battery_j"] > 0.0:
            self.battery -= p["device_idle_w"] * p["interval_s"]
        for name in ("device_queue", "uplink_queue", "uplink_queue_bytes", "edge_queue", "cloud_queue"):
            row[name] = 0.0
        exits, confidences, still = [0] * EXIT_SLOTS, [], []
        for request in self.inside:
            if not request.booked and (request.end <= now or request.uplink_end <= now):
                request.booked = True
                self.battery -= request.joules if p["battery_j"] > 0.0 else 0.0
            if request.end > now:
                still.append(request)
                self._place(request, now)
            elif request.failed:
                self.terms["expired"] += 1.0
            else:
                self.terms["finished"] += 1.0
                exits[request.exit] += 1
                if request.confidence is not None:
                    confidences.append(request.confidence)
        self.inside = still
        self.terms["in_flight"] = float(len(still))
        if sum(exits):
            for k in range(EXIT_SLOTS):
                row[f"exit_fraction_{k}"] += 0.2 * (exits[k] / sum(exits) - row[f"exit_fraction_{k}"])
        if confidences:
            row["confidence"] += 0.2 * (sum(confidences) / len(confidences) - row["confidence"])
        row["vm_running"] = float(sum(vm.stop is None and vm.ready <= now for vm in self.vms))
        row["vm_booting"] = float(sum(vm.stop is None and vm.ready > now for vm in self.vms))
        begun = [[end for begin, end in x.invocations if begin <= now] for x in self.instances]
        row["busy_instances"] = float(sum(bool(ends) and max(ends) > now for ends in begun))
        row["warm_instances"] = float(sum(bool(ends) and 0 <= now - max(ends) < p["keep_alive_s"] for ends in begun))
        for instance in self.instances:  # of those that have begun only the last matters
            begun_last = max((x for x in instance.invocations if x[0] <= now), default=None)
            instance.invocations = [x for x in instance.invocations if x[0] > now or x == begun_last]
        for k in range(HISTORY - 1, 0, -1):
            row[f"rate_bps_{k}"] = row[f"rate_bps_{k - 1}"]
            row[f"arrivals_{k}"] = row[f"arrivals_{k - 1}"]
        row["rate_bps_0"], row["arrivals_0"] = self._rate(self.t), self.terms["arrived"]
        row["rate_average_bps"] += 0.1 * (row["rate_bps_0"] - row["rate_average_bps"])
        row["arrivals_average"] += 0.1 * (row["arrivals_0"] - row["arrivals_average"])
        row["rtt_s"] = self._rtt(self.t)
        row["edge_load"] = p["edge_load"][self.edge_state]
        row["battery"] = max(self.battery, 0.0) / p["battery_j"] if p["battery_j"] > 0.0 else 1.0

    def _place(self, request: Request, now: float) -> None:
        """Where a request is."""
        if request.device_end > now:
            self.row["device_queue"] += 1.0
        elif request.uplink_end > now:
            self.row["uplink_queue"] += 1.0
            _, sent = self._transfer(request.uplink_start, request.bits, now)
            self.row["uplink_queue_bytes"] += (request.bits - sent) / 8.0
        elif request.edge_end > now:
            self.row["edge_queue"] += 1.0
        else:
            self.row["cloud_queue"] += 1.0
