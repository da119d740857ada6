"""A platform's latency model: one regression per layer type, its file, and what it predicts for a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...errors import InputError, did_you_mean
from ...files import write_atomically
from .layers import FEATURES, KINDS, Layer, feature_matrix

__all__ = ["Errors", "PlatformModel", "TypeModel", "list_platforms", "load_platform", "save_platform"]

Floats = NDArray[np.float64]

FORMAT = "edgecloud-platform"
VERSION = 1
SHIPPED = Path(__file__).parent / "platforms"

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Errors(_Part):
    """How far predictions are from measurements that the fit did not see."""

    n_train: Annotated[int, Field(ge=1)]
    n_test: Annotated[int, Field(ge=1)]
    median_error: NotNegative
    """Median of abs(predicted / measured - 1)."""
    p90_error: NotNegative
    """Nine layers of ten are closer than this."""
    bias: NotNegative
    """Median of predicted / measured."""
    r2_log: Finite
    """Share of the variance of ln(latency) that is explained: errors count as ratios."""
    r2: Finite
    """Share of the variance of the latency itself: the few slowest layers decide it."""


class TypeModel(_Part):
    """The regression of one layer type.

    * `linear`: seconds = intercept + sum of coefficient x feature, all not negative.
    * `logarithmic`: ln(seconds) = intercept + sum of coefficient x ln(1 + feature), coefficients not negative.

    Both are never negative and never fall when a feature grows.
    """

    form: Literal["linear", "logarithmic"]
    features: tuple[str, ...]
    intercept: Finite
    coefficients: tuple[NotNegative, ...]
    fastest_s: NotNegative
    """The quickest layer that was measured."""
    slowest_s: NotNegative
    """The slowest layer that was measured; beyond it the regression extrapolates."""
    held_out: Errors

    @model_validator(mode="after")
    def _agree(self) -> TypeModel:
        if len(self.coefficients) != len(self.features):
            raise ValueError("coefficients must be as many as features")
        for name in self.features:
            if name not in FEATURES:
                raise ValueError(f"features must be known, not {name!r}: {did_you_mean(name, FEATURES)}")
        if self.form == "linear" and self.intercept < 0:
            raise ValueError("the intercept of a linear model must not be negative")
        return self

    def predict_s(self, layers: Sequence[Layer]) -> Floats:
        """Predicted seconds of each layer, (len(layers),)."""
        return evaluate(self.form, self.intercept, np.array(self.coefficients), feature_matrix(layers, self.features))


def evaluate(form: str, intercept: float, coefficients: Floats, features: Floats) -> Floats:
    """Seconds that a regression gives for features of shape (n, k), shape (n,)."""
    if form == "linear":
        return np.asarray(intercept + features @ coefficients, dtype=np.float64)
    return np.asarray(np.exp(intercept + np.log1p(features) @ coefficients), dtype=np.float64)


@dataclass(frozen=True)
class PlatformModel:
    """What a machine with one runtime needs for each layer of any network.

    Attributes:
        name: Short name, also the file name.
        description: One line: machine, runtime, threads.
        models: The regression of each layer type that was measured.
        provenance: Where the measurements come from: machine, versions, command, data set, notes. JSON values.
    """

    name: str
    description: str
    models: Mapping[str, TypeModel]
    provenance: Mapping[str, Any]

    def predict_s(self, layers: Sequence[Layer], missing: Literal["error", "zero"] = "error") -> Floats:
        """Predicted seconds of each layer, (len(layers),).

        Args:
            layers: Layers of any type.
            missing: What a type without a regression does: an error, or nothing (0 s), where the caller says so.

        Raises:
            InputError: A layer's type has no regression on this platform.
        """
        seconds = np.zeros(len(layers))
        for kind in {layer.kind for layer in layers}:
            if kind not in self.models:
                if missing == "zero":
                    continue
                remedy = f"it knows {', '.join(sorted(self.models))}; measure that type, or leave such layers out"
                raise InputError(f"platform {self.name}", kind, "must have a regression", None, remedy)
            index = [number for number, layer in enumerate(layers) if layer.kind == kind]
            seconds[index] = self.models[kind].predict_s([layers[number] for number in index])
        return seconds

    def predict_stages_s(
        self, stages: Sequence[Sequence[Layer]], missing: Literal["error", "zero"] = "error"
    ) -> Floats:
        """Predicted seconds of each stage, (M,): the sums over their layers.

        This is what `edgecloud.baselines.neurosurgeon.StagePredictor` holds for each tier; put the layers of the final
        classifier into the last stage.
        """
        return np.array([float(self.predict_s(stage, missing).sum()) for stage in stages])

    def extrapolates(self, layers: Sequence[Layer]) -> NDArray[np.bool_]:
        """Whether each layer's prediction lies outside the measured latencies of its type, (len(layers),)."""
        seconds = self.predict_s(layers, "zero")
        known = [self.models.get(layer.kind) for layer in layers]
        rows = zip(seconds, known, strict=True)
        return np.array([m is not None and not m.fastest_s <= s <= m.slowest_s for s, m in rows], dtype=np.bool_)


class _File(_Part):
    format: Literal["edgecloud-platform"]
    version: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: str
    models: dict[str, TypeModel]
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _kinds(self) -> _File:
        for kind in self.models:
            if kind not in KINDS:
                raise ValueError(f"models must be of known layer types, not {kind!r}: {did_you_mean(kind, KINDS)}")
        return self


def list_platforms() -> tuple[str, ...]:
    """The names of the shipped platform models, sorted."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.json")))


def load_platform(name_or_path: str | Path) -> PlatformModel:
    """A shipped platform model by name, or a file by path.

    Raises:
        InputError: Nothing has that name, or the file breaks a rule; names file, field, rule and value.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = SHIPPED / f"{name_or_path}.json"
        if str(name_or_path) not in list_platforms():
            remedy = did_you_mean(str(name_or_path), list_platforms()) + " or the path of a .json file"
            raise InputError("platform", "name", "must be a shipped platform model", str(name_or_path), remedy)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(path, "", "must be a readable JSON file", str(error)) from error
    try:
        content = _File.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        value = None if isinstance(first["input"], (dict, BaseModel)) else first["input"]
        raise InputError(path, field, first["msg"].removeprefix("Value error, "), value) from error
    return PlatformModel(content.name, content.description, content.models, content.provenance)


def save_platform(platform: PlatformModel, path: Path) -> None:
    """Write a platform model as JSON, in one step."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": platform.name,
        "description": platform.description,
        "models": {kind: model.model_dump(mode="json") for kind, model in platform.models.items()},
        "provenance": dict(platform.provenance),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
