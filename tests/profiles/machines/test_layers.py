from pathlib import Path

import numpy as np
import pytest

from edgecloud.errors import InputError
from edgecloud.profiles.machines.layers import (
    FEATURES,
    Layer,
    NamedLayer,
    feature_matrix,
    format_layers,
    group_stages,
    read_layers,
)


def resnet50(stride_first: bool) -> list[Layer]:
    """ResNet-50 at 224 px: stride in the 1x1 convolution (He et al. 2016, as in Caffe) or in the 3x3 one (v1.5)."""
    layers = [Layer("conv", 3, 64, (224, 224), (112, 112), (7, 7), 2)]
    channels, pixels = 64, 56
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 and width > 64 else 1
            out = pixels // stride
            middle = out if stride_first else pixels
            size, inner, end = (pixels, pixels), (middle, middle), (out, out)
            layers.append(Layer("conv", channels, width, size, inner, (1, 1), stride if stride_first else 1))
            layers.append(Layer("conv", width, width, inner, end, (3, 3), 1 if stride_first else stride))
            layers.append(Layer("conv", width, 4 * width, end, end))
            if block == 0:
                layers.append(Layer("conv", channels, 4 * width, size, end, (1, 1), stride))
            channels, pixels = 4 * width, out
    return [*layers, Layer("linear", 2048, 1000)]


def test_operations_of_resnet50_are_those_that_the_catalogue_uses() -> None:
    assert sum(layer.flops for layer in resnet50(stride_first=False)) == pytest.approx(8.178e9, rel=1e-3)
    assert sum(layer.flops for layer in resnet50(stride_first=True)) == pytest.approx(7.716e9, rel=1e-4)
    assert sum(layer.weights for layer in resnet50(stride_first=False)) == 25_502_912  # without biases and norms


def test_features_by_hand() -> None:
    conv = Layer("conv", 8, 16, (20, 10), (10, 5), (3, 5), 2)
    names = ["flops", "input", "output", "weights", "window", "channels", "filter_work"]
    weights = 3 * 5 * 8 * 16
    expected = [2 * weights * 50, 8 * 200, 16 * 50, weights, 50 * 15 * 8, 8, 15 / 4 * 16]
    assert feature_matrix([conv], names).tolist() == [expected]


def test_grouped_convolution_and_tokens() -> None:
    depthwise = Layer("dw_conv", 32, 32, (7, 7), (7, 7), (3, 3), groups=32)
    assert (depthwise.weights, depthwise.flops) == (9 * 32, 2 * 9 * 32 * 49)
    tokens = Layer("linear", 768, 3072, (128, 1), (128, 1))
    assert tokens.flops == 2 * 128 * 768 * 3072
    assert tokens.input_elements == 128 * 768


def test_what_needs_no_window() -> None:
    assert Layer("conv", 8, 8, (4, 4), (4, 4)).window_elements == 0
    assert Layer("conv", 8, 8, (4, 4), (2, 2), (1, 1), 2).window_elements == 4 * 8
    assert Layer("maxpool", 8, 8, (4, 4), (4, 4)).window_elements == 16 * 8
    assert Layer("relu", 8, 8, (4, 4), (4, 4)).window_elements == 0
    assert feature_matrix([Layer("relu", 8, 8, (4, 4), (4, 4))], list(FEATURES)).shape == (1, len(FEATURES))
    assert feature_matrix([], ["flops"]).shape == (0, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "convolution"}, "kind"),
        ({"in_channels": 0}, "in_channels"),
        ({"kernel": (3, 0)}, "kernel"),
        ({"groups": 3}, "groups"),
    ],
)
def test_bad_layers(change: dict[str, object], field: str) -> None:
    parts = {"kind": "conv", "in_channels": 8, "out_channels": 8, "in_size": (4, 4), "out_size": (4, 4)}
    with pytest.raises(InputError) as caught:
        Layer(**(parts | change))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_list_survives_its_file(tmp_path: Path) -> None:
    listed = [NamedLayer("body", f"layer{number}", layer) for number, layer in enumerate(resnet50(True))]
    listed.append(NamedLayer("head", "odd", Layer("avgpool", 4, 4, (6, 9), (2, 3), (3, 3), 3)))
    path = tmp_path / "layers.csv"
    path.write_text(format_layers(listed), encoding="utf-8")
    assert read_layers(path) == listed
    assert [len(members) for members in group_stages(listed).values()] == [len(listed) - 1, 1]


def test_a_list_by_hand_may_leave_columns_out(tmp_path: Path) -> None:
    path = tmp_path / "hand.csv"
    path.write_text(
        "# a comment\nkind,in_channels,out_channels,in_size,out_size,kernel,stride\n"
        "conv,3,16,32,32,3,1\n\nrelu,16,,32,,,\nlinear,64,10,,,,\n",
        encoding="utf-8",
    )
    layers = [item.layer for item in read_layers(path)]
    assert layers == [
        Layer("conv", 3, 16, (32, 32), (32, 32), (3, 3)),
        Layer("relu", 16, 16, (32, 32), (32, 32)),
        Layer("linear", 64, 10),
    ]
    assert {item.stage for item in read_layers(path)} == {"all"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["header line"]),
        ("kind,in_chanels\nconv,3\n", ["in_chanels", "did you mean"]),
        ("kind,in_size\nconv,3\n", ["in_channels"]),
        ("kind,in_channels,in_size\nconv,3,3y\n", ["line 2: in_size", "HEIGHTxWIDTH", "3y"]),
        ("kind,in_channels,in_size\nconv,-3,3\n", ["line 2: in_channels", "whole number"]),
        ("kind,in_channels,in_size\nconv,3,8,9\n", ["line 2", "3 values"]),
        ("kind,in_channels,in_size,kernel\nconv,3,8,3\n", ["line 2: out_size"]),
        ("kind,in_channels,in_size\nconf,3,8\n", ["line 2: kind", "did you mean 'conv'"]),
        ("kind,in_channels\n", ["at least one layer"]),
    ],
)
def test_bad_files(tmp_path: Path, text: str, expected: list[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_layers(path)
    for part in (str(path), *expected):
        assert part in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a readable CSV file"):
        read_layers(tmp_path / "none.csv")


def test_operations_agree_with_numpy_convolution() -> None:
    """Counting the multiplications of a direct convolution, one output at a time."""
    layer = Layer("conv", 4, 6, (9, 9), (4, 4), (3, 3), 2, 2)
    products = sum(3 * 3 * (4 // 2) for _ in np.ndindex(6, 4, 4))
    assert layer.flops == 2 * products
