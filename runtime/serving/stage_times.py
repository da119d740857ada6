"""How long the stages of a network take here: what a device goes by when it asks itself whether it can finish alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from .model import SplitModel
from .pace import Pace

__all__ = ["measured_stages"]


def measured_stages(model: SplitModel, pace: Pace, trials: int = 5) -> list[float]:
    """Seconds of each stage and its head at this pace, and a third more to be sure."""
    segment, _ = model.segments.get(0, model.stages)
    rows: list[list[float]] = []
    with torch.inference_mode():
        for _ in range(trials):
            value, row = segment.prepare(torch.zeros(model.shapes[0], dtype=torch.uint8)), []
            for cut, stage in enumerate(segment.stages, start=1):
                value, seconds = _timed(stage, value)
                if cut in segment.heads:
                    seconds += _timed(segment.heads[cut][1], value)[1]
                row.append(seconds)
            rows.append(row)
    real = [statistics.median(column) for column in zip(*rows, strict=True)]
    return [1.33 * (own + pace.rest_s(cut, cut + 1, True, own, own)) for cut, own in enumerate(real)]


def _timed(module: Callable[[Tensor], Tensor], value: Tensor) -> tuple[Tensor, float]:
    started = time.perf_counter()
    return module(value), time.perf_counter() - started
