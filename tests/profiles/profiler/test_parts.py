"""A cut model computes what the whole computes, bit for bit, at every legal cut, over what a wire would carry."""

import itertools

import numpy as np
import pytest
import torch

from edgecloud.errors import InputError
from edgecloud.profiles.profiler.graph import LayerGraph
from edgecloud.profiles.profiler.parts import run_parts, split


@torch.inference_mode()
def whole(graph: LayerGraph) -> tuple[torch.Tensor, ...]:
    return tuple(graph.captured.module(*graph.captured.inputs))


def equal(ours, theirs) -> bool:
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def over_a_wire(tensors, strides):
    """Only bytes, shape, type and layout arrive."""
    arrived = []
    for tensor, stride in zip(tensors, strides, strict=True):
        data = np.frombuffer(tensor.contiguous().numpy().tobytes(), dtype=tensor.numpy().dtype).copy()
        received = torch.from_numpy(data).reshape(tensor.shape)
        arrived.append(torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(received))
    return arrived


@torch.inference_mode()
def test_every_part_alone_repeats_the_whole(architecture):
    """All legal cuts at once: each part, fed over a wire with the right bits, gives the next cut the right bits.

    By induction over the parts, the same holds for the two halves at every single cut.
    """
    graph = architecture
    inner = [cut.position for cut in graph.cuts[1:-1]]
    parts = split(graph, inner)
    assert equal(run_parts(parts, graph, graph.captured.inputs), whole(graph))
    placeholders = [node.name for node in graph.captured.module.graph.nodes if node.op == "placeholder"]
    values = dict(zip(placeholders, graph.captured.inputs, strict=True))
    tensors = [values[name] for name in parts[0].inputs]
    for part, following in itertools.pairwise(parts):
        assert part.outputs == following.inputs
        results = part(*tensors, *(values[name] for name in part.state_inputs))
        tensors = over_a_wire(results[: len(part.outputs)], part.strides)
    final = parts[-1](*tensors, *(values[name] for name in parts[-1].state_inputs))
    count = len(graph.outputs)
    assert equal(final[:count], whole(graph)[:count])


def test_two_halves_at_every_cut(architecture):
    """The halves themselves; a third of the cuts of the largest graph, all of the others."""
    graph = architecture
    expected = whole(graph)
    step = 3 if len(graph.cuts) > 120 else 1
    for cut in graph.cuts[::step]:
        halves = split(graph, [cut.position])
        assert equal(run_parts(halves, graph, graph.captured.inputs), expected), cut.position


def test_three_parts(architecture):
    graph = architecture
    expected = whole(graph)
    positions = [cut.position for cut in graph.cuts]
    rng = np.random.default_rng(3)
    ends = [(0, 0), (0, positions[-1]), (positions[-1], positions[-1])]
    for first, second in ends + [tuple(sorted(rng.choice(positions, 2))) for _ in range(6)]:
        parts = split(graph, [int(first), int(second)])
        assert len(parts) == 3
        assert equal(run_parts(parts, graph, graph.captured.inputs), expected)


def test_a_half_holds_its_own_weights_only(named):
    graph = named("chain")
    total = sum(parameter.numel() for parameter in graph.captured.module.parameters())
    middle = graph.cuts[len(graph.cuts) // 2].position
    counts = [sum(p.numel() for p in part.module.parameters()) for part in split(graph, [middle])]
    assert sum(counts) == total
    assert all(0 < count < total for count in counts)


def test_positions_must_be_legal_and_in_order(named):
    graph = named("gpt2-prefill")
    legal = {cut.position for cut in graph.cuts}
    illegal = next(position for position in range(len(graph.nodes)) if position not in legal)
    with pytest.raises(InputError, match="returns several tensors"):
        split(graph, [illegal])
    with pytest.raises(InputError, match="must lie between 0 and"):
        split(graph, [len(graph.nodes) + 1])
    first, second = graph.cuts[1].position, graph.cuts[3].position
    with pytest.raises(InputError, match="increasing"):
        split(graph, [second, first])
