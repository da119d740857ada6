"""Random problems and outlooks for hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from edgecloud.baselines.objective import Outlook
from edgecloud.envs import Problem, compile_problem, load_scenario
from edgecloud.profiles import Profile
from edgecloud.profiles.profile import Exit, Reference, Stage


def random_profile(rng: np.random.Generator, stages: int) -> Profile:
    """A profile with random work, sizes, exits and confidences."""
    flops = 10 ** rng.uniform(6, 9, stages)
    sizes = (10 ** rng.uniform(1, 6, stages)).astype(int)
    after = sorted({*rng.integers(1, stages + 1, rng.integers(1, 4)).tolist(), stages})
    heads = tuple(Exit(name=f"e{k}", after_stage=k, flops=1e5, latency_s=1e5 / 5e10) for k in after)
    parts = tuple(
        Stage(name=f"s{k}", flops=f, output_bytes=int(b), weight_bytes=1, memory_bytes=1, latency_s=f / 5e10)
        for k, (f, b) in enumerate(zip(flops, sizes, strict=True))
    )
    shape = (60, len(heads))
    leakage = np.append(np.sort(rng.uniform(0, 1, stages))[::-1], 0.0)
    leakage[0] = 1.0
    return Profile(
        "random",
        "random",
        parts,
        int(10 ** rng.uniform(3, 6)),
        4,
        heads,
        rng.uniform(0.1, 1.0, shape).astype(np.float32),
        rng.random(shape) < 0.8,
        leakage,
        Reference(machine="random", effective_flops=5e10),
        "random",
        {},
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """The default scenario with a random profile and random physics."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    base = load_scenario()
    faas = base.faas.model_copy(
        update={"init_median_s": rng.uniform(0.1, 3), "max_instances": int(rng.integers(1, 20))}
    )
    control = base.control.model_copy(
        update={
            "episode_intervals": 25,
            "resident_placements": int(rng.integers(1, 4)),
            "repartition_s": rng.uniform(0, 2),
        }
    )
    edge = base.edge.model_copy(update={"transit_usd_per_gb": float(rng.choice([0.0, 1.0]))})
    vm = base.vm.model_copy(
        update={"max_vms": int(rng.integers(0, 4)), "spill_wait_s": rng.uniform(0, 0.3), "initial_vms": 0}
    )
    uplink = base.uplink.model_copy(
        update={"rate_scale": float(10 ** rng.uniform(-1.5, 1)), "rtt_s": rng.uniform(0, 0.2)}
    )
    limits = base.limits.model_copy(update={"timeout_s": rng.uniform(0.5, 5)})
    parts = {"faas": faas, "control": control, "edge": edge, "vm": vm, "uplink": uplink, "limits": limits}
    return compile_problem(base.model_copy(update=parts), profile=random_profile(rng, draw(st.integers(1, 4))))


def random_outlook(problem: Problem, n: int, seed: int) -> Outlook:
    """What a controller might expect, from idle to overloaded."""
    rng = np.random.default_rng(seed)

    def some(high: float) -> np.ndarray:
        return rng.uniform(0, high, n) * (rng.random(n) < 0.6)

    return Outlook(
        rate_bps=10 ** rng.uniform(5, 8, (n, rng.integers(1, 4))),
        rtt_s=rng.uniform(0, 0.3, n),
        arrivals_rps=10 ** rng.uniform(-2, 2, n),
        easy=rng.uniform(0, 1, n),
        edge_slow=1 / (1 - rng.uniform(0, 0.95, n)),
        device_backlog_s=some(2.0),
        uplink_backlog_bits=some(1e7),
        uplink_after_s=some(1.0),
        edge_backlog_s=some(2.0),
        vm_backlog_s=some(2.0),
        vms=rng.integers(0, 4, n),
        instances=rng.integers(0, 10, n).astype(float),
        resident=rng.random((n, len(problem.placements))) < 0.3,
        weights=rng.dirichlet(np.ones(3), n),
        span_s=problem.params.interval_s * float(rng.integers(1, 6)),
        nodes=int(rng.integers(1, 4)),
        spread=float(rng.uniform(0, 0.1)),
    )
