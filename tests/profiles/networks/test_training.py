import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecloud.errors import InputError
from edgecloud.profiles.images.augmentation import augment
from edgecloud.profiles.measuring.measured_profile import measure_run
from edgecloud.profiles.networks.checkpoints import load_network
from edgecloud.profiles.networks.network import EarlyExitCnn, NetworkShape
from edgecloud.profiles.networks.recipes import NETWORKS, network_shape, train_settings
from edgecloud.profiles.networks.runs import read_run, train_run
from edgecloud.profiles.networks.training import TrainSettings, split_training, train_network
from edgecloud.profiles.privacy.accuracy import accuracy_over_int8

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


SDN_SHAPE = NetworkShape(
    block="residual", widths=(8, 8, 16), depths=(1, 1, 1), pooled=(False, True, True), exits=(1, 2, 3), branches=0,
    pooling="mixed",
)  # fmt: skip
SDN_SETTINGS = replace(SETTINGS, epochs=2, method="classifiers", head_epochs=2)


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


def test_classifiers_are_trained_on_a_frozen_backbone(coloured_images, tmp_path):
    states = {}

    def keep(report) -> None:
        states[report.epoch] = load_network(tmp_path / "checkpoint.pt")[0].state_dict()

    network = train_network(coloured_images, tmp_path / "checkpoint.pt", SDN_SETTINGS, SDN_SHAPE, on_epoch=keep)
    assert sorted(states) == [1, 2, 3, 4]
    inner = ("heads.0", "heads.1")
    for name, value in network.state_dict().items():
        moved = not torch.equal(value, states[2][name])
        assert moved == name.startswith(inner), name
        if name.startswith(inner):
            assert torch.equal(states[1][name], states[2][name]), "heads rest while the backbone is trained"


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_two_phases_resume_like_one_run(coloured_images, tmp_path, stop):
    whole = train_network(coloured_images, tmp_path / "whole.pt", SDN_SETTINGS, SDN_SHAPE)

    def interrupt(epoch: int, step: int, steps: int, loss: float) -> None:
        if (epoch, step) == (stop, 2):
            raise StoppedError

    with pytest.raises(StoppedError):
        train_network(coloured_images, tmp_path / "part.pt", SDN_SETTINGS, SDN_SHAPE, on_step=interrupt)
    resumed = train_network(coloured_images, tmp_path / "part.pt", SDN_SETTINGS, SDN_SHAPE)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_bfloat16_learns_and_keeps_float32_weights(coloured_images, tmp_path):
    settings = replace(SETTINGS, precision="bfloat16")
    table = train_run(tmp_path, coloured_images, settings, SHAPE)
    assert table.correct[:, -1].mean() > 0.5
    network = read_run(tmp_path).network
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert read_run(tmp_path).settings == settings


def test_checkpoint_from_before_there_were_methods(run, coloured_images, tmp_path):
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    for part, names in (
        ("settings", ("method", "head_epochs", "head_rate", "precision")),
        ("shape", ("block", "pooling", "channels", "mean", "deviation")),
    ):
        for name in names:
            content[part].pop(name)
    torch.save(content, tmp_path / "old.pt")
    epochs = []
    train_network(coloured_images, tmp_path / "old.pt", SETTINGS, SHAPE, on_epoch=epochs.append)
    assert not epochs
    assert load_network(tmp_path / "old.pt")[0].shape == SHAPE


@pytest.mark.parametrize("network", list(NETWORKS))
@pytest.mark.parametrize("method", ["joint", "classifiers"])
@pytest.mark.parametrize("dataset", ["cifar10", "fashion-mnist"])
def test_named_networks_run_on_their_images(network, method, dataset):
    shape = network_shape(network, dataset, method)
    settings = train_settings(shape, method, 1, 1, "float32", 0)
    side = 32 if dataset == "cifar10" else 28
    built = EarlyExitCnn(shape).eval()
    with torch.no_grad():
        logits = built(built.prepare(torch.zeros(2, shape.channels, side, side, dtype=torch.uint8)))
    assert [tuple(head.shape) for head in logits] == [(2, 10)] * len(shape.exits)
    assert len(settings.exit_weights) == len(shape.exits)


@pytest.mark.parametrize(
    ("names", "option"),
    [(("chian", "cifar10", "joint"), "--network"), (("chain", "cifar", "joint"), "--dataset"),
     (("chain", "cifar10", "sdn"), "--method")],
)  # fmt: skip
def test_unknown_names(names, option):
    with pytest.raises(InputError) as caught:
        network_shape(*names)
    assert caught.value.source == option


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"block": "dense"}, "block"),
        ({"depths": (1,)}, "depths"),
        ({"mean": (0.5,)}, "mean"),
        ({"exits": (1,)}, "exits"),
    ],
)
def test_shapes_that_disagree(change, field):
    with pytest.raises(InputError) as caught:
        replace(SHAPE, **change)
    assert caught.value.field == field


@pytest.mark.parametrize("change", [{"method": "both"}, {"precision": "half"}, {"head_epochs": 2}])
def test_settings_that_disagree(change):
    with pytest.raises(InputError):
        replace(SETTINGS, **change)


def test_too_few_exit_weights(coloured_images, tmp_path):
    with pytest.raises(InputError, match="one per exit"):
        train_network(coloured_images, tmp_path / "c.pt", replace(SETTINGS, exit_weights=(1.0,)), SHAPE)


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


def test_more_pixels_than_the_image(run, coloured_images):
    with pytest.raises(InputError, match="at least 32"):
        measure_run(run, coloured_images, "tiny", pixels=16)


def test_unfinished_and_damaged_runs(run, coloured_images, tmp_path):
    with pytest.raises(InputError, match=r"checkpoint\.pt: must exist"):
        measure_run(tmp_path, coloured_images, "tiny")
    for name in ("checkpoint.pt", "exits.npz", "training.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(InputError, match="readable exits"):
        measure_run(tmp_path, coloured_images, "tiny")
