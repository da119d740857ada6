"""A small problem with short episodes, a few short links, and a comparison on them."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from edgecloud.baselines import AlwaysDevice, AlwaysEdge, FixedAction, load_policy
from edgecloud.envs import Problem, compile_problem, load_scenario
from edgecloud.evaluation import Comparison, Method, compare
from edgecloud.traces import LinkTrace

INTERVALS = 40
PRESETS = {"default": (0.34, 0.33, 0.33), "latency-heavy": (0.7, 0.15, 0.15)}


def link(name: str, mode: str, mbps: float, seconds: int = 80) -> LinkTrace:
    rng = np.random.default_rng(len(name) + int(mbps))
    rate_bps = 1e6 * mbps * rng.uniform(0.3, 1.7, seconds)
    return LinkTrace(name, mode, np.arange(seconds + 1.0), rate_bps, None, "test", "uplink")


@pytest.fixture(scope="session")
def problem() -> Problem:
    scenario = load_scenario("camera-lte")
    control = scenario.control.model_copy(update={"episode_intervals": INTERVALS})
    return compile_problem(scenario.model_copy(update={"control": control}))


@pytest.fixture(scope="session")
def traces() -> tuple[LinkTrace, ...]:
    return (link("a", "bus", 30.0), link("b", "bus", 8.0), link("c", "train", 15.0))


@pytest.fixture(scope="session")
def methods(problem: Problem) -> tuple[Method, ...]:
    agents = (FixedAction((0, 0, 1, 0)), FixedAction((1, 2, 1, 0)))
    return (
        Method("rule", (AlwaysDevice(),)),
        Method("twin", (AlwaysDevice(),)),
        Method("agent", agents, ("seed 0", "seed 1"), learned=True),
        Method("edge", (AlwaysEdge(),)),
        Method("random", (load_policy("random"),)),
    )


@pytest.fixture(scope="session")
def comparison(problem: Problem, traces: tuple[LinkTrace, ...], methods: tuple[Method, ...]) -> Comparison:
    return compare(methods, problem, traces, PRESETS, seed=3, repeats=2, best_fixed=True, exhaustive=True)
