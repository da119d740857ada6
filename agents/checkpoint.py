"""Checkpoint files: NumPy arrays and JSON in one zip, written atomically, checked on reading, and never unpickled.

A checkpoint is an `.npz` file. Its member `meta` is a JSON text; the others are plain arrays under 'policy/',
'optimizer/', 'env/' and 'rng/'. Nothing in it can run code, and a truncated or altered file fails its CRC-32 before
anything is used.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError
from ..files import write_atomically

__all__ = ["FORMAT", "Checkpoint", "read_checkpoint", "write_checkpoint"]

FORMAT = 1
_META = "meta"

Arrays = dict[str, NDArray[Any]]
Size = Annotated[int, Field(ge=1, le=1_000_000)]


class _Meta(BaseModel):
    """What every checkpoint's JSON must hold."""

    model_config = ConfigDict(strict=True)

    format: Literal[1]
    kind: str
    fingerprint: str
    scenario: str
    steps: Annotated[int, Field(ge=0)]
    hidden: Annotated[list[Size], Field(min_length=1)]
    activation: Literal["tanh", "relu"]
    nvec: Annotated[list[Size], Field(min_length=1)]
    observation_size: Size
    private: Annotated[int, Field(ge=0, le=1_000_000)]
    pool_review: Size
    pool_hidden: Size
    pool_margin: Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        source: The file, for messages.
        meta: JSON content: format, fingerprint and name of the scenario, sizes of the network, steps trained, score.
        arrays: Named arrays.
    """

    source: Path
    meta: dict[str, Any]
    arrays: Arrays

    def group(self, prefix: str) -> Arrays:
        """The arrays below a prefix, without it."""
        start = prefix + "/"
        return {name[len(start) :]: array for name, array in self.arrays.items() if name.startswith(start)}

    def need(self, name: str) -> NDArray[Any]:
        """One array.

        Raises:
            InputError: The checkpoint lacks it.
        """
        if name not in self.arrays:
            raise InputError(self.source, name, "is missing from the checkpoint")
        return self.arrays[name]

    def shaped(self, prefix: str, expected: Mapping[str, tuple[int, ...]]) -> Arrays:
        """The arrays below a prefix, which must have given names and shapes.

        Raises:
            InputError: One is missing, superfluous, of another shape, or not finite.
        """
        found = self.group(prefix)
        for name in expected.keys() - found.keys():
            raise InputError(self.source, f"{prefix}/{name}", "is missing from the checkpoint")
        for name in found.keys() - expected.keys():
            raise InputError(self.source, f"{prefix}/{name}", "does not belong to this network")
        for name, shape in expected.items():
            if found[name].shape != tuple(shape):
                raise InputError(self.source, f"{prefix}/{name}", f"must have shape {tuple(shape)}", found[name].shape)
            if not np.isfinite(found[name]).all():
                raise InputError(self.source, f"{prefix}/{name}", "must be finite")
        return found


def write_checkpoint(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a checkpoint atomically; an older one of the same name is replaced."""
    content = io.BytesIO()
    text = np.array(json.dumps({"format": FORMAT, **meta}))
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {_META: text, **arrays}.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, np.asarray(array, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue())
    write_atomically(path, content.getvalue())


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: The file is missing, damaged, of another format or incomplete; the message names file and field.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(path, "", f"must be a readable checkpoint ({error.strerror})") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise InputError(path, damaged, "is damaged (its checksum does not match)")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop(_META)))
    except InputError:
        raise
    except Exception as error:
        rule = "must be a checkpoint of this project: the file is truncated, damaged or something else"
        raise InputError(path, "", f"{rule} ({type(error).__name__})") from error
    try:
        _Meta.model_validate(meta)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([_META, *(str(part) for part in first["loc"])])
        raise InputError(path, where, first["msg"][:1].lower() + first["msg"][1:]) from error
    return Checkpoint(path, meta, arrays)
