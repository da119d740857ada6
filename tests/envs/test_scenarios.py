"""Scenario files: what is shipped, and what a person gets wrong."""

import math

import pytest

from edgecloud.envs import Scenario, compile_problem, list_scenarios, load_scenario
from edgecloud.envs.scenario import SHIPPED
from edgecloud.errors import InputError

TEXT = (SHIPPED / "camera-lte.toml").read_text(encoding="utf-8")


def changed(tmp_path, old, new):
    assert TEXT.count(old) >= 1, old
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    return path


def problem_with(path):
    with pytest.raises(InputError) as caught:
        compile_problem(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", list_scenarios())
def test_shipped_scenarios_compile_and_name_a_source_for_every_number(name):
    scenario = load_scenario(name)
    problem = compile_problem(name)
    assert scenario.name == name
    missing = [field for field in scenario.numeric_fields() if field not in scenario.sources]
    assert not missing
    assert all(text.strip() for text in scenario.sources.values())
    assert len(problem.placements) == len(set(map(tuple, problem.placements.tolist())))
    assert math.isinf(problem.thresholds[-1])


@pytest.mark.parametrize("name", list_scenarios())
def test_sources_speak_of_fields_that_exist(name):
    scenario = load_scenario(name)
    known = {f"{section}.{key}" for section, part in scenario if hasattr(part, "model_fields_set") for key, _ in part}
    known |= {"name", "description", "profile", "prices"}
    assert set(scenario.sources) <= known


def test_unknown_key_suggests_the_known_one(tmp_path):
    message = problem_with(changed(tmp_path, "timeout_s", "timeoutt_s"))
    assert "mine.toml: limits.timeoutt_s: is an unknown key" in message or "limits.timeout_s: is required" in message
    path = changed(tmp_path, "[limits]", "[limits]\ndeadline_s = 1.0")
    assert "mine.toml: limits.deadline_s: is an unknown key. Got 1.0" in problem_with(path)
    path = changed(tmp_path, "[limits]", "[limits]\ntimeout = 1.0")
    assert "did you mean 'timeout_s'?" in problem_with(path)


def test_unknown_section(tmp_path):
    assert "objectives: is an unknown key" in problem_with(
        changed(tmp_path, "[control]", "[objectives]\nx = 1\n[control]")
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("repartition_s = ", "repartition_s = -", ["control.repartition_s", "greater than or equal to 0", "Got -"]),
        ("vcpus = ", "vcpus = 'four' # ", ["edge.vcpus", "valid number", "Got 'four'"]),
        ("interval_s = ", "interval_s = nan # ", ["control.interval_s", "Got nan"]),
        ("timeout_s = ", "timeout_s = 0.0 # ", ["limits.timeout_s", "greater than 0", "Got 0.0"]),
        ("vcpus = ", "# vcpus = ", ["edge.vcpus", "required"]),
        ("thresholds = [", "thresholds = [0.99, ", ["limits", "thresholds must be strictly increasing"]),
        ("load_levels = [", "load_levels = [1.0, ", ["edge.load_levels.0", "less than 1", "Got 1.0"]),
        ("rates_rps = [", "rates_rps = [1.0, ", ["rates_rps and sojourn_s must have the same length"]),
        ("weights = [", "weights = [0.5, 0.5, 0.5] # ", ["weights (latency, cost, privacy) must sum to 1"]),
        ("initial_vms = ", "initial_vms = 50 # ", ["vm.initial_vms must be at most vm.max_vms"]),
        ("format = 1", "format = 7", ["format", "Got 7"]),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path, old, new, expected):
    message = problem_with(changed(tmp_path, old, new))
    assert "mine.toml" in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('type = "', 'type = "x', "x"),
        ('platform = "', 'platform = "x', "x"),
        ('prices = "', 'prices = "x', "x"),
        ('profile = "', 'profile = "x', "x"),
        ('price = "', 'price = "x', "x"),
        ('radio = "', 'radio = "x', "x"),
    ],
)
def test_names_that_do_not_exist(tmp_path, old, new, expected):
    assert expected in problem_with(changed(tmp_path, old, new))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(InputError, match="did you mean 'camera-lte'"):
        load_scenario("camera-lt")
    with pytest.raises(InputError, match=r"none\.toml"):
        load_scenario(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.toml: must be valid TOML"):
        load_scenario(tmp_path / "broken.toml")


def test_more_arrivals_than_the_kernel_takes_are_refused_not_capped():
    scenario = load_scenario("camera-lte")
    content = scenario.model_dump()
    content["control"]["interval_s"] = 301.0 / max(scenario.arrivals.rates_rps)
    with pytest.raises(ValueError, match="requests per interval"):
        Scenario.model_validate(content)


def test_fingerprints_see_numbers_but_not_words():
    scenario = load_scenario("camera-lte")
    words = scenario.model_copy(update={"description": "another"})
    numbers = scenario.model_copy(update={"limits": scenario.limits.model_copy(update={"timeout_s": 9.0})})
    assert words.fingerprint() == scenario.fingerprint() != numbers.fingerprint()
