"""The layer graph of a captured model and its legal cuts: which tensors cross, between which operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import torch
from torch import Tensor, fx

from ...errors import InputError
from .capture import Captured

__all__ = ["Cut", "LayerGraph"]


@dataclass(frozen=True)
class Cut:
    """A cut between operator `position - 1` and operator `position`.

    Attributes:
        position: Operators `[0, position)` of `LayerGraph.nodes` come before the cut.
        crossing: Values that are made before and used after it, in the order in which they are made.
    """

    position: int
    crossing: tuple[fx.Node, ...]


class LayerGraph:
    """The operators of a model in the order in which it runs them, and what each needs.

    Weights, and values that depend on nothing but weights, are not part of the graph: each side of a cut has its own
    copy. State inputs and outputs (a key-value cache) stay on the side that uses or makes them and never cross.

    Args:
        captured: The exported model.
    """

    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        graph = captured.module.graph
        placeholders = [node for node in graph.nodes if node.op == "placeholder"]
        self.inputs = tuple(n for n, state in zip(placeholders, captured.states, strict=True) if not state)
        self.state_inputs = tuple(n for n, state in zip(placeholders, captured.states, strict=True) if state)
        ends = graph.output_node().args[0]
        assert isinstance(ends, tuple)
        flagged = list(zip(ends, captured.state_outputs, strict=True))
        self.outputs: tuple[fx.Node, ...] = tuple(n for n, state in flagged if not state)
        self.state_outputs: tuple[fx.Node, ...] = tuple(n for n, state in flagged if state)
        live: set[fx.Node] = set(placeholders)
        nodes = []
        for node in graph.nodes:
            if node.op == "call_function" and any(source in live for source in node.all_input_nodes):
                live.add(node)
                nodes.append(node)
        self.nodes: tuple[fx.Node, ...] = tuple(nodes)
        self._index = {node: number for number, node in enumerate(nodes)}
        if not nodes:
            raise InputError(captured.source, "", "must do something with its inputs")

    def order(self, node: fx.Node) -> int:
        """Position of an operator in `nodes`; -1 for an input."""
        return self._index.get(node, -1)

    def needs(self, node: fx.Node) -> tuple[fx.Node, ...]:
        """The inputs and operators whose values an operator reads; no weights, no state."""
        data = set(self.inputs)
        return tuple(source for source in node.all_input_nodes if source in self._index or source in data)

    @cached_property
    def _last_use(self) -> dict[fx.Node, int]:
        """The last operator that reads each value; the number of operators where it is an output."""
        last: dict[fx.Node, int] = {}
        for number, node in enumerate(self.nodes):
            for source in self.needs(node):
                last[source] = number
        for node in self.outputs:
            last[node] = len(self.nodes)
        return last

    def crossing(self, position: int) -> tuple[fx.Node, ...]:
        """The values that cross the cut before operator `position`; the inputs at 0, the outputs at the end."""
        if position == len(self.nodes):
            return tuple(dict.fromkeys(self.outputs))
        values = (*self.inputs, *self.nodes[:position])
        return tuple(value for value in values if self._last_use.get(value, -1) >= position)

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """Every legal cut in the order of the operators, from the inputs to the outputs.

        A cut is legal where everything that crosses is a tensor. The list of tensors that an operator such as `split`
        returns is not; its parts are.
        """
        cuts = (Cut(position, self.crossing(position)) for position in range(len(self.nodes) + 1))
        return tuple(cut for cut in cuts if all(is_tensor(value) for value in cut.crossing))

    def digraph(self) -> nx.DiGraph:
        """Operators and inputs by name, with an edge from each value's maker to each of its readers."""
        graph = nx.DiGraph()
        for node in (*self.inputs, *self.nodes):
            graph.add_node(node.name)
        for node in self.nodes:
            graph.add_edges_from((source.name, node.name) for source in self.needs(node))
        return graph

    def every_cut(self, limit: int = 100_000) -> Iterator[frozenset[str]]:
        """Every set of operators that may come before a cut, in whatever order the branches are run.

        These are the sets that contain whatever their members need: the ideals of the graph, one for each antichain.
        Their number can be exponential in the number of parallel branches. The cuts of `cuts` are those among them
        that the model's own order reaches.

        Raises:
            InputError: There are more than `limit`.
        """
        graph = self.digraph()
        graph.remove_nodes_from([node.name for node in self.inputs])
        before = {name: frozenset(nx.ancestors(graph, name)) for name in graph}
        for number, antichain in enumerate(nx.antichains(graph)):
            if number >= limit:
                raise InputError(self.captured.source, "cuts", f"must be at most {limit} to be enumerated")
            yield frozenset(antichain).union(*(before[name] for name in antichain))


def is_tensor(node: fx.Node) -> bool:
    """Whether a value is one tensor of known shape (as opposed to a list of tensors or a number)."""
    return isinstance(node.meta.get("val"), Tensor)


def value_of(node: fx.Node) -> Tensor:
    """Shape and type of a value, as a tensor without content."""
    value = node.meta["val"]
    assert isinstance(value, torch.Tensor)
    return value
