"""The image data sets by name."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError, did_you_mean
from .cifar10 import load_cifar10
from .fashion_mnist import load_fashion_mnist
from .image_set import ImageSet

__all__ = ["DATASETS", "load_images"]

DATASETS = ("cifar10", "fashion-mnist")


def load_images(dataset: str, folder: Path | None = None, cache: Path | None = None) -> ImageSet:
    """A data set by name, from `folder`, from the cache, or fetched once by the package manager that has it.

    Args:
        dataset: One of `DATASETS`.
        folder: A folder that holds the files in one of their usual forms.
        cache: Where fetched files are kept; `data/NAME` when None.

    Raises:
        InputError: If the name is unknown or the files are missing or damaged.
    """
    cache = cache or Path("data") / dataset
    if dataset == "cifar10":
        return load_cifar10(folder, cache)
    if dataset == "fashion-mnist":
        return load_fashion_mnist(folder, cache)
    raise InputError("data set", "name", "must be a known one", dataset, did_you_mean(dataset, DATASETS))
