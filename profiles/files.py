"""Profile files: a JSON file to read and a compressed table of arrays beside it, tied together by a digest."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError, did_you_mean
from ..files import write_atomically
from .layer_table import CutSizes, LayerTable, SequencePoint
from .profile import Exit, Profile, Protection, Reference, Stage

__all__ = ["FORMAT", "VERSION", "list_profiles", "load_profile", "save_profile"]

FORMAT = "edgecloud-profile"
VERSION = 2
"""Newest version of the file format; a reader refuses newer ones instead of guessing.

Version 2 added what a measured layer graph needs: sizes in several encodings, a table of layers, costs over sequence
lengths, and profiles whose accuracy or leakage is not known. A profile that uses none of it is written as version 1.
"""

SHIPPED = Path(__file__).parent / "shipped"
LAYERS = ".layers.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Table(_Part):
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.npz$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    samples: Annotated[int, Field(ge=1)]


class _Leakage(_Part):
    measure: str
    values: tuple[float | None, ...]
    protections: tuple[Protection, ...] = ()


class _Layers(_Part):
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.layers\.json$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _File(_Part):
    """The JSON file, key by key."""

    format: Literal["edgecloud-profile"]
    version: Literal[1, 2]
    name: str
    description: str
    input_bytes: int
    result_bytes: int
    stages: tuple[Stage, ...]
    exits: tuple[Exit, ...]
    leakage: _Leakage
    reference: Reference
    table: _Table | None = None
    provenance: dict[str, Any]
    input_sizes: CutSizes | None = None
    layers: _Layers | None = None
    sequence: tuple[SequencePoint, ...] = ()


def list_profiles() -> tuple[str, ...]:
    """The names of the shipped profiles, sorted."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.json") if not path.name.endswith(LAYERS)))


def load_profile(name_or_path: str | Path) -> Profile:
    """A shipped profile by name, or a profile file by path.

    Args:
        name_or_path: `cifar10-ee-32`, or the path of a `.json` file whose table lies beside it.

    Raises:
        InputError: If nothing has that name, or if the file breaks a rule; names file, field, rule and value.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = SHIPPED / f"{name_or_path}.json"
        if str(name_or_path) not in list_profiles():
            remedy = did_you_mean(str(name_or_path), list_profiles()) + " or the path of a .json file"
            raise InputError("profile", "name", "must be a shipped profile", str(name_or_path), remedy)
    content = _read_json(path)
    confidence, correct = _read_table(path, content)
    layers = _read_layers(path, content.layers)
    try:
        return Profile(
            name=content.name,
            description=content.description,
            stages=content.stages,
            input_bytes=content.input_bytes,
            result_bytes=content.result_bytes,
            exits=content.exits,
            confidence=confidence,
            correct=correct,
            leakage=np.array([np.nan if x is None else x for x in content.leakage.values], dtype=np.float64),
            leakage_measure=content.leakage.measure,
            reference=content.reference,
            provenance=content.provenance,
            input_sizes=content.input_sizes,
            layers=layers,
            sequence=content.sequence,
            protections=content.leakage.protections,
        )
    except InputError as error:
        raise InputError(path, error.field, error.rule, error.value, error.remedy) from error


def save_profile(profile: Profile, path: str | Path) -> Path:
    """Write a profile as a JSON file and, beside it, a `.npz` file of the same name.

    Each file is replaced in one step, the table first. If the process dies between the two, the digest in the old JSON
    file no longer fits and loading says so.

    Args:
        profile: What to write.
        path: The `.json` file, or a folder that receives `NAME.json`.

    Returns:
        The path of the JSON file.
    """
    target = Path(path)
    if target.suffix != ".json":
        target = target / f"{profile.name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    sides = _side_files(profile, target)
    text = json.dumps(_content(profile, sides), indent=2, allow_nan=False) + "\n"
    for name, data in sides.items():
        write_atomically(target.parent / name, data)
    write_atomically(target, text.encode())
    return target


def _side_files(profile: Profile, target: Path) -> dict[str, bytes]:
    """Name and content of the files beside the JSON file: the table of samples, the table of layers."""
    sides = {}
    if profile.has_exit_table:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, confidence=profile.confidence, correct=profile.correct)
        sides[f"{target.stem}.npz"] = buffer.getvalue()
    if profile.layers is not None:
        sides[f"{target.stem}{LAYERS}"] = _layers_text(profile.layers).encode()
    return sides


def _content(profile: Profile, sides: dict[str, bytes]) -> dict[str, Any]:
    """The JSON file as a dictionary."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sides.items()}
    table = next((name for name in sides if name.endswith(".npz")), None)
    layers = next((name for name in sides if name.endswith(LAYERS)), None)
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "name": profile.name,
        "description": profile.description,
        "input_bytes": profile.input_bytes,
        "result_bytes": profile.result_bytes,
        "stages": [stage.model_dump(mode="json", exclude_none=True) for stage in profile.stages],
        "exits": [head.model_dump(mode="json", exclude_none=True) for head in profile.exits],
        "leakage": _leakage(profile),
        "reference": profile.reference.model_dump(mode="json", exclude_none=True),
    }
    if table:
        content["table"] = {"file": table, "sha256": digests[table], "samples": profile.n_samples}
    content["provenance"] = dict(profile.provenance)
    if profile.input_sizes is not None:
        content["input_sizes"] = profile.input_sizes.model_dump(mode="json", exclude_none=True)
    if layers:
        content["layers"] = {"file": layers, "sha256": digests[layers]}
    if profile.sequence:
        content["sequence"] = [point.model_dump(mode="json", exclude_none=True) for point in profile.sequence]
    new_in_stages = any(_NEW_IN_STAGES & set(stage) for stage in content["stages"])
    new = new_in_stages or not table or not profile.leakage_known or bool(_NEW & set(content))
    content["version"] = 2 if new or "energy_j" in content["reference"] else 1
    return content


_NEW = {"input_sizes", "layers", "sequence"}
_NEW_IN_STAGES = {"parameters", "sizes", "end"}


def _layers_text(layers: LayerTable) -> str:
    """The table of layers as JSON with one layer and one cut per line."""
    parts = []
    for name in ("layers", "cuts"):
        rows = [entry.model_dump_json(exclude_none=True, exclude_defaults=True) for entry in getattr(layers, name)]
        parts.append(f'"{name}": [\n' + ",\n".join(rows) + "\n]")
    return "{\n" + f'"inputs": {json.dumps(list(layers.inputs))},\n' + ",\n".join(parts) + "\n}\n"


def _leakage(profile: Profile) -> dict[str, Any]:
    values = [None if np.isnan(x) else x for x in profile.leakage.tolist()]
    content: dict[str, Any] = {"measure": profile.leakage_measure, "values": values}
    if profile.protections:
        content["protections"] = [item.model_dump(mode="json") for item in profile.protections]
    return content


def _read_json(path: Path) -> _File:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(path, "", "must be an existing profile file") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(path, "", "must be a readable JSON file", str(error)) from error
    version = raw.get("version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise InputError(path, "version", f"must be at most {VERSION}", version, "update edgecloud to read it")
    try:
        return _File.model_validate(raw)
    except ValidationError as error:
        raise _as_input_error(path, error) from error


def _as_input_error(path: Path, error: ValidationError) -> InputError:
    """The first complaint of pydantic in the words of this project."""
    first = error.errors()[0]
    field = ""
    for part in first["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else part
    rule = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "extra_forbidden":
        known = _File.model_fields if len(first["loc"]) == 1 else ()
        remedy = did_you_mean(str(first["loc"][-1]), known) if known else "remove it, or check its spelling"
        return InputError(path, field, "is an unknown key", first["input"], remedy)
    if first["type"] == "missing":
        return InputError(path, field, "is missing")
    return InputError(path, field, rule, first["input"])


def _read_side(path: Path, reference: _Table | _Layers) -> bytes:
    """The content of a file beside the JSON file, after its digest was checked."""
    side = path.parent / reference.file
    try:
        content = side.read_bytes()
    except OSError as error:
        raise InputError(side, "", f"must exist: {path.name} keeps its table there") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != reference.sha256:
        remedy = "the files belong together: restore them or make the profile again"
        raise InputError(side, "sha256", f"must be {reference.sha256}, as {path.name} says", digest, remedy)
    return content


def _read_layers(path: Path, reference: _Layers | None) -> LayerTable | None:
    if reference is None:
        return None
    try:
        return LayerTable.model_validate_json(_read_side(path, reference))
    except ValidationError as error:
        raise _as_input_error(path.parent / reference.file, error) from error


def _read_table(path: Path, profile: _File) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The two arrays of the side file; no rows if there is none. Nothing in it is ever unpickled."""
    table = profile.table
    if table is None:
        if profile.version == 1:
            raise InputError(path, "table", "is missing")
        return np.zeros((0, len(profile.exits)), np.float32), np.zeros((0, len(profile.exits)), np.bool_)
    content = _read_side(path, table)
    side = path.parent / table.file
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(side, "", "must be a .npz file of plain arrays", str(error)) from error
    if set(found) != {"confidence", "correct"}:
        raise InputError(side, "", "must hold the arrays confidence and correct", sorted(found))
    for name, kind, words in (("confidence", "f", "floating-point"), ("correct", "b", "boolean")):
        if found[name].dtype.kind != kind:
            raise InputError(side, name, f"must be {words}", str(found[name].dtype))
        if found[name].shape[:1] != (table.samples,):
            rule = f"must have {table.samples} rows, as {path.name} says"
            raise InputError(side, name, rule, found[name].shape)
    return found["confidence"].astype(np.float32), found["correct"].astype(np.bool_)
