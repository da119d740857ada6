"""Measured service times and sizes in place of a profile's."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgecloud.envs import Problem, compile_problem, load_scenario
from edgecloud.envs.measured import TIERS, MeasuredTier, MeasuredTimes, load_measured
from edgecloud.errors import InputError


@pytest.fixture
def times() -> MeasuredTimes:
    profile = compile_problem("camera-lte").profile
    stages, exits = len(profile.stages), len(profile.exits)
    tier = MeasuredTier(stage_s=(0.01,) * stages, head_s=(0.002,) * exits, factors=(0.5, 1.0, 3.0))
    sizes = tuple(1000 - 10 * cut for cut in range(stages + 1))
    return MeasuredTimes(model="m", source="test", tiers=dict.fromkeys(TIERS, tier), cut_bytes=sizes)  # type: ignore[arg-type]


def problem_with(times: MeasuredTimes, folder: Path) -> Problem:
    path = folder / "times.json"
    path.write_text(times.model_dump_json())
    return compile_problem(load_scenario("camera-lte").model_copy(update={"measured": str(path)}))


def test_times_and_sizes_reach_the_kernel_and_the_rules(times: MeasuredTimes, tmp_path: Path) -> None:
    problem = problem_with(times, tmp_path)
    stages, exits = problem.stages, len(problem.profile.exits)
    assert problem.params.edge_work_s[0, -1] == pytest.approx(0.01 * stages + 0.002 * exits)
    assert problem.params.edge_work_s[1, -1] == pytest.approx(0.01 * stages + 0.002)
    assert problem.params.cut_bytes.tolist() == list(times.cut_bytes)
    assert problem.tiers["vm"].stage_s.tolist() == [0.01] * stages


def test_a_measured_systems_own_part_of_the_round_trip_is_not_the_links(times: MeasuredTimes, tmp_path: Path) -> None:
    whole_s = compile_problem("camera-lte").link_rtt_s
    problem = problem_with(times.model_copy(update={"uplink_overhead_s": 0.25 * whole_s}), tmp_path)
    assert problem.params.rtt_s == whole_s
    assert problem.link_rtt_s == pytest.approx(0.75 * whole_s)
    assert problem.fingerprint() == problem_with(times, tmp_path).fingerprint()  # the same to a policy


def test_factors_keep_the_mean_and_the_spread(times: MeasuredTimes, tmp_path: Path) -> None:
    noise = problem_with(times, tmp_path).params.faas_noise
    assert noise.mean() == pytest.approx(1.0)
    assert np.median(noise) == pytest.approx(1.0 / 1.5, rel=0.01)
    assert (np.diff(noise) >= 0).all()


def test_a_policy_of_other_times_is_of_another_problem(times: MeasuredTimes, tmp_path: Path) -> None:
    plain, measured = compile_problem("camera-lte"), problem_with(times, tmp_path)
    assert measured.fingerprint().startswith(plain.fingerprint())
    assert measured.fingerprint() != plain.fingerprint()
    assert (
        problem_with(times.model_copy(update={"source": "another day"}), tmp_path).fingerprint()
        == measured.fingerprint()
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cut_bytes": [1, 2]}, "cut_bytes"),
        ({"tiers": {}}, "tiers.device"),
        ({"format": 2}, "format"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_does_not_fit_is_refused(
    times: MeasuredTimes, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps(json.loads(times.model_dump_json()) | change))
    with pytest.raises(InputError) as caught:
        compile_problem(load_scenario("camera-lte").model_copy(update={"measured": str(path)}))
    assert caught.value.field == field


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a readable file"):
        load_measured(tmp_path / "none.json")
