"""The folder of a training run: what it was, how it went, and its checkpoints."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..envs import Problem
from ..errors import InputError
from ..files import write_atomically
from ..source import git_revision, versions
from ..traces import LinkTrace, TraceSet
from .checkpoint import Checkpoint, read_checkpoint
from .config import TrainConfig, load_config

__all__ = ["Manifest", "RunFolder", "create_run", "open_run", "run_name", "traces_digest"]


class Manifest(BaseModel):
    """What `run.json` says about a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)] = 1
    created: str
    """UTC, ISO 8601."""
    command: list[str]
    """As it was called."""
    seed: int
    scenario: str
    """The scenario's name."""
    scenario_source: str
    """Shipped name or path, as given."""
    fingerprint: str
    """Of the problem: scenario and profile."""
    traces: str
    """Where the link traces come from, one line."""
    traces_source: str
    """Folder as given; empty for the default source."""
    traces_digest: str
    """Of the training and validation traces."""
    versions: dict[str, str]
    git: str
    """Revision of the project's source, with '+changes' if it was modified; empty where there is none."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run, its settings and its manifest.

    Attributes:
        path: The folder.
        config: The settings.
        manifest: What `run.json` says.
    """

    path: Path
    config: TrainConfig
    manifest: Manifest

    @property
    def best(self) -> Path:
        """The checkpoint with the highest validation score."""
        return self.path / "best.npz"

    @property
    def last(self) -> Path:
        """The checkpoint that the run is resumed from."""
        return self.path / "last.npz"

    @property
    def validation(self) -> Path:
        """Raw validation scores."""
        return self.path / "validation.json"

    @property
    def progress(self) -> Path:
        """One row per update."""
        return self.path / "progress.csv"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard events."""
        return self.path / "tensorboard"

    def check(self, problem: Problem, traces: TraceSet) -> None:
        """Make sure that a run continues on what it was started on.

        Raises:
            InputError: The scenario, its profile or the traces have changed.
        """
        where = self.path / "run.json"
        if problem.fingerprint() != self.manifest.fingerprint:
            rule = f"must be that of the scenario in use ('{problem.scenario.name}', {problem.fingerprint()})"
            remedy = "the scenario or its profile has changed since the run began; start a new run"
            raise InputError(where, "fingerprint", rule, self.manifest.fingerprint, remedy)
        if traces_digest(traces) != self.manifest.traces_digest:
            rule = f"must be that of the traces in use ({traces_digest(traces)})"
            remedy = f"the run began with {self.manifest.traces}"
            raise InputError(where, "traces_digest", rule, self.manifest.traces_digest, remedy)

    def read_last(self) -> Checkpoint:
        """The checkpoint to resume from.

        Raises:
            InputError: It is missing or damaged.
        """
        return read_checkpoint(self.last)


def run_name(scenario: str, label: str, seed: int) -> str:
    """A folder name that says what the run is and when it began."""
    return f"{scenario}-{label}-seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}"


def create_run(
    path: Path,
    config: TrainConfig,
    problem: Problem,
    traces: TraceSet,
    command: Sequence[str],
    scenario_source: str,
    traces_source: str,
) -> RunFolder:
    """Make the folder of a new run and write settings and manifest.

    Raises:
        InputError: The folder exists and is not empty, or cannot be made.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            path, "", "must be a new folder: runs are never overwritten", remedy="--resume continues a run"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(path, "", f"must be a folder that can be made ({error.strerror})") from error
    manifest = Manifest(
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=list(command),
        seed=config.seed,
        scenario=problem.scenario.name,
        scenario_source=scenario_source,
        fingerprint=problem.fingerprint(),
        traces=traces.origin,
        traces_source=traces_source,
        traces_digest=traces_digest(traces),
        versions=versions(),
        git=git_revision(),
    )
    write_atomically(path / "config.toml", config.to_toml().encode())
    write_atomically(path / "run.json", json_bytes(manifest.model_dump()))
    return RunFolder(path, config, manifest)


def open_run(path: str | Path) -> RunFolder:
    """An existing run.

    Raises:
        InputError: It is no run folder, or a file in it is damaged; the message names file and field.
    """
    path = Path(path)
    file = path / "run.json"
    if not file.is_file():
        raise InputError(path, "", "must be the folder of a run: it has no run.json")
    try:
        manifest = Manifest.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(file, "", f"must be readable JSON ({type(error).__name__})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(file, field, first["msg"][:1].lower() + first["msg"][1:]) from error
    return RunFolder(path, load_config(path / "config.toml"), manifest)


def traces_digest(traces: TraceSet) -> str:
    """A short digest of the traces that training and validation use."""
    digest = hashlib.sha256()
    for part in (traces.split.train, traces.split.validation):
        digest.update(len(part).to_bytes(8, "little"))
        for trace in part:
            _digest_trace(digest, trace)
    return digest.hexdigest()[:16]


def _digest_trace(digest: Any, trace: LinkTrace) -> None:
    arrays = [trace.edges_s, trace.rate_bps] + ([] if trace.rtt_s is None else [trace.rtt_s])
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())


def json_bytes(content: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """JSON for people, as bytes."""
    return (json.dumps(content, indent=1) + "\n").encode()
