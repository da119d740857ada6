"""The two, three or more parts of a cut model as modules that run on their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.optimization import extract_subgraph

from ...errors import InputError
from .graph import LayerGraph, is_tensor

__all__ = ["Part", "run_parts", "split"]


@dataclass(frozen=True, eq=False)
class Part:
    """The operators between two cuts.

    Attributes:
        module: Takes the tensors of `inputs`, then those of `state_inputs`; returns those of `outputs`, then those of
            `state_outputs`, as a tuple. It holds the weights that it needs and no others.
        inputs: Names of the tensors that cross the first cut. A tensor that only a later part needs is passed on.
        outputs: Names of the tensors that cross the second cut.
        state_inputs: Names of the state that this part reads (its layers' key-value cache).
        state_outputs: Names of the state that this part makes.
        strides: Memory layout of each of `outputs`: a receiver that restores it computes the same bits.
    """

    module: fx.GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    state_inputs: tuple[str, ...]
    state_outputs: tuple[str, ...]
    strides: tuple[tuple[int, ...], ...]

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the part."""
        results: tuple[Tensor, ...] = tuple(self.module(*tensors))
        return results


def split(graph: LayerGraph, positions: Sequence[int]) -> tuple[Part, ...]:
    """Cut a model.

    Args:
        graph: The model's layer graph.
        positions: Where to cut, increasing: positions of `graph.cuts`. One gives two halves, two give three parts.

    Returns:
        One part more than there are positions. A part between equal positions, or at an end, passes its input on.

    Raises:
        InputError: A position is no legal cut.
    """
    legal = {cut.position for cut in graph.cuts}
    for position in positions:
        if position not in legal:
            raise InputError(graph.captured.source, "cut", _why_not(graph, position), position)
    if list(positions) != sorted(positions):
        raise InputError(graph.captured.source, "cut", "must be in increasing order", list(positions))
    ends = [0, *positions, len(graph.nodes)]
    return tuple(_part(graph, first, last) for first, last in pairwise(ends))


def _why_not(graph: LayerGraph, position: int) -> str:
    if not 0 <= position <= len(graph.nodes):
        return f"must lie between 0 and {len(graph.nodes)}"
    value = next(value for value in graph.crossing(position) if not is_tensor(value))
    return f"must not lie between '{value.name}', which returns several tensors, and the choice among them"


def _part(graph: LayerGraph, first: int, last: int) -> Part:
    inside = graph.nodes[first:last]
    inputs = graph.crossing(first) if first < len(graph.nodes) else tuple(dict.fromkeys(graph.outputs))
    outputs = graph.crossing(last) if last < len(graph.nodes) else tuple(graph.outputs)
    read = {source for node in inside for source in node.all_input_nodes}
    made = set(inside)
    state_inputs = tuple(node for node in graph.state_inputs if node in read)
    state_outputs = tuple(node for node in graph.state_outputs if node in made)
    needed = [*_own(inside, graph), *inside]
    module = extract_subgraph(graph.captured.module, needed, [*inputs, *state_inputs], [*outputs, *state_outputs])
    module.graph.output_node().args = (tuple(module.graph.output_node().args[0]),)  # type: ignore[arg-type]
    module.recompile()
    return Part(
        module=module,
        inputs=_names(inputs),
        outputs=_names(outputs),
        state_inputs=_names(state_inputs),
        state_outputs=_names(state_outputs),
        strides=tuple(_strides(node) for node in outputs),
    )


def _own(inside: Sequence[fx.Node], graph: LayerGraph) -> list[fx.Node]:
    """The weights, and what is derived from weights alone, that some operators read; in the order of the graph."""
    data = {*graph.inputs, *graph.state_inputs}
    found: set[fx.Node] = set()
    waiting = [source for node in inside for source in node.all_input_nodes]
    while waiting:
        node = waiting.pop()
        if node in found or node in data or graph.order(node) >= 0:
            continue
        found.add(node)
        waiting.extend(node.all_input_nodes)
    return [node for node in graph.captured.module.graph.nodes if node in found]


def _names(nodes: Sequence[fx.Node]) -> tuple[str, ...]:
    return tuple(node.name for node in nodes)


def _strides(node: fx.Node) -> tuple[int, ...]:
    value: Any = node.meta.get("val")
    return tuple(value.stride()) if isinstance(value, Tensor) else ()


@torch.inference_mode()
def run_parts(parts: Sequence[Part], graph: LayerGraph, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run the parts one after another, each with nothing but the tensors that cross and its own state.

    Args:
        parts: From `split`.
        graph: The graph that was split.
        inputs: Flat inputs of the whole model, state included, in the order of its placeholders.

    Returns:
        The flat outputs of the whole model in its order; state, which comes last, included.
    """
    values = dict(
        zip([n.name for n in graph.captured.module.graph.nodes if n.op == "placeholder"], inputs, strict=True)
    )
    made: dict[str, Tensor] = {}
    tensors = tuple(values[name] for name in parts[0].inputs)
    for part in parts:
        results = part(*tensors, *(values[name] for name in part.state_inputs))
        tensors = results[: len(part.outputs)]
        made.update(zip(part.state_outputs, results[len(part.outputs) :], strict=True))
    final = dict(zip(parts[-1].outputs, tensors, strict=True)) | made
    return tuple(final[node.name] for node in (*graph.outputs, *graph.state_outputs))
