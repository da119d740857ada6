"""The compiled kernel against an independent simulator in plain Python, over random scenarios and actions."""

import numpy as np
import pytest

from edgecloud.envs import TERMS, Simulator, Window, list_scenarios

from .support import TRAIN, PlainSimulator, compile_problem, random_actions, run, with_params

BASE = with_params(compile_problem("camera-lte"), arrival_rps=[3.0, 8.0, 15.0])

VARIANTS = {
    "as shipped": {},
    "fast device": {"device_work_s": BASE.params.device_work_s * 0.1},
    "battery": {"battery_j": 250.0},
    "two instances": {"faas_minimum_ms": 100},
    "short keep-alive": {"keep_alive_s": 0.7, "faas_setup_s": BASE.params.faas_setup_s * 0.1},
    "no keep-alive": {"keep_alive_s": 0.0},
    "short timeout": {"timeout_s": 0.35},
    "long timeout": {"timeout_s": 6.5},
    "quick boots": {"vm_boot_s": BASE.params.vm_boot_s * 0.1, "vm_initial": 2, "vm_minimum_s": 5},
    "light load": {"arrival_rps": [0.0, 0.4, 2.0]},
    "heavy load": {"arrival_rps": [30.0, 60.0, 90.0]},
    "coarse billing": {"faas_granularity_ms": 100, "faas_minimum_ms": 100, "faas_init_billed": 0},
    "recorded arrivals": {"arrival_counts": [3, 0, 17, 5, 2, 2, 40]},
    "half a second": {"interval_s": 0.5},
    "short episode": {"episode_intervals": 40},
    "slow edge": {"edge_work_s": BASE.params.edge_work_s * 5, "repartition_s": 2.5},
}


def assert_same(problem, actions, seed, env=0, window=None, weights=None, traces=TRAIN):
    n = actions.shape[1]
    windows = None if window is None else [Window(*window)] * n
    simulator = Simulator(problem, traces, n, windows=windows, weights=weights)
    first = simulator.reset(seed).rows.copy()
    terms, rows = run(simulator, actions)
    plain = PlainSimulator(problem, simulator.bank, env, weights, window)
    np.testing.assert_allclose(plain.reset(seed), first[env], rtol=1e-9, atol=1e-9)
    for t, action in enumerate(actions[:, env].tolist()):
        expected, row = plain.step(action)
        for name, got, want in zip(TERMS, terms[t, env], expected.values(), strict=True):
            assert got == pytest.approx(want, rel=1e-9, abs=1e-9), f"interval {t}: {name}"
        for name, got, want in zip(plain.names, rows[t, env], row, strict=True):
            tolerance = 1e-3 if name == "uplink_queue_bytes" else 1e-9  # a difference of large numbers
            assert got == pytest.approx(want, rel=1e-9, abs=tolerance), f"interval {t}: {name}"
    return terms


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("hold", [1, 12])
def test_transitions_equal_the_plain_simulator(variant, hold):
    problem = with_params(BASE, **VARIANTS[variant])
    terms = assert_same(problem, random_actions(problem, 60, 3, seed=hold, hold=hold), seed=7, env=hold % 3)
    assert terms[:, :, 0].sum() > 0


@pytest.mark.parametrize("name", list_scenarios())
def test_every_shipped_scenario(name):
    problem = compile_problem(name)
    assert_same(problem, random_actions(problem, 80, 2, seed=3, hold=4), seed=2**64 - 5, env=1, window=(1, 399))


def test_cloud_heavy_with_few_instances():
    scenario = BASE.scenario
    scenario = scenario.model_copy(update={"faas": scenario.faas.model_copy(update={"max_instances": 2})})
    problem = with_params(
        compile_problem(scenario), arrival_rps=[20.0, 40.0, 60.0], cut_bytes=BASE.params.cut_bytes // 50
    )
    actions = random_actions(problem, 60, 1, seed=5, hold=3)
    actions[:, :, 0] = problem.placement(0, 0)
    terms = assert_same(problem, actions, seed=1, weights=(0.5, 0.25, 0.25))
    assert terms[:, :, TERMS.index("failed")].sum() > 100
    assert terms[:, :, TERMS.index("faas_requests")].sum() > 100
