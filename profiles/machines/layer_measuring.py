"""Measuring random layers of each type with PyTorch on one thread: what a platform model is fitted to."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...errors import InputError
from ...files import write_atomically
from ..measuring.timing import Timing, time_calls
from .layer_data import format_table, read_table
from .layers import KINDS, Layer, slid_size

__all__ = ["LAYOUTS", "build_call", "machine_name", "measure_layers", "plan_layers", "time_layers"]

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
"""Order of the numbers in a tensor: NCHW or NHWC."""

PIXELS = (1, 4, 7, 8, 14, 16, 28, 32, 56, 64, 112, 224)
MOST_FLOPS = 3e9
MOST_ELEMENTS = 2**23
MOST_WEIGHTS = 2**25
COMPANY = 24
"""Layers that are run in turn; three of each type in a full plan."""

BUDGET_S = 1.5
"""Seconds that one such group may take, beyond nine rounds."""


def plan_layers(count: int, seed: int, kinds: Sequence[str] = KINDS) -> list[Layer]:
    """`count` random layers of each type, types in turn; a longer list begins with a shorter one of that seed.

    Channels are log-uniform from 8 to 1,024 (neurons from 16 to 8,192), pixels those of common networks; layers above
    3 GFLOP or 32 MiB of activations are drawn again.
    """
    rows = []
    for kind in kinds:
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        drawn: dict[Layer, None] = {}
        while len(drawn) < count:
            layer = _draw(kind, rng)
            if layer.flops <= MOST_FLOPS and layer.weights <= MOST_WEIGHTS and _elements(layer) <= MOST_ELEMENTS:
                drawn.setdefault(layer)
        rows.append(list(drawn))
    return [layer for turn in zip(*rows, strict=True) for layer in turn]


def _elements(layer: Layer) -> int:
    return max(layer.input_elements, layer.output_elements)


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    """A log-uniform whole number; four of five are multiples of 8, as in most networks."""
    value = int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))
    return max(8, 8 * round(value / 8)) if rng.random() < 0.8 else value


def _draw(kind: str, rng: np.random.Generator) -> Layer:
    if kind == "linear":
        rows = 1 if rng.random() < 0.6 else _between(rng, 2, 512)
        return Layer("linear", _between(rng, 16, 8192), _between(rng, 16, 8192), (rows, 1), (rows, 1))
    pixels = int(rng.choice(PIXELS))
    channels = _between(rng, 8, 1024)
    size = (pixels, pixels)
    if kind in ("batchnorm", "relu", "add"):
        return Layer(kind, channels, channels, size, size)
    if kind == "avgpool" and rng.random() < 0.4:
        return Layer("avgpool", channels, channels, size, (1, 1), size, pixels)
    options = {"conv": (1, 1, 3, 3, 3, 5, 7), "dw_conv": (3, 3, 5, 7)}.get(kind, (2, 3))
    kernel = min(int(rng.choice(options)), pixels)
    stride = min(int(rng.choice((1, 1, 1, 2))) if "conv" in kind else int(rng.choice((1, 2, 2))), pixels)
    out = slid_size(pixels, kernel, stride, 0 if kernel == 2 else kernel // 2)
    outputs = _between(rng, 8, 1024) if kind == "conv" else channels
    if kind == "conv" and rng.random() < 0.05:
        channels = 3
    groups = channels if kind == "dw_conv" else 1
    return Layer(kind, channels, outputs, size, (out, out), (kernel, kernel), stride, groups)


def build_call(layer: Layer, layout: str = "contiguous") -> Callable[[], Any]:
    """A call that runs the layer once on random numbers; float32, batch 1.

    Raises:
        InputError: no padding gives the layer's output size.
    """
    if layer.kind == "linear":
        rows = torch.rand(layer.in_size[0], layer.in_channels)
        module: nn.Module = nn.Linear(layer.in_channels, layer.out_channels)
        return lambda: module(rows)
    image = torch.rand(1, layer.in_channels, *layer.in_size).contiguous(memory_format=LAYOUTS[layout])
    if layer.kind == "add":
        other = torch.rand_like(image)
        return lambda: image + other
    module = _module(layer).eval().to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    return lambda: module(image)


def _module(layer: Layer) -> nn.Module:
    if layer.kind == "batchnorm":
        return nn.BatchNorm2d(layer.in_channels)
    if layer.kind == "relu":
        return nn.ReLU()
    if layer.kind == "avgpool" and layer.out_size == (1, 1):
        return nn.AdaptiveAvgPool2d(1)
    padding = _padding(layer, 0), _padding(layer, 1)
    if layer.kind == "maxpool":
        return nn.MaxPool2d(layer.kernel, layer.stride, padding)
    if layer.kind == "avgpool":
        return nn.AvgPool2d(layer.kernel, layer.stride, padding)
    return nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel, layer.stride, padding, groups=layer.groups, bias=False
    )


def _padding(layer: Layer, axis: int) -> int:
    kernel = layer.kernel[axis]
    for padding in range(kernel):
        if slid_size(layer.in_size[axis], kernel, layer.stride, padding) == layer.out_size[axis]:
            return padding
    raise InputError("layer", "out_size", "must follow from size, kernel and stride with some padding", layer.out_size)


@torch.inference_mode()
def time_layers(layers: Sequence[Layer], layout: str, rng: np.random.Generator) -> list[Timing]:
    """Median processor time of each layer on this thread, over 9 to 31 rounds of all of them, in random order each.

    A layer then finds the caches and the memory allocator as various other layers left them, which is what it finds in
    a network; repeated alone, a small one runs from the innermost cache, up to twenty times faster than in a network.
    """
    calls = [build_call(layer, layout) for layer in layers]
    first = time_calls(calls, runs=1, warm_up=2)
    rounds = int(np.clip(BUDGET_S / max(sum(timing.median_s for timing in first), 1e-7), 9, 31))
    samples = np.zeros((rounds, len(calls)))
    for row in samples:
        order = rng.permutation(len(calls))
        row[order] = [timing.median_s for timing in time_calls([calls[item] for item in order], runs=1, warm_up=0)]
    low, median, high = np.quantile(samples, [0.25, 0.5, 0.75], axis=0)
    return [Timing(float(m), float(h - q) / float(m)) for q, m, h in zip(low, median, high, strict=True)]


def machine_name() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def measure_layers(
    path: Path,
    count: int,
    seed: int = 0,
    layout: str = "contiguous",
    kinds: Sequence[str] = KINDS,
    alone: bool = False,
    on_layer: Callable[[int, int, Layer], None] = lambda done, total, layer: None,
) -> int:
    """Measure `count` random layers of each type into a CSV file; continues the file if it exists.

    Args:
        path: The CSV file; written in one step every few layers and at the end.
        count: Layers of each type.
        seed: Seed of the layers.
        layout: One of `LAYOUTS`.
        kinds: Types to measure.
        alone: Repeat each layer by itself instead of in turn with others: quicker than it will be in a network.
        on_layer: Called before each group of layers with how many are done, how many there will be, and its first.

    Returns:
        How many layers were measured now.

    Raises:
        InputError: the file was made with another seed, layout, machine or version of torch.
    """
    company = 1 if alone else COMPANY
    origin = {
        "machine": machine_name(),
        "runtime": f"torch {torch.__version__}",
        "layout": layout,
        "threads": 1,
        "seed": seed,
        "timing": "median processor time of one thread, batch 1, float32",
        "company": company,
    }
    plan = plan_layers(count, seed, kinds)
    rows = _continued(path, origin) if path.exists() else []
    known = {layer for layer, _, _ in rows}
    todo = [layer for layer in plan if layer not in known]
    rng = np.random.default_rng([seed, len(rows)])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for number in range(0, len(todo), company):
            group = todo[number : number + company]
            on_layer(len(plan) - len(todo) + number, len(plan), group[0])
            timings = time_layers(group, layout, rng)
            rows += [(layer, timing.median_s, timing.spread) for layer, timing in zip(group, timings, strict=True)]
            if number % COMPANY == 0:
                write_atomically(path, format_table(rows, origin).encode())
    finally:
        torch.set_num_threads(threads)
        write_atomically(path, format_table(rows, origin).encode())
    return len(todo)


def _continued(path: Path, origin: dict[str, Any]) -> list[tuple[Layer, float, float]]:
    rows, found = read_table(path)
    for key, value in origin.items():
        if found.get(key) != value:
            rule = f"must be {value!r}, as in this run, to be continued"
            raise InputError(path, key, rule, found.get(key), "give another file, or the settings that made this one")
    return rows
