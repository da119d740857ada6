"""Cut the catalogue's architectures at full size and compare the halves' output with the uncut model's, bit for bit.

    python benchmarks/split_equality.py              # all of them, every eighth legal cut
    python benchmarks/split_equality.py gpt2 --every 1

What crosses a cut crosses as bytes, as on a wire; only shape, type and memory layout are known to the receiver. "All at
once" cuts at every legal cut together, so that each operator is a part of its own and nothing passes but over a wire;
the two halves of a single cut are compared at every n-th. The tests do both with small variants.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from edgecloud.profiles.profiler import decoder
from edgecloud.profiles.profiler.capture import Captured, capture
from edgecloud.profiles.profiler.graph import LayerGraph
from edgecloud.profiles.profiler.parts import split
from edgecloud.profiles.profiler.targets import Target, find_target

OWN = "edgecloud.profiles.profiler.architectures"
TARGETS: dict[str, tuple[str, list[str], list[str]]] = {
    "chain": (f"{OWN}:plain_chain", ["1x3x224x224"], ["pixels=224", "classes=1000"]),
    "vgg16": (f"{OWN}:vgg16", ["1x3x224x224"], []),
    "resnet50": ("transformers:ResNetConfig", [], ["num_labels=1000"]),
    "mobilenetv2": ("transformers:MobileNetV2Config", [], ["num_labels=1000", "tf_padding=false"]),
    "vit-b16": ("transformers:ViTConfig", [], ["num_labels=1000"]),
    "bert-base": ("transformers:BertConfig", [], []),
    "gpt2": ("transformers:GPT2Config", [], []),
}
"""By name: target, shapes of inputs, settings; those of the catalogue."""
TOKENS = 64

Graph = tuple[str, Captured, Callable[[], Any]]


def graphs(target: Target) -> list[Graph]:
    """Phase, exported graph, and a call of the model as it was given."""
    inputs = target.example(TOKENS if target.kind != "plain" else None)
    if target.kind != "decoder":
        return [("", capture(target.model, inputs, target.name), partial(target.model, *inputs))]
    prefill = decoder.capture_prefill(target.model, inputs[0], target.name)
    decode = decoder.capture_decode(target.model, inputs[0], target.name)
    return [
        ("prefill", prefill, partial(decoder.Prefill(target.model), *prefill.inputs)),
        ("decode", decode, partial(decoder.Decode(target.model), *decode.inputs)),
    ]


def over_a_wire(tensors: Sequence[Tensor], strides: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The same tensors, made again from their bytes."""
    arrived = []
    for tensor, stride in zip(tensors, strides, strict=True):
        data = np.frombuffer(tensor.contiguous().numpy().tobytes(), dtype=tensor.numpy().dtype).copy()
        received = torch.from_numpy(data).reshape(tensor.shape)
        arrived.append(torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(received))
    return arrived


def run_halves(graph: LayerGraph, position: int) -> tuple[Tensor, ...]:
    """The flat outputs of the model, state included, from its two halves."""
    nodes = graph.captured.module.graph.nodes
    names = [node.name for node in nodes if node.op == "placeholder"]
    values = dict(zip(names, graph.captured.inputs, strict=True))
    device, server = split(graph, [position])
    made = device(*(values[name] for name in (*device.inputs, *device.state_inputs)))
    sent, kept = made[: len(device.outputs)], made[len(device.outputs) :]
    arrived = over_a_wire(sent, device.strides)
    answer = server(*arrived, *(values[name] for name in server.state_inputs))
    final = dict(zip((*server.outputs, *server.state_outputs), answer, strict=True))
    final |= dict(zip(device.state_outputs, kept, strict=True))
    return tuple(final[node.name] for node in (*graph.outputs, *graph.state_outputs))


def run_all_parts(graph: LayerGraph) -> tuple[Tensor, ...]:
    """The flat outputs of the model, state included, cut at every legal cut at once."""
    nodes = graph.captured.module.graph.nodes
    names = [node.name for node in nodes if node.op == "placeholder"]
    values = dict(zip(names, graph.captured.inputs, strict=True))
    parts = split(graph, [cut.position for cut in graph.cuts[1:-1]])
    tensors = [values[name] for name in parts[0].inputs]
    final: dict[str, Tensor] = {}
    for part in parts:
        made = part(*tensors, *(values[name] for name in part.state_inputs))
        final |= dict(zip(part.state_outputs, made[len(part.outputs) :], strict=True))
        tensors = over_a_wire(made[: len(part.outputs)], part.strides)
    final |= dict(zip(parts[-1].outputs, tensors, strict=True))
    return tuple(final[node.name] for node in (*graph.outputs, *graph.state_outputs))


@torch.inference_mode()
def compare(captured: Captured, original: Callable[[], Any], every: int) -> tuple[int, bool, int, int]:
    """Legal cuts, whether all at once give the model's bits, cuts compared in halves, and how many of those do."""
    graph = LayerGraph(captured)
    result = original()
    result = tuple(result.values()) if isinstance(result, Mapping) else result
    whole = [item for item in pytree.tree_leaves(result) if isinstance(item, Tensor)]
    cuts = graph.cuts[::every]

    def same(results: Sequence[Tensor]) -> bool:
        return all(torch.equal(mine, theirs) for mine, theirs in zip(results, whole, strict=True))

    at_once = same(run_all_parts(graph))
    return len(graph.cuts), at_once, len(cuts), sum(same(run_halves(graph, cut.position)) for cut in cuts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--every", type=int, default=8, help="compare every n-th legal cut")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    head = ("network", "phase", "parameters M", "legal cuts", "all at once", "compared in halves", "equal", "seconds")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    different = 0
    for name in arguments.names or TARGETS:
        path, shapes, options = TARGETS[name]
        target = find_target(path, inputs=shapes, options=options)
        size = sum(parameter.numel() for parameter in target.model.parameters()) / 1e6
        for phase, captured, original in graphs(target):
            started = time.monotonic()
            legal, at_once, compared, equal = compare(captured, original, arguments.every)
            cells = [name, phase, f"{size:.2f}", legal, "equal" if at_once else "different", compared, equal]
            print("|", *(f"{cell} |" for cell in cells), f"{time.monotonic() - started:.0f} |", flush=True)
            different += compared - equal + (not at_once)
    if different:
        raise SystemExit(f"other bits in {different} comparisons")


if __name__ == "__main__":
    main()
