"""Indifference points against published break-evens, and provisioning against enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.baselines.indifference import indifference_reach, indifference_rps, plan_stages, vm_count


@pytest.mark.parametrize(
    ("usd_per_million", "published"),
    [(3.54, 3275), (2.29, 5062), (32.08, 362), (15.833365, 733), (2.08, 5568)],
)
def test_break_even_of_a_t2_micro_as_published(usd_per_million: float, published: float):
    """SeBS' artefact, IaaS break-even: uploader, thumbnailer, compression, image recognition, graph search."""
    per_hour = float(indifference_rps(0.0116 / 3600, usd_per_million * 1e-6)) * 3600
    assert per_hour == pytest.approx(published, rel=3e-3)


def test_equal_speed_per_vcpu_gives_the_utilisation_of_the_price_lists():
    """A vCPU hour is 0.1037 dollars on Lambda (x86) and 0.0425 on a c5.large: VMs win above 41 % utilisation."""
    service_s, lambda_vcpu_s = 0.3, 0.1037 / 3600
    point = float(indifference_rps(0.0425 / 3600, lambda_vcpu_s * service_s))
    assert point * service_s == pytest.approx(0.41, abs=0.005)


costs = st.floats(1e-7, 1e-3)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 30), st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1), costs), min_size=1, max_size=3), costs)
def test_provisioning_is_enumeration(rate: float, stages: list[tuple[float, float, float]], vm_usd: float):
    reach, service, price = (np.array(column) for column in zip(*stages, strict=True))
    plan = plan_stages(rate, reach, service, price, vm_usd)
    most = [int(np.ceil(rate * r * s)) + 1 for r, s, _ in stages]
    lowest = np.inf
    for vms in product(*(range(m + 1) for m in most)):
        usd = 0.0
        for n, (r, s, p) in zip(vms, stages, strict=True):
            usd += n * vm_usd + max(rate * r - n / s, 0.0) * p
        lowest = min(lowest, usd)
    assert plan.usd_per_s == pytest.approx(lowest, rel=1e-9, abs=1e-15)


def test_the_two_points_of_a_stage_are_one_condition():
    """A VM for a stage pays iff the traffic is above T-CIP iff the reach is above S-CIP."""
    vm_usd, request_usd, rate = 2e-5, 1e-5, 5.0
    point = float(indifference_reach(vm_usd, request_usd, rate))
    assert point == pytest.approx(0.4)
    for reach, wanted in ((0.39, 0), (0.41, 1)):
        assert vm_count(rate * reach, 0.1, request_usd, vm_usd) == wanted
        assert (rate * reach > float(indifference_rps(vm_usd, request_usd))) == bool(wanted)


def test_exits_make_the_deep_stage_a_function():
    plan = plan_stages(10.0, [1.0, 0.1], [0.05, 0.05], [1e-5, 1e-5], 3e-5)
    assert plan.vms.tolist() == [1, 0]


def test_free_functions_need_no_vm():
    assert vm_count(100.0, 0.1, 0.0, 1e-5) == 0
