from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from edgecloud.cli.profiles import app
from edgecloud.errors import InputError
from edgecloud.profiles import list_profiles, load_profile
from edgecloud.profiles.images import datasets
from edgecloud.profiles.images.image_set import ImageSet
from edgecloud.profiles.networks import recipes, training

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


def test_names_are_whole_on_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    output = run("list")
    assert all(name in output for name in list_profiles())


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
    expected = "edgecloud profiles train RUN --network shipped --dataset cifar10 --method joint --epochs 1"
    assert profile.provenance["training_command"] == f"{expected} --precision float32 --seed 3"
    page = tmp_path / "report" / "attack.html"
    options = ["--cut", "5", "--attacker", "same-distribution", "--protect", "int8", "--images", "64", "--epochs", "1"]
    output = run("attack", folder, *options, "--threads", "1", "--report", str(page))
    assert "cut 5, same-distribution, none: MSE" in output
    assert "cut 5, same-distribution, int8: MSE" in output
    assert page.read_text().count("data:image/png") == 2
    assert "same-distribution" not in run("attack", folder, *options).split("leakage")[0], "nothing is repeated"
    with pytest.raises(InputError, match="must be those of the results so far"):
        run("attack", folder, *options, "--seed", "1")


def test_curves(tmp_path):
    table, picture = tmp_path / "tables" / "curve.csv", tmp_path / "curve.svg"
    output = run("curves", "cifar10-ee-32", "--out", str(table), "--plot", str(picture))
    assert "at most 1 points lost: threshold 0.83" in output
    assert table.read_text().startswith("threshold,exit_rate_exit1,")
    assert "<svg" in picture.read_text()
    with pytest.raises(InputError, match="must end in"):
        run("curves", "cifar10-ee-32", "--out", str(table), "--plot", str(tmp_path / "curve.doc"))


@pytest.mark.parametrize(
    ("options", "source"),
    [
        (("--network", "chian"), "--network"),
        (("--dataset", "mnist"), "--dataset"),
        (("--method", "sdn"), "--method"),
        (("--precision", "half"), "training settings"),
        (("--device", "tpu"), "--device"),
    ],
)
def test_options_of_train_are_checked_before_anything_is_fetched(tmp_path, monkeypatch, options, source):
    monkeypatch.setattr(datasets, "load_images", lambda *arguments: pytest.fail("fetched"))
    with pytest.raises(InputError) as caught:
        run("train", str(tmp_path / "run"), *options)
    assert caught.value.source == source
    assert not list(tmp_path.iterdir())


def test_measure_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_images", lambda *arguments: None)
    with pytest.raises(InputError, match="must exist in a finished training run"):
        run("measure", str(tmp_path))
