"""The dynamic programme against enumeration of every action with an independently written objective."""

from __future__ import annotations

from itertools import product

import baselines_generated as generated
import baselines_plain_objective as plain
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecloud.baselines.dp import solve
from edgecloud.baselines.objective import expected_costs
from edgecloud.baselines.tables import exit_mix, make_tables
from edgecloud.envs import ROUTES, Problem, compile_problem


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(generated.problems(), st.integers(0, 2**32 - 1))
def test_optimum_equals_brute_force(problem: Problem, seed: int):
    """Over all placements, thresholds and routes, with the plain-Python objective written apart from the tables."""
    n = 2
    o = generated.random_outlook(problem, n, seed)
    t = make_tables(problem)
    sizes = np.minimum(o.vms, 3)[:, None]
    solved = solve(t, o, sizes)
    actions = list(product(range(len(problem.placements)), range(len(problem.thresholds)), range(len(ROUTES))))
    for i in range(n):
        objective = plain.PlainObjective(problem, o, i, int(sizes[i, 0]), t.cold_survival)
        cost = {action: objective.cost(*action) for action in actions}
        lowest = min(cost.values())
        assert solved.cost[i, 0] == pytest.approx(lowest, rel=1e-9, abs=1e-12)
        assert cost[tuple(solved.choice[i, 0].tolist())] == pytest.approx(lowest, rel=1e-9, abs=1e-12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(generated.problems(), st.integers(0, 2**32 - 1))
def test_induction_is_exact_on_its_own_tables(problem: Problem, seed: int):
    """Bit for bit the minimum over the enumerated sums, for several pool sizes at once."""
    o = generated.random_outlook(problem, 5, seed)
    t = make_tables(problem)
    sizes = np.tile(np.arange(4), (5, 1))
    solved = solve(t, o, sizes)
    near, cloud = expected_costs(t, o, sizes)
    total = near[..., None, None] + cloud[:, problem.placements[:, 1]]  # (N, P, K, S, R)
    assert (solved.cost == total.min(axis=(1, 2, 4))).all()
    for i, c in product(range(5), range(4)):
        p, k, r = solved.choice[i, c]
        assert total[i, p, k, c, r] == solved.cost[i, c]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(generated.problems(), st.integers(0, 2**32 - 1))
def test_a_batch_is_its_rows(problem: Problem, seed: int):
    o = generated.random_outlook(problem, 4, seed)
    t = make_tables(problem)
    sizes = o.vms[:, None]
    held = np.zeros((4, 3), dtype=np.int64)
    whole = solve(t, o, sizes, held)
    for i in range(4):
        one = solve(t, o.rows(slice(i, i + 1)), sizes[i : i + 1], held[i : i + 1])
        assert one.cost[0, 0] == pytest.approx(whole.cost[i, 0], rel=1e-12)
        assert one.held_cost[0] == pytest.approx(whole.held_cost[i], rel=1e-12)
    assert (whole.held_cost >= whole.cost[:, 0] - 1e-12).all()


def test_tables_agree_with_the_profile():
    problem = compile_problem("camera-lte")
    t, profile = make_tables(problem), problem.profile
    for k, threshold in enumerate(problem.thresholds):
        rates = exit_mix(problem)[:, k].mean(axis=0)
        np.testing.assert_allclose(rates, profile.exit_rates(float(threshold)), atol=1e-4)
        reach = t.reach[:, :-1, k].mean(axis=0)  # P(passes cut d) is P(stage d + 1 is run)
        np.testing.assert_allclose(reach, profile.reach(float(threshold)), atol=1e-4)
        lost = profile.accuracy(2.0) - profile.accuracy(float(threshold))
        assert t.loss[:, k].mean() == pytest.approx(lost, abs=1e-4)
    assert t.confidence[0] < t.confidence[1]
