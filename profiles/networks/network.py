"""Early-exit networks as stages and heads: plain convolutional chains and residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError

__all__ = ["EarlyExitCnn", "NetworkShape"]

BLOCKS = ("plain", "residual")
POOLINGS = ("average", "mixed")
POOLED_SIDE = 4
"""Side to which mixed pooling reduces the features of an internal classifier, as in Shallow-Deep Networks."""


@dataclass(frozen=True)
class NetworkShape:
    """Widths and exits of an `EarlyExitCnn`; stored in checkpoints, so that a network is rebuilt from its file.

    Raises:
        InputError: If a word is unknown or the lists disagree.
    """

    widths: tuple[int, ...] = (32, 64, 128, 128, 256, 512)
    """Output channels of each stage."""
    depths: tuple[int, ...] = (1, 1, 1, 1, 2, 1)
    """Convolutions in each stage; residual blocks of two convolutions where `block` says so (the first is a stem)."""
    pooled: tuple[bool, ...] = (True, True, False, True, True, False)
    """Whether the stage halves the image: a 2x2 max pooling at its end; a stride in its first residual block."""
    exits: tuple[int, ...] = (2, 4, 5, 6)
    """A head sits after this many stages; the last entry is the number of stages."""
    branch_width: int = 128
    """Channels of the convolution inside the heads of the first `branches` exits."""
    branches: int = 2
    """How many of the first exits have a convolution of their own (BranchyNet style) before pooling."""
    classes: int = 10
    block: str = "plain"
    """What stages are made of: `plain` convolutions, or after a convolutional stem `residual` basic blocks."""
    pooling: str = "average"
    """Internal classifiers pool over the image (`average`), or to 4x4 by a learned mix of maximum and mean: `mixed`."""
    channels: int = 3
    """Channels of the image."""
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    """Per channel, subtracted from images in [0, 1]; the default is that of the CIFAR-10 training images."""
    deviation: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    """Per channel, divides after the subtraction."""

    def __post_init__(self) -> None:
        for name, value, known in (("block", self.block, BLOCKS), ("pooling", self.pooling, POOLINGS)):
            if value not in known:
                raise InputError("network shape", name, f"must be one of {', '.join(known)}", value)
        for name in ("depths", "pooled"):
            if len(getattr(self, name)) != len(self.widths):
                rule = f"must have {len(self.widths)} entries, one per stage"
                raise InputError("network shape", name, rule, getattr(self, name))
        for name in ("mean", "deviation"):
            if len(getattr(self, name)) != self.channels:
                raise InputError("network shape", name, f"must have {self.channels} entries", getattr(self, name))
        if not self.exits or self.exits[-1] != len(self.widths) or list(self.exits) != sorted(set(self.exits)):
            rule = f"must increase and end with {len(self.widths)}, the number of stages"
            raise InputError("network shape", "exits", rule, self.exits)

    def as_dict(self) -> dict[str, object]:
        """The shape as plain values, for a checkpoint."""
        return asdict(self)


def _conv_block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


class Stage(nn.Sequential):
    """Convolutions 3x3, each with batch normalisation and ReLU; where the shape says so, then a 2x2 max pooling."""

    def __init__(self, inputs: int, outputs: int, depth: int, pooled: bool) -> None:
        layers = _conv_block(inputs, outputs)
        for _ in range(depth - 1):
            layers += _conv_block(outputs, outputs)
        if pooled:
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., CVPR 2016); a 1x1 convolution where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        second = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.branch = nn.Sequential(*_conv_block(inputs, outputs, stride), second, nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, activation: Tensor) -> Tensor:
        """Features of shape (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        return functional.relu(self.branch(activation) + self.shortcut(activation))


class ResidualStage(nn.Sequential):
    """Residual blocks; the first one has stride two where the shape says so."""

    def __init__(self, inputs: int, outputs: int, depth: int, pooled: bool) -> None:
        first = ResidualBlock(inputs, outputs, 2 if pooled else 1)
        super().__init__(first, *(ResidualBlock(outputs, outputs, 1) for _ in range(depth - 1)))


class MixedPool(nn.Module):
    """A learned mix of maximum and mean pooling (Kaya et al., ICML 2019, section 3; Lee et al. 2016)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.mix = nn.Parameter(torch.tensor(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Features of shape (n, c, h, w) to (n, c, side, side); unchanged where they have that size already."""
        if features.shape[-2:] == (self.side, self.side):
            return features
        highest = functional.adaptive_max_pool2d(features, self.side)
        return self.mix * highest + (1 - self.mix) * functional.adaptive_avg_pool2d(features, self.side)


class Head(nn.Sequential):
    """A classifier on a stage's output: optional strided convolution, global average pooling, linear layer."""

    def __init__(self, inputs: int, classes: int, branch_width: int = 0) -> None:
        layers = _conv_block(inputs, branch_width, stride=2) if branch_width else []
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(branch_width or inputs, classes)]
        super().__init__(*layers)


class MixedHead(nn.Sequential):
    """The internal classifier of Shallow-Deep Networks: mixed pooling to 4x4, then one linear layer."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(MixedPool(POOLED_SIDE), nn.Flatten(), nn.Linear(inputs * POOLED_SIDE**2, classes))


class EarlyExitCnn(nn.Module):
    """Stages in a row with a classifier after some of them.

    The network is fully convolutional up to the pooling of its heads, so it accepts any image of at least the size
    that it was made for. Stage outputs follow a ReLU: they are what a split execution sends. A residual block never
    spans two stages, so that one tensor crosses every cut.

    Args:
        shape: Widths, poolings and exits.
    """

    def __init__(self, shape: NetworkShape | None = None) -> None:
        super().__init__()
        self.shape = shape or NetworkShape()
        inputs = (self.shape.channels, *self.shape.widths[:-1])
        rows = zip(inputs, self.shape.widths, self.shape.depths, self.shape.pooled, strict=True)
        residual = self.shape.block == "residual"
        self.stages = nn.ModuleList(
            (ResidualStage if residual and index > 0 else Stage)(*row) for index, row in enumerate(rows)
        )
        self.heads = nn.ModuleList(self._head(index, after) for index, after in enumerate(self.shape.exits))

    def _head(self, index: int, after: int) -> nn.Module:
        width, last = self.shape.widths[after - 1], index + 1 == len(self.shape.exits)
        if self.shape.pooling == "mixed" and not last:
            return MixedHead(width, self.shape.classes)
        return Head(width, self.shape.classes, self.shape.branch_width if index < self.shape.branches else 0)

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 images (n, c, h, w) as standardised float32 in channels-last memory order."""
        mean = torch.tensor(self.shape.mean, device=images.device).view(1, -1, 1, 1) * 255
        deviation = torch.tensor(self.shape.deviation, device=images.device).view(1, -1, 1, 1) * 255
        return ((images.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits of every head for prepared images (n, c, height, width): a list of (n, classes), one per exit."""
        tensors = self.activations(images)
        return [head(tensors[after]) for head, after in zip(self.heads, self.shape.exits, strict=True)]

    def activations(self, images: Tensor) -> Sequence[Tensor]:
        """The tensor at every cut 0..M: the prepared images themselves, then each stage's output."""
        tensors = [images]
        for stage in self.stages:
            tensors.append(stage(tensors[-1]))
        return tensors
