"""Measured layers: this project's CSV format, and readers of two public sets of layer latencies."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from .layers import COLUMNS, Layer, layer_cells, layer_from_cells, read_rows, slid_size

__all__ = ["LayerTable", "format_table", "read_cells", "read_neurosurgeon", "read_orin", "read_table"]

MEASURED = (*COLUMNS, "latency_s", "spread")


@dataclass(frozen=True)
class LayerTable:
    """Layers of one platform with their latencies; repeated layers are merged by their median.

    Attributes:
        layers: Distinct layers.
        seconds: Latency of each, positive.
        merged: Rows that repeated another row's layer.
        repeat_ratio: Over the layers measured more than once, the median of slowest / quickest: the noise that no
            regression can remove; 1 where nothing was repeated.
        provenance: Machine, versions, command; JSON values.
    """

    layers: Sequence[Layer]
    seconds: Sequence[float]
    merged: int = 0
    repeat_ratio: float = 1.0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def merge(rows: Sequence[tuple[Layer, float]], provenance: Mapping[str, Any]) -> LayerTable:
        """The table of (layer, seconds) rows."""
        found: dict[Layer, list[float]] = {}
        for layer, seconds in rows:
            found.setdefault(layer, []).append(seconds)
        ratios = [max(times) / min(times) for times in found.values() if len(times) > 1]
        return LayerTable(
            layers=list(found),
            seconds=[statistics.median(times) for times in found.values()],
            merged=len(rows) - len(found),
            repeat_ratio=statistics.median(ratios) if ratios else 1.0,
            provenance=provenance,
        )


def format_table(rows: Sequence[tuple[Layer, float, float]], provenance: Mapping[str, Any]) -> str:
    """Measured (layer, seconds, spread) rows as the text of a CSV file; the first line is a comment with the origin."""
    lines = ["# " + json.dumps(dict(provenance), sort_keys=True), ",".join(MEASURED)]
    lines += [",".join([*layer_cells(layer), f"{seconds:.9g}", f"{spread:.4g}"]) for layer, seconds, spread in rows]
    return "\n".join(lines) + "\n"


def read_table(path: Path) -> tuple[list[tuple[Layer, float, float]], dict[str, Any]]:
    """The rows (layer, seconds, spread) and the origin of a file that `format_table` wrote, in the file's order.

    Raises:
        InputError: the file cannot be read, a column is missing or unknown, a value breaks a rule.
    """
    rows = []
    for line, cells in read_rows(path, required=("kind", "in_channels", "latency_s"), known=MEASURED):
        layer = layer_from_cells(cells, path, line)
        seconds = _positive(cells["latency_s"], path, line, "latency_s")
        spread = cells.get("spread") or "0"
        rows.append((layer, seconds, _number(spread, path, line, "spread")))
    return rows, _origin(path)


def _origin(path: Path) -> dict[str, Any]:
    """The JSON object in the comment on the first line; empty where there is none."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    if not first.startswith("# {"):
        return {}
    try:
        origin = json.loads(first[2:])
    except json.JSONDecodeError as error:
        raise InputError(path, "line 1", "must be a comment with a JSON object", str(error)) from error
    return dict(origin)


def _number(text: str, path: Path, line: int, name: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(path, f"line {line}: {name}", "must be a number", text) from error


def _positive(text: str, path: Path, line: int, name: str) -> float:
    value = _number(text, path, line, name)
    if not (math.isfinite(value) and value > 0):
        raise InputError(path, f"line {line}: {name}", "must be positive and finite", text)
    return value


# ---- the layer latencies of github.com/Tjyy-1223/Neurosurgeon: {edge,cloud}/{type}_lat.csv, milliseconds ----


def read_neurosurgeon(folder: Path) -> LayerTable:
    """The layer latencies of a folder with `conv_lat.csv`, `dw_conv_lat.csv` … as in github.com/Tjyy-1223/Neurosurgeon.

    The set's FLOPs columns are not used: those of `dw_conv` count a separable convolution (k^2 C + C^2) at fractional
    sizes, and large ones are rounded. Convolutions are taken with padding kernel // 2, which reproduces the set's own
    FLOPs of `conv`; so are max poolings, which then fit better than without padding; average poolings are adaptive.

    Raises:
        InputError: a file is missing, a column is missing, a latency is not positive.
    """
    rows = []
    for name, build in BUILDERS.items():
        path = folder / f"{name}_lat.csv"
        rows += _latencies(path, build)
    return LayerTable.merge(rows, {"data": "layer latencies of github.com/Tjyy-1223/Neurosurgeon", "set": folder.name})


def read_cells(path: Path) -> list[dict[str, str]]:
    """The rows of a published CSV file by column, as they are (`layers.read_rows` reads and checks our own format).

    Raises:
        InputError: The file is missing or not text.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "", "must be a readable CSV file", str(error)) from error


def _latencies(path: Path, build: Callable[[Mapping[str, int]], Layer]) -> list[tuple[Layer, float]]:
    rows = []
    for line, cells in enumerate(read_cells(path), start=2):
        try:
            numbers = {key: int(value) for key, value in cells.items() if key not in ("FLOPs", "latency")}
            layer = build(numbers)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                path, f"line {line}", "must have whole numbers in the set's columns", str(error)
            ) from error
        rows.append((layer, _positive(cells.get("latency") or "", path, line, "latency") / 1e3))
    return rows


def _conv(row: Mapping[str, int]) -> Layer:
    size, kernel, stride = row["HW"], row["kernel"], row["stride"]
    out = slid_size(size, kernel, stride, kernel // 2)
    return Layer("conv", row["Cin"], row["Cout"], (size, size), (out, out), (kernel, kernel), stride)


def _dw_conv(row: Mapping[str, int]) -> Layer:
    size, kernel, stride, channels = row["HW"], row["kernel"], row["stride"], row["Cin"]
    out = slid_size(size, kernel, stride, kernel // 2)
    return Layer("dw_conv", channels, channels, (size, size), (out, out), (kernel, kernel), stride, channels)


def _maxpool(row: Mapping[str, int]) -> Layer:
    size, kernel, stride, channels = row["HW"], row["kernel"], row["stride"], row["Cin"]
    out = slid_size(size, kernel, stride, kernel // 2)
    return Layer("maxpool", channels, channels, (size, size), (out, out), (kernel, kernel), stride)


def _avgpool(row: Mapping[str, int]) -> Layer:
    size, out, channels = row["HW"], row["output"], row["Cin"]
    window = math.ceil(size / out)
    return Layer("avgpool", channels, channels, (size, size), (out, out), (window, window), max(1, size // out))


def _linear(row: Mapping[str, int]) -> Layer:
    return Layer("linear", row["in_features"], row["out_features"])


def _batchnorm(row: Mapping[str, int]) -> Layer:
    size = (row["HW"], row["HW"])
    return Layer("batchnorm", row["Cin"], row["Cin"], size, size)


BUILDERS: Mapping[str, Callable[[Mapping[str, int]], Layer]] = {
    "conv": _conv,
    "dw_conv": _dw_conv,
    "linear": _linear,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "batchnorm": _batchnorm,
}


# ---- MobileNetV2 on a Jetson Orin, layer by layer, milliseconds ----


def read_orin(folder: Path) -> LayerTable:
    """The convolutions of MobileNetV2 on a Jetson Orin with TensorRT, from `mobilenet_v2_convolutional.csv`.

    Each row is a convolution with its batch normalisation and clamp fused into it. The classifier (1280 to 1000 at 1x1)
    is left out: the set's summary gives it three times the time of its own repetitions.

    Raises:
        InputError: the file is missing or a value is not a number.
    """
    path = folder / "mobilenet_v2_convolutional.csv"
    rows = []
    for line, cells in enumerate(read_cells(path), start=2):
        try:
            layer = _orin_layer(cells)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(path, f"line {line}", "must have the set's columns", str(error)) from error
        if layer.in_size != (1, 1):
            rows.append((layer, _positive(cells.get("runtime") or "", path, line, "runtime") / 1e3))
    origin = {"data": "per-layer TensorRT times of MobileNetV2 on a Jetson Orin (Apache-2.0)", "set": folder.name}
    return LayerTable.merge(rows, origin)


def _orin_layer(cells: Mapping[str, str]) -> Layer:
    channels, height, width = (int(cells[f"input_size_{axis}"]) for axis in range(3))
    outputs, out_height, out_width = (int(cells[f"output_size_{axis}"]) for axis in range(3))
    kernel = (int(cells["kernel_0"]), int(cells["kernel_1"]))
    depthwise = kernel != (1, 1) and channels == outputs
    return Layer(
        kind="dw_conv" if depthwise else "conv",
        in_channels=channels,
        out_channels=outputs,
        in_size=(height, width),
        out_size=(out_height, out_width),
        kernel=kernel,
        stride=int(cells["stride_0"]),
        groups=channels if depthwise else 1,
    )
