from pathlib import Path

import numpy as np
import pytest
import torch

from edgecloud.errors import InputError
from edgecloud.profiles.machines import layer_measuring
from edgecloud.profiles.machines.layer_data import read_table
from edgecloud.profiles.machines.layer_measuring import build_call, measure_layers, plan_layers, time_layers
from edgecloud.profiles.machines.layers import KINDS, Layer


def test_plans_are_seeded_and_grow() -> None:
    short, long = plan_layers(4, seed=1), plan_layers(9, seed=1)
    assert long[: len(short)] == short
    assert plan_layers(4, seed=2) != short
    assert len(set(long)) == 9 * len(KINDS)
    assert [layer.kind for layer in long[: len(KINDS)]] == list(KINDS)
    for layer in plan_layers(200, seed=0):
        assert layer.flops <= layer_measuring.MOST_FLOPS
        assert max(layer.input_elements, layer.output_elements) <= layer_measuring.MOST_ELEMENTS


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_what_is_run_is_the_layer(layout: str) -> None:
    for layer in plan_layers(6, seed=4):
        if layer.flops > 1e8 or layer.input_elements > 2**20:
            continue
        with torch.no_grad():
            shape = tuple(build_call(layer, layout)().shape)
        expected = (layer.out_size[0], layer.out_channels) if layer.kind == "linear" else (
            1, layer.out_channels, *layer.out_size
        )  # fmt: skip
        assert shape == expected, layer


def test_a_layer_that_no_padding_gives() -> None:
    with pytest.raises(InputError, match="some padding"):
        build_call(Layer("conv", 3, 8, (16, 16), (30, 30), (3, 3)))


def test_a_larger_layer_takes_longer() -> None:
    torch.set_num_threads(1)
    layers = [Layer("conv", 8, channels, (28, 28), (28, 28), (3, 3)) for channels in (8, 256)]
    small, large = time_layers(layers, "contiguous", np.random.default_rng(0))
    assert 0 < small.median_s < large.median_s
    assert small.spread >= 0


def test_a_run_is_continued_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "here.csv"
    real, groups = layer_measuring.time_layers, []

    def watched(layers, layout, rng):  # type: ignore[no-untyped-def]
        if len(groups) == 1:
            raise KeyboardInterrupt
        groups.append(len(layers))
        return real(layers, layout, rng)

    monkeypatch.setattr(layer_measuring, "COMPANY", 4)
    monkeypatch.setattr(layer_measuring, "BUDGET_S", 0.01)
    monkeypatch.setattr(layer_measuring, "time_layers", watched)
    with pytest.raises(KeyboardInterrupt):
        measure_layers(path, 5, seed=2, kinds=["relu", "add"])
    before, origin = read_table(path)
    assert len(before) == 4
    assert origin["seed"] == 2
    monkeypatch.setattr(layer_measuring, "time_layers", real)
    assert measure_layers(path, 5, seed=2, kinds=["relu", "add"]) == 6
    after, _ = read_table(path)
    assert after[:4] == before
    assert [layer for layer, _, _ in after] == plan_layers(5, 2, ["relu", "add"])
    assert measure_layers(path, 5, seed=2, kinds=["relu", "add"]) == 0
    content = path.read_bytes()
    with pytest.raises(InputError, match="seed: must be 3"):
        measure_layers(path, 5, seed=3, kinds=["relu", "add"])
    assert path.read_bytes() == content
