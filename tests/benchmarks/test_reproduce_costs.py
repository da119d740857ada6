"""LIBRA's and SERFLOW's money: crossing points, pools, conservation of work."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reproduce_libra as libra
import reproduce_serflow as serflow
import serflow_services as services
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_sizing import Service, pool_size, usd_per_s

from edgecloud.pricing import load_prices
from edgecloud.pricing.indifference import compare

PRICES = load_prices()
NEVER = 6


@given(st.sampled_from(libra.PAIRS), st.sampled_from((128, 1024, 1769, 3008)), st.floats(0.005, 5.0))
@settings(max_examples=40, deadline=None)
def test_the_meters_cross_where_the_closed_form_says(pair, memory_mb, duration_s):
    point = compare(PRICES, vm=pair[0], faas=pair[1], memory_mb=memory_mb, duration_s=duration_s)
    assert libra.crossing_rph(PRICES, point) == pytest.approx(point.indifference_rph, abs=1.0 + 1e-6)


@given(st.floats(0.01, 20.0), st.floats(0.01, 1.0))
@settings(max_examples=60, deadline=None)
def test_the_mix_is_never_dearer_than_functions_alone_or_vms_alone(load, duration_s):
    point = compare(PRICES, vm="c6i.large", faas="lambda-x86", memory_mb=1769, duration_s=duration_s)
    found = libra.curve(PRICES, point, [load * point.capacity_rph])[0]
    assert found.mixed_usd <= min(found.vm_usd, found.faas_usd) * (1 + 1e-9)


pools = st.builds(
    Service, st.floats(0.01, 2.0), st.floats(1e-7, 1e-3), st.floats(1e-6, 1e-3), utilisation=st.floats(0.2, 1.0)
)


@given(pools, st.lists(st.floats(0.0, 20.0), min_size=1, max_size=20))
@settings(max_examples=80, deadline=None)
def test_the_pool_is_the_cheapest_of_all_pools(service, rates):
    arrivals = np.array(rates)
    found = usd_per_s(service, arrivals, pool_size(service, arrivals))
    enough = int(np.ceil(arrivals.max() / service.capacity_rps)) + 1
    best = min(usd_per_s(service, arrivals, vms) for vms in range(enough + 1))
    assert found == pytest.approx(best, rel=1e-9, abs=1e-15)


def test_groupings_are_all_ordered_partitions():
    found = services.groupings(4)
    assert len(set(found)) == 8
    for grouping in found:
        assert [grouping[0][0], grouping[-1][1]] == [0, 4]
        assert all(a[1] == b[0] for a, b in itertools.pairwise(grouping))


@pytest.fixture(scope="module")
def problem():
    return services.base_problem(quick=True)


def test_services_of_a_grouping_hold_all_the_work(problem):
    rng, counts = np.random.default_rng(0), np.full(100, 50)
    parts = [services.service(problem, (k, k + 1), NEVER, counts, rng) for k in range(4)]
    for name in ("vm_work_s", "faas_work_s"):
        total = sum(getattr(part.params, name)[:, -1] for part in parts)
        assert total == pytest.approx(getattr(problem.params, name)[:, -1])
    whole = services.service(problem, (0, 4), NEVER, counts, rng)
    assert np.array_equal(whole.params.vm_work_s, problem.params.vm_work_s)


def test_a_deep_service_sees_only_requests_that_reach_it(problem):
    rng, counts = np.random.default_rng(0), np.full(2000, 50)
    share = services.reach(problem, 2)
    assert share[0] == 1.0
    assert (np.diff(share) <= 0).all()
    deep = services.service(problem, (2, 4), 2, counts, rng)
    assert np.asarray(deep.params.exit_of[2]).min() >= 2
    assert deep.params.arrival_counts.mean() == pytest.approx(50 * share[2], rel=0.02)


def test_the_kernel_bills_functions_what_the_expectation_says(problem):
    counts = np.full(600, 40)
    whole = services.service(problem, (0, 4), NEVER, counts, np.random.default_rng(0))
    found = services.bill(services.pooled(whole, NEVER, 0), whole, 0)
    _, own = services.deployed(problem, (0, 4), NEVER)
    cold_usd = float(problem.params.faas_init_s.mean()) * 1e3 * problem.params.usd_per_faas_ms
    assert found.usd / found.requests == pytest.approx(own.request_usd + found.cold_starts * cold_usd, rel=0.01)


def test_without_exits_serflow_is_libra_and_exits_never_cost(problem):
    bursts = serflow.load_bursts("both", 0, quick=True)
    never = serflow.study("never", problem, bursts, 2.0, NEVER, 0)
    exits = serflow.study("exits", problem, bursts, 2.0, 0, 0)
    assert never.saving("LIBRA") == pytest.approx(0.0, abs=0.02)
    assert exits.usd["SERFLOW"] < 0.8 * never.usd["SERFLOW"]
    assert exits.saving("LIBRA") > never.saving("LIBRA")


@pytest.mark.parametrize("script", [libra, serflow])
def test_the_commands_print_theirs_and_ours(script, capsys):
    script.main(["--quick"])
    assert "ours / theirs" in capsys.readouterr().out


def test_break_evens_of_sebs():
    for usd_per_million, published, capacity in libra.SEBS.values():
        point = libra.indifference_rate_rph(PRICES.vm("t2.micro").usd_per_hour, usd_per_million * 1e-6)
        assert point == pytest.approx(published, rel=2e-3)  # the published price has three digits
        assert published < capacity
