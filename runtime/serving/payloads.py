"""Tensors as typed bytes: 32- or 16-bit floats or scaled 8-bit integers, plain or compressed; never a pickle.

The bytes of an image-like tensor (n, c, h, w) lie in channels-last order, in which the networks compute: neither side
rearranges anything, and the receiver computes with the same memory layout, hence the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import lz4.block
import numpy as np
import torch
import zstandard
from torch import Tensor

from ...errors import InputError
from .fields import Check, MessageError, binary, check_fields, words

__all__ = ["ENCODINGS", "LOSSLESS", "Encoding", "Payload", "pack", "payload_from", "payload_header", "unpack"]

MAX_ELEMENTS = 1 << 24
MAX_DIMENSIONS = 8
MAX_CHANNELS = 16384
ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "int8": 1, "uint8": 1}
COMPRESSIONS = ("none", "lz4", "zstd")
_LARGEST_HALF = 65504.0
_ZSTD_LEVEL = 1
_NUMPY = {"fp32": "<f4", "fp16": "<f2", "int8": "i1", "uint8": "u1"}


@dataclass(frozen=True)
class Encoding:
    """How activations are sent. Raw images, at cut 0, are bytes already: they are only compressed."""

    dtype: str = "fp32"
    """`fp32` (lossless), `fp16` or `int8`."""
    per_channel: bool = False
    """Whether 8-bit integers have a scale per channel instead of one per tensor."""
    compression: str = "none"
    """`none`, `lz4` or `zstd` (level 1)."""

    @classmethod
    def parse(cls, words: str) -> Encoding:
        """Read `fp32`, `fp16`, `int8` or `int8c` (a scale per channel), with `+lz4` or `+zstd` if wanted.

        Raises:
            InputError: If a word is unknown.

        >>> Encoding.parse("int8c+zstd")
        Encoding(dtype='int8', per_channel=True, compression='zstd')
        """
        dtype, _, compression = words.partition("+")
        if dtype not in ("fp32", "fp16", "int8", "int8c") or (compression or "none") not in COMPRESSIONS:
            rule = "must be fp32, fp16, int8 or int8c (a scale per channel), with +lz4 or +zstd if wanted"
            raise InputError("encoding", "", rule, words)
        return cls(dtype.removesuffix("c"), dtype == "int8c", compression or "none")

    def __str__(self) -> str:
        name = self.dtype + ("c" if self.per_channel else "")
        return name if self.compression == "none" else f"{name}+{self.compression}"

    @property
    def lossless(self) -> bool:
        """Whether the receiver gets the very bits."""
        return self.dtype == "fp32"


LOSSLESS = Encoding()

ENCODINGS = tuple(f"{dtype}{tail}" for dtype in ("fp32", "fp16", "int8", "int8c") for tail in ("", "+lz4", "+zstd"))
"""Every encoding, as `Encoding.parse` reads them."""


@dataclass(frozen=True)
class Payload:
    """An encoded tensor."""

    dtype: str
    """`fp32`, `fp16`, `int8`, or `uint8` for a raw image."""
    shape: tuple[int, ...]
    compression: str
    scales: bytes
    """Little-endian 32-bit floats: empty, one, or one per channel; only 8-bit integers have any."""
    data: bytes | memoryview
    """Little-endian elements, channels last; compressed where `compression` says so."""

    @property
    def plain_bytes(self) -> int:
        """Bytes of the elements before compression."""
        return math.prod(self.shape) * ELEMENT_BYTES[self.dtype]


def _shape(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_DIMENSIONS:
        raise MessageError(name, f"must be a list of 1 to {MAX_DIMENSIONS} sizes", value)
    if any(type(size) is not int or not 1 <= size <= MAX_ELEMENTS for size in value):
        raise MessageError(name, "must hold positive sizes", value)
    if math.prod(value) > MAX_ELEMENTS:
        raise MessageError(name, f"must have at most {MAX_ELEMENTS} elements", value)
    return tuple(value)


_SCHEMA: dict[str, Check] = {
    "dtype": words(*ELEMENT_BYTES),
    "shape": _shape,
    "compression": words(*COMPRESSIONS),
    "scales": binary(0, 4 * MAX_CHANNELS),
}


def payload_header(payload: Payload) -> dict[str, object]:
    """What a message's header says about its tensor."""
    return {
        "dtype": payload.dtype,
        "shape": list(payload.shape),
        "compression": payload.compression,
        "scales": payload.scales,
    }


def payload_from(header: object, data: memoryview) -> Payload:
    """The payload that a header describes; its data is looked at by `unpack` only.

    Raises:
        MessageError: If the header or the length of the data breaks a rule.
    """
    payload = Payload(**check_fields(header, _SCHEMA, "payload"), data=data)
    scales = len(payload.scales)
    channels = payload.shape[1] if len(payload.shape) > 1 else 1
    if scales not in ((4, 4 * channels) if payload.dtype == "int8" else (0,)):
        raise MessageError("payload.scales", "must be one per tensor or channel for int8, none otherwise", scales)
    if payload.compression == "none" and len(data) != payload.plain_bytes:
        raise MessageError("payload", f"must have the {payload.plain_bytes} bytes of its shape", len(data))
    if len(data) > payload.plain_bytes + 1024 + payload.plain_bytes // 128:  # what incompressible data grows by
        raise MessageError("payload", f"must not exceed the {payload.plain_bytes} bytes of its shape", len(data))
    return payload


def pack(tensor: Tensor, encoding: Encoding = LOSSLESS) -> Payload:
    """Encode a tensor.

    Args:
        tensor: Floats of any shape (image-like ones best channels-last), or a uint8 image.
        encoding: How; raw images stay bytes whatever the precision.
    """
    value = tensor.detach()
    dtype, scales = ("uint8", b"") if value.dtype == torch.uint8 else (encoding.dtype, b"")
    if dtype == "fp16":
        value = value.clamp(-_LARGEST_HALF, _LARGEST_HALF).half()
    elif dtype == "int8":
        value, scales = _quantise(value, encoding.per_channel)
    elif dtype == "fp32":
        value = value.float()
    raw = np.ascontiguousarray(_channels_last(value).numpy()).astype(_NUMPY[dtype], copy=False)
    data = memoryview(raw.reshape(-1).view(np.uint8).data)
    return Payload(dtype, tuple(tensor.shape), encoding.compression, scales, _compress(data, encoding.compression))


def unpack(payload: Payload, expected: Sequence[int]) -> Tensor:
    """Decode a tensor.

    Args:
        payload: What was received.
        expected: The shape that the model has at this cut.

    Returns:
        float32, or uint8 for a raw image; image-like tensors in channels-last memory order.

    Raises:
        MessageError: Another shape, data that does not decompress to it, or elements that are not finite.
    """
    if payload.shape != tuple(expected):
        raise MessageError("payload.shape", f"must be {tuple(expected)}, the model's at this cut", payload.shape)
    data = _decompress(payload)
    if len(data) != payload.plain_bytes:
        raise MessageError("payload", f"must decompress to {payload.plain_bytes} bytes", len(data))
    array = np.frombuffer(bytearray(data), dtype=_NUMPY[payload.dtype])  # a copy: aligned, and ours to write to
    # Checked by numpy, in a tenth of the time that PyTorch takes.
    finite = payload.dtype in ("uint8", "int8") or bool(np.isfinite(array).all())
    n, *rest = payload.shape
    if len(payload.shape) == 4:
        value = torch.from_numpy(array.reshape(n, rest[1], rest[2], rest[0])).permute(0, 3, 1, 2)
    else:
        value = torch.from_numpy(array.reshape(payload.shape))
    if payload.dtype == "fp16":
        value = value.float()
    elif payload.dtype == "int8":
        scale = torch.from_numpy(np.frombuffer(bytearray(payload.scales), dtype="<f4"))
        value = value.float() * (scale if scale.numel() == 1 else scale.view(1, -1, *(1 for _ in rest[1:])))
        finite = bool(np.isfinite(_channels_last(value).numpy()).all())
    if not finite:
        raise MessageError("payload", "must hold finite numbers")
    return value


def _channels_last(value: Tensor) -> Tensor:
    return value.permute(0, 2, 3, 1) if value.dim() == 4 else value


def _quantise(value: Tensor, per_channel: bool) -> tuple[Tensor, bytes]:
    """Signed bytes and their scales: the largest magnitude becomes 127."""
    many = per_channel and value.dim() > 1
    others = [axis for axis in range(value.dim()) if axis != 1] if many else list(range(value.dim()))
    largest = value.abs().amax(dim=others, keepdim=True)
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    whole = torch.round(value / scale).clamp(-127, 127).to(torch.int8)
    return whole, scale.flatten().numpy().astype("<f4").tobytes()


def _compress(data: memoryview, compression: str) -> bytes | memoryview:
    if compression == "lz4":
        return bytes(lz4.block.compress(data, store_size=False))
    if compression == "zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)
    return data


def _decompress(payload: Payload) -> bytes | memoryview:
    """The elements' bytes; never more memory than the shape has, whatever the data claims."""
    size = payload.plain_bytes
    try:
        if payload.compression == "lz4":
            return bytes(lz4.block.decompress(payload.data, uncompressed_size=size))
        if payload.compression == "zstd":
            # The decompressor believes the frame's own size, so that has to be checked first.
            claimed = zstandard.get_frame_parameters(payload.data).content_size
            if claimed != size:
                raise MessageError("payload", f"must decompress to {size} bytes", claimed)
            return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(
                payload.data, max_output_size=size, read_across_frames=False, allow_extra_data=False
            )
    except (lz4.block.LZ4BlockError, zstandard.ZstdError, ValueError, MemoryError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError("payload", f"must be valid {payload.compression} data", str(error)[:80]) from error
    return payload.data
