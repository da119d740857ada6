"""Billing against hand calculation, to the last digit."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecloud.errors import InputError
from edgecloud.pricing import (
    EgressMeter,
    FaasMeter,
    VmMeter,
    exact_usd,
    faas_billed_ms,
    load_prices,
    tiered_usd,
    vm_billed_s,
)

AWS = load_prices("aws-us-east-1")


@pytest.mark.parametrize(
    ("uptime_s", "billed"), [(0, 60), (59.999, 60), (60, 60), (60.000001, 61), (61, 61), (3600.5, 3601)]
)
def test_vm_seconds(uptime_s: float, billed: int) -> None:
    assert vm_billed_s(uptime_s) == billed


@pytest.mark.parametrize(
    ("duration_s", "init_s", "granularity_ms", "minimum_ms", "billed"),
    [
        (0.0, 0.0, 1, 1, 1),
        (0.007, 0.0, 1, 1, 7),  # 0.007 * 1000 is above 7 in floating point
        (0.0070001, 0.0, 1, 1, 8),
        (0.07867, 0.10893, 1, 1, 188),
        (0.1, 0.0, 100, 100, 100),
        (0.1001, 0.0, 100, 100, 200),
        (0.013, 0.0, 1, 100, 100),
        (0.1015, 0.0, 1, 100, 102),
    ],
)
def test_function_milliseconds(
    duration_s: float, init_s: float, granularity_ms: int, minimum_ms: int, billed: int
) -> None:
    assert faas_billed_ms(duration_s, granularity_ms, minimum_ms, init_s) == billed


def test_vm_bill_by_hand() -> None:
    meter = VmMeter(AWS.vm("c6i.large"))
    meter.add_run(3600.0)
    assert meter.usd == Decimal("0.085")
    meter.add_run(5.0)  # billed 60 s
    assert meter.billed_s == 3660
    assert meter.usd == Decimal("0.086416666666666667")  # 0.085 * 3660 / 3600


def test_lambda_bill_by_hand() -> None:
    meter = FaasMeter(AWS.faas("lambda-x86"))
    meter.add_request(memory_mb=512, duration_s=0.1234, count=3_000_000)
    # 124 ms x 0.5 GB x 3e6 = 186,000 GB-s at 0.0000166667, plus 3e6 requests at 0.0000002
    assert meter.gb_s == 186_000
    assert meter.usd == Decimal("186000") * Decimal("0.0000166667") + Decimal("0.6")


def test_billed_initialisation_costs_and_unbilled_does_not() -> None:
    aws, azure = FaasMeter(AWS.faas("lambda-x86")), FaasMeter(load_prices("azure-functions").faas("consumption"))
    aws.add_request(1024, 0.2, init_s=0.3)
    azure.add_request(1024, 0.2, init_s=0.3)
    assert (aws.billed_ms, azure.billed_ms) == (500, 200)


def test_cloud_run_bill_by_hand() -> None:
    meter = FaasMeter(load_prices("google-cloud-run").faas("cloud-run"))
    meter.add_request(memory_mb=2048, duration_s=0.2001)  # 300 ms, 1 vCPU, 2 GiB
    expected = Decimal("0.3") * Decimal("0.000024") + Decimal("0.6") * Decimal("0.0000025") + Decimal("0.0000004")
    assert meter.usd == expected


def test_azure_rounds_memory_up_and_has_a_floor() -> None:
    meter = FaasMeter(load_prices("azure-functions").faas("consumption"))
    meter.add_request(memory_mb=160, duration_s=0.01)  # 256 MB, 100 ms
    assert meter.mb_ms == 256 * 100
    assert meter.usd == Decimal("0.025") * Decimal("0.000016") + Decimal("0.0000002")


def test_volume_tiers_are_progressive() -> None:
    meter = FaasMeter(AWS.faas("lambda-x86"))
    meter.add_billed_ms(memory_mb=1024, milliseconds=16_000_000_000 * 1000, requests=0)  # 16e9 GB-s
    expected = 6_000_000_000 * Decimal("0.0000166667") + 9_000_000_000 * Decimal("0.000015")
    assert meter.usd == expected + 1_000_000_000 * Decimal("0.0000133334")


def test_egress_bill_by_hand() -> None:
    meter = EgressMeter(AWS.egress("internet"))
    meter.add(20_480 * 2**30)
    assert meter.usd == 10_240 * Decimal("0.09") + 10_240 * Decimal("0.085")
    one = EgressMeter(AWS.egress("internet"))
    one.add(1)
    assert one.usd == Decimal("0.09") / 2**30 or abs(one.usd - Decimal("0.09") / 2**30) < Decimal("1e-30")


def test_a_million_small_requests_do_not_drift() -> None:
    one_by_one, at_once = FaasMeter(AWS.faas("lambda-x86")), FaasMeter(AWS.faas("lambda-x86"))
    for _ in range(100_000):
        one_by_one.add_billed_ms(1769, 7, 1)
    at_once.add_request(1769, 0.007, count=100_000)
    assert one_by_one.usd == at_once.usd


def test_one_vcpu_hour_of_lambda_against_a_vm() -> None:
    per_ms = AWS.faas("lambda-x86").usd_per_ms(1769)
    hour = float(per_ms * 3_600_000)
    assert hour == pytest.approx(0.1037, abs=5e-5)
    assert hour / 0.0425 == pytest.approx(2.44, abs=0.005)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_meters_are_monotone_and_cover_the_time(first_s: float, second_s: float) -> None:
    short, long = sorted((first_s, second_s))
    assert vm_billed_s(short) <= vm_billed_s(long)
    assert faas_billed_ms(short) <= faas_billed_ms(long)
    assert vm_billed_s(long) >= long - 1e-8
    assert faas_billed_ms(long) / 1000 >= long - 1e-8
    assert faas_billed_ms(long) / 1000 <= max(long, 0) + 0.001 + 1e-8


@given(st.fractions(0, 10**6))
def test_exact_usd_is_exact_or_within_half_an_attodollar(amount: Fraction) -> None:
    error = abs(Fraction(exact_usd(amount)) - amount)
    assert error <= Fraction(1, 2 * 10**18)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_tiers_are_additive_and_concave(first: int, second: int) -> None:
    tiers = [(1000, Decimal("0.5")), (10_000, Decimal("0.25"))]
    whole = tiered_usd(Fraction(first + second), Decimal(1), tiers)
    assert whole <= tiered_usd(Fraction(first), Decimal(1), tiers) + tiered_usd(Fraction(second), Decimal(1), tiers)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_impossible_durations(bad: float) -> None:
    with pytest.raises(InputError, match="must be finite and not negative"):
        vm_billed_s(bad)
    with pytest.raises(InputError, match="duration_s"):
        faas_billed_ms(bad)


@pytest.mark.parametrize("bad", [-1, 1.5, True])
def test_counts_are_whole_numbers(bad: object) -> None:
    meter = VmMeter(AWS.vm("c6i.large"))
    with pytest.raises(InputError, match="whole number"):
        meter.add_billed_s(bad)  # type: ignore[arg-type]
