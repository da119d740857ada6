"""SERFLOW (arXiv 2510.27182): cloud dollars of stages provisioned on their own, against whole requests and functions.

    python benchmarks/reproduce_serflow.py

Everything is billed by the simulation kernel on the same arrivals: VM boots and minimum billing, cold starts,
keep-alive, per-request fees. A group of stages is a service of its own: the kernel is given the requests that reach it
and the work that they leave there. Pools are fixed for the hour and sized by trial runs, for all: LIBRA's as if every
request ran the whole network, SERFLOW's with the exits. Only VMs and functions are counted; uploads, transfers between
stages and results are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from burst_arrivals import Bursts, load_bursts
from pool_sizing import pool_size
from reproduction import Figure, options, print_figures, print_table
from serflow_services import (
    base_problem,
    bill,
    deploy,
    deployed,
    planned_grouping,
    pooled,
    profiled_pool,
    reach,
    service,
)

from edgecloud.envs import Problem

SCALE = 4.0
"""Factor on the recorded arrivals in the middle of the sweeps."""
MIDDLE = 2
"""Index of the threshold there."""
MAX_PER_INTERVAL = 512
"""Arrivals of one interval that the kernel simulates at most."""


def scaled_counts(bursts: Bursts, scale: float) -> np.ndarray:
    """Requests per second, as many as the kernel takes at most."""
    return np.minimum(np.rint(bursts.counts * scale), MAX_PER_INTERVAL).astype(np.int64)


@dataclass(frozen=True)
class Case:
    """One setting: dollars per million requests of each way to serve it."""

    label: str
    deep: float
    usd: dict[str, float]
    pool: int
    pools: tuple[int, ...]
    worst_failed: float

    def saving(self, over: str) -> float:
        """What SERFLOW saves."""
        return 1.0 - self.usd["SERFLOW"] / self.usd[over]


def study(label: str, problem: Problem, bursts: Bursts, scale: float, threshold: int, seed: int) -> Case:
    """Bill every way to serve one setting."""
    counts = scaled_counts(bursts, scale)
    stages = len(problem.params.exit_position)
    never = len(problem.thresholds) - 1
    whole = service(problem, (0, stages), threshold, counts, np.random.default_rng(seed))
    _, uniform = deployed(problem, (0, stages), never)
    pool = profiled_pool(whole, never, pool_size(uniform, counts), seed)  # as if all ran the whole network
    bills = {
        "functions, no exits": bill(pooled(problem, never, 0), whole, seed),
        "functions": bill(pooled(problem, threshold, 0), whole, seed),
        "LIBRA, no exits": bill(pooled(problem, never, pool), whole, seed),
        "LIBRA": bill(pooled(problem, threshold, pool), whole, seed),
    }
    usd = {name: b.usd_per_million for name, b in bills.items()}
    usd["SERFLOW"], pools, lost = deploy(problem, planned_grouping(problem, threshold, counts), threshold, counts, seed)
    failed = max(lost, *(b.failed for b in bills.values()))
    return Case(label, float(reach(problem, threshold)[-1]), usd, pool, pools, failed)


def print_cases(title: str, cases: Sequence[Case]) -> None:
    """A sweep, one case a line."""
    names = list(cases[0].usd)
    print(f"\n{title}")
    rows = [
        [c.label, f"{c.deep:.0%}", *(f"{c.usd[n]:.2f}" for n in names), str(c.pool), "+".join(map(str, c.pools))]
        + [f"{c.saving(n):.0%}" for n in ("LIBRA", "functions", "LIBRA, no exits")]
        for c in cases
    ]
    saved = ["saved on LIBRA", "on functions", "on LIBRA, no exits"]
    print_table(["", "reach the end", *names, "VMs of LIBRA", "of SERFLOW", *saved], rows)


def sweeps(seed: int, quick: bool) -> dict[str, list[Case]]:
    """Exit fraction, load, cold start and burstiness, each with the others at their middle."""
    bursts = load_bursts("both", seed, quick)
    problem = base_problem(quick=quick)
    rate = SCALE * bursts.mean_rps
    thresholds = [MIDDLE, len(problem.thresholds) - 1] if quick else range(len(problem.thresholds))
    found = {
        f"Exit fraction ({bursts.name}, times {SCALE:g}: {rate:.1f} requests/s)": [
            study(f"threshold {problem.thresholds[k]:g}", problem, bursts, SCALE, k, seed) for k in thresholds
        ]
    }
    if quick:
        return found
    found["Load (threshold 0.7)"] = [
        study(f"{scale * bursts.mean_rps:.1f} requests/s", problem, bursts, scale, MIDDLE, seed)
        for scale in (0.25, 0.5, 1.0, 2.0, 4.0, 6.0)
    ]
    found[f"Cold start ({rate:.1f} requests/s, threshold 0.7)"] = [
        study(f"{c * problem_cold_s(problem):.1f} s", base_problem(c), bursts, SCALE, MIDDLE, seed)
        for c in (0.25, 1.0, 2.0, 4.0, 8.0)
    ]
    others = [load_bursts(kind, seed) for kind in ("code", "both", "conv")]
    found[f"Burstiness ({rate / 2:.1f} requests/s, threshold 0.7)"] = [
        study(f"variance / mean {b.dispersion:.1f}", problem, b, 0.5 * rate / b.mean_rps, MIDDLE, seed) for b in others
    ]
    return found


def problem_cold_s(problem: Problem) -> float:
    """Mean delay of a cold start."""
    return float(problem.params.faas_setup_s.mean() + problem.params.faas_init_s.mean())


def main(argv: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, argv)
    found = sweeps(chosen.seed, chosen.quick)
    print("Dollars per million requests for VMs and functions (c6i.large, 3008 MB lambda-x86):")
    for title, cases in found.items():
        print_cases(title, cases)
    every = [case for cases in found.values() for case in cases]
    problem, counts = (
        base_problem(quick=chosen.quick),
        scaled_counts(load_bursts("both", chosen.seed, chosen.quick), SCALE),
    )
    stages = tuple((k, k + 1) for k in range(len(problem.params.exit_position)))
    usd, pools, _ = deploy(problem, stages, MIDDLE, counts, chosen.seed)
    print(f"middle of the sweeps, every stage a service of its own: {usd:.2f} with VMs {'+'.join(map(str, pools))}")
    print(f"failed requests: at most {max(case.worst_failed for case in every):.2%} in any run")
    middle = next(iter(found.values()))[0 if chosen.quick else MIDDLE]
    figures = []
    for over in ("LIBRA", "functions", "LIBRA, no exits"):
        savings = [100 * case.saving(over) for case in every]
        figures += [
            Figure(f"saved on {over}: middle of the sweeps", 23.0, 100 * middle.saving(over), "%"),
            Figure(f"saved on {over}: median of all settings", 23.0, float(np.median(savings)), "%"),
            Figure(f"saved on {over}: least", None, min(savings), "%"),
            Figure(f"saved on {over}: most", None, max(savings), "%"),
        ]
    print_figures("SERFLOW: cloud cost, theirs 'over 23 %'", figures)


if __name__ == "__main__":
    main()
