"""The placement survey (arXiv 2510.22909): hidden sizes of VGG16 on CIFAR-10, and privacy against depth on the device.

    python benchmarks/reproduce_placement_survey.py

Its Figure 2 is a plot whose values were not at hand: the sizes below are ours alone, computed from the shapes. Of the
study that it quotes (Zhang et al., arXiv 2301.01824) one sentence was: an attacker's reconstructions are misclassified
80 % of the time with seven layers on the device and less than 40 % with four. The shipped attack on a CIFAR-10 chain
measures other things, so that only what both mean, how much protection is left, can be set side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from reproduction import Figure, options, print_figures, print_table
from torch import nn

from edgecloud.profiles import load_profile
from edgecloud.profiles.profiler.architectures import vgg16

BATCH, PIXELS, CLASSES = 16, 32, 10
FLOAT_BYTES = 4
PROFILE = "cifar10-chain-ee"
SHALLOW, THEIR_SHALLOW, THEIR_DEEP = 4, 40.0, 80.0


@dataclass(frozen=True)
class Hidden:
    """What a layer hands on for a batch."""

    name: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """As float32."""
        return FLOAT_BYTES * math.prod(self.shape)


def hidden_sizes(batch: int, pixels: int = PIXELS, classes: int = CLASSES) -> list[Hidden]:
    """The output of every convolution, pooling and linear layer of VGG16, from a forward pass without values."""
    found: list[Hidden] = []
    with torch.device("meta"):
        model = vgg16(pixels=pixels, classes=classes).eval()
    counts: dict[str, int] = {}
    for module in model.modules():
        kind = {nn.Conv2d: "conv", nn.MaxPool2d: "pool", nn.Linear: "linear"}.get(type(module))
        if kind is None:
            continue
        counts[kind] = counts.get(kind, 0) + 1
        label = f"{kind} {counts[kind]}"

        def keep(_module: nn.Module, _inputs: Any, output: torch.Tensor, label: str = label) -> None:
            found.append(Hidden(label, tuple(output.shape)))

        module.register_forward_hook(keep)
    with torch.inference_mode():
        model(torch.empty(batch, 3, pixels, pixels, device="meta"))
    return found


@dataclass(frozen=True)
class Depth:
    """What a cut after some stages of the attacked chain means."""

    stages: int
    leakage: float
    mse: float
    ssim: float
    device_flops_share: float
    float_bytes: int


def depths() -> list[Depth]:
    """Every cut of the attacked profile: the strongest attacker's error without a defence, work and bytes."""
    profile = load_profile(PROFILE)
    results = [r for r in profile.provenance["attack"]["results"] if r["protection"] == "none"]
    total = sum(stage.flops for stage in profile.stages)
    found = []
    for cut in range(1, profile.n_stages):
        best = min((r for r in results if r["cut"] == cut), key=lambda r: r["mse"])
        share = sum(stage.flops for stage in profile.stages[:cut]) / total
        size = int(profile.stages[cut - 1].output_fp32_bytes or 0)
        found.append(Depth(cut, float(profile.leakage[cut]), best["mse"], best["ssim"], share, size))
    return found


def print_sizes(batch: int) -> None:
    """The table behind Figure 2."""
    sizes = hidden_sizes(batch)
    raw = FLOAT_BYTES * batch * 3 * PIXELS**2
    print(f"VGG16 on CIFAR-10, batch {batch}, float32 (ours; theirs is a plot). Input: {raw} bytes.")
    rows = [[h.name, "x".join(map(str, h.shape[1:])), str(h.bytes), f"{h.bytes / raw:.3f}"] for h in sizes]
    print_table(["", "output of one image", f"bytes of {batch}", "of the input"], rows)
    below = next(h for h in sizes if h.bytes < raw)
    print(f"the largest is {max(h.bytes for h in sizes) / raw:.1f} times the input; the first below it is {below.name}")


def print_depths() -> None:
    """Privacy and latency against depth."""
    cuts = depths()
    print(f"\n{PROFILE}: best of three attackers, no defence")
    rows = [
        [
            f"{d.stages} stages",
            f"{d.leakage:.3f}",
            f"{d.mse:.4f}",
            f"{d.ssim:.3f}",
            f"{d.device_flops_share:.0%}",
            str(d.float_bytes),
        ]
        for d in cuts
    ]
    print_table(["on the device", "leakage", "MSE", "SSIM", "work on the device", "bytes sent (float32)"], rows)
    deep, shallow = cuts[-1], cuts[SHALLOW - 1]
    theirs = THEIR_SHALLOW / THEIR_DEEP
    figures = [
        Figure("mean squared error", theirs, shallow.mse / deep.mse),
        Figure("1 - leakage", theirs, (1.0 - shallow.leakage) / (1.0 - deep.leakage)),
        Figure("1 - SSIM", theirs, (1.0 - shallow.ssim) / (1.0 - deep.ssim)),
    ]
    print_figures(
        f"Protection left with {SHALLOW} layers, of that with 7 (theirs: below) or {deep.stages} (ours)", figures
    )
    saved = 1.0 - shallow.device_flops_share / deep.device_flops_share
    print(f"work on the device: {saved:.0%} less with {SHALLOW} stages than with {deep.stages}")
    print("Theirs is the share of misclassified reconstructions, ours three measures of their error: the direction and")
    print("'less than half is left' can be compared, the values cannot.")


def main(argv: Sequence[str] | None = None) -> None:
    options(__doc__, argv)
    print_sizes(BATCH)
    print_depths()


if __name__ == "__main__":
    main()
