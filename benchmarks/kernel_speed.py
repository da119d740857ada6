"""Speed of the compiled kernel against the same physics in plain Python, measured in one run.

    python benchmarks/kernel_speed.py

Times are CPU seconds of one thread, so that neighbours on a shared machine count less; medians of several rounds.
Actions are uniformly random and held for ten intervals.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecloud.envs import Problem, Simulator, compile_problem
from edgecloud.traces import generated_split

sys.path.insert(0, str(Path(__file__).parent))
from plain_python import PlainSimulator

BATCHES = (1, 16, 64, 256)
ROUNDS = 9
START = """
import time; begin = time.perf_counter()
from edgecloud.envs import Simulator, compile_problem
from edgecloud.traces import generated_split
problem, traces = compile_problem("camera-lte"), generated_split(0).train
ready = time.perf_counter()
simulator = Simulator(problem, traces, 16)
simulator.reset(0)
simulator.step(problem.start_action[None].repeat(16, axis=0))
print(ready - begin, time.perf_counter() - ready)
"""


def steps_per_s(run: Callable[[int], None], intervals: int, num_envs: int) -> float:
    """Median environment steps per CPU second."""
    run(intervals)
    rates = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        run(intervals)
        rates.append(intervals * num_envs / (time.process_time() - begin))
    return statistics.median(rates)


def kernel(problem: Problem, num_envs: int) -> tuple[float, float]:
    """Environment steps per second and requests per interval."""
    simulator = Simulator(problem, generated_split(0).train, num_envs)
    simulator.reset(0)
    actions = np.random.default_rng(0).integers(0, problem.nvec, size=(64, num_envs, 4))
    requests: list[float] = []

    def run(intervals: int) -> None:
        for t in range(intervals):
            simulator.step(actions[t // 10 % 64])
        requests.append(float(simulator.terms[:, 0].mean()))

    return steps_per_s(run, max(40, 6000 // num_envs), num_envs), statistics.mean(requests)


def plain(problem: Problem) -> float:
    """Environment steps per second of the plain simulator."""
    bank = Simulator(problem, generated_split(0).train, 1).bank
    simulator = PlainSimulator(problem, bank)
    simulator.reset(0)
    actions = np.random.default_rng(0).integers(0, problem.nvec, size=(64, 4)).tolist()

    def run(intervals: int) -> None:
        for t in range(intervals):
            simulator.step(actions[t // 10 % 64])

    return steps_per_s(run, 60, 1)


def starts() -> tuple[list[float], list[float]]:
    """Seconds (imports and scenario, first reset and step) without and with machine code from an earlier run."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        seconds = []
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", START], env=environment, check=True, capture_output=True, text=True
            )
            seconds.append([float(word) for word in done.stdout.split()])
    return seconds[0], seconds[1]


def main() -> None:
    base = compile_problem("camera-lte")
    busy = np.full_like(base.params.arrival_rps, 50.0)
    problems = {
        "as shipped": base,
        "50 requests": dataclasses.replace(base, params=base.params._replace(arrival_rps=busy)),
    }
    for name, problem in problems.items():
        reference = plain(problem)
        print(f"{name}: plain Python {reference:,.0f} environment steps/s")
        for num_envs in BATCHES:
            rate, requests = kernel(problem, num_envs)
            ratio = f"{rate / reference:6.0f} x"
            print(f"  N={num_envs:4d}  {rate:10,.0f} steps/s  {ratio}   ({requests:.1f} requests/interval)")
    cold, cached = starts()
    print(
        f"first reset and step: {cold[1]:.1f} s compiling, {cached[1]:.2f} s from the cache (imports {cached[0]:.1f} s)"
    )


if __name__ == "__main__":
    main()
