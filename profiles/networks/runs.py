"""The run folder: what training writes into it, and how it is read again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError
from ...files import write_atomically
from ..images.image_set import ImageSet
from ..provenance import machine_name, today, versions
from .calibration import ExitTable, exit_table
from .checkpoints import load_network, shape_from
from .network import EarlyExitCnn, NetworkShape
from .training import EpochReport, TrainSettings, predict, split_training, train_network

__all__ = ["FinishedRun", "finish_run", "read_run", "run_dataset", "train_run"]

CHECKPOINT, TABLE, REPORT, HISTORY = "checkpoint.pt", "exits.npz", "training.json", "history.jsonl"


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished training run, read from its folder."""

    network: EarlyExitCnn
    """In evaluation mode."""
    report: dict[str, Any]
    """`training.json`."""
    confidence: NDArray[np.float32]
    correct: NDArray[np.bool_]

    @property
    def settings(self) -> TrainSettings:
        """The settings of the training."""
        stored = self.report["settings"]
        return TrainSettings(**(stored | {"exit_weights": tuple(stored["exit_weights"])}))


def train_run(
    folder: Path,
    images: ImageSet,
    settings: TrainSettings,
    shape: NetworkShape | None = None,
    on_step: Callable[[int, int, int, float], None] = lambda epoch, step, steps, loss: None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    device: str = "cpu",
    labels: dict[str, str] | None = None,
) -> ExitTable:
    """Train (or continue) the run in `folder`, then calibrate its heads and write the table of the test images.

    The folder receives `checkpoint.pt` and a line of `history.jsonl` after every epoch; at the end `exits.npz` and
    `training.json`.

    Args:
        folder: The run folder.
        images: What to train and test on.
        settings: What to compute.
        shape: The network; the default shape if None.
        on_step: Called after each step with (epoch, step, steps per epoch, loss).
        on_epoch: Called after each epoch.
        device: Where to train.
        labels: More entries for `training.json`, such as the data set's name and the command.

    Raises:
        InputError: If the folder holds a damaged checkpoint or one of other settings; nothing is overwritten then.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def record(report: EpochReport) -> None:
        with (folder / HISTORY).open("a", encoding="utf-8") as history:
            history.write(json.dumps(asdict(report)) + "\n")
        on_epoch(report)

    network = train_network(images, folder / CHECKPOINT, settings, shape, on_step, record, device)
    return finish_run(folder, network, images, settings, labels)


def finish_run(
    folder: Path,
    network: EarlyExitCnn,
    images: ImageSet,
    settings: TrainSettings,
    labels: dict[str, str] | None = None,
) -> ExitTable:
    """Calibrate on the held-out slice, evaluate the test images, and write both into the run folder."""
    _, held_out = split_training(images, settings)
    calibration = predict(network, torch.from_numpy(images.train_images[held_out])).numpy()
    test = predict(network, torch.from_numpy(images.test_images)).numpy()
    table = exit_table(calibration, images.train_labels[held_out], test, images.test_labels)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, confidence=table.confidence, correct=table.correct)
    report = {
        "images": images.name,
        **(labels or {}),
        "settings": asdict(settings),
        "shape": network.shape.as_dict(),
        "accuracy": table.correct.mean(axis=0).tolist(),
        "temperature": list(table.temperature),
        "calibration_error_before": list(table.error_before),
        "calibration_error": list(table.error_after),
        "date": today(),
        "versions": versions(),
        "machine": machine_name(),
    }
    write_atomically(folder / TABLE, buffer.getvalue())
    write_atomically(folder / REPORT, (json.dumps(report, indent=2) + "\n").encode())
    return table


def run_dataset(folder: Path) -> str:
    """The data set of a finished run, by name.

    Raises:
        InputError: If the run is unfinished or its report is damaged.
    """
    return str(_read_report(folder).get("dataset", "cifar10"))


def read_run(folder: Path) -> FinishedRun:
    """Network, training report and table of a finished run.

    Raises:
        InputError: If a file is missing or damaged, or if report and checkpoint disagree.
    """
    report = _read_report(folder)
    network, _ = load_network(folder / CHECKPOINT)
    try:
        with np.load(folder / TABLE, allow_pickle=False) as arrays:
            confidence, correct = arrays["confidence"], arrays["correct"]
        stored = shape_from(report)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise _damaged(folder, error) from error
    if stored != network.shape:
        raise InputError(folder / REPORT, "shape", "must be the checkpoint's", report["shape"])
    return FinishedRun(network, report, confidence, correct)


def _read_report(folder: Path) -> dict[str, Any]:
    for file_name in (CHECKPOINT, TABLE, REPORT):
        if not (folder / file_name).is_file():
            remedy = "finish it with 'edgecloud profiles train'"
            raise InputError(folder / file_name, "", "must exist in a finished training run", None, remedy)
    try:
        report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        return dict(report)
    except (ValueError, OSError, TypeError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> InputError:
    remedy = "run 'edgecloud profiles train' on the folder again"
    return InputError(folder, "", "must hold a readable exits.npz and training.json", str(error), remedy)
