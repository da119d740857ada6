"""Final accuracy when something else than the plain activation crosses a cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..networks.network import EarlyExitCnn
from .protections import Protect, through_int8

__all__ = ["accuracy_over_int8", "accuracy_through"]

BATCH = 500


@torch.inference_mode()
def accuracy_through(
    network: EarlyExitCnn,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    sent: Sequence[tuple[int, Protect]],
    seed: int = 0,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Accuracy of the final classifier with one defence at one cut at a time.

    Args:
        network: The network, in evaluation mode.
        images: uint8 (n, c, h, w).
        labels: int64 (n,).
        sent: Pairs of a cut 0..M-1 and what is sent there instead of the activation.
        seed: Of the defences' random numbers; every pair has numbers of its own.
        on_batch: Called after each batch with images done and in all.

    Returns:
        Per pair a fraction in [0, 1].
    """
    hits = np.zeros(len(sent), dtype=np.int64)
    generators = [torch.Generator().manual_seed(seed) for _ in sent]
    for start in range(0, len(images), BATCH):
        part = torch.from_numpy(images[start : start + BATCH])
        truth = torch.from_numpy(labels[start : start + BATCH])
        tensors = network.activations(network.prepare(part))
        for index, (cut, protect) in enumerate(sent):
            activation = protect(tensors[cut], generators[index])
            for stage in network.stages[cut:]:
                activation = stage(activation)
            hits[index] += int((network.heads[-1](activation).argmax(dim=1) == truth).sum())
        on_batch(min(start + BATCH, len(images)), len(images))
    fractions: list[float] = (hits / len(images)).tolist()
    return fractions


def accuracy_over_int8(network: EarlyExitCnn, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> list[float]:
    """Final accuracy when the tensor at cut 0..M-1 is sent with eight bits per element.

    Activations follow a ReLU, so each sample's tensor is scaled by its maximum and rounded to 0..255. The raw input
    (cut 0) is sent as the eight-bit image that it is, so that its entry is the accuracy without any quantisation.

    Args:
        network: The network, in evaluation mode.
        images: uint8 (n, c, h, w).
        labels: int64 (n,).

    Returns:
        M fractions in [0, 1].
    """

    def rounded(activation: Tensor, generator: torch.Generator) -> Tensor:
        return through_int8(activation)

    def plain(activation: Tensor, generator: torch.Generator) -> Tensor:
        return activation

    sent = [(cut, rounded if cut else plain) for cut in range(len(network.stages))]
    return accuracy_through(network, images, labels, sent)
