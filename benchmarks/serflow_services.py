"""Stages of an early-exit network as services of their own in the simulation kernel: their work, pools and bills."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from pool_sizing import Service, pool_size, usd_per_s

from edgecloud.baselines.reference import FixedAction
from edgecloud.envs import Problem, compile_problem, load_scenario
from edgecloud.envs.policy import Policy
from edgecloud.envs.rollout import rollout
from edgecloud.envs.simulator import Window
from edgecloud.traces import LinkTrace

ENVIRONMENTS, INTERVALS = 4, 900
UTILISATION = 0.8
"""Share of its time that a VM of a pool may be busy, for the first guess of its size."""
TRIAL = 1000
"""Added to the seed of the runs that sizes are chosen by: their samples and delays are others."""
FASTEST_LINK = LinkTrace("constant", "static", np.arange(51.0), np.full(50, 1e11))
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


def deploy(
    problem: Problem, grouping: tuple[Group, ...], threshold: int, counts: np.ndarray, seed: int
) -> tuple[float, tuple[int, ...], float]:
    """Dollars per million requests, pools and worst failure rate of services that hold a group of stages each."""
    rng = np.random.default_rng([seed, 7])
    parts, pools = [], []
    for group in grouping:
        share, own = deployed(problem, group, threshold)
        apart = service(problem, group, threshold, counts, rng)
        pools.append(profiled_pool(apart, threshold, pool_size(own, share * counts), seed))
        parts.append(bill(pooled(apart, threshold, pools[-1]), apart, seed))
    # all requests reach the first service, so that its count is that of the requests
    return 1e6 * sum(part.usd for part in parts) / parts[0].requests, tuple(pools), max(part.failed for part in parts)
