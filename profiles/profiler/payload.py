"""What the tensors of a cut weigh on the wire: as floats, halves and bytes, plain and through a fast compressor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import zstandard
from torch import Tensor

from ..layer_table import CutSizes

__all__ = ["add_sizes", "measure_sizes", "plain_sizes", "quantise"]

LEVEL = 1
"""Zstandard's fastest regular level."""


def plain_sizes(value: Tensor) -> CutSizes:
    """Bytes of a tensor of this shape and type in the plain encodings; its content is not looked at."""
    if not value.is_floating_point():
        size = value.numel() * value.element_size()
        return CutSizes(fp32=size, fp16=size, int8=size)
    return CutSizes(fp32=4 * value.numel(), fp16=2 * value.numel(), int8=value.numel())


def measure_sizes(value: Tensor) -> CutSizes:
    """Bytes of a real activation in every encoding, with Zstandard at level 1 for the compressed ones.

    The few bytes that name shape and scale are left out.
    """
    plain = plain_sizes(value)
    if not value.is_floating_point():
        packed = _compressed(value)
        return plain.model_copy(update={"fp32_zstd": packed, "fp16_zstd": packed, "int8_zstd": packed})
    return plain.model_copy(
        update={
            "fp32_zstd": _compressed(value.float()),
            "fp16_zstd": _compressed(value.half()),
            "int8_zstd": _compressed(quantise(value)[0]),
        }
    )


def quantise(value: Tensor) -> tuple[Tensor, float]:
    """A tensor as signed bytes and the scale to multiply them by: its largest magnitude becomes 127.

    >>> quantise(torch.tensor([-1.0, 0.0, 0.5]))[0].tolist()
    [-127, 0, 64]
    """
    largest = float(value.abs().max()) if value.numel() else 0.0
    scale = largest / 127 if largest > 0 and largest < float("inf") else 1.0
    return torch.round(value / scale).clamp(-127, 127).to(torch.int8), scale


def _compressed(value: Tensor) -> int:
    raw = value.detach().cpu().contiguous().numpy().tobytes()
    return len(zstandard.ZstdCompressor(level=LEVEL).compress(raw))


def add_sizes(sizes: Iterable[CutSizes]) -> CutSizes:
    """Bytes of several tensors together; a compressed size is known only if it is known of each."""
    entries = [entry.model_dump() for entry in sizes]
    total: dict[str, Any] = {}
    for name in CutSizes.model_fields:
        values = [entry[name] for entry in entries]
        total[name] = None if None in values else sum(values)
    return CutSizes(**total)
