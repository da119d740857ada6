"""What a model costs stage by stage, when its exits fire, and what its activations leak."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from .layer_table import CutSizes, LayerTable, SequencePoint
from .validation import check_profile

__all__ = ["NEVER", "Exit", "Profile", "Protection", "Reference", "Stage"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NEVER = float("inf")
"""The threshold that no confidence reaches: no early exit."""

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=80)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Part):
    """A block of layers that runs in one place; a cut may lie before and after it."""

    name: Name
    flops: Amount
    """Floating-point operations of one sample; a multiply-add counts as two. Without the exit heads."""
    output_bytes: Count
    """Bytes of the output as sent (for the shipped profiles one byte per element, int8)."""
    weight_bytes: Count
    """Bytes of parameters and buffers, float32."""
    memory_bytes: Count
    """Working memory: the largest amount of activation bytes alive at once in the stage, float32, one sample."""
    latency_s: Amount
    """Median seconds for one sample on the reference machine, without the exit heads."""
    latency_spread: Amount = 0.0
    """Interquartile range of the measured latency divided by its median."""
    output_fp32_bytes: Count | None = None
    """Bytes of the output in float32."""
    output_shape: tuple[int, ...] | None = None
    """Shape of the output without the batch dimension."""
    parameters: Count | None = None
    """Number of parameters; one that several stages use is counted in each."""
    sizes: CutSizes | None = None
    """Bytes of everything that crosses the cut after the stage, in each encoding."""
    end: Count | None = None
    """Position in the layer table's graph at which the stage ends."""


class Exit(_Part):
    """A classifier that may end the inference early; the last one is the final classifier."""

    name: Name
    after_stage: Annotated[int, Field(ge=1)]
    """The head reads the output of stages `[0, after_stage)`: a cut number, 1..M; M for the final classifier."""
    flops: Amount
    """Operations of the head alone, never counted in a stage (the same holds for the final classifier)."""
    latency_s: Amount
    """Median seconds of the head alone on the reference machine."""
    weight_bytes: Count = 0
    """Bytes of the head's parameters and buffers, float32."""


class Reference(_Part):
    """The machine on which the latencies were measured."""

    machine: Name
    effective_flops: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Operations per second over the whole network: `total_flops / total_latency_s`. Scale to other devices with it."""
    threads: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=1)] = 1
    runs: Annotated[int, Field(ge=1)] = 1
    """Measured runs behind each median."""
    whole_latency_s: Amount | None = None
    """Median seconds of the unsplit network with its final classifier: compare with the sum over the stages."""
    energy_j: Amount | None = None
    """Joules of one inference of the unsplit network; None without a meter."""
    energy_meter: str | None = None
    """What measured the energy."""


class Protection(_Part):
    """What a defence at the cut does to leakage and accuracy; one entry per cut 0..M in both lists."""

    name: Name
    description: str
    leakage: tuple[float, ...]
    """With this defence at the cut; at cut 0 the raw input is sent as it is, at cut M only the answer."""
    accuracy: tuple[float, ...]
    """Of the final classifier over the test samples, with this defence at the cut."""


@dataclass(frozen=True, eq=False)
class Profile:
    """A model as the decision problem sees it: `M` stages in order, `E` exits, a table of `n` test samples.

    Cut `k` means that stages `[0, k)` come before the cut: cut 0 sends the raw input, cut M nothing but the result.

    Attributes:
        name: Short name, also the file name.
        description: One line for people.
        stages: The M stages.
        input_bytes: Raw input as sent.
        result_bytes: Answer of the final classifier as sent.
        exits: The E heads, in order; the last one has `after_stage == M`.
        confidence: float32 (n, E), the calibrated probability of the predicted class, of each test sample at each exit.
            A network without early exits whose accuracy is not known has no rows: n = 0.
        correct: bool (n, E), whether that prediction is right.
        leakage: float64 (M + 1,), what the tensor at each cut reveals about the input: 1 = the raw input, 0 = nothing.
            NaN at the cuts where it was not measured.
        leakage_measure: What the leakage is, in words.
        reference: Where the latencies come from.
        provenance: How the profile was made: command, versions, date, seed, notes. JSON values.
        input_sizes: Bytes of the raw input in each encoding, where they were measured.
        layers: The layer graph that the stages group, with all its legal cuts; None if it was not recorded.
        sequence: For transformers, the costs at other sequence lengths and of decoding; see `at_length`.
        protections: Defences at the cut, where they were attacked; optional.

    Raises:
        InputError: If the parts disagree.
    """

    name: str
    description: str
    stages: tuple[Stage, ...]
    input_bytes: int
    result_bytes: int
    exits: tuple[Exit, ...]
    confidence: NDArray[np.float32]
    correct: NDArray[np.bool_]
    leakage: FloatArray
    reference: Reference
    leakage_measure: str = "unspecified"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    input_sizes: CutSizes | None = None
    layers: LayerTable | None = None
    sequence: tuple[SequencePoint, ...] = ()
    protections: tuple[Protection, ...] = ()

    def __post_init__(self) -> None:
        self._freeze()
        check_profile(self)

    def _freeze(self) -> None:
        """Give the arrays their types and make them read-only."""
        for name, dtype in (("confidence", np.float32), ("correct", np.bool_), ("leakage", np.float64)):
            array = np.array(getattr(self, name), dtype=dtype, order="C")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self._freeze()

    def equals(self, other: Profile) -> bool:
        """Whether two profiles have the same content."""
        mine, theirs = self.__getstate__(), other.__getstate__()
        arrays = ("confidence", "correct")
        same_arrays = all(np.array_equal(mine.pop(name), theirs.pop(name)) for name in arrays)
        same_leakage = np.array_equal(mine.pop("leakage"), theirs.pop("leakage"), equal_nan=True)
        return same_arrays and same_leakage and bool(mine == theirs)

    def fingerprint(self) -> str:
        """A short digest of every number that a decision depends on (not of names, words and provenance)."""
        digest = hashlib.sha256()
        numbers = [float(self.input_bytes), float(self.result_bytes), self.reference.effective_flops]
        numbers += [x for s in self.stages for x in (s.flops, float(s.output_bytes), s.latency_s)]
        numbers += [x for e in self.exits for x in (float(e.after_stage), e.flops, e.latency_s)]
        for array in (np.array(numbers), self.confidence, self.correct, self.leakage):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    @property
    def n_stages(self) -> int:
        """The number of stages, M; cuts are numbered 0..M."""
        return len(self.stages)

    @property
    def n_exits(self) -> int:
        """The number of exits, E, with the final classifier."""
        return len(self.exits)

    @property
    def n_samples(self) -> int:
        """The number of test samples in the table."""
        return int(self.confidence.shape[0])

    @property
    def has_exit_table(self) -> bool:
        """Whether the accuracy is known: there is at least one test sample."""
        return self.n_samples > 0

    @property
    def leakage_known(self) -> bool:
        """Whether the leakage of every cut is known."""
        return not bool(np.isnan(self.leakage).any())

    def check_decidable(self) -> None:
        """Check that accuracy and leakage are known, without which no decision can be judged.

        Raises:
            InputError: One of them is not.
        """
        remedy = "measure it, or state it with 'edgecloud profiles assume'"
        if not self.has_exit_table:
            raise InputError(self.name, "table", "must be known: the accuracy was not measured", None, remedy)
        if not self.leakage_known:
            cut = int(np.flatnonzero(np.isnan(self.leakage))[0])
            raise InputError(self.name, f"leakage[{cut}]", "must be known: it was not measured", None, remedy)

    @cached_property
    def stage_flops(self) -> FloatArray:
        """Operations of each stage, shape (M,)."""
        return _constant([stage.flops for stage in self.stages], np.float64)

    @cached_property
    def stage_latency_s(self) -> FloatArray:
        """Seconds of each stage on the reference machine, shape (M,)."""
        return _constant([stage.latency_s for stage in self.stages], np.float64)

    @cached_property
    def exit_flops(self) -> FloatArray:
        """Operations of each head alone, shape (E,)."""
        return _constant([head.flops for head in self.exits], np.float64)

    @cached_property
    def exit_latency_s(self) -> FloatArray:
        """Seconds of each head alone on the reference machine, shape (E,)."""
        return _constant([head.latency_s for head in self.exits], np.float64)

    @cached_property
    def exit_after(self) -> IntArray:
        """After how many stages each head sits, shape (E,), strictly increasing up to M."""
        return _constant([head.after_stage for head in self.exits], np.int64)

    @cached_property
    def cut_bytes(self) -> IntArray:
        """Bytes that cross each cut, shape (M + 1,): the raw input first, the result last."""
        inner = [stage.output_bytes for stage in self.stages[:-1]]
        return _constant([self.input_bytes, *inner, self.result_bytes], np.int64)

    def cut_sizes(self) -> tuple[CutSizes, ...]:
        """What crosses each cut 0..M in each encoding, M + 1 entries; empty where it was not measured."""
        sizes = (self.input_sizes, *(stage.sizes for stage in self.stages))
        known = tuple(entry for entry in sizes if entry is not None)
        return known if len(known) == len(sizes) else ()

    @property
    def total_flops(self) -> float:
        """Operations of the whole network with its final classifier and no other head."""
        return float(self.stage_flops.sum() + self.exit_flops[-1])

    @property
    def total_latency_s(self) -> float:
        """Seconds of the stages and the final classifier on the reference machine."""
        return float(self.stage_latency_s.sum() + self.exit_latency_s[-1])

    def exit_index(self, threshold: float) -> IntArray:
        """The exit that each sample takes: the first whose confidence is at least `threshold`, else the last.

        Args:
            threshold: Confidence in [0, 1]; anything above 1 (`NEVER`) means that no sample exits early.

        Returns:
            Index into `exits`, shape (n,).
        """
        reached: NDArray[np.bool_] = self.confidence >= threshold
        reached[:, -1] = True
        index: IntArray = np.argmax(reached, axis=1).astype(np.int64)
        return index

    def exit_rates(self, threshold: float) -> FloatArray:
        """The fraction of the samples that leaves at each exit, shape (E,); sums to one.

        Without a table there is one exit only, and everything leaves there.
        """
        if not self.has_exit_table:
            return np.ones(1)
        counts = np.bincount(self.exit_index(threshold), minlength=self.n_exits)
        return counts / self.n_samples

    def accuracy(self, threshold: float) -> float:
        """The fraction of the samples that is classified correctly at the exit that it takes; NaN if it is unknown."""
        if not self.has_exit_table:
            return float("nan")
        return float(self.correct[np.arange(self.n_samples), self.exit_index(threshold)].mean())

    def exit_accuracy(self) -> FloatArray:
        """The accuracy of each head over all samples, shape (E,); NaN if it is unknown."""
        if not self.has_exit_table:
            return np.full(self.n_exits, np.nan)
        accuracy: FloatArray = self.correct.mean(axis=0, dtype=np.float64)
        return accuracy

    def reach(self, threshold: float) -> FloatArray:
        """The probability that each stage is run, shape (M,); never increasing, 1 up to the first exit."""
        rates = self.exit_rates(threshold)
        stage = np.arange(1, self.n_stages + 1)
        return np.array([rates[self.exit_after >= number].sum() for number in stage])

    def expected_flops(self, threshold: float) -> float:
        """Mean operations per sample: each stage and each head weighted by the probability that it is run.

        A threshold above 1 can fire no early head, so that only the final classifier is counted then.
        """
        stages = float(self.reach(threshold) @ self.stage_flops)
        if threshold > 1:
            return stages + float(self.exit_flops[-1])
        arrivals = np.cumsum(self.exit_rates(threshold)[::-1])[::-1]
        return stages + float(arrivals @ self.exit_flops)


def _constant(values: ArrayLike, dtype: type[Any]) -> NDArray[Any]:
    array = np.asarray(values, dtype=dtype)
    array.setflags(write=False)
    return array
