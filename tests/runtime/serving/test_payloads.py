from dataclasses import replace

import lz4.block
import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.errors import InputError
from edgecloud.profiles.profiler.payload import quantise
from edgecloud.runtime.serving.fields import MessageError
from edgecloud.runtime.serving.payloads import ENCODINGS, Encoding, Payload, pack, unpack


def activation(seed: int, shape: tuple[int, ...] = (1, 8, 6, 5)) -> torch.Tensor:
    value = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()
    return value.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else value


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ENCODINGS), st.integers(0, 10**6), st.sampled_from([(1, 8, 6, 5), (1, 1, 3, 3), (1, 10), (7,)]))
def test_every_encoding_returns_what_it_promises(name: str, seed: int, shape: tuple[int, ...]) -> None:
    encoding, value = Encoding.parse(name), activation(seed, shape)
    assert str(encoding) == name
    received = unpack(pack(value, encoding), shape)
    assert received.dtype == torch.float32
    assert received.shape == value.shape
    largest = float(value.abs().max())
    step = {"fp32": 0.0, "fp16": largest * 2**-11, "int8": largest / 127 / 2 * 1.0001}[encoding.dtype]
    assert float((received - value).abs().max()) <= step
    if encoding.lossless:
        assert torch.equal(received, value)
        assert len(shape) != 4 or received.is_contiguous(memory_format=torch.channels_last)


def test_int8_per_tensor_is_the_profilers() -> None:
    value = activation(3)
    whole, scale = quantise(value)
    payload = pack(value, Encoding.parse("int8"))
    assert np.frombuffer(payload.scales, "<f4")[0] == np.float32(scale)
    assert torch.equal(unpack(payload, value.shape), whole.float() * np.float32(scale))


def test_a_scale_per_channel_is_finer() -> None:
    value = activation(4) * torch.logspace(-2, 1, 8).view(1, -1, 1, 1)
    error = {
        name: float((unpack(pack(value, Encoding.parse(name)), value.shape) - value).abs().mean())
        for name in ("int8", "int8c")
    }
    assert error["int8c"] < error["int8"] / 2


def test_images_stay_bytes() -> None:
    image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    payload = pack(image, Encoding.parse("int8+lz4"))
    assert payload.dtype == "uint8"
    assert torch.equal(unpack(payload, image.shape), image)


def test_large_halves_saturate() -> None:
    assert unpack(pack(torch.tensor([1e6, -1e6]), Encoding.parse("fp16")), (2,)).tolist() == [65504.0, -65504.0]


@pytest.mark.parametrize("name", ["bf16", "fp32+gzip", "", "int8+", "uint8"])
def test_unknown_encodings_are_refused(name: str) -> None:
    if name == "int8+":
        assert Encoding.parse(name) == Encoding("int8")
        return
    with pytest.raises(InputError, match="fp32, fp16, int8"):
        Encoding.parse(name)


def test_another_shape_is_refused() -> None:
    with pytest.raises(MessageError, match=r"the model's at this cut"):
        unpack(pack(activation(0)), (1, 8, 5, 6))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(MessageError, match="finite"):
        unpack(pack(torch.tensor([1.0, bad])), (2,))


def bomb(compression: str, claimed: bool) -> bytes:
    content = bytes(50_000_000)
    if compression == "lz4":
        return lz4.block.compress(content, store_size=False)
    return zstandard.ZstdCompressor(write_content_size=claimed).compress(content)


@pytest.mark.parametrize(("compression", "claimed"), [("lz4", True), ("zstd", True), ("zstd", False)])
def test_a_decompression_bomb_is_refused(compression: str, claimed: bool) -> None:
    payload = Payload("fp32", (1, 100), compression, b"", bomb(compression, claimed))
    with pytest.raises(MessageError):
        unpack(payload, (1, 100))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_too_little_or_damaged_data_is_refused(compression: str) -> None:
    good = pack(activation(1), Encoding.parse(f"fp32+{compression}"))
    short = pack(activation(1, (1, 8, 6, 4)), Encoding.parse(f"fp32+{compression}"))
    for data in (short.data, bytes(good.data)[:-3], b"", b"\xff" * 40):
        with pytest.raises(MessageError):
            unpack(replace(good, data=data), good.shape)
