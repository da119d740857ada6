"""The model-inversion attack on every cut of a trained run, resumable after every decoder."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import InputError
from ...files import write_atomically
from ..images.image_set import ImageSet
from ..networks.network import EarlyExitCnn
from ..networks.training import TrainSettings, split_training
from .accuracy import accuracy_through
from .attack_results import ATTACKERS, PICTURES, AttackResult, Attacks, continue_attacks, write_attacks
from .image_quality import image_quality, squared_errors
from .inversion import DecoderSettings, reconstruct, train_decoder
from .protections import NO_PROTECTION, ProtectionKind, fit_protection

__all__ = ["AttackPlan", "attack_network", "like"]

SHOWN = 10
"""Reconstructions that are kept as pictures per decoder."""
FITTED_ON = 500
"""Held-out images from which a defence takes its constants."""


@dataclass(frozen=True)
class AttackPlan:
    """What is attacked, by whom, and how hard.

    Attributes:
        cuts: Cuts to attack, 1..M-1; all when empty.
        attackers: Some of `ATTACKERS`, against the plain activations.
        protections: Defences, attacked by the attacker with images of the same distribution.
        decoder: How each decoder is trained.
        evaluated: Unseen test images that are reconstructed.
        accuracy_images: Test images, the first ones, over which the accuracy behind a defence is taken.
    """

    cuts: tuple[int, ...] = ()
    attackers: tuple[str, ...] = ATTACKERS
    protections: tuple[ProtectionKind, ...] = ()
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    evaluated: int = 1_000
    accuracy_images: int = 10_000

    def __post_init__(self) -> None:
        for attacker in self.attackers:
            if attacker not in ATTACKERS:
                raise InputError("--attacker", "", f"must be one of {', '.join(ATTACKERS)}", attacker)


def like(images: NDArray[np.uint8], channels: int, side: int) -> NDArray[np.uint8]:
    """Images of another data set in the form of the victim's: grey or colour, cut or padded with black to its size.

    Args:
        images: uint8 (n, c, h, w), c in (1, 3).
        channels: 1 or 3.
        side: Height and width.
    """
    if images.shape[1] == 3 and channels == 1:
        weights = np.array([0.299, 0.587, 0.114])
        images = np.rint(np.einsum("nchw,c->nhw", images, weights))[:, None].astype(np.uint8)
    elif images.shape[1] == 1 and channels == 3:
        images = np.repeat(images, 3, axis=1)
    height = images.shape[-1]
    if height > side:
        start = (height - side) // 2
        return np.ascontiguousarray(images[..., start : start + side, start : start + side])
    before = (side - height) // 2
    after = side - height - before
    return np.pad(images, ((0, 0), (0, 0), (before, after), (before, after)))


def attack_network(
    folder: Path,
    network: EarlyExitCnn,
    images: ImageSet,
    training: TrainSettings,
    other: ImageSet | None,
    plan: AttackPlan,
    on_step: Callable[[str, int, int], None] = lambda text, done, total: None,
    on_result: Callable[[AttackResult], None] = lambda result: None,
) -> Attacks:
    """Train a decoder for every cut, attacker and defence of the plan that `folder` has no result for yet.

    The attacker knows the device's part of the network and may run it on images of its own; it never sees the evaluated
    test images. Every attacker owns the same number of images.

    Args:
        folder: The run folder; receives `attack.json` after every decoder, and pictures in `attack/`.
        network: The trained network.
        images: Its data set.
        training: Its settings, which say what was held out.
        other: Another data set, for the attacker `other-set`; may be None if that is not in the plan.
        plan: What to do.
        on_step: Called while a decoder is trained with (what, step, steps).
        on_result: Called with every new result.

    Raises:
        InputError: If the folder holds results of other settings or a cut does not exist.
    """
    cuts = plan.cuts or tuple(range(1, len(network.stages)))
    for cut in cuts:
        if not 1 <= cut < len(network.stages):
            raise InputError("--cut", "", f"must be 1 to {len(network.stages) - 1}", cut)
    world = _World(images, training, other, plan)
    settings = {"decoder": asdict(plan.decoder), "evaluated": plan.evaluated, "images": images.name}
    settings |= {"accuracy_images": plan.accuracy_images, "attacker_images": world.count}
    settings |= {"other": other.name} if other else {}
    found = continue_attacks(folder, settings)
    settings = (found.settings if found else {}) | settings
    known = Attacks(found.results if found else (), world.mean_image_mse(), settings)
    jobs = [(attacker, [NO_PROTECTION]) for attacker in plan.attackers]
    jobs.append(("same-distribution", [item for item in plan.protections if item != NO_PROTECTION]))
    for attacker, protections in jobs:
        done = {row.key for row in known.results}
        missing = [(cut, item) for cut in cuts for item in protections if (cut, attacker, item.name) not in done]
        if not missing:
            continue
        victim = _Victim(network, world, attacker, sorted({cut for cut, _ in missing}))
        accuracy = _accuracy(network, images, victim, missing, known, plan, on_step)
        for cut, protection in missing:
            result = victim.attack(folder, cut, protection, accuracy[cut, protection.name], plan, on_step)
            known = Attacks((*known.results, result), known.mean_image_mse, settings)
            write_attacks(folder, known)
            on_result(result)
    return known


class _World:
    """Who owns which images."""

    def __init__(self, images: ImageSet, training: TrainSettings, other: ImageSet | None, plan: AttackPlan) -> None:
        trained, held_out = split_training(images, training)
        rng = np.random.default_rng(plan.decoder.seed)
        order = rng.permutation(len(images.test_images))
        self.unseen = images.test_images[np.sort(order[: plan.evaluated])]
        self.fitted_on = images.train_images[held_out[:FITTED_ON]]
        kept = images.test_images[np.sort(order[plan.evaluated :])]
        self.pools = {
            "same-set": images.train_images[trained],
            "same-distribution": np.concatenate([images.train_images[held_out], kept]),
        }
        if other is not None:
            channels, side = images.test_images.shape[1:3]
            self.pools["other-set"] = like(other.train_images, channels, side)
        for attacker in plan.attackers:
            if attacker not in self.pools:
                raise InputError("--attacker", attacker, "needs images of another data set")
        self.count = min(plan.decoder.images, *(len(pool) for pool in self.pools.values()))
        self.owned = {name: pool[rng.permutation(len(pool))[: self.count]] for name, pool in self.pools.items()}

    def mean_image_mse(self) -> float:
        """What guessing the mean image of the same distribution gives."""
        guess = self.owned["same-distribution"].mean(axis=0, dtype=np.float64) / 255
        return float(squared_errors(self.unseen / 255.0, np.broadcast_to(guess, self.unseen.shape)).mean())


class _Victim:
    """The activations that one attacker trains on, and those that it wants to invert, at some cuts."""

    def __init__(self, network: EarlyExitCnn, world: _World, attacker: str, cuts: Sequence[int]) -> None:
        self.world, self.attacker = world, attacker
        self.owned = torch.from_numpy(world.owned[attacker])
        self.trained_on = _activations(network, world.owned[attacker], cuts, torch.float16)
        self.seen = _activations(network, world.unseen, cuts, torch.float32)
        self.samples = _activations(network, world.fitted_on, cuts, torch.float32)

    def attack(
        self,
        folder: Path,
        cut: int,
        protection: ProtectionKind,
        accuracy: float,
        plan: AttackPlan,
        on_step: Callable[[str, int, int], None],
    ) -> AttackResult:
        """Train and evaluate one decoder; keeps a few pictures."""
        started = time.process_time()
        text = f"cut {cut}, {self.attacker}, {protection.name}"
        protect = fit_protection(protection, self.samples[cut])
        decoder = train_decoder(
            self.trained_on[cut],
            self.owned,
            protect,
            plan.decoder,
            lambda step, steps, loss: on_step(f"{text}, loss {loss:.4f}", step, steps),
        )
        copies = reconstruct(decoder, self.seen[cut], protect, plan.decoder.seed + 2).numpy()
        quality = image_quality(self.world.unseen / 255.0, copies)
        _keep_pictures(folder, self.world.unseen, copies, f"{cut}-{self.attacker}-{protection.name}")
        return AttackResult(
            cut=cut,
            attacker=self.attacker,
            protection=protection.name,
            mse=quality.mse,
            psnr_db=quality.psnr_db,
            ssim=quality.ssim,
            accuracy=accuracy,
            seconds=time.process_time() - started,
        )


def _accuracy(
    network: EarlyExitCnn,
    images: ImageSet,
    victim: _Victim,
    wanted: Sequence[tuple[int, ProtectionKind]],
    known: Attacks,
    plan: AttackPlan,
    on_step: Callable[[str, int, int], None],
) -> dict[tuple[int, str], float]:
    """Final accuracy over the test images for each cut and defence, in one pass; without a defence it is one figure."""
    guarded = [(cut, item) for cut, item in wanted if item != NO_PROTECTION]
    plain = next((row.accuracy for row in known.results if row.protection == NO_PROTECTION.name), None)
    sent = [(cut, fit_protection(item, victim.samples[cut])) for cut, item in guarded]
    if plain is None:
        sent.append((len(network.stages) - 1, fit_protection(NO_PROTECTION, victim.samples[wanted[0][0]])))
    found: list[float] = []
    if sent:
        found = accuracy_through(
            network,
            images.test_images[: plan.accuracy_images],
            images.test_labels[: plan.accuracy_images],
            sent,
            plan.decoder.seed,
            lambda done, total: on_step("accuracy behind the defences", done, total),
        )
    values = {(cut, item.name): value for (cut, item), value in zip(guarded, found, strict=False)}
    plain = found[-1] if plain is None else plain
    return values | {(cut, item.name): plain for cut, item in wanted if item == NO_PROTECTION}


@torch.inference_mode()
def _activations(
    network: EarlyExitCnn, images: NDArray[np.uint8], cuts: Sequence[int], dtype: torch.dtype
) -> dict[int, Tensor]:
    """The tensors at some cuts for uint8 images; the stages behind the last of them are not run."""
    parts: dict[int, list[Tensor]] = {cut: [] for cut in cuts}
    for start in range(0, len(images), 500):
        activation = network.prepare(torch.from_numpy(images[start : start + 500]))
        for number, stage in enumerate(network.stages[: max(cuts)], start=1):
            activation = stage(activation)
            if number in parts:
                parts[number].append(activation.to(dtype))
    return {cut: torch.cat(tensors) for cut, tensors in parts.items()}


def _keep_pictures(folder: Path, originals: NDArray[np.uint8], copies: NDArray[np.float32], name: str) -> None:
    (folder / PICTURES).mkdir(exist_ok=True)
    buffer = io.BytesIO()
    pixels = np.rint(copies[:SHOWN] * 255).astype(np.uint8)
    np.savez_compressed(buffer, originals=originals[:SHOWN], copies=pixels)
    write_atomically(folder / PICTURES / f"{name}.npz", buffer.getvalue())
