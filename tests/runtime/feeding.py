"""A serving system made of the plain-Python simulator: it reports every event as a device client would."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgecloud.envs import ROUTES, Problem, Simulator, Window, compile_problem, load_scenario
from edgecloud.runtime.records import RequestRecord
from edgecloud.runtime.telemetry import Telemetry
from edgecloud.traces import LinkTrace

ROOT = Path(__file__).parents[2]


def _plain_python() -> Any:
    name = "plain_python_of_the_runtime_tests"
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / "plain_python.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


PlainSimulator = _plain_python().PlainSimulator

METERED = ("faas_ms", "faas_requests", "edge_ms", "edge_requests", "transit_bytes", "egress_bytes", "uplink_bytes")


def shortened(intervals: int, scenario: str = "camera-lte") -> Problem:
    loaded = load_scenario(scenario)
    control = loaded.control.model_copy(update={"episode_intervals": intervals})
    return compile_problem(loaded.model_copy(update={"control": control}))


class Plant(PlainSimulator):
    """The plain simulator, keeping what its requests did and cost, and telling a `Telemetry`."""

    def attach(self, telemetry: Telemetry, *, modem: bool = True) -> None:
        self.telemetry, self.modem = telemetry, modem
        self.problem = telemetry.problem
        self.requests: list[Any] = []
        self.waiting: list[tuple[Any, RequestRecord]] = []
        self.reported = 0
        self.billed_s = 0.0
        self.last: tuple[Any, int, float] | None = None

    def _count(self, request: Any, sample: int, leaked: float) -> None:
        self.last = (request, sample, leaked)
        super()._count(request, sample, leaked)

    def _serve(self, j: int, arrival: float, action: list[int]) -> None:
        before = dict(self.terms)
        super()._serve(j, arrival, action)
        spent = {name: self.terms[name] - before[name] for name in self.terms}
        request, sample, leaked = self.last
        right = self.p["correct"][sample]
        cut_device, cut_edge = self.p["placements"][action[0]]
        end = request.end
        record = RequestRecord(
            id=f"{self.t}-{j}",
            arrival_s=arrival,
            end_s=end,
            latency_s=self.p["timeout_s"] if request.failed else end - arrival,
            failed=request.failed,
            exit=-1 if request.failed else request.exit,
            sample=sample,
            device_end_s=min(request.device_end, end),
            uplink_end_s=min(request.uplink_end, end),
            edge_end_s=min(request.edge_end, end),
            leakage=leaked,
            correct=math.nan if request.failed else float(right[request.exit]),
            full_correct=math.nan if request.failed else float(right[-1]),
            faas=spent["faas_requests"] > 0,
            cold=spent["cold_starts"] > 0,
            first_confidence=math.nan if request.confidence is None else request.confidence,
            cut_device=cut_device,
            cut_edge=cut_edge,
            threshold=action[1],
            route=ROUTES[action[2]],
            device_j=spent["device_j"],
            radio_j=spent["radio_j"],
            **{name: spent[name] for name in METERED},
        )
        self.requests.append(request)
        self.waiting.append((request, record))
        self.telemetry.arrived(arrival)

    def report(self) -> None:
        """Tell what has happened by the end of the interval that was stepped last."""
        now, telemetry = self.until, self.telemetry
        for request, record in list(self.waiting):
            if request.end <= now:
                telemetry.answered(record)
                self.waiting.remove((request, record))
        inside = [request for request, _ in self.waiting]
        self._report_transfers(now)
        telemetry.rtt(self._rtt(self.t - 1))
        telemetry.gauge("edge_load", self.row["edge_load"])
        self._report_queues(inside, now)
        self._report_pool(now)

    def _report_transfers(self, now: float) -> None:
        if self.modem:
            self.telemetry.link_rate(self._rate(self.t - 1))
            return
        for request in self.requests:
            if self.begin < request.uplink_end <= now:
                self.telemetry.uplink_started(request.bits / 8.0, request.uplink_start)
                self.telemetry.uplink_finished(request.bits / 8.0, request.uplink_end - request.uplink_start)

    def _report_queues(self, inside: list[Any], now: float) -> None:
        device = [r for r in inside if r.device_end > now]
        uplink = [r for r in inside if r.device_end <= now < r.uplink_end]
        edge = [r for r in inside if max(r.device_end, r.uplink_end) <= now < r.edge_end]
        left = sum(r.bits - self._transfer(r.uplink_start, r.bits, now)[1] for r in uplink) / 8.0
        self.telemetry.gauges(
            {
                "device_queue": len(device),
                "uplink_queue": len(uplink),
                "uplink_queue_bytes": max(left, 0.0),
                "edge_queue": len(edge),
                "cloud_queue": len(inside) - len(device) - len(uplink) - len(edge),
            }
        )

    def _report_pool(self, now: float) -> None:
        """What the control planes of VMs and functions say."""
        for name in ("vm_running", "vm_booting", "warm_instances", "busy_instances", "battery"):
            self.telemetry.gauge(name, self.row[name])
        self.billed_s += self.terms["vm_s"]
        self.telemetry.gauge("vm_billed_s", self.billed_s)


def plant(
    problem: Problem, link: LinkTrace, weights: tuple[float, float, float], seed: int, *, modem: bool = True
) -> tuple[Simulator, Plant, Telemetry]:
    """The kernel, a plant in the same world, and telemetry that starts from the same row."""
    simulator = Simulator(problem, [link], 1, windows=[Window(0)], weights=weights)
    first = simulator.reset(seed).rows[0].copy()
    world = Plant(problem, simulator.bank, 0, weights, (0, 0))
    world.reset(seed)
    telemetry = Telemetry(problem, weights, first=first)
    world.attach(telemetry, modem=modem)
    return simulator, world, telemetry


def random_actions(problem: Problem, intervals: int, seed: int, hold: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(0, problem.nvec, size=(-(-intervals // hold), 4)), hold, axis=0)[:intervals]
