import json
from pathlib import Path
from typing import Any

import pytest

from edgecloud.errors import InputError
from edgecloud.profiles.machines.layers import Layer
from edgecloud.profiles.machines.platform_model import list_platforms, load_platform, save_platform


def test_the_shipped_models() -> None:
    assert set(list_platforms()) >= {"neurosurgeon-cloud", "neurosurgeon-edge", "xeon-torch-channels-last"}
    for name in list_platforms():
        platform = load_platform(name)
        assert platform.name == name
        assert platform.provenance["fit"]["loss"]
        for model in platform.models.values():
            assert model.held_out.median_error < 0.6
            assert 0 < model.fastest_s < model.slowest_s


def test_a_model_survives_its_file(tmp_path: Path) -> None:
    platform = load_platform("neurosurgeon-cloud")
    save_platform(platform, tmp_path / "deep" / "copy.json")
    copy = load_platform(tmp_path / "deep" / "copy.json")
    assert copy == platform


def broken(**changes: Any) -> dict[str, Any]:
    path = Path(load_platform.__code__.co_filename).parent / "platforms" / "neurosurgeon-edge.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    conv = content["models"]["conv"]
    for key, value in changes.items():
        (conv if key in conv else content)[key] = value
    return content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (broken(coefficients=[1.0]), ["models.conv", "coefficients must be as many as features"]),
        (broken(coefficients=[-1.0, 0, 0, 0, 0]), ["models.conv.coefficients.0", "greater than or equal to 0"]),
        (broken(features=["flop", "window", "input", "output", "weights"]), ["did you mean 'flops'"]),
        (broken(intercept=-1.0), ["models.conv", "intercept of a linear model"]),
        (broken(form="cubic"), ["models.conv.form"]),
        (broken(version=2), ["version"]),
        (broken(models={"conf": broken()["models"]["conv"]}), ["did you mean 'conv'"]),
        ({}, ["format"]),
    ],
)
def test_bad_files(tmp_path: Path, content: dict[str, Any], expected: list[str]) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_platform(path)
    for part in (str(path), *expected):
        assert part in str(caught.value)


def test_names_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'neurosurgeon-edge'"):
        load_platform("neurosurgeon-edg")
    with pytest.raises(InputError, match="readable JSON"):
        load_platform(tmp_path / "none.json")


def test_extrapolation_is_told() -> None:
    platform = load_platform("neurosurgeon-edge")
    layers = [Layer("linear", 512, 512), Layer("linear", 200_000, 200_000), Layer("relu", 8, 8)]
    assert platform.extrapolates(layers).tolist() == [False, True, False]
