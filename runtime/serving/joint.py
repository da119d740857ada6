"""Running several images through a part at once, and when that may be done without changing an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .model import Activation, Answer, judge, run_segment
from .segments import Segment

__all__ = ["JointRunner"]

_TRIALS = 3


class JointRunner:
    """Runs a batch so that each image gets the answer that it would get alone.

    Libraries choose other orders of summation for other batch sizes, which changes last bits, and with them, rarely, an
    exit or a label. In exact mode a module runs on the whole batch only if it was found to give the same bits that way
    (random inputs of the real shape, the first time that a size comes up); otherwise on one image after the other.

    Args:
        exact: False: batches run jointly throughout; answers may differ in their last bits.
    """

    def __init__(self, exact: bool = True) -> None:
        self.exact = exact
        self._same: WeakKeyDictionary[nn.Module, dict[int, bool]] = WeakKeyDictionary()

    def run(self, segment: Segment, tensors: Sequence[Tensor], threshold: float) -> list[Answer | Activation]:
        """What `run_segment` gives for each tensor (1, …)."""
        if len(tensors) == 1:
            return [run_segment(segment, tensors[0], threshold)]
        with torch.inference_mode():
            return self._run(segment, tensors, threshold)

    def _run(self, segment: Segment, tensors: Sequence[Tensor], threshold: float) -> list[Answer | Activation]:
        values = dict(enumerate(segment.prepare(tensor) if segment.first == 0 else tensor for tensor in tensors))
        results: dict[int, Answer | Activation] = {}
        first = dict.fromkeys(values, math.nan)
        for cut, stage in enumerate(segment.stages, start=segment.first + 1):
            values = dict(zip(values, self._apply(stage, list(values.values())), strict=True))
            if cut not in segment.heads or not (math.isfinite(threshold) or cut == segment.final):
                continue
            index, head, temperature = segment.heads[cut]
            logits = self._apply(head, list(values.values()))
            for key, row in zip(list(values), logits, strict=True):
                answer = judge(index, row[0], temperature)
                first[key] = answer.confidence if index == 0 else first[key]
                if answer.confidence >= threshold or cut == segment.final:
                    results[key] = Answer(index, answer.label, answer.confidence, answer.logits, first[key])
                    del values[key]
            if not values:
                break
        results |= {key: Activation(value, segment.last, first[key]) for key, value in values.items()}
        return [results[key] for key in range(len(tensors))]

    def _apply(self, module: nn.Module, values: list[Tensor]) -> list[Tensor]:
        if len(values) > 1 and (not self.exact or self._gives_same_bits(module, values)):
            return list(module(torch.cat(values)).split(1))
        return [module(value) for value in values]

    def _gives_same_bits(self, module: nn.Module, values: list[Tensor]) -> bool:
        known = self._same.setdefault(module, {})
        if len(values) not in known:
            known[len(values)] = all(_same_bits(module, values, trial) for trial in range(_TRIALS))
        return known[len(values)]


def _same_bits(module: nn.Module, values: list[Tensor], seed: int) -> bool:
    generator = torch.Generator().manual_seed(seed)
    noisy = [value + torch.randn(value.shape, generator=generator) for value in values]
    alone = torch.cat([module(value) for value in noisy])
    return torch.equal(alone, module(torch.cat(noisy)))
