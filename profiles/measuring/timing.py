"""Timing calls on one thread, and counting their operations and weights."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

__all__ = ["Timing", "count_flops", "one_thread", "time_calls", "weight_bytes"]


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


def count_flops(call: Callable[[], Any]) -> float:
    """Operations of one call, a multiply-add counted as two: convolutions, matrix products and attention."""
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU) as counter:
        call()
    return float(counter.get_total_flops())


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
