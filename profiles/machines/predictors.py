"""Fitting latency predictors: one regression per layer type, in the manner of Neurosurgeon.

Kang et al. (ASPLOS 2017) fit one model per layer type and platform, "either a logarithmic or linear function", and name
the variables. Here both forms are fitted, over the paper's variables and over the work that the layer does, and
cross-validation on the training part chooses; the error is that of layers which took no part in either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, lsq_linear, nnls

from ...errors import InputError, did_you_mean
from .layer_data import LayerTable
from .layers import Layer, feature_matrix
from .platform_model import Errors, PlatformModel, TypeModel, evaluate

__all__ = [
    "FEATURE_SETS",
    "FORMS",
    "GROUPS",
    "FitReport",
    "GroupError",
    "Variant",
    "errors_by",
    "errors_of",
    "fit_platform",
    "fit_type",
    "scaled",
]

Floats = NDArray[np.float64]
Form = Literal["linear", "logarithmic"]

FORMS: tuple[Form, ...] = ("linear", "logarithmic")

FEATURE_SETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "paper": {
        "conv": ("input", "filter_work"),
        "dw_conv": ("input", "filter_work"),
        "maxpool": ("input", "output"),
        "avgpool": ("input", "output"),
        "linear": ("in_neurons", "out_neurons"),
        "batchnorm": ("input",),
        "relu": ("input",),
        "add": ("input",),
    },
    "work": {
        "conv": ("flops", "window", "input", "output", "weights"),
        "dw_conv": ("flops", "window", "input", "output", "channels"),
        "maxpool": ("window", "input", "output"),
        "avgpool": ("window", "input", "output"),
        "linear": ("flops", "weights", "input", "output"),
        "batchnorm": ("input", "channels"),
        "relu": ("input",),
        "add": ("input",),
    },
}
"""Variables of each layer type. `paper`: Neurosurgeon's two for convolutions; for the other types the sizes that go in
and out. `work`: operations and numbers moved, whose weighted sum is a roofline without overlap."""

LOSS_SCALE = 0.2
"""Residuals of ln(latency) beyond this weigh linearly instead of squared (soft L1): an outlier cannot pull the fit."""

NEGLIGIBLE = 1e-9
"""Coefficients (of features scaled to mean 1) below this share of the largest are what the solver left of zero."""

FEWEST = 10
"""Layers of a type below which nothing is fitted."""

FOLDS = 5


@dataclass(frozen=True)
class Variant:
    """One way to fit a layer type, and its error on the layers that were held out."""

    feature_set: str
    model: TypeModel
    validation_error: float
    """Median of abs(ln(predicted / measured)) over the folds of the training part: what the choice is made by."""


@dataclass(frozen=True)
class FitReport:
    """A fitted platform and what was tried for it, best variant first per type."""

    platform: PlatformModel
    variants: Mapping[str, Sequence[Variant]]
    skipped: Mapping[str, int]
    """Types with too few layers, and how many there were."""


def fit_type(features: Floats, seconds: Floats, form: Form) -> tuple[float, Floats]:
    """Intercept and coefficients of one regression, by robust least squares on ln(latency).

    Args:
        features: (n, k), not negative.
        seconds: (n,), positive.
        form: `linear` or `logarithmic`, as in `TypeModel`.

    Returns:
        Intercept and coefficients (k,); the coefficients are not negative, and neither is a linear model's intercept.
    """
    target = np.log(seconds)
    scale = np.maximum(features.mean(axis=0), 1e-12) if form == "linear" else np.ones(features.shape[1])
    columns = features / scale if form == "linear" else np.log1p(features)
    matrix = np.column_stack([np.ones(len(seconds)), columns])
    lower = np.zeros(matrix.shape[1])
    if form == "logarithmic":
        lower[0] = -np.inf
        residuals: Callable[[Floats], Floats] = lambda c: matrix @ c - target  # noqa: E731
        slope: Callable[[Floats], Floats] = lambda c: matrix  # noqa: E731
        start = lsq_linear(matrix, target, bounds=(lower, np.inf)).x
    else:
        tiny = 1e-6 * float(seconds.min())
        residuals = lambda c: np.log(matrix @ c + tiny) - target  # noqa: E731
        slope = lambda c: matrix / (matrix @ c + tiny)[:, None]  # noqa: E731
        start = nnls(matrix / seconds[:, None], np.ones(len(seconds)))[0]
        start = start + 1e-3 * float(np.median(seconds)) / matrix.shape[1] / np.maximum(matrix.mean(axis=0), 1e-12)
    start = np.maximum(start, lower + 1e-12)
    found = least_squares(
        residuals, start, jac=slope, bounds=(lower, np.inf), loss="soft_l1", f_scale=LOSS_SCALE, x_scale="jac"
    ).x
    found[1:] = np.where(found[1:] < NEGLIGIBLE * np.abs(found).max(), 0.0, found[1:])
    return float(found[0]), np.asarray(found[1:] / scale, dtype=np.float64)


def errors_of(predicted_s: Floats, measured_s: Floats, n_train: int) -> Errors:
    """How far predictions are from measurements; both (n,), positive."""
    ratio = predicted_s / measured_s
    error, log_measured = np.abs(ratio - 1.0), np.log(measured_s)
    return Errors(
        n_train=n_train,
        n_test=len(measured_s),
        median_error=float(np.median(error)),
        p90_error=float(np.quantile(error, 0.9)),
        bias=float(np.median(ratio)),
        r2_log=_r2(np.log(predicted_s), log_measured),
        r2=_r2(predicted_s, measured_s),
    )


def _r2(predicted: Floats, measured: Floats) -> float:
    total = float(np.sum((measured - measured.mean()) ** 2))
    return 1.0 - float(np.sum((measured - predicted) ** 2)) / total if total > 0 else 0.0


def fit_platform(
    table: LayerTable,
    name: str,
    description: str,
    feature_sets: Sequence[str] = ("paper", "work"),
    seed: int = 0,
    held_out: float = 0.2,
    on_kind: Callable[[str], None] = lambda kind: None,
) -> FitReport:
    """One regression per layer type, with its error on layers that took no part in fitting or choosing.

    Args:
        table: Measured layers of one platform.
        name: Name of the platform model.
        description: Machine, runtime and threads in one line.
        feature_sets: Which of `FEATURE_SETS` to try.
        seed: Seed of the split and of the folds.
        held_out: Share of each type's layers that is held out.
        on_kind: Called with each layer type before its fits.

    Raises:
        InputError: no type has at least ten layers, or `held_out` is not between 0 and 1.
    """
    if not 0 < held_out < 1:
        raise InputError("fit", "held_out", "must lie between 0 and 1", held_out)
    kinds = sorted({layer.kind for layer in table.layers})
    variants: dict[str, list[Variant]] = {}
    skipped: dict[str, int] = {}
    for position, kind in enumerate(kinds):
        index = [number for number, layer in enumerate(table.layers) if layer.kind == kind]
        if len(index) < FEWEST:
            skipped[kind] = len(index)
            continue
        on_kind(kind)
        layers = [table.layers[number] for number in index]
        seconds = np.array([table.seconds[number] for number in index])
        rng = np.random.default_rng([seed, position])
        variants[kind] = _fit_kind(kind, layers, seconds, feature_sets, held_out, rng)
    if not variants:
        raise InputError("fit", "layers", f"must hold at least {FEWEST} of one type", skipped)
    provenance = dict(table.provenance) | {
        "date": datetime.now(UTC).date().isoformat(),
        "fit": {
            "seed": seed,
            "held_out": held_out,
            "feature_sets": list(feature_sets),
            "loss": f"soft L1 on ln(latency), scale {LOSS_SCALE}",
            "layers": len(table.layers),
            "merged_repeats": table.merged,
            "repeat_ratio": round(table.repeat_ratio, 4),
        },
    }
    models = {kind: found[0].model for kind, found in variants.items()}
    return FitReport(PlatformModel(name, description, models, provenance), variants, skipped)


def _fit_kind(
    kind: str,
    layers: Sequence[Layer],
    seconds: Floats,
    feature_sets: Sequence[str],
    held_out: float,
    rng: np.random.Generator,
) -> list[Variant]:
    """Every variant of one type, the chosen one first."""
    order = rng.permutation(len(layers))
    n_test = min(max(1, round(held_out * len(layers))), len(layers) - FOLDS)
    test, train = order[:n_test], order[n_test:]
    fold = np.arange(len(train)) % FOLDS
    found, seen = [], set()
    for feature_set in feature_sets:
        names = FEATURE_SETS[feature_set][kind]
        if names in seen:
            continue
        seen.add(names)
        features = feature_matrix(layers, names)
        for form in FORMS:
            logs = np.zeros(len(train))
            for number in range(FOLDS):
                inside, outside = train[fold != number], train[fold == number]
                fitted = fit_type(features[inside], seconds[inside], form)
                guess = evaluate(form, *fitted, features[outside])
                logs[fold == number] = np.log(guess / seconds[outside])
            intercept, coefficients = fit_type(features[train], seconds[train], form)
            model = TypeModel(
                form=form,
                features=names,
                intercept=_rounded(intercept),
                coefficients=tuple(_rounded(value) for value in coefficients),
                fastest_s=_rounded(float(seconds.min())),
                slowest_s=_rounded(float(seconds.max())),
                held_out=errors_of(evaluate(form, intercept, coefficients, features[test]), seconds[test], len(train)),
            )
            found.append(Variant(feature_set, model, float(np.median(np.abs(logs)))))
    return sorted(found, key=lambda variant: variant.validation_error)


def _rounded(value: float) -> float:
    """Six digits: more than the fit knows, few enough to read."""
    return float(f"{value:.6g}")


GROUPS: Mapping[str, Callable[[Layer], str]] = {
    "kernel": lambda layer: f"kernel {layer.kernel[0]}x{layer.kernel[1]}",
    "stride": lambda layer: f"stride {layer.stride}",
    "filter": lambda layer: f"kernel {layer.kernel[0]}x{layer.kernel[1]}, stride {layer.stride}",
    "pixels": lambda layer: f"input {layer.in_size[0]}x{layer.in_size[1]}",
}
"""Ways to break errors down."""


@dataclass(frozen=True)
class GroupError:
    """Errors of the layers of one type that share a property; layers that the fit saw are among them."""

    kind: str
    group: str
    layers: int
    median_error: float
    bias: float


def errors_by(platform: PlatformModel, table: LayerTable, key: str) -> list[GroupError]:
    """Where a platform model is off: median error and bias of each type's layers, by kernel, stride, filter or pixels.

    Raises:
        InputError: the key is not one of `GROUPS`.
    """
    if key not in GROUPS:
        raise InputError("fit", "by", "must be a property to group by", key, did_you_mean(key, GROUPS))
    groups: dict[tuple[str, str], list[int]] = {}
    for number, layer in enumerate(table.layers):
        if layer.kind in platform.models:
            groups.setdefault((layer.kind, GROUPS[key](layer)), []).append(number)
    found = []
    for (kind, group), index in sorted(groups.items()):
        predicted = platform.predict_s([table.layers[number] for number in index])
        ratio = predicted / np.array([table.seconds[number] for number in index])
        error = float(np.median(np.abs(ratio - 1)))
        found.append(GroupError(kind, group, len(index), error, float(np.median(ratio))))
    return found


def scaled(platform: PlatformModel, factor: float, name: str, note: str) -> PlatformModel:
    """A platform that takes `factor` times as long for every layer: a stand-in for a machine that was not measured.

    Raises:
        InputError: the factor is not positive.
    """
    if not (np.isfinite(factor) and factor > 0):
        raise InputError("platform", "factor", "must be positive", factor)
    models = {kind: _scaled_type(model, factor) for kind, model in platform.models.items()}
    origin: dict[str, Any] = {"scaled_from": platform.name, "factor": factor, "note": note}
    return PlatformModel(name, f"{platform.description}, every layer x {factor:.4g}", models, origin)


def _scaled_type(model: TypeModel, factor: float) -> TypeModel:
    linear = model.form == "linear"
    return model.model_copy(
        update={
            "intercept": model.intercept * factor if linear else model.intercept + float(np.log(factor)),
            "coefficients": tuple(c * factor for c in model.coefficients) if linear else model.coefficients,
            "fastest_s": model.fastest_s * factor,
            "slowest_s": model.slowest_s * factor,
        }
    )
