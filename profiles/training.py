"""Joint training of an early-exit network, resumable after every epoch."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .cifar10 import ImageSet
from .network import EarlyExitCnn, NetworkShape

__all__ = ["EpochReport", "TrainSettings", "load_network", "split_training", "train_network"]

MEAN = (0.4914, 0.4822, 0.4465)
DEVIATION = (0.2470, 0.2435, 0.2616)
"""Per-channel mean and standard deviation of the CIFAR-10 training images in [0, 1]."""


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides what a training run computes."""

    epochs: int = 14
    batch: int = 128
    max_rate: float = 0.15
    """Peak learning rate of the one-cycle schedule (SGD with Nesterov momentum)."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.25
    """Fraction of the steps in which the learning rate rises."""
    exit_weights: tuple[float, ...] = (0.4, 0.5, 0.6, 1.0)
    """Weight of each head's cross-entropy in the joint loss."""
    held_out: int = 5_000
    """Training images kept for calibration; the network never sees them in training."""
    crop_padding: int = 4
    seed: int = 0

    def rate(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1]: linear rise, then cosine fall to zero."""
        if progress < self.warm_up:
            return self.max_rate * (0.05 + 0.95 * progress / self.warm_up)
        fall = (progress - self.warm_up) / (1 - self.warm_up)
        return self.max_rate * 0.5 * (1 + math.cos(math.pi * fall))


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave."""

    epoch: int
    loss: float
    accuracy: tuple[float, ...]
    """Accuracy of each head on the held-out slice."""
    seconds: float


def split_training(images: ImageSet, settings: TrainSettings) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training images that are trained on and of those held out for calibration, by the seed."""
    order = np.random.default_rng(settings.seed).permutation(len(images.train_labels))
    return np.sort(order[settings.held_out :]), np.sort(order[: settings.held_out])


def normalise(images: Tensor) -> Tensor:
    """uint8 images (n, 3, h, w) as standardised float32 in channels-last memory order."""
    mean = torch.tensor(MEAN).view(1, 3, 1, 1) * 255
    deviation = torch.tensor(DEVIATION).view(1, 3, 1, 1) * 255
    return ((images.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Random crop after reflection padding and random mirror image, per sample; uint8 (n, 3, h, w) in and out."""
    count, _, height, width = images.shape
    padded = functional.pad(images.float(), (padding,) * 4, mode="reflect").to(torch.uint8)
    top = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
    mirror = torch.rand((count, 1), generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirror, width - 1 - columns, columns) + left
    sample = torch.arange(count)[:, None, None]
    pixels_last = padded.permute(0, 2, 3, 1)
    return pixels_last[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def joint_loss(logits: list[Tensor], labels: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Weighted mean of the heads' cross-entropies (BranchyNet, Teerapittayanon et al. 2016)."""
    losses = [weight * functional.cross_entropy(head, labels) for head, weight in zip(logits, weights, strict=True)]
    return torch.stack(losses).sum() / sum(weights)


@torch.no_grad()
def predict(network: EarlyExitCnn, images: Tensor, batch: int = 500) -> Tensor:
    """Logits of every head, float32 (n, exits, classes), of uint8 images."""
    network.eval()
    starts = range(0, len(images), batch)
    parts = [torch.stack(network(normalise(images[start : start + batch])), dim=1) for start in starts]
    return torch.cat(parts)


def _save(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".part")
    torch.save(content, partial)
    os.replace(partial, path)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            path, "", "must be a readable training checkpoint", reason, "remove it to start anew"
        ) from error
    if not isinstance(content, dict) or not {"network", "optimiser", "epoch", "settings", "shape"} <= content.keys():
        raise InputError(path, "", "must be a training checkpoint of this project", None, "remove it to start anew")
    return content


def _require_same(checkpoint: Path, wanted: dict[str, dict[str, Any]], stored: dict[str, Any]) -> None:
    """Refuse to continue a run with other settings; names the first that differs."""
    for part, values in wanted.items():
        for key, value in values.items():
            if stored[part].get(key) != value:
                rule = f"must be the run's own, {stored[part].get(key)!r}"
                raise InputError(checkpoint, f"{part}.{key}", rule, value, "use another run folder")


def _shape_from(content: dict[str, Any]) -> NetworkShape:
    stored = content["shape"].items()
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored}
    return NetworkShape(**values)


def _build(shape: NetworkShape | None) -> EarlyExitCnn:
    """A network in channels-last memory order, which convolutions on a CPU prefer."""
    network = EarlyExitCnn(shape)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def load_network(path: Path) -> tuple[EarlyExitCnn, dict[str, Any]]:
    """The network of a checkpoint, in evaluation mode, and the checkpoint's other content.

    Raises:
        InputError: If the file is not such a checkpoint.
    """
    content = _load(path)
    network = _build(_shape_from(content))
    network.load_state_dict(content["network"])
    network.eval()
    return network, content


def train_network(
    images: ImageSet,
    checkpoint: Path,
    settings: TrainSettings,
    shape: NetworkShape | None = None,
    on_step: Callable[[int, int, int, float], None] = lambda epoch, step, steps, loss: None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> EarlyExitCnn:
    """Train all heads jointly; continues from `checkpoint` if it exists, and writes it after every epoch.

    Random numbers depend on (seed, epoch) only, so a resumed run repeats an uninterrupted one (up to the
    non-associativity of multi-threaded sums).

    Args:
        images: Training and test images; the test part is not touched.
        checkpoint: File to write, atomically, after each epoch.
        settings: What to compute.
        shape: Network to train; the default shape if None.
        on_step: Called after each step with (epoch, step, steps per epoch, loss).
        on_epoch: Called after each epoch.

    Raises:
        InputError: If the checkpoint is damaged or was made with other settings.
    """
    torch.manual_seed(settings.seed)
    network = _build(shape)
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=settings.max_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
    )
    first = 0
    stored = {"settings": asdict(settings), "shape": network.shape.as_dict()}
    if checkpoint.exists():
        content = _load(checkpoint)
        _require_same(checkpoint, stored, content)
        network.load_state_dict(content["network"])
        optimiser.load_state_dict(content["optimiser"])
        first = content["epoch"]
    trained, held_out = split_training(images, settings)
    pixels, labels = torch.from_numpy(images.train_images), torch.from_numpy(images.train_labels)
    for epoch in range(first, settings.epochs):
        started = time.perf_counter()
        loss = _epoch(network, optimiser, pixels[trained], labels[trained], settings, epoch, on_step)
        logits = predict(network, pixels[held_out])
        accuracy = (logits.argmax(-1) == labels[held_out][:, None]).double().mean(0)
        report = EpochReport(epoch + 1, loss, tuple(accuracy.tolist()), time.perf_counter() - started)
        content = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch + 1}
        _save(checkpoint, content | stored | {"images": images.name})
        on_epoch(report)
    network.eval()
    return network


def _epoch(
    network: EarlyExitCnn,
    optimiser: torch.optim.Optimizer,
    pixels: Tensor,
    labels: Tensor,
    settings: TrainSettings,
    epoch: int,
    on_step: Callable[[int, int, int, float], None],
) -> float:
    """One pass over the training images; the mean loss."""
    network.train()
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch)
    steps = len(labels) // settings.batch
    order = torch.randperm(len(labels), generator=generator)
    total = 0.0
    for step in range(steps):
        rate = settings.rate((epoch * steps + step) / (settings.epochs * steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        chosen = order[step * settings.batch : (step + 1) * settings.batch]
        images = normalise(augment(pixels[chosen], settings.crop_padding, generator))
        loss = joint_loss(network(images), labels[chosen], settings.exit_weights)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        value = float(loss.detach())
        total += value
        on_step(epoch, step + 1, steps, value)
    return total / max(1, steps)
