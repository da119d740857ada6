"""Defences in the profile format: optional, and checked like the leakage itself."""

import json
from dataclasses import replace

import pytest

from edgecloud.errors import InputError
from edgecloud.profiles import Protection, load_profile, save_profile

NOISE = {"name": "noise", "description": "noise", "leakage": (1, 0.6, 0.3, 0), "accuracy": (0.9, 0.7, 0.8, 0.9)}


def test_round_trip(make_profile, tmp_path):
    profile = make_profile(protections=(Protection(**NOISE),))
    loaded = load_profile(save_profile(profile, tmp_path))
    assert loaded.equals(profile)
    assert loaded.protections[0].leakage == (1, 0.6, 0.3, 0)
    assert not loaded.equals(make_profile())
    assert loaded.fingerprint() == make_profile().fingerprint(), "no decision depends on them"


@pytest.mark.parametrize("name", ["cifar10-ee-32", "cifar10-ee-224"])
def test_a_profile_without_them_is_written_as_before(name, tmp_path):
    from edgecloud.profiles.files import SHIPPED

    profile = load_profile(name)
    assert profile.protections == ()
    written = save_profile(profile, tmp_path)
    for side in (f"{name}.json", f"{name}.npz"):
        assert written.with_name(side).read_bytes() == (SHIPPED / side).read_bytes()


def test_version_1_unless_something_else_is_new(make_profile, tmp_path):
    path = save_profile(make_profile(protections=(Protection(**NOISE),)), tmp_path)
    assert json.loads(path.read_text())["version"] == 1


def test_beside_unknown_leakage(unjudged, tmp_path):
    profile = replace(unjudged, protections=(Protection(**NOISE),))
    path = save_profile(profile, tmp_path)
    content = json.loads(path.read_text())
    assert content["version"] == 2
    assert content["leakage"]["values"] == [1.0, None, None, 0.0]
    assert load_profile(path).equals(profile)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"leakage": (1, 0.6, 0)}, "leakage.protections[0].leakage"),
        ({"leakage": (0.9, 0.6, 0.3, 0)}, "leakage.protections[0].leakage[0]"),
        ({"leakage": (1, 1.6, 0.3, 0)}, "leakage.protections[0].leakage[1]"),
        ({"leakage": (1, float("nan"), 0.3, 0)}, "leakage.protections[0].leakage[1]"),
        ({"accuracy": (0.9,)}, "leakage.protections[0].accuracy"),
        ({"accuracy": (0.9, 0.8, float("nan"), 0.9)}, "leakage.protections[0].accuracy[2]"),
    ],
)
def test_lists_that_break_a_rule(make_profile, changes, field):
    with pytest.raises(InputError) as caught:
        make_profile(protections=(Protection(**(NOISE | changes)),))
    assert caught.value.field == field


def test_two_of_one_name(make_profile):
    with pytest.raises(InputError, match="must differ"):
        make_profile(protections=(Protection(**NOISE), Protection(**NOISE)))


def test_an_unknown_key_in_the_file(make_profile, tmp_path):
    path = save_profile(make_profile(protections=(Protection(**NOISE),)), tmp_path)
    content = json.loads(path.read_text())
    content["leakage"]["protections"][0]["strength"] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="unknown key"):
        load_profile(path)
