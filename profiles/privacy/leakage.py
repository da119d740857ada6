"""What an activation reveals about the input: bias-corrected distance correlation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MEASURE", "Leakage", "distance_correlation", "leakage_per_cut"]

FloatArray = NDArray[np.floating]

MEASURE = (
    "square root of the bias-corrected squared distance correlation between raw input and activation, Euclidean "
    "distances, mean over batches of test images; 1 at cut 0 (the input itself), 0 at cut M (nothing is sent)"
)


@dataclass(frozen=True, eq=False)
class Leakage:
    """Leakage at the cuts 0..M.

    Attributes:
        values: float64 (M + 1,), mean over the batches.
        deviation: float64 (M + 1,), standard deviation over the batches.
        batches: Number of batches.
    """

    values: NDArray[np.float64]
    deviation: NDArray[np.float64]
    batches: int


def centred_distances(samples: FloatArray) -> NDArray[np.float64]:
    """The U-centred Euclidean distance matrix (Székely and Rizzo, Annals of Statistics 2014, definition 2).

    Args:
        samples: Shape (n, ...); the trailing axes are flattened. n must exceed 3.

    Returns:
        Shape (n, n), zero diagonal, rows that sum to zero.
    """
    distance = _distances(np.asarray(samples, dtype=np.float64).reshape(len(samples), -1))
    count = len(distance)
    rows = distance.sum(axis=1) / (count - 2)
    total = distance.sum() / ((count - 1) * (count - 2))
    centred = distance - rows[:, None] - rows[None, :] + total
    np.fill_diagonal(centred, 0.0)
    return np.asarray(centred, dtype=np.float64)


def _distances(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distances between the rows, by one matrix product of the centred samples."""
    shifted = flat - flat.mean(axis=0)
    squares = np.einsum("ij,ij->i", shifted, shifted)
    squared = squares[:, None] + squares[None, :] - 2 * (shifted @ shifted.T)
    np.fill_diagonal(squared, 0.0)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)), dtype=np.float64)


def distance_correlation(first: FloatArray, second: FloatArray) -> float:
    """Bias-corrected distance correlation of paired samples, in [0, 1].

    The plain (V-statistic) estimate tends to one when the dimension exceeds the number of samples, even for
    independent data; the U-statistic of Székely and Rizzo does not. It estimates the squared correlation and may fall
    below zero for independent data; it is cut off at zero before the root is taken.

    Args:
        first: Shape (n, ...).
        second: Shape (n, ...), the partner of each row of `first`.

    Returns:
        0 for independent samples (up to noise), 1 for samples that are equal up to scale and rotation.
    """
    return _correlation(centred_distances(first), centred_distances(second))


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    product = float((first * second).sum())
    norm = float(np.sqrt((first * first).sum() * (second * second).sum()))
    if norm <= 0:
        return 0.0
    return float(np.sqrt(min(1.0, max(0.0, product / norm))))


def leakage_per_cut(batches: Iterable[Sequence[FloatArray]]) -> Leakage:
    """Leakage from batches of tensors.

    Args:
        batches: Each a sequence of the tensors at the cuts 0..M for one batch of at least four samples; the first is
            the raw input, the last (the network's last stage) is not sent and therefore not looked at.
    """
    rows = []
    for tensors in batches:
        raw = centred_distances(tensors[0])
        inner = [_correlation(raw, centred_distances(tensor)) for tensor in tensors[1:-1]]
        rows.append([1.0, *inner, 0.0])
    table = np.asarray(rows)
    return Leakage(values=table.mean(axis=0), deviation=table.std(axis=0), batches=len(table))
