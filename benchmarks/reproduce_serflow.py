"""SERFLOW (arXiv 2510.27182): cloud dollars of stages provisioned on their own, against whole requests and functions.

    python benchmarks/reproduce_serflow.py

Everything is billed by the simulation kernel on the same arrivals: VM boots and minimum billing, cold starts,
keep-alive, per-request fees. A group of stages is a service of its own: the kernel is given the requests that reach it
and the work that they leave there. Pools are fixed for the hour and sized by trial runs, for all: LIBRA's as if every
request ran the whole network, SERFLOW's with the exits. Only VMs and functions are counted; uploads, transfers between
stages and results are not.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from burst_arrivals import Bursts, load_bursts
from pool_sizing import Service, pool_size, usd_per_s
from reproduction import Figure, options, print_figures, print_table

from edgecloud.baselines.reference import FixedAction
from edgecloud.envs import Problem, compile_problem, load_scenario
from edgecloud.envs.policy import Policy
from edgecloud.envs.rollout import rollout
from edgecloud.envs.simulator import Window
from edgecloud.traces import LinkTrace

ENVIRONMENTS, INTERVALS = 4, 900
UTILISATION = 0.8
"""Share of its time that a VM of a pool may be busy, for the first guess of its size."""
SCALE = 4.0
"""Factor on the recorded arrivals in the middle of the sweeps."""
MIDDLE = 2
"""Index of the threshold there."""
TRIAL = 1000
"""Added to the seed of the runs that sizes are chosen by: their samples and delays are others."""
FASTEST_LINK = LinkTrace("constant", "static", np.arange(51.0), np.full(50, 1e11))
MAX_PER_INTERVAL = 512
"""Arrivals of one interval that the kernel simulates at most."""

Group = tuple[int, int]
"""Stages [first, last) that are deployed as one service; a stage ends in a classifier."""


def with_params(problem: Problem, **fields: Any) -> Problem:
    """A problem whose compiled constants are replaced."""
    return dataclasses.replace(problem, params=problem.params._replace(**fields))


def base_problem(cold_start: float = 1.0, quick: bool = False) -> Problem:
    """The early-exit MobileNetV2 service of `camera-burst`, nothing on device or edge, room for the load."""
    scenario = load_scenario("camera-burst")
    scenario = scenario.model_copy(
        update={
            "vm": scenario.vm.model_copy(update={"max_vms": 32}),
            "faas": scenario.faas.model_copy(update={"max_instances": 256}),
            "limits": scenario.limits.model_copy(update={"timeout_s": 20.0}),
            "control": scenario.control.model_copy(update={"episode_intervals": 100 if quick else INTERVALS}),
        }
    )
    problem = compile_problem(scenario)
    p = problem.params
    return with_params(problem, faas_setup_s=p.faas_setup_s * cold_start, faas_init_s=p.faas_init_s * cold_start)


def reach(problem: Problem, threshold: int) -> np.ndarray:
    """Share of the requests that reach each stage, (S,): one minus the exits before it."""
    exits = np.asarray(problem.params.exit_of[threshold])
    return np.array([(exits >= stage).mean() for stage in range(len(problem.params.exit_position))])


def service(problem: Problem, group: Group, threshold: int, counts: np.ndarray, rng: np.random.Generator) -> Problem:
    """The stages of a group as a problem of their own.

    Work outside the group is taken out of the cumulative times; arrivals are thinned to those that reach the group, and
    samples that exit before it are replaced by ones that do not.
    """
    p, (first, last) = problem.params, group
    low = int(p.exit_position[first - 1]) if first else 0
    high = int(p.exit_position[last - 1])
    inside = {
        name: np.clip(getattr(p, name), getattr(p, name)[:, [low]], getattr(p, name)[:, [high]])
        - getattr(p, name)[:, [low]]
        for name in ("vm_work_s", "faas_work_s")
    }
    exits = np.array(p.exit_of)
    for row in exits:
        reaching = np.flatnonzero(row >= first)
        gone = np.flatnonzero(row < first)
        if len(reaching) and len(gone):
            row[gone] = row[rng.choice(reaching, len(gone))]
    share = reach(problem, threshold)[first]
    arriving = counts if share >= 1.0 else rng.binomial(counts, share)
    order = np.asarray(p.difficulty_order)
    return with_params(
        problem,
        **inside,
        exit_of=exits,
        exit_by_rank=np.ascontiguousarray(exits[:, order]),
        arrival_counts=np.asarray(arriving, dtype=np.int64),
    )


@dataclass(frozen=True)
class Bill:
    """What a policy's cloud part costs and how it serves."""

    usd: float
    requests: float
    latency_s: float
    failed: float
    cold_starts: float

    @property
    def usd_per_million(self) -> float:
        """Dollars per million requests."""
        return 1e6 * self.usd / self.requests


def bill(policy: Policy, problem: Problem, seed: int) -> Bill:
    """Run a policy in the kernel and add up VM seconds and function time."""
    p = problem.params
    windows = [Window(0)] * ENVIRONMENTS
    episodes = rollout(policy, problem, [FASTEST_LINK], windows, (0.0, 1.0, 0.0), seed)
    total = {name: float(episodes.total(name).sum()) for name in ("arrived", "latency_s", "failed", "cold_starts")}
    usd = float(episodes.total("vm_s").sum()) * p.usd_per_vm_s
    usd += float(episodes.total("faas_ms").sum()) * p.usd_per_faas_ms
    usd += float(episodes.total("faas_requests").sum()) * p.usd_per_faas_request
    arrived = max(total["arrived"], 1.0)
    return Bill(usd, arrived, total["latency_s"] / arrived, total["failed"] / arrived, total["cold_starts"] / arrived)


def groupings(stages: int) -> list[tuple[Group, ...]]:
    """All ways to deploy stages 0..S-1 as consecutive services.

    >>> groupings(2)
    [((0, 2),), ((0, 1), (1, 2))]
    """
    found = []
    for cuts in itertools.chain.from_iterable(itertools.combinations(range(1, stages), n) for n in range(stages)):
        ends = [0, *cuts, stages]
        found.append(tuple(itertools.pairwise(ends)))
    return found


def stage_costs(problem: Problem, threshold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reach, seconds on a VM and seconds in a function of each stage for a request that reaches it, each (S,)."""
    p = problem.params
    row = int(threshold == len(problem.thresholds) - 1)
    ends = np.concatenate([[0], p.exit_position])
    return reach(problem, threshold), np.diff(p.vm_work_s[row][ends]), np.diff(p.faas_work_s[row][ends])


def deployed(problem: Problem, group: Group, threshold: int) -> tuple[float, Service]:
    """Share of the requests that reach a group of stages, and what one of these takes and costs."""
    share, vm_s, faas_s = stage_costs(problem, threshold)
    p, (first, last) = problem.params, group
    within = share[first:last] / max(float(share[first]), 1e-12)
    billed_ms = 1e3 * float(within @ faas_s[first:last]) + 0.5 * p.faas_granularity_ms
    usd = billed_ms * p.usd_per_faas_ms + p.usd_per_faas_request
    return float(share[first]), Service(float(within @ vm_s[first:last]), usd, p.usd_per_vm_s, UTILISATION)


def planned_grouping(problem: Problem, threshold: int, counts: np.ndarray) -> tuple[Group, ...]:
    """The grouping of the lowest expected bill, each group with the pool that pays: the offline configuration."""

    def expected_usd_per_s(grouping: tuple[Group, ...]) -> float:
        total = 0.0
        for group in grouping:
            share, own = deployed(problem, group, threshold)
            total += usd_per_s(own, share * counts, pool_size(own, share * counts))
        return total

    return min(groupings(len(problem.params.exit_position)), key=expected_usd_per_s)


def pooled(problem: Problem, threshold: int, vms: int) -> FixedAction:
    """A fixed pool, functions for what it cannot take at once."""
    vms = min(vms, int(problem.nvec[3]) - 1)
    return FixedAction(problem.action(0, 0, threshold, "spill" if vms else "faas", vms))


def profiled_pool(problem: Problem, threshold: int, guess: int, seed: int) -> int:
    """The pool whose bill is lowest in trial runs of the kernel on the same arrivals, from none to a guess plus one."""
    bills = [bill(pooled(problem, threshold, vms), problem, seed + TRIAL).usd for vms in range(guess + 2)]
    return int(np.argmin(bills))


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
    rng = np.random.default_rng([seed, 7])
    counts = np.minimum(np.rint(bursts.counts * scale), MAX_PER_INTERVAL).astype(np.int64)
    stages = len(problem.params.exit_position)
    never = len(problem.thresholds) - 1
    whole = service(problem, (0, stages), threshold, counts, rng)
    _, uniform = deployed(problem, (0, stages), never)
    pool = profiled_pool(whole, never, pool_size(uniform, counts), seed)  # as if all ran the whole network
    bills = {
        "functions, no exits": bill(pooled(problem, never, 0), whole, seed),
        "functions": bill(pooled(problem, threshold, 0), whole, seed),
        "LIBRA, no exits": bill(pooled(problem, never, pool), whole, seed),
        "LIBRA": bill(pooled(problem, threshold, pool), whole, seed),
    }
    usd = {name: b.usd_per_million for name, b in bills.items()}
    parts, pools = [], []
    for group in planned_grouping(problem, threshold, counts):
        share, own = deployed(problem, group, threshold)
        apart = service(problem, group, threshold, counts, rng)
        pools.append(profiled_pool(apart, threshold, pool_size(own, share * counts), seed))
        parts.append(bill(pooled(apart, threshold, pools[-1]), apart, seed))
    usd["SERFLOW"] = 1e6 * sum(part.usd for part in parts) / bills["LIBRA"].requests
    failed = max(b.failed for b in [*bills.values(), *parts])
    return Case(label, float(reach(problem, threshold)[-1]), usd, pool, tuple(pools), failed)


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
