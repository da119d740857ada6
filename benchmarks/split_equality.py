"""Cut the catalogue's architectures at full size and compare the halves' output with the whole's, bit for bit.

    python benchmarks/split_equality.py              # all of them, every eighth legal cut
    python benchmarks/split_equality.py gpt2 --every 1

The tests do the same with small variants at every legal cut.
"""

from __future__ import annotations

import argparse
import time

import torch

from edgecloud.profiles.profiler import decoder
from edgecloud.profiles.profiler.capture import Captured, capture
from edgecloud.profiles.profiler.graph import LayerGraph
from edgecloud.profiles.profiler.parts import run_parts, split
from edgecloud.profiles.profiler.targets import Target, find_target

TARGETS = {
    "vgg16": ("edgecloud.profiles.profiler.architectures:vgg16", ["1x3x224x224"]),
    "resnet50": ("transformers:ResNetConfig", []),
    "mobilenetv2": ("transformers:MobileNetV2Config", []),
    "vit-b16": ("transformers:ViTConfig", []),
    "bert-base": ("transformers:BertConfig", []),
    "gpt2": ("transformers:GPT2Config", []),
}
TOKENS = 64


def graphs(target: Target) -> list[tuple[str, Captured]]:
    inputs = target.example(TOKENS if target.kind != "plain" else None)
    if target.kind == "decoder":
        return [
            ("prefill", decoder.capture_prefill(target.model, inputs[0], target.name)),
            ("decode", decoder.capture_decode(target.model, inputs[0], target.name)),
        ]
    return [("", capture(target.model, inputs, target.name))]


@torch.inference_mode()
def compare(captured: Captured, every: int) -> tuple[int, int, int]:
    """Legal cuts, cuts compared, cuts at which all outputs have the same bits."""
    graph = LayerGraph(captured)
    whole = captured.module(*captured.inputs)
    cuts = graph.cuts[::every]
    equal = 0
    for cut in cuts:
        results = run_parts(split(graph, [cut.position]), graph, captured.inputs)
        equal += all(torch.equal(mine, theirs) for mine, theirs in zip(results, whole, strict=True))
    return len(graph.cuts), len(cuts), equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--every", type=int, default=8, help="compare every n-th legal cut")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'network':<14}{'phase':<9}{'legal cuts':>11}{'compared':>10}{'equal':>7}{'seconds':>9}")
    for name in arguments.names or TARGETS:
        path, shapes = TARGETS[name]
        for phase, captured in graphs(find_target(path, inputs=shapes)):
            started = time.monotonic()
            legal, compared, equal = compare(captured, arguments.every)
            seconds = time.monotonic() - started
            print(f"{name:<14}{phase:<9}{legal:>11}{compared:>10}{equal:>7}{seconds:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
