"""Results of the model-inversion attack: per decoder, per run folder, and as leakage per cut."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import write_atomically
from .protections import NO_PROTECTION

__all__ = ["ATTACKERS", "PICTURES", "AttackResult", "Attacks", "continue_attacks", "read_attacks", "write_attacks"]

ATTACKERS = ("same-set", "same-distribution", "other-set")
"""Whose images the attacker trains on: the network's own training set; held-out ones of its kind; another data set."""

RESULTS, PICTURES = "attack.json", "attack"


@dataclass(frozen=True)
class AttackResult:
    """How well one decoder reconstructs unseen images, and what the defence costs in accuracy."""

    cut: int
    attacker: str
    protection: str
    mse: float
    psnr_db: float
    ssim: float
    accuracy: float
    """Final accuracy of the network over the test images with this defence at this cut."""
    seconds: float
    """Processor time of training and evaluation."""

    @property
    def key(self) -> tuple[int, str, str]:
        """What tells decoders apart."""
        return self.cut, self.attacker, self.protection


@dataclass(frozen=True)
class Attacks:
    """All results of a run folder.

    Attributes:
        results: One per decoder.
        mean_image_mse: Squared error of guessing the mean public image for every evaluated image.
        settings: What was run, as plain values.
    """

    results: tuple[AttackResult, ...]
    mean_image_mse: float
    settings: dict[str, Any]

    def leakage(self, stages: int, protection: str = NO_PROTECTION.name) -> NDArray[np.float64] | None:
        """Leakage at the cuts 0..M: the share of the pixels' variance that the strongest attacker recovers.

        `1 - MSE / MSE of the mean image`, not below 0: 1 for the raw input, 0 for an attacker that can do no
        better than to guess the mean image. At cut M only the answer is sent; its entry is 0 by definition. Without a
        defence, who sees a cut can run the later stages and attack what comes out, so that a cut leaks at least what
        later ones do.

        Args:
            stages: M.
            protection: Name of a defence.

        Returns:
            float64 (M + 1,), or None unless every cut 1..M-1 was attacked.
        """
        values = np.zeros(stages + 1)
        values[0] = 1.0
        for cut in range(1, stages):
            errors = [row.mse for row in self.results if (row.cut, row.protection) == (cut, protection)]
            if not errors:
                return None
            values[cut] = min(1.0, max(0.0, 1 - min(errors) / self.mean_image_mse))
        if protection == NO_PROTECTION.name:
            values = np.maximum.accumulate(values[::-1])[::-1]
        return values

    def accuracy(self, cut: int, protection: str) -> float:
        """Final accuracy with a defence at a cut."""
        return next(row.accuracy for row in self.results if (row.cut, row.protection) == (cut, protection))


def read_attacks(folder: Path) -> Attacks | None:
    """The results in a run folder, or None where nothing was attacked.

    Raises:
        InputError: If the file is damaged.
    """
    path = folder / RESULTS
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(AttackResult(**row) for row in content["results"])
        return Attacks(rows, float(content["mean_image_mse"]), dict(content["settings"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            path, "", "must be a readable list of attacks", str(error), "remove it to start anew"
        ) from error


def continue_attacks(folder: Path, settings: dict[str, Any]) -> Attacks | None:
    """The results so far; refuses to mix results of different settings."""
    known = read_attacks(folder)
    if known is not None:
        for key, value in settings.items():
            if known.settings.get(key, value) != value:
                rule = f"must be those of the results so far, {known.settings[key]!r}"
                raise InputError(folder / RESULTS, key, rule, value, "remove the file to start anew")
    return known


def write_attacks(folder: Path, attacks: Attacks) -> None:
    """Replace the results of a run folder in one step."""
    content = {
        "settings": attacks.settings,
        "mean_image_mse": attacks.mean_image_mse,
        "results": [asdict(row) for row in attacks.results],
    }
    write_atomically(folder / RESULTS, (json.dumps(content, indent=1) + "\n").encode())
