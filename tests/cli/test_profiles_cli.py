from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from edgecloud.cli.profiles import app
from edgecloud.errors import InputError
from edgecloud.profiles import datasets, load_profile, recipes, training
from edgecloud.profiles.images import ImageSet

runner = CliRunner()


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def run(*arguments: str) -> str:
    result = runner.invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list():
    output = run("list")
    assert "cifar10-ee-32" in output
    assert "150,528" in output


@pytest.mark.parametrize("name", ["cifar10-ee-32", "cifar10-ee-224"])
def test_show(name):
    output = run("show", name)
    profile = load_profile(name)
    for text in ("cuts and stages", "leakage", "never", "100.0%", f"{profile.exit_accuracy()[0]:.4f}"):
        assert text in output
    assert f"{profile.cut_bytes[4]:,}" in output


def test_show_of_an_unknown_profile():
    with pytest.raises(InputError, match="did you mean"):
        run("show", "cifar10-ee-23")


def test_plot(tmp_path):
    target = tmp_path / "pictures" / "profile.png"
    run("plot", "cifar10-ee-32", "--out", str(target))
    assert target.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="must end in"):
        run("plot", "cifar10-ee-32", "--out", str(tmp_path / "profile.doc"))


def test_train_and_measure(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, count)

    images = ImageSet(*part(192), *part(20), name="noise")
    monkeypatch.setattr(recipes, "TrainSettings", partial(training.TrainSettings, held_out=64))
    monkeypatch.setattr(datasets, "load_images", lambda *arguments: images)
    folder = str(tmp_path / "run")
    output = run("train", folder, "--epochs", "1", "--seed", "3", "--threads", "1")
    assert "seed 3" in output
    assert "epoch 1: loss" in output
    assert "temperature" in output
    output = run("measure", folder, "--out", str(tmp_path), "--name", "mine", "--pixels", "48", "--repeats", "15")
    assert "ratio" in output
    profile = load_profile(tmp_path / "mine.json")
    assert profile.input_bytes == 3 * 48 * 48
    assert profile.provenance["command"] == "edgecloud profiles measure RUN --name mine --pixels 48 --repeats 15"
    assert profile.provenance["seed"] == 3


def test_measure_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_images", lambda *arguments: None)
    with pytest.raises(InputError, match="must exist in a finished training run"):
        run("measure", str(tmp_path))
