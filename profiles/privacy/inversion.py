"""Model inversion: a decoder that rebuilds images from what crosses a cut (He et al., ACSAC 2019, section 5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from .protections import Protect

__all__ = ["DecoderSettings", "build_decoder", "reconstruct", "train_decoder"]


@dataclass(frozen=True)
class DecoderSettings:
    """How an attacker trains one decoder."""

    images: int = 10_000
    """Public images that the attacker owns (or all, where there are fewer)."""
    epochs: int = 4
    batch: int = 64
    rate: float = 2e-3
    """Peak learning rate of Adam; a quarter of it at the start, zero at the end (cosine)."""
    precision: str = "bfloat16"
    """Of convolutions while training (autocast); reconstructions are made in float32."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("images", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise InputError("attack settings", name, "must be at least 1", getattr(self, name))

    def rate_at(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1]."""
        warm_up = 0.1
        if progress < warm_up:
            return self.rate * (0.25 + 0.75 * progress / warm_up)
        return self.rate * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _width(side: int, full: int) -> int:
    """Channels at a resolution: 32 at the full one, twice as many at half of it, at most 128."""
    return min(128, 32 * max(1, round(full / side)))


def build_decoder(activation: tuple[int, int, int], image: tuple[int, int, int]) -> nn.Sequential:
    """The attacker's network: normalisation, convolutions and doublings of the side, sigmoid.

    Args:
        activation: Channels, height and width of what crosses the cut; square.
        image: Channels, height and width of the image; square, even.

    Returns:
        A network from (n, *activation) to images in [0, 1], (n, *image).
    """
    channels, side, _ = activation
    colours, full, _ = image
    width = _width(side, full)
    layers: list[nn.Module] = [nn.BatchNorm2d(channels), *_conv(channels, width), *_conv(width, width)]
    sides = [full]
    while sides[-1] > side:
        sides.append(math.ceil(sides[-1] / 2))
    for larger in (target for target in reversed(sides[1:]) if target > side):
        layers += [nn.Upsample(size=(larger, larger)), *_conv(width, _width(larger, full))]
        width = _width(larger, full)
        layers += _conv(width, width) if larger == sides[1] else []
    if side >= full:
        layers += [*_conv(width, width), nn.Conv2d(width, colours, 3, padding=1)]
    else:
        layers += [*_conv(width, width), nn.Conv2d(width, 4 * colours, 3, padding=1), nn.PixelShuffle(2)]
    decoder = nn.Sequential(*layers, nn.Sigmoid())
    return decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train_decoder(
    activations: Tensor,
    images: Tensor,
    protect: Protect,
    settings: DecoderSettings,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> nn.Sequential:
    """Train a decoder on pairs of activations and images to the least squared error.

    The attacker applies the same defence as the victim, with random numbers of its own, anew for every batch.

    Args:
        activations: What crosses the cut without a defence, (n, c, h, w), any floating type.
        images: uint8 (n, colours, height, width).
        protect: The defence.
        settings: Epochs, batch and so on.
        on_step: Called after each step with (step, steps, loss).
    """
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    decoder = build_decoder(_sizes(activations), _sizes(images)).train()
    optimiser = torch.optim.Adam(decoder.parameters(), lr=settings.rate)
    batch = min(settings.batch, len(images))
    per_epoch = len(images) // batch
    steps = settings.epochs * per_epoch
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(images), generator=generator)
        start = (step % per_epoch) * batch
        chosen = order[start : start + batch]
        for group in optimiser.param_groups:
            group["lr"] = settings.rate_at(step / steps)
        sent = protect(activations[chosen].float(), generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"):
            copies = decoder(sent)
        loss = functional.mse_loss(copies.float(), images[chosen].float() / 255)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        on_step(step + 1, steps, float(loss.detach()))
    return decoder.eval()


def _sizes(tensor: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = tensor.shape
    return channels, height, width


@torch.inference_mode()
def reconstruct(decoder: nn.Sequential, activations: Tensor, protect: Protect, seed: int, batch: int = 250) -> Tensor:
    """Images in [0, 1], float32 (n, colours, height, width), from victims' activations, with noise of their own."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(activations), batch):
        sent = protect(activations[start : start + batch].float(), generator)
        parts.append(decoder(sent.contiguous(memory_format=torch.channels_last)))
    return torch.cat(parts)
