"""Profiles whose accuracy or leakage is not known: what they hold, refuse and can be given."""

import json
import math

import numpy as np
import pytest

from edgecloud.envs.problem import compile_problem
from edgecloud.errors import InputError
from edgecloud.profiles import NEVER, load_profile, save_profile
from edgecloud.profiles.assumed import assume
from edgecloud.profiles.sequence import at_length, cache_bytes_before_cut


def test_what_is_unknown_is_unknown(unjudged):
    assert not unjudged.has_exit_table
    assert not unjudged.leakage_known
    assert math.isnan(unjudged.accuracy(NEVER))
    assert np.isnan(unjudged.exit_accuracy()).all()
    assert unjudged.exit_rates(0.5).tolist() == [1.0]
    assert unjudged.reach(0.5).tolist() == [1.0, 1.0, 1.0]
    assert unjudged.expected_flops(NEVER) == unjudged.total_flops == 600.0


def test_early_exits_need_a_table(make_profile):
    with pytest.raises(InputError, match="how often early exits fire"):
        make_profile(confidence=np.zeros((0, 2)), correct=np.zeros((0, 2)))


def test_round_trip_as_version_2(unjudged, tmp_path):
    path = save_profile(unjudged, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["small.json", "small.layers.json"]
    content = json.loads(path.read_text())
    assert content["version"] == 2
    assert "table" not in content
    assert content["leakage"]["values"] == [1.0, None, None, 0.0]
    loaded = load_profile(path)
    assert loaded.equals(unjudged)
    assert loaded.layers == unjudged.layers
    assert loaded.sequence == unjudged.sequence
    assert loaded.fingerprint() == unjudged.fingerprint()
    again = save_profile(loaded, tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()


def test_what_needs_nothing_new_stays_version_1(make_profile, tmp_path):
    content = json.loads(save_profile(make_profile(), tmp_path).read_text())
    assert content["version"] == 1
    assert not {"input_sizes", "layers", "sequence"} & set(content)


def test_version_1_needs_its_table(make_profile, tmp_path):
    path = save_profile(make_profile(), tmp_path)
    content = json.loads(path.read_text())
    content.pop("table")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="table: is missing"):
        load_profile(path)


def test_layers_are_tied_to_the_profile(unjudged, tmp_path):
    path = save_profile(unjudged, tmp_path)
    side = tmp_path / "small.layers.json"
    text = side.read_text()
    side.write_text(text.replace("linear", "conv2d"))
    with pytest.raises(InputError, match="sha256"):
        load_profile(path)
    side.unlink()
    with pytest.raises(InputError, match="must exist"):
        load_profile(path)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (lambda p: {"layers": p.layers.model_copy(update={"inputs": ("y",)})}, "layers[0].inputs", "come before"),
        (
            lambda p: {"stages": (p.stages[0].model_copy(update={"end": 9}), *p.stages[1:])},
            "stages[0].end",
            "legal cut",
        ),
        (lambda p: {"sequence": p.sequence[:1] * 2}, "sequence[1]", "differ"),
        (
            lambda p: {"sequence": (p.sequence[0].model_copy(update={"stage_flops": (1.0,)}),)},
            "sequence[0].stage_flops",
            "3 values",
        ),
        (
            lambda p: {"sequence": (p.sequence[0].model_copy(update={"cut_sizes": p.sequence[0].cut_sizes[:3]}),)},
            "sequence[0].cut_sizes",
            "4 values",
        ),
    ],
)
def test_parts_that_disagree(unjudged, make_profile, change, field, words):
    from dataclasses import replace

    with pytest.raises(InputError) as caught:
        replace(unjudged, **change(unjudged))
    assert caught.value.field == field
    assert words in caught.value.rule


def test_a_scenario_refuses_what_it_cannot_judge(unjudged):
    with pytest.raises(InputError, match=r"small: table: must be known.*edgecloud profiles assume"):
        compile_problem("camera-lte", unjudged)


def test_stated_values_make_it_usable(unjudged):
    stated = assume(unjudged, 0.761, source="the paper's table 2")
    assert stated.accuracy(NEVER) == pytest.approx(0.761)
    assert stated.leakage.tolist() == [1.0, 1.0, 1.0, 0.0]
    assert "assumed, not measured (the paper's table 2)" in stated.leakage_measure
    assert stated.provenance["assumed"]["accuracy"] == 0.761
    problem = compile_problem("camera-lte", stated)
    assert problem.stages == 3
    given = assume(unjudged, 0.5, [0.7, 0.2])
    assert given.leakage.tolist() == [1.0, 0.7, 0.2, 0.0]
    with pytest.raises(InputError, match="2 values"):
        assume(unjudged, 0.5, [0.7])
    with pytest.raises(InputError, match=r"accuracy: must lie in \[0, 1\]"):
        assume(unjudged, 1.5)


def test_a_measured_table_is_kept(make_profile):
    profile = make_profile(leakage=np.array([1.0, 0.8, np.nan, 0.0]))
    with pytest.raises(InputError, match=r"leakage\[2\]: must be known"):
        profile.check_decidable()
    stated = assume(profile, 0.1)
    assert np.array_equal(stated.correct, profile.correct)
    assert stated.leakage.tolist() == [1.0, 0.8, 1.0, 0.0]
    stated.check_decidable()


def test_costs_at_a_length(unjudged):
    """Operations are quadratic and exact everywhere; latency and bytes are linear here, so exact too."""
    for length in (8, 9, 16, 23, 40, 64):
        profile = at_length(unjudged, length)
        expected = [5.0 * length, 10.0 * length + 2.0 * length**2, 7.0 * length]
        assert profile.stage_flops == pytest.approx(expected)
        assert profile.stage_latency_s == pytest.approx([0.001 * length, 0.002 * length, 0.003 * length])
        assert profile.input_bytes == 8 * length
        assert profile.cut_bytes.tolist() == [8 * length, 32 * length, 32 * length, 4]
        assert profile.reference.whole_latency_s == pytest.approx(0.006 * length)
    assert "prefill at 64 tokens" in profile.description
    with pytest.raises(InputError, match="between 8 and 64"):
        at_length(unjudged, 65)
    with pytest.raises(InputError, match="must have measured costs of decode"):
        at_length(at_length(unjudged, 16), 16, "decode")


def test_cache_before_a_cut(unjudged):
    assert cache_bytes_before_cut(unjudged, 16) == [0, 0, 1024, 2048]
    assert cache_bytes_before_cut(unjudged, 24, "prefill") == [0, 0, 1536, 3072]


def test_cut_sizes(unjudged, make_profile):
    assert [sizes.int8 for sizes in unjudged.cut_sizes()] == [30, 50, 20, 4]
    assert make_profile().cut_sizes() == ()
