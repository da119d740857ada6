"""A transformer's profile at another sequence length, or of making one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import InputError
from .layer_table import CutSizes, SequencePoint
from .profile import Profile

__all__ = ["at_length", "cache_bytes_before_cut"]

Phase = Literal["prefill", "decode"]


def at_length(profile: Profile, length: int, phase: Phase = "prefill") -> Profile:
    """The profile of one inference at a sequence length: every cost between the measured lengths is interpolated.

    Operations and latency are quadratic in the length (attention), so that operations are interpolated by the parabola
    through the nearest three measured lengths, which is exact for them; latency, bytes and memory on straight lines.

    Args:
        profile: A profile with costs over sequence lengths.
        length: Tokens of the prompt (`prefill`), or in the cache (`decode`).
        phase: Reading the prompt, or making one token.

    Returns:
        A profile without layer table and without other lengths.

    Raises:
        InputError: The phase was not measured, or the length lies outside the measured ones.
    """
    points = sorted((p for p in profile.sequence if p.phase == phase), key=lambda point: point.length)
    if not points:
        raise InputError(profile.name, "sequence", f"must have measured costs of {phase}", phase)
    lengths = [point.length for point in points]
    if not lengths[0] <= length <= lengths[-1]:
        raise InputError(profile.name, "length", f"must lie between {lengths[0]} and {lengths[-1]} tokens", length)
    latency, spread, memory = (
        _linear(length, lengths, [getattr(point, f"stage_{name}") for point in points])
        for name in ("latency_s", "latency_spread", "memory_bytes")
    )
    flops = _parabola(length, lengths, [point.stage_flops for point in points])
    sizes = [_sizes(length, points, cut) for cut in range(profile.n_stages + 1)]
    stages = tuple(
        stage.model_copy(
            update={
                "flops": flops[index],
                "latency_s": latency[index],
                "latency_spread": spread[index],
                "memory_bytes": round(memory[index]),
                "sizes": sizes[index + 1],
                "output_bytes": sizes[index + 1].int8,
                "output_fp32_bytes": sizes[index + 1].fp32,
                "output_shape": None,
                "end": None,
            }
        )
        for index, stage in enumerate(profile.stages)
    )
    reference = profile.reference.model_copy(
        update={
            "effective_flops": float(sum(flops) / sum(latency)),
            "whole_latency_s": _linear(length, lengths, [[point.whole_latency_s] for point in points])[0],
            "energy_j": None,
            "energy_meter": None,
        }
    )
    return replace(
        profile,
        description=f"{profile.description}; {phase} at {length} tokens",
        stages=stages,
        input_bytes=max(sizes[0].int8, 1),
        input_sizes=sizes[0],
        reference=reference,
        layers=None,
        sequence=(),
    )


def cache_bytes_before_cut(profile: Profile, length: int, phase: Phase = "decode") -> list[int]:
    """Bytes of key-value cache (float32) that lie before each cut 0..M at a sequence length.

    The cache stays with its layers and crosses no cut. When the cut moves from j to k between two tokens, the
    difference of the two entries has to move with the layers, or to be computed again.

    Raises:
        InputError: As `at_length`.
    """
    points = sorted((p for p in profile.sequence if p.phase == phase), key=lambda point: point.length)
    at_length(profile, length, phase)
    lengths = [point.length for point in points]
    rows = [[0.0, *np.cumsum(point.stage_cache_bytes)] for point in points]
    return [round(value) for value in _linear(length, lengths, rows)]


def _linear(length: int, lengths: Sequence[int], rows: Sequence[Sequence[float]]) -> list[float]:
    table = np.asarray(rows, dtype=np.float64)
    return [float(np.interp(length, lengths, column)) for column in table.T]


def _parabola(length: int, lengths: Sequence[int], rows: Sequence[Sequence[float]]) -> list[float]:
    nearest = sorted(sorted(range(len(lengths)), key=lambda i: (abs(lengths[i] - length), i))[:3])
    known = np.array([lengths[i] for i in nearest], dtype=np.float64)
    table = np.asarray([rows[i] for i in nearest], dtype=np.float64)
    weights = [
        np.prod([(length - other) / (own - other) for other in known if other != own]) for own in known
    ]  # Lagrange
    return [max(float(value), 0.0) for value in np.asarray(weights) @ table]


def _sizes(length: int, points: Sequence[SequencePoint], cut: int) -> CutSizes:
    lengths = [point.length for point in points]
    known = [point.cut_sizes[cut].known() for point in points]
    names = set(known[0]).intersection(*known)
    values = {name: round(_linear(length, lengths, [[entry[name]] for entry in known])[0]) for name in names}
    return CutSizes(**values)
