"""The networks that can be trained by name, and the settings that go with a network, a data set and a method."""

from __future__ import annotations

from dataclasses import replace

from ...errors import InputError, did_you_mean
from .network import NetworkShape
from .training import METHODS, TrainSettings

__all__ = ["NETWORKS", "network_shape", "train_settings"]

NETWORKS = {
    "shipped": NetworkShape(),
    "chain": NetworkShape(
        widths=(16, 32, 64, 128, 128, 256, 512),
        depths=(1, 1, 1, 1, 1, 2, 1),
        pooled=(False, True, True, False, True, False, False),
        exits=(3, 5, 6, 7),
    ),
    "residual": NetworkShape(
        block="residual",
        widths=(16, 32, 64, 128, 256, 256),
        depths=(1, 1, 1, 1, 1, 1),
        pooled=(False, True, True, False, True, False),
        exits=(3, 4, 5, 6),
    ),
    "small": NetworkShape(
        widths=(16, 32, 64, 64, 128, 128),
        depths=(1, 1, 1, 1, 1, 1),
        pooled=(False, True, True, False, False, False),
        exits=(2, 3, 5, 6),
        branch_width=64,
    ),
}
"""By name: `shipped` is that of `cifar10-ee-32`; `chain` and `small` are plain chains; `residual` has six stages."""

INTERNAL = {"chain": (2, 3, 4, 5, 6, 7), "residual": (2, 3, 4, 5, 6), "small": (2, 3, 4, 5, 6)}
"""Where the method `classifiers` puts its cheaper and more numerous heads."""

STATISTICS = {
    "cifar10": (3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "fashion-mnist": (1, (0.2860,), (0.3530,)),
}
"""Channels, mean and standard deviation of the training images in [0, 1]."""


def network_shape(network: str, dataset: str, method: str = "joint") -> NetworkShape:
    """The shape of a named network for a data set.

    Args:
        network: One of `NETWORKS`.
        dataset: One of `STATISTICS`.
        method: `joint` gives the first heads a convolution of their own; `classifiers` gives every internal classifier
            mixed pooling and one linear layer, and puts one after more of the stages.

    Raises:
        InputError: If a name is unknown.
    """
    for option, value, known in (
        ("--network", network, list(NETWORKS)),
        ("--dataset", dataset, list(STATISTICS)),
        ("--method", method, list(METHODS)),
    ):
        if value not in known:
            raise InputError(option, "", f"must be one of {', '.join(known)}", value, did_you_mean(value, known))
    channels, mean, deviation = STATISTICS[dataset]
    shape = replace(NETWORKS[network], channels=channels, mean=mean, deviation=deviation)
    if method == "joint":
        return shape
    return replace(shape, branches=0, pooling="mixed", exits=INTERNAL.get(network, shape.exits))


def train_settings(
    shape: NetworkShape, method: str, epochs: int, head_epochs: int, precision: str, seed: int
) -> TrainSettings:
    """The settings of a run; heads count 0.4, 0.5, 0.6 … in the joint loss, the final one 1 (`TrainSettings`)."""
    early = tuple(round(0.4 + 0.1 * number, 1) for number in range(len(shape.exits) - 1))
    return TrainSettings(
        epochs=epochs,
        exit_weights=(*early, 1.0),
        seed=seed,
        method=method,
        head_epochs=head_epochs if method == "classifiers" else 0,
        precision=precision,
    )
