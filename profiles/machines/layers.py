"""Layers as latency predictors see them: a type, shapes, and the features that a regression is fitted to."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, did_you_mean

__all__ = [
    "FEATURES",
    "KINDS",
    "Layer",
    "NamedLayer",
    "feature_matrix",
    "format_layers",
    "group_stages",
    "layer_cells",
    "layer_from_cells",
    "read_layers",
]

Floats = NDArray[np.float64]

KINDS = ("conv", "dw_conv", "linear", "maxpool", "avgpool", "batchnorm", "relu", "add")
"""Layer types with a regression of their own. `dw_conv` is a convolution with one input channel per group; `relu`
stands for activations that clamp (ReLU, ReLU6, LeakyReLU); `add` is the sum of two tensors of a residual block."""

SLIDING = ("conv", "dw_conv", "maxpool", "avgpool")


@dataclass(frozen=True)
class Layer:
    """One layer for one sample.

    Attributes:
        kind: One of `KINDS`.
        in_channels: Channels of the input; for `linear` the number of input neurons.
        out_channels: Channels of the output; for `linear` the number of output neurons.
        in_size: Height and width of the input; for `linear` (rows, 1), one row per token or vector.
        out_size: Height and width of the output.
        kernel: Height and width of the filter or window; (1, 1) where there is none.
        stride: Step of the filter or window.
        groups: Groups of a convolution.
    """

    kind: str
    in_channels: int
    out_channels: int
    in_size: tuple[int, int] = (1, 1)
    out_size: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError("layer", "kind", "must be a layer type", self.kind, did_you_mean(self.kind, KINDS))
        sizes = {
            "in_channels": (self.in_channels,),
            "out_channels": (self.out_channels,),
            "in_size": self.in_size,
            "out_size": self.out_size,
            "kernel": self.kernel,
            "stride": (self.stride,),
            "groups": (self.groups,),
        }
        for field, values in sizes.items():
            if any(value < 1 for value in values):
                raise InputError("layer", field, "must be at least 1", values[0] if len(values) == 1 else values)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise InputError("layer", "groups", "must divide the channels of input and output", self.groups)

    @property
    def input_elements(self) -> int:
        """Numbers that the layer reads (one tensor; `add` reads two of that size)."""
        return self.in_channels * self.in_size[0] * self.in_size[1]

    @property
    def output_elements(self) -> int:
        """Numbers that the layer writes."""
        return self.out_channels * self.out_size[0] * self.out_size[1]

    @property
    def weights(self) -> int:
        """Weights of a convolution or a linear layer, without bias; 0 for the others."""
        if self.kind == "linear":
            return self.in_channels * self.out_channels
        if self.kind in ("conv", "dw_conv"):
            return self.kernel[0] * self.kernel[1] * self.in_channels // self.groups * self.out_channels
        return 0

    @property
    def flops(self) -> int:
        """Operations of convolutions and matrix products, a multiply-add as two; 0 for the others, as in a profile.

        >>> Layer("conv", 3, 64, (224, 224), (112, 112), (7, 7), 2).flops
        236027904
        """
        return 2 * self.weights * self.out_size[0] * self.out_size[1]

    @property
    def window_elements(self) -> int:
        """Numbers that a sliding window gathers: output positions x window x input channels; 0 where none is gathered.

        For a convolution it is the size of the unfolded input (im2col), which many libraries write to memory before a
        matrix product; a 1x1 convolution of stride 1 needs none.
        """
        if self.kind not in SLIDING or (self.kernel == (1, 1) and self.stride == 1 and "conv" in self.kind):
            return 0
        return self.out_size[0] * self.out_size[1] * self.kernel[0] * self.kernel[1] * self.in_channels

    @property
    def filter_work(self) -> float:
        """Neurosurgeon's second variable of a convolution: (filter size / stride)^2 x number of filters (2017)."""
        return self.kernel[0] * self.kernel[1] / self.stride**2 * self.out_channels


FEATURES: Mapping[str, Callable[[Layer], float]] = {
    "flops": lambda layer: layer.flops,
    "input": lambda layer: layer.input_elements,
    "output": lambda layer: layer.output_elements,
    "weights": lambda layer: layer.weights,
    "window": lambda layer: layer.window_elements,
    "channels": lambda layer: layer.in_channels,
    "filter_work": lambda layer: layer.filter_work,
    "in_neurons": lambda layer: layer.in_channels,
    "out_neurons": lambda layer: layer.out_channels,
}
"""What a regression may use, by the name that stands in its file."""


def feature_matrix(layers: Sequence[Layer], names: Sequence[str]) -> Floats:
    """The features of each layer, float64 (len(layers), len(names))."""
    rows = [[float(FEATURES[name](layer)) for name in names] for layer in layers]
    return np.array(rows, dtype=np.float64).reshape(len(layers), len(names))


@dataclass(frozen=True)
class NamedLayer:
    """A layer in a network: which stage it belongs to and what it is called."""

    stage: str
    name: str
    layer: Layer


def group_stages(layers: Iterable[NamedLayer]) -> dict[str, list[Layer]]:
    """The layers of each stage, stages in the order of their first layer.

    A stage that comes back after another has begun is not split: its layers are put together.
    """
    stages: dict[str, list[Layer]] = {}
    for item in layers:
        stages.setdefault(item.stage, []).append(item.layer)
    return stages


COLUMNS = ("kind", "in_channels", "out_channels", "in_size", "out_size", "kernel", "stride", "groups")
SIZE = re.compile(r"^(\d+)(?:x(\d+))?$")


def layer_cells(layer: Layer) -> list[str]:
    """A layer as the cells of a CSV row, in the order of `COLUMNS`; a square size is one number.

    >>> layer_cells(Layer("maxpool", 8, 8, (32, 32), (16, 16), (2, 2), 2))
    ['maxpool', '8', '8', '32', '16', '2', '2', '1']
    """
    sizes = (layer.in_size, layer.out_size, layer.kernel)
    pairs = [str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}" for size in sizes]
    return [layer.kind, str(layer.in_channels), str(layer.out_channels), *pairs, str(layer.stride), str(layer.groups)]


def layer_from_cells(cells: Mapping[str, str], source: object, line: int) -> Layer:
    """The layer of a CSV row.

    `out_channels`, `kernel`, `stride` and `groups` may be left out (the input's channels, 1, 1, 1), and so may
    `out_size` where kernel and stride are 1.

    Raises:
        InputError: names file, line and column.
    """
    where = f"line {line}"
    kind = (cells.get("kind") or "").strip()
    channels = _number(cells, "in_channels", source, where)
    stride = _number(cells, "stride", source, where, 1)
    kernel = _size(cells, "kernel", source, where, (1, 1))
    in_size = _size(cells, "in_size", source, where, (1, 1) if kind == "linear" else None)
    same = in_size if kernel == (1, 1) and stride == 1 else None
    try:
        return Layer(
            kind=kind,
            in_channels=channels,
            out_channels=_number(cells, "out_channels", source, where, channels),
            in_size=in_size,
            out_size=_size(cells, "out_size", source, where, same),
            kernel=kernel,
            stride=stride,
            groups=_number(cells, "groups", source, where, 1),
        )
    except InputError as error:
        if error.source != "layer":
            raise
        raise InputError(source, f"{where}: {error.field}", error.rule, error.value, error.remedy) from error


def _number(cells: Mapping[str, str], name: str, source: object, where: str, default: int | None = None) -> int:
    text = (cells.get(name) or "").strip()
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise InputError(source, f"{where}: {name}", "must be a whole number", text or "nothing")
    return int(text)


def _size(
    cells: Mapping[str, str], name: str, source: object, where: str, default: tuple[int, int] | None
) -> tuple[int, int]:
    text = (cells.get(name) or "").strip()
    if not text and default is not None:
        return default
    match = SIZE.match(text)
    if match is None:
        raise InputError(source, f"{where}: {name}", "must be a whole number or HEIGHTxWIDTH", text or "nothing")
    return int(match[1]), int(match[2] or match[1])


def format_layers(layers: Iterable[NamedLayer]) -> str:
    """A network's layers as the text of a CSV file that `read_layers` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stage", "name", *COLUMNS])
    for item in layers:
        writer.writerow([item.stage, item.name, *layer_cells(item.layer)])
    return text.getvalue()


def read_layers(path: Path) -> list[NamedLayer]:
    """A network's layers from a CSV file with the columns `stage`, `name` and those of a layer.

    Raises:
        InputError: the file is missing or empty, a column is unknown or missing, a value breaks a rule.
    """
    rows = read_rows(path, required=("kind", "in_channels"), known=("stage", "name", *COLUMNS))
    layers = []
    for line, cells in rows:
        layer = layer_from_cells(cells, path, line)
        stage = (cells.get("stage") or "").strip() or "all"
        layers.append(NamedLayer(stage, (cells.get("name") or "").strip() or f"line {line}", layer))
    if not layers:
        raise InputError(path, "", "must hold at least one layer")
    return layers


def read_rows(path: Path, required: Sequence[str], known: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their line numbers; lines that start with `#` are comments.

    Raises:
        InputError: no such file, not text, a required column is missing, a column is not known, a row is too long.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "", "must be a readable CSV file", str(error)) from error
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and line[0] != "#"]
    if not kept:
        raise InputError(path, "", "must have a header line")
    header = [name.strip() for name in next(csv.reader([kept[0][1]]))]
    for name in header:
        if name not in known:
            raise InputError(path, "header", "has an unknown column", name, did_you_mean(name, known))
    for name in required:
        if name not in header:
            raise InputError(path, "header", f"must have the column {name}", ",".join(header))
    rows = []
    for number, line in kept[1:]:
        cells = next(csv.reader([line]))
        if len(cells) != len(header):
            raise InputError(path, f"line {number}", f"must have {len(header)} values", len(cells))
        rows.append((number, dict(zip(header, cells, strict=True))))
    return rows


def slid_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Positions of a window along one axis: floor((size + 2 padding - kernel) / stride) + 1, at least 1.

    >>> slid_size(224, 7, 2, 3)
    112
    """
    return max(1, math.floor((size + 2 * padding - kernel) / stride) + 1)
