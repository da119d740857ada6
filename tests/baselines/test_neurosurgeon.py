"""Neurosurgeon against an exhaustive scan and against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.baselines import load_policy
from edgecloud.baselines.neurosurgeon import StagePredictor, split_energy_j, split_latency_s
from edgecloud.envs import Measurements, Problem, compile_problem
from edgecloud.envs.measure import column, width

positive = st.floats(1e-3, 1.0)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return compile_problem("camera-lte")


def measured(rates: list[float], loads: list[float]) -> Measurements:
    rows = np.zeros((len(rates), width()))
    rows[:, column("rate_bps")] = rates
    rows[:, column("edge_load")] = loads
    return Measurements(rows)


def test_closed_form():
    """Two stages by hand: at 8 Mbit/s, half-loaded server."""
    device, server = np.array([0.0, 0.1, 0.3]), np.array([0.06, 0.04, 0.0])
    cut_bytes = np.array([100_000.0, 20_000.0, 0.0])
    latency = split_latency_s(device, server, cut_bytes, np.array([8e6]), np.array([0.5]))
    np.testing.assert_allclose(latency, [[0.1 + 0.12, 0.1 + 0.02 + 0.08, 0.3]])
    energy = split_energy_j(device, cut_bytes, np.array([8e6]), 4.0, np.array([2.5]))
    np.testing.assert_allclose(energy, [[0.25, 0.4 + 0.05, 1.2]])


def test_a_dead_link_keeps_everything_local():
    latency = split_latency_s(
        np.array([0.0, 9.0]), np.array([1.0, 0.0]), np.array([10.0, 0.0]), np.zeros(1), np.zeros(1)
    )
    assert latency[0].argmin() == 1


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_linear_scan_is_exhaustive_search(data: st.DataObject):
    stages = data.draw(st.integers(1, 8))
    times = [np.array(data.draw(st.lists(positive, min_size=stages, max_size=stages))) for _ in range(2)]
    sizes = np.array([*data.draw(st.lists(st.integers(1, 10**6), min_size=stages, max_size=stages)), 0], dtype=float)
    rate, load = data.draw(st.floats(1e4, 1e8)), data.draw(st.floats(0, 0.95))
    predictor = StagePredictor({"device": times[0], "edge": times[1]})
    found = split_latency_s(
        predictor.before_s("device"), predictor.after_s("edge"), sizes, np.array([rate]), np.array([load])
    )[0]
    for cut in range(stages + 1):
        plain = sum(times[0][:cut]) + sum(times[1][cut:]) / (1 - load) + sizes[cut] * 8 / rate
        assert found[cut] == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize("name", ["neurosurgeon", "neurosurgeon-energy", "neurosurgeon-faas", "neurosurgeon-vm"])
def test_policy_takes_the_best_cut(problem: Problem, name: str):
    rng = np.random.default_rng(0)
    rates, loads = np.exp(rng.uniform(np.log(1e5), np.log(1e8), 40)), rng.uniform(0, 0.9, 40)
    m = measured(rates.tolist(), loads.tolist())
    policy = load_policy(name)
    policy.reset(problem, 40, np.full((40, 3), 1 / 3), 0)
    actions = policy.act(m)
    p, stages = problem.params, problem.stages
    server = {"neurosurgeon-faas": "faas", "neurosurgeon-vm": "vm"}.get(name, "edge")
    before = problem.tiers["device"].cumulative_s(p.exit_position, heads=False)
    whole = problem.tiers[server].cumulative_s(p.exit_position, heads=False)
    for i in range(40):
        scores = []
        for cut in range(stages + 1):
            upload = 8 * p.cut_bytes[cut] / rates[i] if cut < stages else 0.0
            slow = 1 / (1 - loads[i]) if server == "edge" else 1.0
            latency = before[cut] + upload + (whole[-1] - whole[cut]) * slow
            watts = min(p.radio_base_w + p.radio_w_per_bps * rates[i], p.radio_limit_w)
            energy = before[cut] * (p.device_busy_w - p.device_idle_w) + upload * watts
            scores.append(energy if name.endswith("energy") else latency)
        best = int(np.argmin(scores))
        pair = (best, stages if server == "edge" else best)
        assert tuple(problem.placements[actions[i, 0]]) == pair
    assert (actions[:, 1] == len(problem.thresholds) - 1).all()


def test_load_factor_moves_work_to_the_device(problem: Problem):
    policy = load_policy("neurosurgeon")
    policy.reset(problem, 2, np.full((2, 3), 1 / 3), 0)
    idle, busy = problem.placements[policy.act(measured([2e7, 2e7], [0.0, 0.99]))[:, 0], 0]
    assert idle <= busy


def test_margin_keeps_the_cut_in_force(problem: Problem):
    m = measured([2e7], [0.0])
    paper, held = load_policy("neurosurgeon"), load_policy("neurosurgeon:margin=0.999999")
    for policy in (paper, held):
        policy.reset(problem, 1, np.full((1, 3), 1 / 3), 0)
    local = problem.placement(problem.stages, problem.stages)
    m.rows[0, column("placement")] = local
    assert held.act(m)[0, 0] == local
