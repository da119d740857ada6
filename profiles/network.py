"""The early-exit convolutional network that the project trains: six stages, four classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor, nn

__all__ = ["EarlyExitCnn", "NetworkShape"]


@dataclass(frozen=True)
class NetworkShape:
    """Widths and exits of an `EarlyExitCnn`; stored in checkpoints, so that a network is rebuilt from its file."""

    widths: tuple[int, ...] = (32, 64, 128, 128, 256, 512)
    """Output channels of each stage."""
    depths: tuple[int, ...] = (1, 1, 1, 1, 2, 1)
    """Convolutions in each stage."""
    pooled: tuple[bool, ...] = (True, True, False, True, True, False)
    """Whether the stage ends in a 2x2 max pooling."""
    exits: tuple[int, ...] = (2, 4, 5, 6)
    """A head sits after this many stages; the last entry is the number of stages."""
    branch_width: int = 128
    """Channels of the convolution inside the heads of the first `branches` exits."""
    branches: int = 2
    """How many of the first exits have a convolution of their own (BranchyNet style) before pooling."""
    classes: int = 10

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


class Head(nn.Sequential):
    """A classifier on a stage's output: optional strided convolution, global average pooling, linear layer."""

    def __init__(self, inputs: int, classes: int, branch_width: int = 0) -> None:
        layers = _conv_block(inputs, branch_width, stride=2) if branch_width else []
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(branch_width or inputs, classes)]
        super().__init__(*layers)


class EarlyExitCnn(nn.Module):
    """A chain of stages with a classifier after some of them.

    The network is fully convolutional up to the global pooling of its heads, so it accepts any image of at least 32x32
    pixels. Stage outputs follow ReLU and pooling: they are what a split execution sends.

    Args:
        shape: Widths, poolings and exits.
    """

    def __init__(self, shape: NetworkShape | None = None) -> None:
        super().__init__()
        self.shape = shape or NetworkShape()
        inputs = (3, *self.shape.widths[:-1])
        rows = zip(inputs, self.shape.widths, self.shape.depths, self.shape.pooled, strict=True)
        self.stages = nn.ModuleList(Stage(*row) for row in rows)
        self.heads = nn.ModuleList(
            Head(
                self.shape.widths[after - 1],
                self.shape.classes,
                self.shape.branch_width if index < self.shape.branches else 0,
            )
            for index, after in enumerate(self.shape.exits)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits of every head for images of shape (n, 3, height, width): a list of (n, classes), one per exit."""
        logits: list[Tensor] = []
        activation = images
        for index, stage in enumerate(self.stages):
            activation = stage(activation)
            if index + 1 in self.shape.exits:
                logits.append(self.heads[self.shape.exits.index(index + 1)](activation))
        return logits

    def activations(self, images: Tensor) -> Sequence[Tensor]:
        """The tensor at every cut 0..M: the images themselves, then each stage's output."""
        tensors = [images]
        for stage in self.stages:
            tensors.append(stage(tensors[-1]))
        return tensors
