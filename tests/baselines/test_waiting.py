"""Waiting formulas against queueing theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecloud.baselines.waiting import blocking, exponential_tail, fluid_backlog_s, mean_wait_s, pool_wait_s
from edgecloud.envs.physics import md1_wait_s, mm1_sojourn_s, mmc_wait_s

LONG = 1e14


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_long_spans_give_the_stationary_wait(rho: float):
    service = 0.05
    rate = rho / service
    assert mean_wait_s(rate, service, service**2, 1.0, LONG) == pytest.approx(
        float(md1_wait_s(rate, service)), rel=1e-5
    )
    exponential = mean_wait_s(rate, service, 2 * service**2, 1.0, LONG)
    assert exponential == pytest.approx(float(mm1_sojourn_s(rate, 1 / service)) - service, rel=1e-5)
    assert pool_wait_s(rate, service, 2 * service**2, 1, LONG) == pytest.approx(float(exponential), rel=1e-5)


@pytest.mark.parametrize(("servers", "rho"), [(2, 0.5), (2, 0.9), (4, 0.8)])
def test_pool_is_near_erlang(servers: int, rho: float):
    found = pool_wait_s(rho * servers / 0.1, 0.1, 0.02, servers, LONG)
    assert found == pytest.approx(mmc_wait_s(rho * servers / 0.1, 10.0, servers), rel=0.12)


def test_transient_wait_against_a_simulated_queue():
    """Means over the first second from empty, M/D/1 at loads below, near and above one, without the fluid part."""
    rng = np.random.default_rng(0)
    for rho in (0.5, 0.8, 1.0):
        service, waits = 0.1, []
        for _ in range(4000):
            arrivals = np.sort(rng.uniform(0, 4.0, rng.poisson(4.0 * rho / service)))
            free = 0.0
            for at in arrivals:
                waits.append(max(free - at, 0.0))
                free = max(free, at) + service
            assert len(arrivals) < 200
        found = float(mean_wait_s(rho / service, service, service**2, 1.0, 4.0))
        assert found == pytest.approx(np.mean(waits), rel=0.3)


@given(st.floats(0, 50), st.integers(1, 8), st.floats(0, 8))
def test_blocking_is_a_probability_and_room_helps(offered: float, servers: int, room: float):
    value = float(blocking(offered, servers))
    assert 0 <= value <= 1
    assert float(blocking(offered, servers + 1)) <= value + 1e-12
    assert float(blocking(offered, servers, room)) <= value + 1e-12
    steps = np.concatenate([[1.0], offered ** np.arange(1, servers + 1) / np.cumprod(np.arange(1.0, servers + 1))])
    assert value == pytest.approx(steps[-1] / steps.sum(), abs=1e-8)


def test_no_servers_block_everything():
    assert blocking(np.array([0.1, 2.0]), 0.0).tolist() == [1.0, 1.0]


def test_backlog_and_tail():
    assert fluid_backlog_s(1.0, 2.0, 5.0, 3.0) == 3.0
    assert fluid_backlog_s(1.0, 0.0, 5.0, 3.0) == 0.0
    assert exponential_tail(1.0, 1.0) == pytest.approx(np.exp(-1))
