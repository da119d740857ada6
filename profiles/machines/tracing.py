"""The layers of any PyTorch network, found by running it once and watching the operators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count
from torch.utils.module_tracker import ModuleTracker

from ...errors import InputError
from .layers import Layer, NamedLayer

__all__ = ["Trace", "trace_layers"]


@dataclass(frozen=True)
class Trace:
    """What one forward pass consists of.

    Attributes:
        layers: Layers in the order of execution, named after the module that ran them.
        other: Operators without a layer type (softmax, attention, concatenation …) and how often each ran.
        other_flops: Operations of those, where `torch.utils.flop_counter` counts any.
    """

    layers: list[NamedLayer]
    other: Mapping[str, int]
    other_flops: float


FREE = frozenset(
    [
        "view",
        "t",
        "transpose",
        "permute",
        "reshape",
        "_unsafe_view",
        "expand",
        "alias",
        "detach",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "split",
        "unbind",
        "as_strided",
        "empty",
        "empty_like",
        "chunk",
        "lift_fresh",
        "dropout",
    ]
)
"""Operators that move no data."""

ACTIVATIONS = frozenset(
    ["relu", "relu_", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "clamp", "clamp_min", "threshold"]
)
NORMS = frozenset(["native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"])
SUMS = frozenset(("add", "add_"))


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, depth: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.depth = depth
        self.layers: list[NamedLayer] = []
        self.other: Counter[str] = Counter()
        self.other_flops = 0.0
        self.tracker = ModuleTracker()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in FREE:
            return result
        layer = _layer(name, args, result)
        if layer is None:
            self.other[name] += 1
            self.other_flops += _other_flops(func, name, args, kwargs or {}, result)
            return result
        module = max(self.tracker.parents, key=len, default="Global").partition(".")[2]
        stage = ".".join(module.split(".")[: self.depth]) or "(top)"
        self.layers.append(NamedLayer(stage, module or name, layer))
        return result


def trace_layers(call: Callable[..., Any], *inputs: Tensor, depth: int = 1) -> Trace:
    """Run a network once, without gradients, and list its layers.

    Args:
        call: A module in evaluation mode, or any function of tensors.
        inputs: Example input; the first dimension is the batch and must be 1.
        depth: How many levels of module names make a stage: 1 takes the children of the network.

    Raises:
        InputError: The batch is not 1, or nothing with a layer type was run.
    """
    for tensor in inputs:
        if tensor.ndim and tensor.shape[0] != 1:
            raise InputError("trace", "input", "must be a batch of one sample", tuple(tensor.shape))
    watcher = _Watcher(depth)
    with torch.no_grad(), watcher.tracker, watcher:
        call(*inputs)
    if not watcher.layers:
        raise InputError("trace", "network", "must run at least one layer of a known type", dict(watcher.other))
    return Trace(watcher.layers, dict(watcher.other), watcher.other_flops)


def _other_flops(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> float:
    """Operations of an operator without a layer type, as `torch.utils.flop_counter` counts them."""
    if name.startswith("_scaled_dot_product"):  # the counter does not know the variant for CPUs
        query, key, value = (tensor.shape for tensor in args[:3])
        return float(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]
    count = flop_registry.get(func.overloadpacket)
    return 0.0 if count is None else float(count(*args, **kwargs, out_val=result))


def _layer(name: str, args: tuple[Any, ...], result: Any) -> Layer | None:
    """The layer that an operator call is; None where it has no type."""
    first = result[0] if isinstance(result, tuple) else result
    tensors = [item for item in args if isinstance(item, Tensor)]
    if not isinstance(first, Tensor) or not tensors:
        return None
    if name == "convolution":
        return _convolution(args, first)
    if name in ("addmm", "mm"):
        rows, inputs = tensors[-2].shape
        return Layer("linear", inputs, int(first.shape[1]), (rows, 1), (rows, 1))
    source = tensors[0]
    if source.ndim != 4:
        return _elementwise(name, tensors, first)
    if name in ("max_pool2d_with_indices", "max_pool2d", "avg_pool2d"):
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        return _image("maxpool" if name.startswith("max") else "avgpool", source, first, kernel, stride[0])
    if name == "_adaptive_avg_pool2d" or (name == "mean" and _spatial(args)):
        out = _spatial_size(first) if first.ndim == 4 else (1, 1)
        size = _spatial_size(source)
        window = (math.ceil(size[0] / out[0]), math.ceil(size[1] / out[1]))
        channels = int(source.shape[1])
        return Layer("avgpool", channels, channels, size, out, window, max(1, size[0] // out[0]))
    if name in NORMS:
        return _image("batchnorm", source, first)
    return _elementwise(name, tensors, first)


def _convolution(args: tuple[Any, ...], result: Tensor) -> Layer | None:
    source, weight, _, stride, _, _, transposed, _, groups = args[:9]
    if transposed or source.ndim != 4:
        return None
    channels = int(source.shape[1])
    return Layer(
        kind="dw_conv" if groups > 1 and groups == channels else "conv",
        in_channels=channels,
        out_channels=int(result.shape[1]),
        in_size=_spatial_size(source),
        out_size=_spatial_size(result),
        kernel=(int(weight.shape[2]), int(weight.shape[3])),
        stride=int(stride[0]),
        groups=int(groups),
    )


def _elementwise(name: str, tensors: list[Tensor], result: Tensor) -> Layer | None:
    kind = "relu" if name in ACTIVATIONS else "add" if name in SUMS else ""
    if not kind or (kind == "add" and (len(tensors) < 2 or tensors[0].shape != tensors[1].shape)):
        return None
    if result.ndim == 4:
        return _image(kind, tensors[0], result)
    elements = result.numel()
    return Layer(kind, elements, elements) if elements else None


def _image(kind: str, source: Tensor, result: Tensor, kernel: tuple[int, int] = (1, 1), stride: int = 1) -> Layer:
    channels = int(source.shape[1])
    return Layer(kind, channels, int(result.shape[1]), _spatial_size(source), _spatial_size(result), kernel, stride)


def _spatial(args: tuple[Any, ...]) -> bool:
    """Whether a mean is taken over height and width of an image."""
    return len(args) > 1 and {int(axis) % 4 for axis in args[1] or ()} == {2, 3}


def _spatial_size(tensor: Tensor) -> tuple[int, int]:
    return int(tensor.shape[2]), int(tensor.shape[3])


def _pair(value: Any) -> tuple[int, int]:
    numbers = [int(item) for item in value] if isinstance(value, (list, tuple)) else [int(value)]
    return (numbers[0], numbers[-1])
