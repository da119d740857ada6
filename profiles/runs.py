"""From training to a profile: the two steps behind `edgecloud profiles train` and `edgecloud profiles measure`."""

from __future__ import annotations

import datetime
import io
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..files import write_atomically
from .calibration import ExitTable, exit_table
from .cifar10 import PACKAGE, ImageSet
from .leakage import MEASURE, Leakage, leakage_per_cut
from .measuring import Costs, measure_costs
from .network import EarlyExitCnn, NetworkShape
from .profile import Profile, Reference
from .training import EpochReport, TrainSettings, load_network, normalise, predict, split_training, train_network

__all__ = ["accuracy_over_int8", "finish_run", "measure_run", "train_run"]

CHECKPOINT, TABLE, REPORT, HISTORY = "checkpoint.pt", "exits.npz", "training.json", "history.jsonl"
LEAKAGE_BATCH = 1_000
RESULT_BYTES = 40
"""The answer of the final classifier: ten float32 scores."""


def train_run(
    folder: Path,
    images: ImageSet,
    settings: TrainSettings,
    shape: NetworkShape | None = None,
    on_step: Callable[[int, int, int, float], None] = lambda epoch, step, steps, loss: None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> ExitTable:
    """Train (or continue) the run in `folder`, then calibrate its heads and write the table of the test images.

    The folder receives `checkpoint.pt` and a line of `history.jsonl` after every epoch; at the end `exits.npz` and
    `training.json`.

    Raises:
        InputError: If the folder holds a damaged checkpoint or one of other settings; nothing is overwritten then.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def record(report: EpochReport) -> None:
        with (folder / HISTORY).open("a", encoding="utf-8") as history:
            history.write(json.dumps(asdict(report)) + "\n")
        on_epoch(report)

    network = train_network(images, folder / CHECKPOINT, settings, shape, on_step, record)
    return finish_run(folder, network, images, settings)


def finish_run(folder: Path, network: EarlyExitCnn, images: ImageSet, settings: TrainSettings) -> ExitTable:
    """Calibrate on the held-out slice, evaluate the test images, and write both into the run folder."""
    _, held_out = split_training(images, settings)
    calibration = predict(network, torch.from_numpy(images.train_images[held_out])).numpy()
    test = predict(network, torch.from_numpy(images.test_images)).numpy()
    table = exit_table(calibration, images.train_labels[held_out], test, images.test_labels)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, confidence=table.confidence, correct=table.correct)
    report = {
        "images": images.name,
        "settings": asdict(settings),
        "shape": network.shape.as_dict(),
        "accuracy": table.correct.mean(axis=0).tolist(),
        "temperature": list(table.temperature),
        "calibration_error_before": list(table.error_before),
        "calibration_error": list(table.error_after),
        "date": _today(),
        "versions": _versions(),
        "machine": machine_name(),
    }
    write_atomically(folder / TABLE, buffer.getvalue())
    write_atomically(folder / REPORT, (json.dumps(report, indent=2) + "\n").encode())
    return table


def measure_run(
    folder: Path,
    images: ImageSet,
    name: str,
    pixels: int = 32,
    runs: int = 31,
    command: str = "",
    on_part: Callable[[str], None] = lambda text: None,
) -> tuple[Profile, Costs]:
    """Measure the network of a finished training run and assemble its profile.

    Stage costs are measured at `pixels` x `pixels`; exits and leakage always at the images' own size.

    Args:
        folder: The run folder.
        images: The images of the run; the test part is used for leakage.
        name: Name of the profile.
        pixels: Input height and width for latency, operations, bytes and memory.
        runs: Timed runs per stage.
        command: The command to record.
        on_part: Called with a word on what is being measured.

    Raises:
        InputError: If the run is unfinished or damaged.
    """
    network, report, confidence, correct = _read_run(folder)
    native = int(images.test_images.shape[-1])
    on_part(f"latency at {pixels} px")
    costs = measure_costs(network, pixels, runs)
    on_part("leakage")
    leakage = leakage_per_cut(_cut_batches(network, images.test_images))
    on_part("int8 activations")
    int8_accuracy = accuracy_over_int8(network, images.test_images, images.test_labels)
    total_flops = sum(stage.flops for stage in costs.stages) + costs.exits[-1].flops
    profile = Profile(
        name=name,
        description=_description(report, pixels, native),
        stages=costs.stages,
        input_bytes=3 * pixels * pixels,
        result_bytes=RESULT_BYTES,
        exits=costs.exits,
        confidence=confidence,
        correct=correct,
        leakage=np.round(leakage.values, 6),
        leakage_measure=MEASURE,
        reference=Reference(
            machine=machine_name(),
            effective_flops=total_flops / costs.sum_s,
            threads=1,
            batch=1,
            runs=costs.runs,
            whole_latency_s=costs.whole.median_s,
        ),
        provenance=_provenance(report, leakage, int8_accuracy, command, pixels, native),
    )
    return profile, costs


@torch.inference_mode()
def accuracy_over_int8(network: EarlyExitCnn, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> list[float]:
    """Final accuracy when the tensor at cut 0..M-1 is sent with eight bits per element.

    Activations follow a ReLU, so each sample's tensor is scaled by its maximum and rounded to 0..255. The raw input
    (cut 0) is sent as the eight-bit image that it is, so that its entry is the accuracy without any quantisation.

    Args:
        network: The network, in evaluation mode.
        images: uint8 (n, 3, h, w).
        labels: int64 (n,).

    Returns:
        M fractions in [0, 1].
    """
    hits = np.zeros(len(network.stages), dtype=np.int64)
    for start in range(0, len(images), 500):
        part = torch.from_numpy(images[start : start + 500])
        truth = torch.from_numpy(labels[start : start + 500])
        tensors = network.activations(normalise(part))
        for cut in range(len(network.stages)):
            activation = tensors[cut] if cut == 0 else _through_int8(tensors[cut])
            for stage in network.stages[cut:]:
                activation = stage(activation)
            hits[cut] += int((network.heads[-1](activation).argmax(dim=1) == truth).sum())
    fractions: list[float] = (hits / len(images)).tolist()
    return fractions


def _through_int8(activation: Tensor) -> Tensor:
    scale = activation.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12) / 255
    return torch.round(activation / scale) * scale


@torch.inference_mode()
def _cut_batches(network: EarlyExitCnn, images: NDArray[np.uint8]) -> Iterator[Sequence[NDArray[np.floating]]]:
    """The tensors at every cut for batches of test images; the raw input in [0, 1]."""
    size = min(LEAKAGE_BATCH, len(images))
    for start in range(0, len(images) - size + 1, size):
        part = torch.from_numpy(images[start : start + size])
        _, *inner = network.activations(normalise(part))
        yield [part.numpy() / 255.0, *(tensor.numpy() for tensor in inner)]


def _read_run(folder: Path) -> tuple[EarlyExitCnn, dict[str, Any], NDArray[np.float32], NDArray[np.bool_]]:
    """Network, training report and table of a finished run."""
    for file_name in (CHECKPOINT, TABLE, REPORT):
        if not (folder / file_name).is_file():
            remedy = "finish it with 'edgecloud profiles train'"
            raise InputError(folder / file_name, "", "must exist in a finished training run", None, remedy)
    network, _ = load_network(folder / CHECKPOINT)
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        with np.load(folder / TABLE, allow_pickle=False) as arrays:
            confidence, correct = arrays["confidence"], arrays["correct"]
        if report["shape"] != json.loads(json.dumps(network.shape.as_dict())):
            raise InputError(folder / REPORT, "shape", "must be the checkpoint's", report["shape"])
    except (ValueError, KeyError, OSError) as error:
        if isinstance(error, InputError):
            raise
        remedy = "run 'edgecloud profiles train' on the folder again"
        raise InputError(folder, "", "must hold a readable exits.npz and training.json", str(error), remedy) from error
    return network, report, confidence, correct


def _description(report: dict[str, Any], pixels: int, native: int) -> str:
    head = f"Early-exit CNN, {len(report['shape']['widths'])} stages and {len(report['shape']['exits'])} exits"
    text = f"{head}, trained on {report['images']}; costs measured at {pixels} px"
    if pixels != native:
        text += f", exits and leakage at the native {native} px"
    return text


def _provenance(
    report: dict[str, Any], leakage: Leakage, int8_accuracy: list[float], command: str, pixels: int, native: int
) -> dict[str, Any]:
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
    return {
        "command": command,
        "training_command": f"edgecloud profiles train RUN --epochs {report['settings']['epochs']} "
        f"--seed {report['settings']['seed']}",
        "date": _today(),
        "seed": report["settings"]["seed"],
        "versions": _versions(),
        "data": f"{report['images']} (npm package {PACKAGE}), exit table of the test images",
        "cost_pixels": pixels,
        "exit_table_pixels": native,
        "training": {key: value for key, value in report.items() if key != "images"},
        "leakage_deviation": np.round(leakage.deviation, 6).tolist(),
        "leakage_batches": leakage.batches,
        "accuracy_with_int8_at_cut": int8_accuracy,
        "notes": notes,
    }


def machine_name() -> str:
    """Processor model and architecture, without anything that identifies the host."""
    model = platform.processor() or "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{model} ({platform.machine()}, {os.cpu_count()} logical cores)"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
