"""Random crops and mirror images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["augment"]


def augment(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Random crop after reflection padding and random mirror image, per sample; uint8 (n, c, h, w) in and out."""
    count, _, height, width = images.shape
    padded = functional.pad(images.float(), (padding,) * 4, mode="reflect").to(torch.uint8)
    top = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
    mirror = torch.rand((count, 1), generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirror, width - 1 - columns, columns) + left
    sample = torch.arange(count)[:, None, None]
    pixels_last = padded.permute(0, 2, 3, 1)
    return pixels_last[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
