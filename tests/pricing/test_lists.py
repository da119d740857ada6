"""The price lists that ship, and what is wrong with bad ones."""

from decimal import Decimal
from pathlib import Path

import pytest

from edgecloud.errors import InputError
from edgecloud.pricing import compare, indifference_rate_rph, list_prices, load_prices, unit_prices

MINIMAL = """
name = "mine"
provider = "me"
region = "here"
currency = "USD"
date = 2026-01-01

[sources.quote]
mark = "verified"
text = "the quote of 1 January"

[vm]
"small" = { usd_per_hour = 0.05, vcpu = 2, memory_gib = 4, source = "quote" }

[faas.fn]
usd_per_gb_s = 0.00002
usd_per_request = 0.0000003
granularity_ms = 10
min_billed_ms = 10
memory_mb = { min = 128, max = 1024, step = 64 }
init_billed = false
source = "quote"

[edge.region]
base_vm = "small"
premium = 1.5
source = "quote"

[egress.internet]
usd_per_gb = 0.1
gb_bytes = 1_000_000_000
source = "quote"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", list_prices())
def test_every_shipped_list_loads_and_cites(name: str) -> None:
    prices = load_prices(name)
    assert prices.name == name
    for entry in (*prices.vms.values(), *prices.functions.values(), *prices.edges.values(), *prices.egresses.values()):
        assert prices.source_of(entry).text
    assert prices.edge("region").usd_per_vcpu_s > 0
    assert prices.egress().usd_per_byte > 0


def test_prices_of_the_default_list() -> None:
    prices = load_prices()
    assert prices.vm("c7i.large").usd_per_hour == Decimal("0.08925")
    assert prices.vm("c7i.large").vcpu == 2
    assert prices.vm("g4dn.xlarge").accelerator == "1x NVIDIA T4"
    assert prices.faas("lambda-x86").usd_per_gb_s == Decimal("0.0000166667")
    assert prices.faas("lambda-arm").tiers[0].above_gb_s == 7_500_000_000
    assert float(prices.faas("lambda-x86").vcpus(1769)) == 1.0
    assert float(prices.faas("lambda-x86").vcpus(3538)) == 2.0
    assert prices.faas("lambda-x86").payload_limit_bytes == 6 * 2**20


def test_edge_premium_is_a_parameter() -> None:
    prices = load_prices()
    region = prices.edge("region").usd_per_vcpu_s
    assert float(region) * 3600 == pytest.approx(0.0425)
    assert prices.edge("local-zone").usd_per_vcpu_s == region * 12 / 10
    assert prices.edge("local-zone", premium=1.75).usd_per_vcpu_s == region * 175 / 100
    assert float(prices.edge("local-zone").usd_per_ms(vcpu=4)) == pytest.approx(0.0425 * 1.2 * 4 / 3.6e6)
    with pytest.raises(InputError, match="premium"):
        prices.edge("local-zone", premium=-1)


def test_unit_prices_agree_with_the_list() -> None:
    prices = load_prices()
    unit = unit_prices(prices, vm="c6i.large", faas="lambda-x86", faas_memory_mb=1769, edge="local-zone")
    assert unit.usd_per_vm_s * 3600 == pytest.approx(0.085)
    assert unit.usd_per_faas_ms * 1000 == pytest.approx(0.0000166667 * 1769 / 1024)
    assert unit.usd_per_faas_request == 2e-7
    assert unit.usd_per_egress_byte * 2**30 == pytest.approx(0.09)
    assert (unit.vm_min_billed_s, unit.faas_granularity_ms, unit.faas_init_billed) == (60, 1, True)
    with pytest.raises(InputError, match="128 to 10240 MB"):
        unit_prices(prices, faas_memory_mb=64)


def test_indifference_point_of_the_sebs_artifact() -> None:
    assert indifference_rate_rph(0.0116, 15.833365e-6) == pytest.approx(732.63, abs=0.005)


def test_break_even_costs_the_same() -> None:
    prices = load_prices()
    point = compare(prices, vm="c6i.large", faas="lambda-x86", memory_mb=1769, duration_s=0.08)
    assert point.indifference_rph * float(point.faas_usd_per_request) == pytest.approx(0.085)
    assert point.vm_ever_cheaper
    long = compare(prices, vm="c6i.large", faas="lambda-x86", memory_mb=1769, duration_s=0.08, vm_duration_s=60)
    assert not long.vm_ever_cheaper


def test_utilisation_at_break_even_without_the_request_fee() -> None:
    point = compare(load_prices(), vm="c5.large", faas="lambda-x86", memory_mb=1769, duration_s=100.0)
    assert point.utilisation == pytest.approx(0.41, abs=0.002)


def test_a_users_own_list(tmp_path: Path) -> None:
    prices = load_prices(write(tmp_path, MINIMAL))
    assert prices.vm("small").usd_per_hour == Decimal("0.05")
    assert float(prices.edge("region").usd_per_vcpu_s * 3600) == pytest.approx(0.0375)
    assert unit_prices(prices, vm="small", faas="fn", faas_memory_mb=128).faas_granularity_ms == 10


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "usd_per_hour = 0.05",
            "usd_per_hour = -0.05",
            ["vm.small.usd_per_hour", "greater than or equal to 0", "-0.05"],
        ),
        ("usd_per_hour = 0.05", "usd_per_hr = 0.05", ["vm.small.usd_per_h"]),
        (
            "usd_per_gb_s = 0.00002",
            "usd_per_gb_ms = 0.02",
            ["faas.fn"],
        ),
        (
            "usd_per_request = 0.0000003",
            "usd_per_request = 0.30",
            ["faas.fn.usd_per_request", "less than 0.001", "0.3"],
        ),
        ("gb_bytes = 1_000_000_000", "gb_bytes = 1000", ["egress.internet.gb_bytes", "1000"]),
        ('currency = "USD"', 'currency = "EUR"', ["currency", "USD", "EUR"]),
        ("vcpu = 2", "vcpu = 2, min_billed = 5", ["vm.small.min_billed", "unknown key", "5", "'min_billed_s'"]),
        ('base_vm = "small"', 'base_vm = "smal"', ["edge.region.base_vm", "did you mean 'small'"]),
        ('premium = 1.5\nsource = "quote"', 'premium = 1.5\nsource = "qote"', ["edge.region.source", "'quote'"]),
        ("vcpu = 2, ", "", ["vm.small.vcpu", "is required"]),
        ("usd_per_hour = 0.05", "usd_per_hour = nan", ["vm.small.usd_per_hour"]),
        ("init_billed = false", "init_billed = false\nusd_per_vcpu_s = 0.1", ["faas.fn"]),
        ("[vm]", "[vm", ["TOML", "line"]),
        ("base_vm", "name = 'x'\nbase_vm", ["edge.region.name"]),
    ],
)
def test_bad_lists_name_file_field_rule_and_value(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    assert old in MINIMAL
    path = write(tmp_path, MINIMAL.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_prices(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    for part in expected:
        assert part in message


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean 'aws-us-east-1'"):
        load_prices("aws-us-east1")
    with pytest.raises(InputError, match=r"did you mean 'c6i\.large'"):
        load_prices().vm("c6i.larg")


def test_price_lists_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_prices().vm("c6i.large").usd_per_hour = Decimal(1)  # type: ignore[misc]
