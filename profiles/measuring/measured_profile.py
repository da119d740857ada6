"""From a finished training run to its profile: costs measured here, exits from the run, leakage from its attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError
from ..images.image_set import ImageSet
from ..networks.network import EarlyExitCnn
from ..networks.runs import FinishedRun, read_run
from ..privacy.accuracy import accuracy_over_int8
from ..privacy.attack_results import Attacks, read_attacks
from ..privacy.leakage import MEASURE, Leakage, leakage_per_cut
from ..privacy.protections import NO_PROTECTION, parse_protection
from ..profile import Profile, Protection, Reference
from ..provenance import machine_name, today, versions
from .costs import Costs, measure_costs

__all__ = ["ATTACK_MEASURE", "measure_run"]

LEAKAGE_BATCH = 1_000

ATTACK_MEASURE = (
    "share of the pixel variance of unseen test images that the strongest model-inversion attack recovers from the "
    "float32 activation: 1 - MSE / MSE of guessing the mean image, not below 0, at least that of later cuts; 1 at cut "
    "0 (the input itself), 0 at cut M (nothing is sent)"
)


def measure_run(
    folder: Path,
    images: ImageSet,
    name: str,
    pixels: int = 0,
    runs: int = 31,
    command: str = "",
    on_part: Callable[[str], None] = lambda text: None,
) -> tuple[Profile, Costs]:
    """Measure the network of a finished training run and assemble its profile.

    Stage costs are measured at `pixels` x `pixels`; exits and leakage always at the images' own size. Where every
    cut of the run was attacked (`edgecloud profiles attack`), that is the leakage; else it is the distance correlation.

    Args:
        folder: The run folder.
        images: The images of the run; the test part is used for leakage.
        name: Name of the profile.
        pixels: Input height and width for latency, operations, bytes and memory; 0: the images' own.
        runs: Timed runs per stage.
        command: The command to record.
        on_part: Called with a word on what is being measured.

    Raises:
        InputError: If the run is unfinished or damaged.
    """
    run = read_run(folder)
    attacks = read_attacks(folder)
    network, native = run.network, int(images.test_images.shape[-1])
    pixels = pixels or native
    if pixels < native:
        raise InputError("--pixels", "", f"must be 0 or at least {native}, the images' own size", pixels)
    on_part(f"latency at {pixels} px")
    costs = measure_costs(network, pixels, runs)
    on_part("distance correlation")
    dependence = leakage_per_cut(_cut_batches(network, images.test_images))
    protections = _protections(attacks, run) if attacks else ()
    on_part("int8 activations")
    known = next((list(item.accuracy[:-1]) for item in protections if item.name == "int8"), None)
    int8_accuracy = known or accuracy_over_int8(network, images.test_images, images.test_labels)
    total_flops = sum(stage.flops for stage in costs.stages) + costs.exits[-1].flops
    attacked = attacks.leakage(len(network.stages)) if attacks else None
    profile = Profile(
        name=name,
        description=_description(run, pixels, native),
        stages=costs.stages,
        input_bytes=network.shape.channels * pixels * pixels,
        result_bytes=4 * network.shape.classes,
        exits=costs.exits,
        confidence=run.confidence,
        correct=run.correct,
        leakage=np.round(dependence.values if attacked is None else attacked, 6),
        leakage_measure=MEASURE if attacked is None else ATTACK_MEASURE,
        reference=Reference(
            machine=machine_name(),
            effective_flops=total_flops / costs.sum_s,
            threads=1,
            batch=1,
            runs=costs.runs,
            whole_latency_s=costs.whole.median_s,
        ),
        provenance=_provenance(run, dependence, int8_accuracy, command, pixels, images)
        | (_attack_provenance(attacks) if attacks else {}),
        protections=protections,
    )
    return profile, costs


@torch.inference_mode()
def _cut_batches(network: EarlyExitCnn, images: NDArray[np.uint8]) -> Iterator[Sequence[NDArray[np.floating]]]:
    """The tensors at every cut for batches of test images; the raw input in [0, 1]."""
    size = min(LEAKAGE_BATCH, len(images))
    for start in range(0, len(images) - size + 1, size):
        part = torch.from_numpy(images[start : start + size])
        _, *inner = network.activations(network.prepare(part))
        yield [part.numpy() / 255.0, *(tensor.numpy() for tensor in inner)]


def _protections(attacks: Attacks, run: FinishedRun) -> tuple[Protection, ...]:
    """The defences that were attacked at every cut, in the order in which they were attacked."""
    stages, final = len(run.network.stages), float(run.correct[:, -1].mean())
    names = dict.fromkeys(row.protection for row in attacks.results if row.protection != NO_PROTECTION.name)
    found = []
    for name in names:
        values = attacks.leakage(stages, name)
        if values is not None:
            inner = [attacks.accuracy(cut, name) for cut in range(1, stages)]
            words = parse_protection(name.replace("-", ":", 1)).description
            leakage = tuple(round(float(value), 6) for value in values)
            found.append(Protection(name=name, description=words, leakage=leakage, accuracy=(final, *inner, final)))
    return tuple(found)


def _attack_provenance(attacks: Attacks) -> dict[str, Any]:
    """Every attack with its figures, rounded as far as they mean something."""
    rows = [
        {
            "cut": row.cut,
            "attacker": row.attacker,
            "protection": row.protection,
            "mse": float(f"{row.mse:.4g}"),
            "psnr_db": round(row.psnr_db, 2),
            "ssim": round(row.ssim, 4),
        }
        for row in attacks.results
    ]
    return {
        "attack": {
            "settings": attacks.settings,
            "mean_image_mse": float(f"{attacks.mean_image_mse:.6g}"),
            "results": rows,
        }
    }


def _description(run: FinishedRun, pixels: int, native: int) -> str:
    shape = run.network.shape
    kind = "residual network" if shape.block == "residual" else "CNN"
    head = f"Early-exit {kind}, {len(shape.widths)} stages and {len(shape.exits)} exits"
    text = f"{head}, trained on {run.report['images']}; costs measured at {pixels} px"
    if pixels != native:
        text += f", exits and leakage at the native {native} px"
    return text


def _provenance(
    run: FinishedRun, leakage: Leakage, int8_accuracy: list[float], command: str, pixels: int, images: ImageSet
) -> dict[str, Any]:
    settings, native = run.settings, int(images.test_images.shape[-1])
    notes = [
        "FLOPs count a multiply-add as two; convolutions and matrix products only (torch.utils.flop_counter).",
        "Latencies: processor time of one thread, batch 1, float32, batch normalisation not folded; medians.",
        "Output bytes: one byte per element (int8, scaled per tensor); the few bytes of header and scale are left out.",
        "Exit table: confidence is the largest softmax probability after temperature scaling per head.",
    ]
    if pixels != native:
        notes.append(
            f"Stage costs (latency, FLOPs, bytes, memory) are measured with {pixels}x{pixels} input; the exit table "
            f"and the leakage come from the same network on {native}x{native} test images. The network was not "
            f"trained on {pixels}x{pixels} images."
        )
    fallback = f"edgecloud profiles train RUN --epochs {settings.epochs} --seed {settings.seed}"
    return {
        "command": command,
        "training_command": run.report.get("command", fallback),
        "date": today(),
        "seed": settings.seed,
        "versions": versions(),
        "data": f"{images.name} ({images.source}), exit table of the test images",
        "cost_pixels": pixels,
        "exit_table_pixels": native,
        "training": {key: value for key, value in run.report.items() if key not in ("images", "command")},
        "distance_correlation": np.round(leakage.values, 6).tolist(),
        "leakage_deviation": np.round(leakage.deviation, 6).tolist(),
        "leakage_batches": leakage.batches,
        "accuracy_with_int8_at_cut": int8_accuracy,
        "notes": notes,
    }
