"""Results of pieces of work on disk: one atomic file each, named by its key, checked when it is read."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import METRICS
from .storage import write_atomically

__all__ = ["Chunk", "Store"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Chunk:
    """What one piece of work gave, for n episodes of T intervals.

    Attributes:
        scores: float64 (n, len(METRICS)).
        latency_counts: int64 (n, B).
        actions: int64 (T, n, 4), every action taken: what a plan may be seeded with.
        decision_s: Mean seconds of a decision within the batch.
    """

    scores: Floats
    latency_counts: Ints
    actions: Ints
    decision_s: float


class Store:
    """A folder of results.

    A file holds its own key and is compressed with a checksum of every array, so that a truncated, altered or
    misplaced one is noticed, reported once and computed again.

    Args:
        folder: Made when the first result is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """The file of an array result."""
        return self.folder / f"{key}.npz"

    def write(self, key: str, chunk: Chunk) -> None:
        """Keep a result.

        Raises:
            InputError: The folder cannot be written to.
        """
        buffer = io.BytesIO()
        arrays: dict[str, NDArray[Any]] = {
            "key": np.array(key),
            "metrics": np.array([entry.name for entry in METRICS]),
            "scores": chunk.scores,
            "latency_counts": chunk.latency_counts.astype(np.int32),
            "actions": chunk.actions.astype(np.int16),
            "decision_s": np.array(chunk.decision_s),
        }
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomically(self.path(key), buffer.getvalue())

    def read(self, key: str, episodes: int) -> Chunk | None:
        """A result, or None where there is none or it is damaged; damage is reported as a warning."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
                chunk = Chunk(
                    scores=np.asarray(data["scores"], dtype=np.float64),
                    latency_counts=np.asarray(data["latency_counts"], dtype=np.int64),
                    actions=np.asarray(data["actions"], dtype=np.int64),
                    decision_s=float(data["decision_s"]),
                )
                same = str(data["key"]) == key and data["metrics"].tolist() == [entry.name for entry in METRICS]
            shapes = (chunk.scores.shape, chunk.latency_counts.shape[0], chunk.actions.shape[1:])
            if not same or shapes != ((episodes, len(METRICS)), episodes, (episodes, 4)):
                raise ValueError("it belongs to something else")
        except _DAMAGE as error:
            _warn(path, error)
            return None
        return chunk

    def write_json(self, key: str, content: Any) -> None:
        """Keep a small result that is not arrays."""
        text = json.dumps({"key": key, "content": content}, allow_nan=False)
        write_atomically(self.folder / f"{key}.json", text.encode())

    def read_json(self, key: str) -> Any:
        """A small result, or None where there is none or it is damaged; damage is reported as a warning."""
        path = self.folder / f"{key}.json"
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["key"] != key:
                raise ValueError("it belongs to something else")
            return found["content"]
        except _DAMAGE as error:
            _warn(path, error)
            return None


def _warn(path: Path, error: Exception) -> None:
    text = f"{path} is damaged ({type(error).__name__}: {error}) and is computed again"
    warnings.warn(text, RuntimeWarning, stacklevel=3)
