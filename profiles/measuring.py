"""Measured costs of a network's stages and heads: latency, operations, bytes and working memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from .network import EarlyExitCnn
from .profile import Exit, Stage

__all__ = ["Costs", "Timing", "count_flops", "measure_costs", "one_thread", "time_calls", "weight_bytes"]


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Operations of fused attention from the shapes of its inputs."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


ATTENTION_ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
"""The processor's fused attention, which torch's own table of operators lacks."""


@dataclass(frozen=True)
class Timing:
    """Repeated timings of one call, in seconds."""

    median_s: float
    spread: float
    """Interquartile range over median."""


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


def time_calls(
    calls: list[Callable[[], Any]],
    runs: int,
    warm_up: int = 3,
    on_round: Callable[[int], None] = lambda done: None,
) -> list[Timing]:
    """Time each call `runs` times by the processor time of this thread.

    The calls are interleaved, one round after another, so that slow drifts of the machine touch all of them alike.
    Processor time leaves out the moments when other processes hold the core; it equals wall time on an idle machine.
    The calls must not use other threads. `on_round` is told how many rounds, warm-up included, are done.
    """
    samples: list[list[float]] = [[] for _ in calls]
    for round_number in range(warm_up + runs):
        for index, call in enumerate(calls):
            started = time.thread_time_ns()
            call()
            elapsed = (time.thread_time_ns() - started) * 1e-9
            if round_number >= warm_up:
                samples[index].append(elapsed)
        on_round(round_number + 1)
    return [_timing(values) for values in samples]


def _timing(values: list[float]) -> Timing:
    median = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (median,) * 3
    return Timing(median_s=median, spread=(high - low) / median if median > 0 else 0.0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside, and as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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


def count_flops(call: Callable[[], Any]) -> float:
    """Operations of one call, a multiply-add counted as two: convolutions, matrix products and attention."""
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU) as counter:
        call()
    return float(counter.get_total_flops())


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


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
