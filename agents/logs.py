"""What a run writes while it goes: TensorBoard events, one CSV row per update, raw validation scores."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter
from torch.utils.tensorboard import SummaryWriter

from ..errors import InputError
from ..files import write_atomically

__all__ = ["COLUMNS", "CsvWriter", "EventWriter"]

COLUMNS = (
    "steps",
    "time/seconds",
    "time/steps_per_s",
    "time/env_share",
    "reward/total",
    "reward/latency",
    "reward/cost",
    "reward/privacy",
    "reward/accuracy",
    "reward/failure",
    "request/latency_s",
    "request/leakage",
    "request/accuracy",
    "request/failed_share",
    "money/usd_per_1000_requests",
    "money/vm_s_per_interval",
    "money/cold_start_share",
    "energy/j_per_1000_requests",
    "action/repartitions_per_interval",
    "entropy/placement",
    "entropy/threshold",
    "entropy/route",
    "pool/chosen",
    "pool/fixed",
    "pool/hindsight",
    "validation/score",
    "train/learning_rate",
    "train/approx_kl",
    "train/clip_fraction",
    "train/value_loss",
    "train/explained_variance",
)
"""Columns of progress.csv; TensorBoard holds these and the share of every action."""

Values = dict[str, Any]


class CsvWriter(KVWriter):
    """Appends a row of `COLUMNS` per update.

    Args:
        path: The file.
        keep_steps: When a run is resumed: rows beyond this many steps are dropped first.

    Raises:
        InputError: An existing file is not one of these.
    """

    def __init__(self, path: Path, keep_steps: int | None = None) -> None:
        rows = [] if keep_steps is None else _rows_until(path, keep_steps)
        write_atomically(path, _csv([list(COLUMNS), *rows]).encode())
        self._file = path.open("a", encoding="utf-8", newline="")

    def write(self, key_values: Values, key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append a row; what has not been measured stays empty."""
        row = [step, *(_number(key_values.get(name)) for name in COLUMNS[1:])]
        self._file.write(_csv([row]))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class EventWriter(KVWriter):
    """Writes TensorBoard scalars; after a resume, what lay beyond the checkpoint is marked as void."""

    def __init__(self, folder: Path, keep_steps: int | None = None) -> None:
        purge = None if keep_steps is None else keep_steps + 1
        self._writer = SummaryWriter(log_dir=str(folder), purge_step=purge)

    def write(self, key_values: Values, key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write every number."""
        for name, value in key_values.items():
            if isinstance(value, (int, float, np.number)):
                self._writer.add_scalar(name, float(value), step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def _rows_until(path: Path, steps: int) -> list[list[str]]:
    """The rows of an existing file that a resumed run keeps."""
    if not path.is_file():
        return []
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8", errors="replace"))))
    if not rows or rows[0] != list(COLUMNS):
        raise InputError(path, "line 1", "must name the columns of this version's progress.csv")
    return [row for row in rows[1:] if len(row) == len(COLUMNS) and row[0].isdecimal() and int(row[0]) <= steps]


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _number(value: Any) -> str:
    return format(float(value), ".6g") if isinstance(value, (int, float, np.number)) else ""
