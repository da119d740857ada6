"""The shipped link models, generated logs, and the traces that are used when nobody says otherwise."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError
from ..files import write_atomically
from .link import LinkTrace
from .loading import load_link_traces
from .models import LinkModel, RttModel
from .splits import Split, split_traces

__all__ = [
    "TRACES_VARIABLE",
    "ModelFile",
    "TraceSet",
    "default_traces",
    "generated_split",
    "load_link_models",
    "save_link_models",
    "shipped_models",
]

TRACES_VARIABLE = "EDGECLOUD_TRACES"
"""Environment variable that names a folder of recorded traces."""

_SHIPPED = "link_models.json"
_LOGS_PER_MODE = (8, 3, 4)
_DURATION_S = 600.0


class ModelFile(BaseModel):
    """A file of fitted link models: parameters only, no recorded sample.

    Attributes:
        format: Version of this format, 1.
        provenance: What was fitted, to what, by which command.
        models: One per transport mode.
        rtt: One per radio technology.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)]
    provenance: dict[str, str]
    models: dict[str, LinkModel]
    rtt: dict[str, RttModel]


def load_link_models(path: str | Path) -> ModelFile:
    """Read fitted models.

    Raises:
        InputError: The file is missing, is no JSON, or breaks the format; the message names the field.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "", "must be a readable JSON file of link models") from error
    return _parse(str(path), text)


def _parse(source: str, text: str) -> ModelFile:
    try:
        return ModelFile.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise InputError(source, f"line {error.lineno}", "must be JSON", error.msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(source, field, first["msg"], first.get("input")) from error


def save_link_models(
    path: str | Path, models: Mapping[str, LinkModel], rtt: Mapping[str, RttModel], provenance: Mapping[str, str]
) -> None:
    """Write fitted models as JSON, atomically; an existing file is replaced."""
    file = ModelFile(format=1, provenance=dict(provenance), models=dict(models), rtt=dict(rtt))
    write_atomically(Path(path), (json.dumps(file.model_dump(), indent=1) + "\n").encode())


@cache
def shipped_models() -> ModelFile:
    """The models that come with the package; `provenance` says what they were fitted to."""
    text = resources.files(__package__).joinpath(_SHIPPED).read_text(encoding="utf-8")
    return _parse(_SHIPPED, text)


def generated_split(
    seed: int = 0,
    logs_per_mode: tuple[int, int, int] = _LOGS_PER_MODE,
    duration_s: float = _DURATION_S,
    models: Mapping[str, LinkModel] | None = None,
) -> Split:
    """Generated logs, every one from its own random stream keyed by (seed, part, mode, number).

    No stream is shared between the parts, and a log does not change when more logs or other modes are asked for.

    Args:
        seed: Of everything.
        logs_per_mode: Logs of each mode in train, validation and test.
        duration_s: Length of each log in seconds.
        models: One per mode; the shipped ones when None.
    """
    if len(logs_per_mode) != 3 or min(logs_per_mode) < 1:
        raise InputError("generated_split", "logs_per_mode", "must be three positive counts", logs_per_mode)
    if seed < 0:
        raise InputError("generated_split", "seed", "must not be negative", seed)
    chosen = shipped_models().models if models is None else models
    parts: list[tuple[LinkTrace, ...]] = []
    for part, (label, count) in enumerate(zip(("train", "validation", "test"), logs_per_mode, strict=True)):
        logs = []
        for mode in sorted(chosen):
            for number in range(count):
                rng = np.random.default_rng([seed, part, number, *mode.encode()])
                name = f"generated_{mode}_{label}_{number + 1:03d}_seed{seed}"
                logs.append(chosen[mode].sample(duration_s, rng, name))
        parts.append(tuple(logs))
    return Split(*parts)


@dataclass(frozen=True)
class TraceSet:
    """Traces in three parts and where they come from.

    Attributes:
        split: Train, validation and test.
        origin: One line for people.
        recorded: Whether the traces were recorded; False for generated ones.
    """

    split: Split
    origin: str
    recorded: bool


def default_traces(path: str | Path | None = None, seed: int = 0) -> TraceSet:
    """The traces to train and report on: a folder's, or generated ones.

    The folder is `path`, else the one in the environment variable EDGECLOUD_TRACES. Without either, the shipped models
    generate logs, and `origin` says so. A first fragment of a row is left out, so that bins of 1 s do not straddle
    recorded rows (see `LinkTrace.aligned`).

    Args:
        path: A folder (or file) of recorded traces.
        seed: Of the split, or of the generator.

    Raises:
        InputError: The folder is missing, holds no traces or broken ones, or has too few logs for a split.
    """
    folder = path if path is not None else os.environ.get(TRACES_VARIABLE) or None
    if folder is not None:
        traces = [trace.aligned() for trace in load_link_traces(folder)]
        split = split_traces(traces, seed)
        counts = f"{len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test"
        return TraceSet(split, f"{len(traces)} recorded logs from {folder} ({counts})", True)
    split = generated_split(seed)
    origin = (
        f"generated logs of {len(split.modes)} transport modes, from models fitted to recorded ones "
        f"(seed {seed}; give a folder of logs to use recorded traces)"
    )
    return TraceSet(split, origin, False)
