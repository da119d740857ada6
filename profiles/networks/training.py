"""Training of an early-exit network, jointly or classifier by classifier, resumable after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...errors import InputError
from ..images.augmentation import augment
from ..images.image_set import ImageSet
from .checkpoints import build_network, read_checkpoint, require_same, shape_from, write_checkpoint
from .network import EarlyExitCnn, NetworkShape

__all__ = ["METHODS", "EpochReport", "TrainSettings", "split_training", "train_network"]

METHODS = ("joint", "classifiers")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides what a training run computes.

    Raises:
        InputError: If a word is unknown or the numbers of epochs do not fit the method.
    """

    epochs: int = 14
    """Passes over the training images of the whole network: all heads (`joint`), or the backbone with its final one."""
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
    method: str = "joint"
    """`joint` (BranchyNet) or `classifiers` (Shallow-Deep Networks: backbone first, then its internal classifiers)."""
    head_epochs: int = 0
    """Passes for the internal classifiers on the finished, frozen backbone; only with `classifiers`."""
    head_rate: float = 1e-3
    """Learning rate of Adam for the internal classifiers; a tenth of it in the last two fifths of the passes."""
    precision: str = "float32"
    """`bfloat16`: convolutions and matrix products while training (autocast); weights and the exit table: float32."""

    def __post_init__(self) -> None:
        for name, value, known in (("method", self.method, METHODS), ("precision", self.precision, PRECISIONS)):
            if value not in known:
                raise InputError("training settings", name, f"must be one of {', '.join(known)}", value)
        if (self.method == "classifiers") != (self.head_epochs > 0):
            rule = "must be at least 1 with the method 'classifiers' and 0 with 'joint'"
            raise InputError("training settings", "head_epochs", rule, self.head_epochs)

    @property
    def total_epochs(self) -> int:
        """Epochs of both phases."""
        return self.epochs + self.head_epochs

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


def joint_loss(logits: list[Tensor], labels: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Weighted mean of the heads' cross-entropies (BranchyNet, Teerapittayanon et al. 2016)."""
    losses = [weight * functional.cross_entropy(head, labels) for head, weight in zip(logits, weights, strict=True)]
    return torch.stack(losses).sum() / sum(weights)


@torch.no_grad()
def predict(network: EarlyExitCnn, images: Tensor, batch: int = 500) -> Tensor:
    """Logits of every head, float32 (n, exits, classes) on the CPU, of uint8 images."""
    network.eval()
    device = next(network.parameters()).device
    starts = range(0, len(images), batch)
    chunks = (network.prepare(images[start : start + batch].to(device)) for start in starts)
    return torch.cat([torch.stack(network(chunk), dim=1).float().cpu() for chunk in chunks])


class _Trainer:
    """One run: the network, the optimiser of the current phase, and a step for either phase."""

    def __init__(self, network: EarlyExitCnn, settings: TrainSettings, device: torch.device) -> None:
        self.network, self.settings, self.device = network.to(device), settings, device
        self.heads_only = False
        self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
            network.parameters(),
            lr=settings.max_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=True,
        )

    def reduced(self) -> torch.autocast:
        """The context in which convolutions and matrix products have the precision of the settings."""
        enabled = self.settings.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def enter(self, epoch: int) -> None:
        """Change to the internal classifiers once the backbone is done: fresh Adam, backbone frozen."""
        if epoch >= self.settings.epochs and not self.heads_only:
            self.heads_only = True
            self.optimiser = torch.optim.Adam(self.network.heads[:-1].parameters(), lr=self.settings.head_rate)

    def set_rate(self, epoch: int, progress: float) -> None:
        """Learning rate within the current phase; `progress` in [0, 1] is that of the epoch."""
        settings = self.settings
        rate = settings.rate((epoch + progress) / settings.epochs) if not self.heads_only else settings.head_rate
        if self.heads_only and epoch - settings.epochs >= 0.6 * settings.head_epochs:
            rate = settings.head_rate / 10
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def train_mode(self) -> None:
        """Batch statistics for what is trained, fixed ones for a frozen backbone."""
        self.network.train(not self.heads_only)
        if self.heads_only:
            self.network.heads[:-1].train()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of the current phase for a batch of uint8 images."""
        network, settings = self.network, self.settings
        prepared = network.prepare(images)
        with self.reduced():
            if settings.method == "joint":
                return joint_loss([head.float() for head in network(prepared)], labels, settings.exit_weights)
            with torch.set_grad_enabled(not self.heads_only):
                tensors = network.activations(prepared)
            if not self.heads_only:
                return functional.cross_entropy(network.heads[-1](tensors[-1]).float(), labels)
            inner = zip(network.heads[:-1], network.shape.exits[:-1], strict=True)
            logits = [head(tensors[after]).float() for head, after in inner]
            return joint_loss(logits, labels, (1.0,) * len(logits))

    def epoch(
        self, epoch: int, pixels: Tensor, labels: Tensor, on_step: Callable[[int, int, int, float], None]
    ) -> float:
        """One pass over the training images; the mean loss."""
        settings = self.settings
        self.train_mode()
        generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch)
        steps = len(labels) // settings.batch
        order = torch.randperm(len(labels), generator=generator)
        total = 0.0
        for step in range(steps):
            self.set_rate(epoch, step / steps)
            chosen = order[step * settings.batch : (step + 1) * settings.batch]
            images = augment(pixels[chosen], settings.crop_padding, generator)
            loss = self.loss(images.to(self.device), labels[chosen].to(self.device))
            self.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimiser.step()
            value = float(loss.detach())
            total += value
            on_step(epoch, step + 1, steps, value)
        return total / max(1, steps)


def train_network(
    images: ImageSet,
    checkpoint: Path,
    settings: TrainSettings,
    shape: NetworkShape | None = None,
    on_step: Callable[[int, int, int, float], None] = lambda epoch, step, steps, loss: None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    device: str = "cpu",
) -> EarlyExitCnn:
    """Train a network with its heads; continues from `checkpoint` if it exists, and writes it after every epoch.

    With the method `joint` all heads are trained together. With `classifiers` the backbone is trained with its final
    classifier alone; then it is frozen, batch statistics included, and the internal classifiers are trained on it.

    Random numbers depend on (seed, epoch) only, so a resumed run repeats an uninterrupted one (up to the
    non-associativity of multi-threaded sums).

    Args:
        images: Training and test images; the test part is not touched.
        checkpoint: File to write, atomically, after each epoch.
        settings: What to compute.
        shape: Network to train; the default shape if None.
        on_step: Called after each step with (epoch, step, steps per epoch, loss).
        on_epoch: Called after each epoch.
        device: Where to train: `cpu`, or another device of torch.

    Returns:
        The network, on the CPU and in evaluation mode.

    Raises:
        InputError: If the checkpoint is damaged or was made with other settings.
    """
    torch.manual_seed(settings.seed)
    network = build_network(shape)
    if settings.method == "joint" and len(settings.exit_weights) != len(network.shape.exits):
        rule = f"must have {len(network.shape.exits)} entries, one per exit"
        raise InputError("training settings", "exit_weights", rule, settings.exit_weights)
    trainer = _Trainer(network, settings, torch.device(device))
    first = 0
    stored = {"settings": asdict(settings), "shape": network.shape.as_dict()}
    if checkpoint.exists():
        first = _resume(checkpoint, trainer)
    trained, held_out = split_training(images, settings)
    pixels, labels = torch.from_numpy(images.train_images), torch.from_numpy(images.train_labels)
    for epoch in range(first, settings.total_epochs):
        started = time.perf_counter()
        trainer.enter(epoch)
        loss = trainer.epoch(epoch, pixels[trained], labels[trained], on_step)
        with trainer.reduced():
            logits = predict(network, pixels[held_out])
        accuracy = (logits.argmax(-1) == labels[held_out][:, None]).double().mean(0)
        report = EpochReport(epoch + 1, loss, tuple(accuracy.tolist()), time.perf_counter() - started)
        content = {"network": network.state_dict(), "optimiser": trainer.optimiser.state_dict(), "epoch": epoch + 1}
        write_checkpoint(checkpoint, content | stored | {"images": images.name})
        on_epoch(report)
    network.eval()
    return network.cpu()


def _resume(checkpoint: Path, trainer: _Trainer) -> int:
    """Load what a checkpoint stores into the trainer; the number of finished epochs."""
    content: dict[str, Any] = read_checkpoint(checkpoint)
    require_same(checkpoint, "shape", trainer.network.shape.as_dict(), shape_from(content).as_dict())
    require_same(checkpoint, "settings", asdict(trainer.settings), asdict(TrainSettings()) | content["settings"])
    finished = int(content["epoch"])
    trainer.enter(finished - 1)
    trainer.network.load_state_dict(content["network"])
    trainer.optimiser.load_state_dict(content["optimiser"])
    return finished
