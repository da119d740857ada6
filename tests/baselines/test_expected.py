"""The expected objective against the simulation: means over many worlds of the first interval, at light load."""

from __future__ import annotations

import numpy as np
import pytest

from edgecloud.baselines.objective import Outlook, expected_costs
from edgecloud.baselines.tables import make_tables
from edgecloud.envs import TERMS, Problem, Simulator, compile_problem, load_scenario
from edgecloud.traces import LinkTrace

RATE_BPS, N = 20e6, 12000
LOAD = 0.15  # of the device with the whole network


@pytest.fixture(scope="module")
def problem() -> Problem:
    """A steady world: one arrival rate, one edge load, a flat link, an instant cold start apart from its delay."""
    base = load_scenario("camera-lte")
    rate = LOAD / float(compile_problem(base).params.device_work_s[1, -1])
    parts = {
        "arrivals": base.arrivals.model_copy(update={"rates_rps": (rate,), "sojourn_s": (1e9,)}),
        "edge": base.edge.model_copy(update={"load_levels": (0.3,), "load_sojourn_s": (1e9,)}),
        "uplink": base.uplink.model_copy(update={"rate_scale": 1.0}),
        "vm": base.vm.model_copy(update={"initial_vms": 1}),
        "limits": base.limits.model_copy(update={"timeout_s": 6.0}),
    }
    return compile_problem(base.model_copy(update=parts))


@pytest.fixture(scope="module")
def simulator(problem: Problem) -> Simulator:
    trace = LinkTrace("flat", "static", np.array([0.0, 1e4]), np.array([RATE_BPS]), None, "test", "uplink")
    return Simulator(problem, [trace], N, weights=(0.4, 0.3, 0.3))


def idle_outlook(problem: Problem) -> Outlook:
    zero = np.zeros(1)
    return Outlook(
        rate_bps=np.full((1, 1), RATE_BPS),
        rtt_s=np.full(1, problem.params.rtt_s),
        arrivals_rps=problem.params.arrival_rps.copy(),
        easy=np.full(1, 0.5),
        edge_slow=np.full(1, 1 / 0.7),
        device_backlog_s=zero,
        uplink_backlog_bits=zero,
        uplink_after_s=zero,
        edge_backlog_s=zero,
        vm_backlog_s=zero,
        vms=np.ones(1, dtype=np.int64),
        instances=zero,
        resident=np.ones((1, len(problem.placements)), dtype=np.bool_),
        weights=np.array([[0.4, 0.3, 0.3]]),
        span_s=problem.params.interval_s,
        nodes=2,
        spread=0.0,
    )


def expected_reward(problem: Problem, action: np.ndarray) -> float:
    """What `simulated` should give."""
    t = make_tables(problem)._replace(accuracy_penalty=0.0)
    near, cloud = expected_costs(t, idle_outlook(problem), np.ones((1, 1), dtype=np.int64))
    p, k, route = action[:3]
    return -float(near[0, p, k] + cloud[0, problem.placements[p, 1], k, 0, route])


def simulated(simulator: Simulator, action: np.ndarray) -> dict[str, float]:
    """Mean terms of the first interval; the reward without the pool's dollars and without accuracy (its own noise)."""
    simulator.reset(7)
    simulator.step(np.repeat(action[None], N, axis=0))
    terms = dict(zip(TERMS, simulator.terms.mean(axis=0), strict=True))
    p = simulator.problem.params
    terms["reward"] -= terms["reward_accuracy"]
    terms["reward"] += 0.3 * terms["vm_s"] * p.usd_per_vm_s / p.cost_ref_usd
    return terms


@pytest.mark.parametrize("threshold", [0, -1])
@pytest.mark.parametrize(
    ("cuts", "route"),
    [((-1, -1), "faas"), ((0, -1), "faas"), ((-2, -1), "faas"), ((0, 0), "vm"), ((-2, -2), "vm"), ((-2, -2), "spill")],
)
def test_expected_reward(problem: Problem, simulator: Simulator, cuts: tuple[int, int], route: str, threshold: int):
    d, e = (cut % (problem.stages + 1) for cut in cuts)
    k = threshold % len(problem.thresholds)
    action = problem.action(d, e, k, route, 1)
    found = simulated(simulator, action)
    assert found["failed"] == 0
    assert found["reward"] == pytest.approx(expected_reward(problem, action), rel=0.05)


def test_expected_work_and_dollars(problem: Problem, simulator: Simulator):
    """Term by term for a three-tier placement that everybody passes: no exits, so no sampling noise of theirs."""
    t, p, k = make_tables(problem), problem.params, len(problem.thresholds) - 1
    cut, edge = problem.stages - 2, problem.stages - 1
    action = problem.action(cut, edge, k, "faas", 0)
    found = simulated(simulator, action)
    n = found["arrived"]
    seconds = t.edge_s[:, action[0], k].mean() / 0.7 + 0.5e-3  # billed in started milliseconds
    assert found["edge_ms"] / 1000 / n == pytest.approx(seconds, rel=0.02)
    assert found["faas_requests"] == n
    assert found["uplink_bytes"] / n == pytest.approx(p.cut_bytes[cut])
    assert found["leakage"] / n == pytest.approx(p.leakage[cut])
    assert found["accuracy_loss"] == 0


def test_expected_reach(problem: Problem, simulator: Simulator):
    """The share of requests that passes each cut, and the accuracy lost, within four standard errors."""
    t, k = make_tables(problem), 0
    cut, edge = problem.stages - 2, problem.stages - 1
    found = simulated(simulator, problem.action(cut, edge, k, "faas", 0))
    n = found["arrived"]
    requests = n * N
    for share, reach in (
        (found["uplink_bytes"] / problem.params.cut_bytes[cut] / n, t.reach[:, cut, k].mean()),
        (found["faas_requests"] / n, t.reach[:, edge, k].mean()),
    ):
        assert share == pytest.approx(reach, abs=4 * np.sqrt(reach * (1 - reach) / requests))
    assert found["accuracy_loss"] / n == pytest.approx(t.loss[:, k].mean(), abs=4 * 0.5 / np.sqrt(requests))


def test_cold_start_delay(problem: Problem, simulator: Simulator):
    """Without an instance every request of the first interval is cold, unless another one has become free."""
    action = problem.action(0, 0, len(problem.thresholds) - 1, "faas", 0)
    found = simulated(simulator, action)
    assert found["cold_starts"] / found["arrived"] > 0.9
    assert found["reward"] == pytest.approx(expected_reward(problem, action), rel=0.05)
