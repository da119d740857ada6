"""A whole system under load for an hour: memory of each process, requests that failed, and what was answered where.

    python benchmarks/soak.py                  # an hour
    python benchmarks/soak.py --minutes 0.33   # a look

All tiers are processes of their own on this machine; the plans of the requests change every second between device,
edge, VM and functions, as a policy's would. Memory is the resident set, from /proc; its slope is a least-squares line
through the second half, when caches (the answers that are kept for retries for two minutes, the allocators' arenas)
have filled. The exit status is 1 if a request was lost, or if a process grew by more than --most-mib per hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from edgecloud.envs import Action, compile_problem
from edgecloud.runtime.serving.observer import ServedRequest
from edgecloud.runtime.serving.plan import Plan
from edgecloud.runtime.system import System, SystemSettings
from edgecloud.runtime.telemetry import Telemetry
from edgecloud.runtime.workload import random_images
from edgecloud.traces import LinkTrace

LINK = LinkTrace("lab", "static", [0.0, 1000.0], [5e8])
PLANS = (Plan(6, 6), Plan(1, 6), Plan(1, 3, route="faas"), Plan(0, 0, route="vm"), Plan(2, 4, 0.5, "spill"))
_WORDS = {"vm_worker": "VM worker", "functions_framework": "function"}


def resident_mib(pid: int) -> float:
    """Resident set of a process, MiB; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, IndexError):
        return 0.0


def children(parent: int) -> dict[int, str]:
    """Live workers and functions of the gateway, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            ppid = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        kind = next((name for word, name in _WORDS.items() if word in command), "")
        if ppid == parent and kind:
            found[int(entry.name)] = f"{kind} {entry.name}"
    return found


class Memory:
    """Resident sets over time, by process."""

    def __init__(self, system: System) -> None:
        self._system, self._begun_s = system, time.monotonic()
        self.seen: dict[str, list[tuple[float, float]]] = {}

    def look(self) -> None:
        """Note what every process holds now."""
        gateway = self._system.gateway.pid
        pids = {os.getpid(): "device", self._system.edge.pid: "edge", gateway: "gateway", **children(gateway)}
        now_s = time.monotonic() - self._begun_s
        for pid, name in pids.items():
            if size := resident_mib(pid):
                self.seen.setdefault(name, []).append((now_s, size))

    def slope_mib_per_h(self, name: str) -> float:
        """Of the second half of what was seen; NaN where that is too little."""
        points = np.array(self.seen[name])
        late = points[points[:, 0] >= points[:, 0].mean()]
        if len(late) < 3:
            return float("nan")
        return float(np.polyfit(late[:, 0], late[:, 1], 1)[0] * 3600.0)


class Ends:
    """Counts how requests ended; keeps none of them."""

    def __init__(self) -> None:
        self.submitted = 0
        self.ended: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, answer: Future[ServedRequest]) -> None:
        """Count one when it ends."""
        self.submitted += 1
        answer.add_done_callback(self._end)

    def _end(self, answer: Future[ServedRequest]) -> None:
        record = answer.result()
        with self._lock:
            self.ended[record.tier or record.status] += 1


def warm_up(system: System, within_s: float = 300.0) -> None:
    """Until every plan has been answered where it says: workers and functions have loaded what they need."""
    image = random_images(system.model, 1, 0).tensor(0)
    until = time.monotonic() + within_s
    for plan in PLANS:
        while time.monotonic() < until:
            record = system.device.submit(image, plan=plan).result()
            if not record.failed and record.tier != "fallback":
                break


def drive(system: System, telemetry: Telemetry, seconds: float, rate_rps: float, memory: Memory) -> Ends:
    """Poisson arrivals; a new plan every second; a look at the memory some 200 times."""
    rng, ends = np.random.default_rng(0), Ends()
    images = random_images(system.model, 64, 0)
    begun = at_s = time.monotonic()
    second = looks = 0
    while (now := time.monotonic()) < begun + seconds:
        if now - begun >= second:  # what the control loop does every interval
            system.switch(PLANS[second % len(PLANS)])
            telemetry.close(system.clock_s())
            telemetry.take_records()
            second += 1
        if now - begun >= looks * seconds / 200:
            memory.look()
            looks += 1
        if now >= at_s:
            sample = int(rng.integers(64))
            ends.add(system.device.submit(images.tensor(sample), sample))
            at_s += rng.exponential(1.0 / rate_rps)
        time.sleep(max(min(at_s - time.monotonic(), 0.05), 0.0))
    until = time.monotonic() + system.problem.params.timeout_s + 5.0
    while system.device.in_flight and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.1)  # the last callbacks
    memory.look()
    return ends


def report(memory: Memory, ends: Ends, most_mib_per_h: float, judge: bool) -> bool:
    """Print what was seen; whether it is as it should be."""
    print(f"{'process':<20} {'start':>9} {'end':>9} {'largest':>9}   slope of the second half")
    grows = []
    for name, points in memory.seen.items():
        sizes, slope = [size for _, size in points], memory.slope_mib_per_h(name)
        print(f"{name:<20} {sizes[0]:5.0f} MiB {sizes[-1]:5.0f} MiB {max(sizes):5.0f} MiB  {slope:+9.1f} MiB/h")
        if slope > most_mib_per_h:
            grows.append(name)
    over_time(memory)
    lost = ends.submitted - sum(ends.ended.values())
    failed = sum(ends.ended[status] for status in ("failed", "late", "refused"))
    print(f"requests: {ends.submitted} submitted, {failed} failed, {lost} lost; ended {dict(ends.ended)}")
    if grows and judge:
        print(f"memory grows: {', '.join(grows)}")
    return lost == 0 and not (grows and judge)


def over_time(memory: Memory, columns: int = 11) -> None:
    """Print the resident set of each process by time; a dash where it did not live."""
    end_s = max(points[-1][0] for points in memory.seen.values())
    instants = np.linspace(0.0, end_s, columns)
    print(f"\n{'MiB after minutes':<20}" + "".join(f"{instant / 60.0:>7.1f}" for instant in instants))
    for name, points in memory.seen.items():
        times, sizes = np.array(points).T
        alive = (instants >= times[0] - end_s / columns) & (instants <= times[-1] + end_s / columns)
        nearest = [float(sizes[np.abs(times - instant).argmin()]) for instant in instants]
        cells = [f"{size:>7.0f}" if here else f"{'-':>7}" for size, here in zip(nearest, alive, strict=True)]
        print(f"{name:<20}" + "".join(cells))
    print()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second")
    parser.add_argument("--scenario", default="demo")
    parser.add_argument("--most-mib", type=float, default=20.0, help="growth per hour and process that is too much")
    options = parser.parse_args(arguments)
    problem = compile_problem(options.scenario)
    telemetry = Telemetry(problem)
    settings = SystemSettings("random:shipped", options.scenario, real_boot=True)
    with System(problem, settings, LINK, telemetry) as system:
        system.apply(Action(6, 6, len(problem.thresholds) - 1, "spill", 1))
        warm_up(system)
        telemetry.begin(system.clock_s())
        memory = Memory(system)
        ends = drive(system, telemetry, options.minutes * 60.0, options.rate, memory)
        print(f"{options.minutes:g} min at {options.rate:g} requests per second; duplicates {system.device.duplicates}")
        good = report(memory, ends, options.most_mib, judge=options.minutes >= 10.0)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
