"""Measured costs of an early-exit network's stages and heads: latency, operations, bytes and working memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.network import EarlyExitCnn
from ..profile import Exit, Stage
from .timing import Timing, count_flops, one_thread, time_calls, weight_bytes

__all__ = ["Costs", "measure_costs"]


@dataclass(frozen=True)
class Costs:
    """The measured part of a profile."""

    stages: tuple[Stage, ...]
    exits: tuple[Exit, ...]
    whole: Timing
    """The unsplit network with its final classifier and no other head."""
    runs: int

    @property
    def sum_s(self) -> float:
        """Seconds of the stages and the final classifier, added up."""
        return sum(stage.latency_s for stage in self.stages) + self.exits[-1].latency_s


@torch.inference_mode()
def measure_costs(network: EarlyExitCnn, pixels: int, runs: int = 31) -> Costs:
    """Measure every stage and head for one image, on one thread, in float32.

    Args:
        network: The network, in evaluation mode.
        pixels: Height and width of the image.
        runs: Timed runs per part, after three for warming up.

    Returns:
        Latencies are medians; operations count a multiply-add as two and cover convolutions and matrix products, as
        `torch.utils.flop_counter` does; `output_bytes` is one byte per element.
    """
    with one_thread():
        return _measure(network, pixels, runs)


def _measure(network: EarlyExitCnn, pixels: int, runs: int) -> Costs:
    image = torch.rand(1, network.shape.channels, pixels, pixels).contiguous(memory_format=torch.channels_last)
    tensors = list(network.activations(image))
    heads = list(network.heads)
    after = network.shape.exits

    def whole() -> Tensor:
        activation = image
        for stage in network.stages:
            activation = stage(activation)
        final: Tensor = heads[-1](activation)
        return final

    parts = [(stage, tensors[index]) for index, stage in enumerate(network.stages)]
    parts += [(head, tensors[number]) for head, number in zip(heads, after, strict=True)]
    calls: list[Callable[[], Any]] = [partial(module, tensor) for module, tensor in parts]
    *timings, whole_timing = time_calls([*calls, whole], runs)
    count = len(network.stages)
    stages = tuple(
        _stage(f"s{index + 1}", module, tensor, timing)
        for index, ((module, tensor), timing) in enumerate(zip(parts[:count], timings[:count], strict=True))
    )
    exits = tuple(
        Exit(
            name="final" if number == count else f"exit{index + 1}",
            after_stage=number,
            flops=count_flops(partial(module, tensor)),
            latency_s=timing.median_s,
            weight_bytes=weight_bytes(module),
        )
        for index, (number, (module, tensor), timing) in enumerate(
            zip(after, parts[count:], timings[count:], strict=True)
        )
    )
    return Costs(stages=stages, exits=exits, whole=whole_timing, runs=runs)


def _stage(name: str, module: nn.Module, tensor: Tensor, timing: Timing) -> Stage:
    output = module(tensor)
    return Stage(
        name=name,
        flops=count_flops(partial(module, tensor)),
        output_bytes=output.numel(),
        output_fp32_bytes=4 * output.numel(),
        output_shape=tuple(output.shape[1:]),
        weight_bytes=weight_bytes(module),
        memory_bytes=_memory_bytes(module, tensor),
        latency_s=timing.median_s,
        latency_spread=timing.spread,
    )


def _memory_bytes(module: nn.Module, tensor: Tensor) -> int:
    """The most activation bytes alive at once: a layer's input and output, beside the module's own input."""
    peak = 0

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal peak
        alive = {item.data_ptr(): item.numel() * item.element_size() for item in (tensor, *inputs, output)}
        peak = max(peak, sum(alive.values()))

    handles = [layer.register_forward_hook(watch) for layer in module.modules() if not list(layer.children())]
    try:
        module(tensor)
    finally:
        for handle in handles:
            handle.remove()
    return peak
