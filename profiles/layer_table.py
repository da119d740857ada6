"""The measured layer graph of a network and its costs over sequence lengths: what a profile has beside its stages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ENCODINGS", "CutSizes", "Layer", "LayerCut", "LayerTable", "SequencePoint"]

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]

ENCODINGS = ("fp32", "fp16", "int8", "fp32_zstd", "fp16_zstd", "int8_zstd")
"""How the tensors of a cut may be sent; see `CutSizes`."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CutSizes(_Part):
    """Bytes of everything that crosses a cut, for one sample, in each encoding.

    Tensors that are not floating-point (token numbers, masks) are sent as they are in every encoding. `int8` scales
    each tensor by its largest magnitude. The `zstd` sizes were measured on real activations with Zstandard, level 1;
    None where they were not.
    """

    fp32: Count
    fp16: Count
    int8: Count
    fp32_zstd: Count | None = None
    fp16_zstd: Count | None = None
    int8_zstd: Count | None = None

    def known(self) -> dict[str, int]:
        """The encodings whose size is known, with their bytes."""
        sizes = {name: getattr(self, name) for name in ENCODINGS}
        return {name: size for name, size in sizes.items() if size is not None}


class Layer(_Part):
    """One operator of the exported graph."""

    name: str
    operator: str
    """Torch's name of the operator, for example `aten.conv2d.default`."""
    module: str = ""
    """Where in the model it comes from: the path of the innermost module."""
    inputs: tuple[str, ...] = ()
    """The operators and model inputs whose values it reads; weights are left out."""
    shape: tuple[int, ...] | None = None
    """Shape of its result with the batch dimension; None if it returns several tensors."""
    dtype: str | None = None
    flops: Amount = 0.0
    """Operations, a multiply-add counted as two."""
    stage: Count
    """Number of the stage that it belongs to, from 0."""


class LayerCut(_Part):
    """A legal cut of the layer graph."""

    position: Count
    """The cut lies before this operator (the number of operators for the last cut)."""
    tensors: tuple[str, ...]
    """What crosses: names of layers and inputs."""
    sizes: CutSizes


class LayerTable(_Part):
    """The layer graph in the order in which the model runs, and all its legal cuts in that order."""

    inputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    cuts: tuple[LayerCut, ...]


class SequencePoint(_Part):
    """What the stages of a transformer cost at one sequence length."""

    phase: Literal["prefill", "decode"]
    """`prefill` reads `length` tokens at once; `decode` makes one token with `length` tokens in the cache."""
    length: Annotated[int, Field(ge=1)]
    stage_latency_s: tuple[Amount, ...]
    """Median seconds of each stage, M values."""
    stage_latency_spread: tuple[Amount, ...]
    """Interquartile range over median, M values."""
    stage_flops: tuple[Amount, ...]
    """Operations of each stage, M values."""
    stage_memory_bytes: tuple[Count, ...]
    """Most activation bytes alive at once in each stage, M values, the stage's part of the cache included."""
    cut_sizes: tuple[CutSizes, ...]
    """What crosses each cut, M + 1 values; the inputs first, the results last. Never the cache."""
    stage_cache_bytes: tuple[Count, ...]
    """Bytes of the key-value cache that each stage holds after the step, float32, M values; 0 without a cache.

    The cache stays with its layers. Sum the first k values for what must move when a cut moves to or from 0 (the
    cache that lies before cut k), or between two cuts for what must move between them."""
    whole_latency_s: Amount
    """Median seconds of the uncut model, measured in the same rounds."""
