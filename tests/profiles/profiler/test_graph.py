"""Legal cuts and what crosses them, against definitions written out by hand."""

import itertools

import pytest
import torch
from torch import nn

from edgecloud.errors import InputError
from edgecloud.profiles.profiler.capture import capture
from edgecloud.profiles.profiler.graph import LayerGraph


class Branches(nn.Module):
    """A stem, two branches of different depth, and a skip around both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right, self.deep = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x)
        return self.left(stem) + self.deep(self.right(stem)) + stem


@pytest.fixture
def branches() -> LayerGraph:
    return LayerGraph(capture(Branches(), (torch.randn(1, 4),)))


def test_crossing_of_a_dag(branches):
    crossing = [tuple(value.name for value in cut.crossing) for cut in branches.cuts]
    assert crossing == [
        ("x",),
        ("linear",),
        ("linear", "linear_1"),
        ("linear", "linear_1", "linear_2"),
        ("linear", "linear_1", "linear_3"),
        ("linear", "add"),
        ("add_1",),
    ]


def test_crossing_by_definition(architecture):
    """What crosses is what is made before and read after; brute force over the edges."""
    graph = architecture
    place = {node: number for number, node in enumerate(graph.nodes)} | dict.fromkeys(graph.inputs, -1)
    for cut in graph.cuts[:-1]:
        expected = {
            source
            for number, node in enumerate(graph.nodes)
            for source in graph.needs(node)
            if place[source] < cut.position <= number
        }
        expected |= {node for node in graph.outputs if place[node] < cut.position}
        assert set(cut.crossing) == expected
    assert cut.position < len(graph.nodes)
    assert set(graph.cuts[-1].crossing) == set(graph.outputs)


def test_every_cut_of_a_dag(branches):
    """All sets closed under 'needs', found by trying every subset."""
    names = [node.name for node in branches.nodes]
    needs = {node.name: {source.name for source in branches.needs(node)} - {"x"} for node in branches.nodes}
    closed = {
        frozenset(subset)
        for count in range(len(names) + 1)
        for subset in itertools.combinations(names, count)
        if all(needs[name] <= set(subset) for name in subset)
    }
    found = list(branches.every_cut())
    assert len(found) == len(closed)
    assert set(found) == closed
    in_order = {frozenset(names[: cut.position]) for cut in branches.cuts}
    assert in_order < closed
    with pytest.raises(InputError, match="at most 3"):
        list(branches.every_cut(limit=3))


def test_blocks_of_a_residual_network_have_narrow_ends(named):
    """Between the blocks of a ResNet one tensor crosses; inside a block with a plain skip, two."""
    graph = named("resnet50")
    widths = [len(cut.crossing) for cut in graph.cuts]
    assert max(widths) == 2
    assert widths.count(2) > 20
    additions = [graph.order(node) for node in graph.nodes if "add" in str(node.target)]
    assert len(additions) == 4
    by_position = {cut.position: cut for cut in graph.cuts}
    assert all(len(by_position[place + 1].crossing) == 1 for place in additions)


def test_attention_crosses_with_three_tensors(named):
    widths = [len(cut.crossing) for cut in named("vit-b16").cuts]
    assert max(widths) == 4  # queries, keys, values and the skip


def test_masks_and_positions_do_not_cross(named):
    """They depend on no input: each side has its own copy."""
    for name in ("bert-base", "gpt2-prefill"):
        graph = named(name)
        assert all(len(cut.crossing) <= 4 for cut in graph.cuts)
        assert sum(len(cut.crossing) == 1 for cut in graph.cuts) >= 5


def test_the_cache_never_crosses(named):
    for name, inputs in (("gpt2-prefill", 0), ("gpt2-decode", 4)):
        graph = named(name)
        assert len(graph.state_inputs) == inputs
        assert len(graph.state_outputs) == 4
        state = {*graph.state_inputs, *graph.state_outputs}
        narrow = [cut for cut in graph.cuts if len(cut.crossing) == 1]
        assert len(narrow) >= 6
        assert not any(state & set(cut.crossing) for cut in narrow)


def test_a_model_without_an_input_use():
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(2)

    with pytest.raises(InputError, match="do something with its inputs"):
        LayerGraph(capture(Constant(), (torch.randn(1, 4),)))
