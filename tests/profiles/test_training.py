import json
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecloud.errors import InputError
from edgecloud.profiles.network import EarlyExitCnn, NetworkShape
from edgecloud.profiles.runs import accuracy_over_int8, measure_run, train_run
from edgecloud.profiles.training import TrainSettings, augment, load_network, split_training, train_network

SHAPE = NetworkShape(
    widths=(8, 8), depths=(1, 1), pooled=(True, True), exits=(1, 2), branch_width=8, branches=1, classes=10
)
SETTINGS = TrainSettings(epochs=3, batch=32, exit_weights=(0.5, 1.0), held_out=96, seed=4)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(coloured_images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.set_num_threads(1)
    train_run(folder, coloured_images, SETTINGS, SHAPE)
    return folder


class StoppedError(Exception):
    pass


def test_learns_and_writes_its_results(run):
    report = json.loads((run / "training.json").read_text())
    assert report["accuracy"][-1] > 0.5
    assert report["settings"]["seed"] == 4
    with np.load(run / "exits.npz") as arrays:
        assert arrays["confidence"].shape == arrays["correct"].shape == (96, 2)
        assert np.allclose(arrays["correct"].mean(axis=0), report["accuracy"])
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert history[-1]["loss"] < history[0]["loss"]
    assert not list(run.glob("*.part"))


def test_resumed_run_equals_uninterrupted_run(run, coloured_images, tmp_path):
    def interrupt(epoch: int, step: int, steps: int, loss: float) -> None:
        if epoch == 1 and step == 2:
            raise StoppedError

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(StoppedError):
        train_network(coloured_images, checkpoint, SETTINGS, SHAPE, on_step=interrupt)
    epochs = []
    resumed = train_network(
        coloured_images, checkpoint, SETTINGS, SHAPE, on_epoch=lambda report: epochs.append(report.epoch)
    )
    assert epochs == [2, 3]
    whole, _ = load_network(run / "checkpoint.pt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_finished_run_is_not_trained_again(run, coloured_images):
    before = (run / "checkpoint.pt").read_bytes()
    epochs = []
    train_run(run, coloured_images, SETTINGS, SHAPE, on_epoch=epochs.append)
    assert not epochs
    assert (run / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "shape", "field"),
    [
        (TrainSettings(epochs=3, batch=32, exit_weights=(0.5, 1.0), held_out=96, seed=5), SHAPE, "settings.seed"),
        (SETTINGS, NetworkShape(**(SHAPE.as_dict() | {"widths": (8, 4)})), "shape.widths"),
    ],
)
def test_checkpoint_of_other_settings(run, coloured_images, settings, shape, field):
    before = (run / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError) as caught:
        train_run(run, coloured_images, settings, shape)
    assert caught.value.field == field
    assert (run / "checkpoint.pt").read_bytes() == before


def test_damaged_checkpoint(run, coloured_images, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    content = (run / "checkpoint.pt").read_bytes()
    for broken in (content[: len(content) // 2], b"", b"hello"):
        checkpoint.write_bytes(broken)
        with pytest.raises(InputError, match="readable training checkpoint"):
            train_network(coloured_images, checkpoint, SETTINGS, SHAPE)
        assert checkpoint.read_bytes() == broken
    torch.save({"network": {}}, checkpoint)
    with pytest.raises(InputError, match="of this project"):
        train_network(coloured_images, checkpoint, SETTINGS, SHAPE)


def test_held_out_slice_is_disjoint_and_seeded(coloured_images):
    trained, held_out = split_training(coloured_images, SETTINGS)
    assert len(held_out) == 96
    assert sorted([*trained, *held_out]) == list(range(384))
    again = split_training(coloured_images, SETTINGS)
    assert np.array_equal(again[1], held_out)


def test_augmentation_shifts_and_mirrors():
    image = torch.arange(3 * 32 * 32).remainder(251).to(torch.uint8).reshape(1, 3, 32, 32)
    still = augment(image.repeat(64, 1, 1, 1), 0, torch.Generator().manual_seed(0))
    mirrored = image[0].flip(-1)
    kinds = {bool(torch.equal(item, image[0])): item for item in still}
    assert set(kinds) == {True, False}
    assert torch.equal(kinds[False], mirrored)
    moved = augment(image, 4, torch.Generator().manual_seed(0))
    assert moved.shape == image.shape
    assert moved.dtype == torch.uint8


def test_learning_rate_rises_and_falls():
    settings = TrainSettings()
    rates = [settings.rate(progress) for progress in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(settings.max_rate)
    assert np.argmax(rates) == 25
    assert rates[-1] == pytest.approx(0)
    assert rates[0] > 0


def test_stages_composed_equal_the_whole():
    network = EarlyExitCnn(SHAPE).eval()
    images = torch.rand(2, 3, 32, 32)
    tensors = network.activations(images)
    whole = network(images)
    assert len(tensors) == 3
    assert torch.equal(network.heads[0](tensors[1]), whole[0])
    assert torch.equal(network.heads[1](tensors[2]), whole[1])


def test_measured_profile_of_a_tiny_network(run, coloured_images):
    profile, costs = measure_run(run, coloured_images, "tiny", pixels=64, runs=15, command="a test")
    assert profile.input_bytes == 3 * 64 * 64
    assert profile.cut_bytes.tolist() == [3 * 64 * 64, 8 * 32 * 32, 40]
    first = 2 * 64 * 64 * 8 * 3 * 9
    second = 2 * 32 * 32 * 8 * 8 * 9
    assert profile.stage_flops.tolist() == [first, second]
    assert profile.exit_flops.tolist() == [2 * 16 * 16 * 8 * 8 * 9 + 2 * 8 * 10, 2 * 8 * 10]
    assert [stage.output_shape for stage in profile.stages] == [(8, 32, 32), (8, 16, 16)]
    assert profile.stages[0].weight_bytes == 4 * (8 * 3 * 9 + 4 * 8) + 8
    assert profile.stages[0].memory_bytes == 4 * (3 * 64 * 64 + 2 * 8 * 64 * 64)
    assert profile.leakage[0] == 1
    assert 0 < profile.leakage[1] <= 1
    assert profile.leakage[2] == 0
    assert profile.n_samples == 96
    assert profile.provenance["cost_pixels"] == 64
    assert profile.provenance["exit_table_pixels"] == 32
    assert costs.runs == 15


def test_sum_of_stages_is_near_the_whole(run, coloured_images):
    """Timings are noisy on a shared machine: the bound is wide, the measured ratio is printed by the command."""
    _, costs = measure_run(run, coloured_images, "tiny", pixels=160, runs=31)
    assert costs.sum_s == pytest.approx(costs.whole.median_s, rel=0.5)


def test_int8_hardly_changes_the_answer(run, coloured_images):
    network, _ = load_network(run / "checkpoint.pt")
    accuracy = accuracy_over_int8(network, coloured_images.test_images, coloured_images.test_labels)
    assert len(accuracy) == 2
    assert accuracy[1] == pytest.approx(accuracy[0], abs=0.05)


def test_unfinished_and_damaged_runs(run, coloured_images, tmp_path):
    with pytest.raises(InputError, match=r"checkpoint\.pt: must exist"):
        measure_run(tmp_path, coloured_images, "tiny")
    for name in ("checkpoint.pt", "exits.npz", "training.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(InputError, match="readable exits"):
        measure_run(tmp_path, coloured_images, "tiny")
