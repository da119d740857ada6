"""Measured costs of a layer graph and of its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from ...errors import InputError
from ..layer_table import CutSizes
from ..measuring.timing import Timing, count_flops, one_thread, time_calls, weight_bytes
from .graph import LayerGraph
from .parts import Part, run_parts, split
from .payload import add_sizes, measure_sizes

__all__ = ["LayerCosts", "StageCosts", "measure_layers", "measure_stages"]

WARM_UP = 3
MINIMUM_RUNS = 7


@dataclass(frozen=True)
class LayerCosts:
    """One run of every operator."""

    flops: dict[str, float]
    """Operations by operator."""
    sizes: dict[str, CutSizes]
    """Bytes of each value that is one tensor, inputs included, by name."""


@dataclass(frozen=True)
class StageCosts:
    """Repeated runs of every stage."""

    latency: tuple[Timing, ...]
    memory_bytes: tuple[int, ...]
    """Most activation bytes alive at once in each stage."""
    weight_bytes: tuple[int, ...]
    parameters: tuple[int, ...]
    cache_bytes: tuple[int, ...]
    """State (key-value cache) that each stage holds after the run."""
    whole: Timing
    """The uncut graph, timed in the same rounds."""
    original: Timing | None
    """The model as it was given, timed in the same rounds."""
    runs: int

    @property
    def sum_s(self) -> float:
        """Seconds of the stages added up."""
        return sum(timing.median_s for timing in self.latency)


class _Meter(fx.Interpreter):
    """Runs a graph operator by operator and watches it."""

    def __init__(self, module: fx.GraphModule, flops: bool, on_node: Callable[[], None] = lambda: None) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.count, self.on_node = flops, on_node
        self.flops: dict[str, float] = {}
        self.sizes: dict[str, CutSizes] = {}
        self.peak_bytes = 0
        self._weights: set[int] = set()

    def run_node(self, n: fx.Node) -> Any:
        run = super().run_node
        result: list[Any] = []
        if self.count and n.op == "call_function":
            self.flops[n.name] = count_flops(lambda: result.append(run(n)))
        else:
            result.append(run(n))
        value = result[0]
        if n.op == "get_attr" and isinstance(value, Tensor):
            self._weights.add(value.untyped_storage().data_ptr())
        elif n.op != "output":
            self._watch(value)
            if self.count and isinstance(value, Tensor):
                self.sizes[n.name] = measure_sizes(value)
        self.on_node()
        return value

    def _watch(self, value: Any) -> None:
        alive: dict[int, int] = {}
        for item in (*self.env.values(), value):
            for tensor in item if isinstance(item, (tuple, list)) else (item,):
                if isinstance(tensor, Tensor):
                    storage = tensor.untyped_storage()
                    alive[storage.data_ptr()] = storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, sum(size for key, size in alive.items() if key not in self._weights))


@torch.inference_mode()
def measure_layers(graph: LayerGraph, on_node: Callable[[], None] = lambda: None) -> LayerCosts:
    """Run every operator once on the example input: operations, and sizes of the activations that it really makes."""
    meter = _Meter(graph.captured.module, flops=True, on_node=on_node)
    with one_thread():
        meter.run(*graph.captured.inputs)
    return LayerCosts(flops=meter.flops, sizes=meter.sizes)


def cut_sizes(graph: LayerGraph, position: int, costs: LayerCosts) -> CutSizes:
    """Bytes of everything that crosses a cut."""
    return add_sizes(costs.sizes[value.name] for value in graph.crossing(position))


@torch.inference_mode()
def measure_stages(
    graph: LayerGraph,
    positions: Sequence[int],
    runs: int = 31,
    seconds: float = 60.0,
    original: Callable[[], Any] | None = None,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> StageCosts:
    """Cut the model at these positions, check that it still computes the same bits, and time its parts.

    Args:
        graph: The layer graph.
        positions: Ends of the stages, from 0 to the number of operators.
        runs: Timed runs per stage, after three for warming up.
        seconds: If the runs would take longer than this, there are fewer, but never fewer than seven.
        original: The model as it was given, as a call, to be timed beside the parts.
        on_round: Told the rounds done and the rounds in total.

    Raises:
        InputError: The parts do not give the whole's output, bit for bit.
    """
    parts = split(graph, positions[1:-1])
    with one_thread():
        calls = _calls(graph, parts)
        _check_same_bits(graph, parts)
        whole = _calls(graph, split(graph, ()))[0]
        everything: list[Callable[[], Any]] = [*calls, whole]
        everything += [original] if original else []
        runs = _affordable(everything, runs, seconds)
        timings = time_calls(everything, runs, WARM_UP, lambda done: on_round(done, runs + WARM_UP))
        memory = tuple(_memory(part, call.args) for part, call in zip(parts, calls, strict=True))
    values = {node.name: node.meta["val"] for node in (*graph.state_inputs, *graph.state_outputs)}
    return StageCosts(
        latency=tuple(timings[: len(parts)]),
        memory_bytes=memory,
        weight_bytes=tuple(weight_bytes(part.module) for part in parts),
        parameters=tuple(sum(item.numel() for item in part.module.parameters()) for part in parts),
        cache_bytes=tuple(
            sum(values[name].numel() * values[name].element_size() for name in part.state_outputs) for part in parts
        ),
        whole=timings[len(parts)],
        original=timings[len(parts) + 1] if original else None,
        runs=runs,
    )


def _calls(graph: LayerGraph, parts: Sequence[Part]) -> list[partial[tuple[Tensor, ...]]]:
    """Each part with the tensors that it gets in a run of the whole."""
    names = [node.name for node in graph.captured.module.graph.nodes if node.op == "placeholder"]
    values = dict(zip(names, graph.captured.inputs, strict=True))
    tensors = tuple(values[name] for name in parts[0].inputs)
    calls = []
    for part in parts:
        given = (*tensors, *(values[name] for name in part.state_inputs))
        calls.append(partial(part, *given))
        tensors = part(*given)[: len(part.outputs)]
    return calls


def _check_same_bits(graph: LayerGraph, parts: Sequence[Part]) -> None:
    results = run_parts(parts, graph, graph.captured.inputs)
    whole = graph.captured.module(*graph.captured.inputs)
    for number, (ours, theirs) in enumerate(zip(results, whole, strict=True)):
        if not torch.equal(ours, theirs):
            rule = "must be the same, bit for bit, from the parts and from the whole"
            largest = float((ours.double() - theirs.double()).abs().max())
            raise InputError(graph.captured.source, f"output {number}", rule, f"differs by up to {largest:g}")


def _affordable(calls: Sequence[Callable[[], Any]], runs: int, seconds: float) -> int:
    started = time.thread_time()
    for call in calls:
        call()
    once = time.thread_time() - started
    return max(min(runs, int(seconds / max(once, 1e-9)) - WARM_UP), min(runs, MINIMUM_RUNS))


def _memory(part: Part, given: Sequence[Tensor]) -> int:
    meter = _Meter(part.module, flops=False)
    meter.run(*given)
    return meter.peak_bytes
