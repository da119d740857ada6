"""Latency regressions: known laws are found, outliers do not matter, predictions are never negative and never fall."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.errors import InputError
from edgecloud.profiles.machines.layer_data import LayerTable, read_neurosurgeon, read_orin
from edgecloud.profiles.machines.layer_measuring import plan_layers
from edgecloud.profiles.machines.layers import FEATURES, KINDS, Layer, feature_matrix
from edgecloud.profiles.machines.platform_model import (
    Errors,
    PlatformModel,
    TypeModel,
    evaluate,
    list_platforms,
    load_platform,
)
from edgecloud.profiles.machines.predictors import FEATURE_SETS, errors_by, errors_of, fit_platform, fit_type, scaled

ERRORS = Errors(n_train=1, n_test=1, median_error=0, p90_error=0, bias=1, r2_log=1, r2=1)


def law(layers: Sequence[Layer]) -> np.ndarray:
    """A machine of 50 GFLOP/s that moves a number in 0.2 ns and needs 10 us to start a layer."""
    features = feature_matrix(layers, ["flops", "input", "output", "weights"])
    return 10e-6 + features @ np.array([1 / 50e9, 0.2e-9, 0.2e-9, 0.2e-9])


def test_a_linear_law_is_found_exactly() -> None:
    layers = plan_layers(120, seed=3, kinds=["conv"])
    names = FEATURE_SETS["work"]["conv"]
    intercept, coefficients = fit_type(feature_matrix(layers, names), law(layers), "linear")
    assert intercept == pytest.approx(10e-6, rel=1e-3)
    expected = {"flops": 1 / 50e9, "window": 0.0, "input": 0.2e-9, "output": 0.2e-9, "weights": 0.2e-9}
    for name, value in zip(names, coefficients, strict=True):
        assert value == pytest.approx(expected[name], rel=1e-2, abs=1e-13), name


def test_a_power_law_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    features = np.exp(rng.uniform(0, 12, (80, 2)))
    seconds = np.exp(-14) * (1 + features[:, 0]) ** 0.7 * (1 + features[:, 1]) ** 0.2
    intercept, coefficients = fit_type(features, seconds, "logarithmic")
    assert intercept == pytest.approx(-14, abs=1e-3)
    assert coefficients == pytest.approx([0.7, 0.2], abs=1e-4)


def test_outliers_do_not_pull_the_fit() -> None:
    layers = plan_layers(200, seed=1, kinds=["conv"])
    seconds = law(layers) * np.random.default_rng(2).lognormal(0, 0.05, 200)
    wild = seconds.copy()
    wild[::20] *= 1000  # ten of two hundred are wrong by a factor of a thousand
    features = feature_matrix(layers, FEATURE_SETS["work"]["conv"])
    fitted = [evaluate("linear", *fit_type(features, times, "linear"), features) for times in (seconds, wild)]
    assert np.median(np.abs(fitted[1] / fitted[0] - 1)) < 0.05
    least_squares = np.linalg.lstsq(np.column_stack([np.ones(200), features]), wild, rcond=None)[0]
    plain = np.column_stack([np.ones(200), features]) @ least_squares
    assert np.median(np.abs(plain / fitted[0] - 1)) > 1  # what the loss protects from


def test_errors_by_hand() -> None:
    errors = errors_of(np.array([1.0, 2.0, 6.0]), np.array([1.0, 4.0, 4.0]), n_train=7)
    assert (errors.median_error, errors.bias, errors.n_test, errors.n_train) == (0.5, 1.0, 3, 7)
    assert errors.r2 == pytest.approx(1 - 8 / 6)
    assert errors_of(np.array([2.0, 3.0]), np.array([2.0, 3.0]), 1).r2_log == 1.0


def table_of(layers: Sequence[Layer], seconds: np.ndarray) -> LayerTable:
    return LayerTable.merge([(layer, float(s)) for layer, s in zip(layers, seconds, strict=True)], {"machine": "test"})


def test_the_held_out_error_is_that_of_unseen_layers() -> None:
    """The reported error is recomputed from the layers that were left out, and these are a fifth, without repeats."""
    layers = plan_layers(100, seed=0, kinds=["conv", "relu"])
    noisy = law(layers) * np.random.default_rng(0).lognormal(0, 0.3, len(layers))
    report = fit_platform(table_of(layers, noisy), "test", "a test", seed=5)
    for kind in ("conv", "relu"):
        chosen = report.platform.models[kind]
        assert (chosen.held_out.n_train, chosen.held_out.n_test) == (80, 20)
        assert 0.05 < chosen.held_out.median_error < 0.5  # noise of 30 % cannot be predicted
    position = sorted(("conv", "relu")).index("conv")
    convs = [layer for layer in layers if layer.kind == "conv"]
    test = np.random.default_rng([5, position]).permutation(100)[:20]
    measured = np.array([noisy[layers.index(convs[number])] for number in test])
    predicted = report.platform.predict_s([convs[number] for number in test])
    error = float(np.median(np.abs(predicted / measured - 1)))
    assert report.platform.models["conv"].held_out.median_error == pytest.approx(error, rel=1e-3)


def test_the_better_variant_is_chosen_without_the_held_out_layers() -> None:
    layers = plan_layers(150, seed=0, kinds=["conv"])
    report = fit_platform(table_of(layers, law(layers)), "test", "a test")
    best, *others = report.variants["conv"]
    assert (best.feature_set, best.model.form) == ("work", "linear")
    assert best.model.held_out.median_error < 1e-3
    assert all(best.validation_error <= other.validation_error for other in others)
    only = fit_platform(table_of(layers, law(layers)), "test", "a test", feature_sets=["paper"])
    assert only.platform.models["conv"].features == ("input", "filter_work")


def test_the_same_seed_gives_the_same_fit() -> None:
    layers = plan_layers(40, seed=0, kinds=["linear"])
    noisy = law(layers) * np.random.default_rng(0).lognormal(0, 0.2, 40)
    first, second = (fit_platform(table_of(layers, noisy), "test", "a test", seed=1) for _ in range(2))
    assert first.platform.models == second.platform.models


def test_errors_by_kernel_find_what_the_law_leaves_out() -> None:
    """3x3 convolutions that take twice as long as any feature says stand out."""
    layers = plan_layers(300, seed=0, kinds=["conv"])
    doubled = np.array([2.0 if layer.kernel == (3, 3) else 1.0 for layer in layers])
    table = table_of(layers, law(layers) * doubled)
    platform = fit_platform(table, "test", "a test").platform
    bias = {item.group: item.bias for item in errors_by(platform, table, "kernel")}
    assert bias["kernel 3x3"] < 0.9 < 1.1 < bias["kernel 5x5"]
    assert sum(item.layers for item in errors_by(platform, table, "filter")) == 300
    with pytest.raises(InputError, match="did you mean 'stride'"):
        errors_by(platform, table, "strides")


def test_too_few_layers() -> None:
    layers = [*plan_layers(20, seed=0, kinds=["relu"]), *plan_layers(9, seed=0, kinds=["conv"])]
    report = fit_platform(table_of(layers, law(layers)), "test", "a test")
    assert report.skipped == {"conv": 9}
    with pytest.raises(InputError, match="at least 10 of one type"):
        fit_platform(table_of(layers[-9:], law(layers[-9:])), "test", "a test")
    with pytest.raises(InputError, match="between 0 and 1"):
        fit_platform(table_of(layers, law(layers)), "test", "a test", held_out=1.0)


def grown(layer: Layer, factor: int) -> Layer:
    """The same layer with more output channels, hence more operations; for the others more channels."""
    if layer.kind in ("conv", "linear"):
        sizes = (layer.in_size, layer.out_size, layer.kernel, layer.stride, layer.groups)
        return Layer(layer.kind, layer.in_channels, factor * layer.out_channels, *sizes)
    channels = factor * layer.in_channels
    groups = channels if layer.kind == "dw_conv" else 1
    return Layer(layer.kind, channels, channels, layer.in_size, layer.out_size, layer.kernel, layer.stride, groups)


drawn = st.builds(lambda kind, seed: plan_layers(1, seed, [kind])[0], st.sampled_from(KINDS), st.integers(0, 10_000))


@pytest.mark.parametrize("name", list_platforms())
@settings(max_examples=60, deadline=None)
@given(layer=drawn, factor=st.integers(2, 9))
def test_shipped_models_are_positive_and_grow_with_the_work(name: str, layer: Layer, factor: int) -> None:
    platform = load_platform(name)
    if layer.kind not in platform.models:
        return
    small, large = platform.predict_s([layer, grown(layer, factor)])
    assert 0 < small <= large
    assert np.isfinite(large)


numbers = st.floats(0, 1e3, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(
    layer=drawn,
    factor=st.integers(2, 9),
    form=st.sampled_from(["linear", "logarithmic"]),
    intercept=st.floats(-20, 5),
    data=st.data(),
)
def test_any_model_is_not_negative_and_never_falls(
    layer: Layer, factor: int, form: Literal["linear", "logarithmic"], intercept: float, data: st.DataObject
) -> None:
    names = FEATURE_SETS[data.draw(st.sampled_from(["paper", "work"]))][layer.kind]
    top = 1.0 if form == "logarithmic" else 1e3
    model = TypeModel(
        form=form,
        features=names,
        intercept=abs(intercept) if form == "linear" else intercept,
        coefficients=tuple(data.draw(st.floats(0, top)) for _ in names),
        fastest_s=0,
        slowest_s=1,
        held_out=ERRORS,
    )
    small, large = model.predict_s([layer, grown(layer, factor)])
    assert 0 <= small <= large


def test_scaling_multiplies_every_layer() -> None:
    platform = load_platform("neurosurgeon-edge")
    layers = [layer for layer in plan_layers(5, 0) if layer.kind in platform.models]
    slower = scaled(platform, 3.5, "slower", "a guess")
    assert slower.predict_s(layers) == pytest.approx(3.5 * platform.predict_s(layers), rel=1e-9)
    assert slower.provenance["factor"] == 3.5
    with pytest.raises(InputError, match="must be positive"):
        scaled(platform, 0.0, "none", "")


def test_features_have_names_that_the_sets_use() -> None:
    for sets in FEATURE_SETS.values():
        assert set(sets) == set(KINDS)
        assert {name for names in sets.values() for name in names} <= set(FEATURES)


# ---- the public sets: what the shipped models say is what a fit gives ----


@pytest.mark.parametrize("side", ["edge", "cloud"])
def test_the_shipped_neurosurgeon_models_are_reproducible(data_dir: Path, side: str) -> None:
    table = read_neurosurgeon(data_dir / "neurosurgeon_layers" / "dataset" / side)
    shipped = load_platform(f"neurosurgeon-{side}")
    again = fit_platform(table, shipped.name, shipped.description).platform
    assert set(again.models) == set(shipped.models)
    for kind, model in shipped.models.items():
        assert again.models[kind].form == model.form
        assert again.models[kind].held_out.median_error == pytest.approx(model.held_out.median_error, rel=0.01)
    layers = list(table.layers[::50])
    assert again.predict_s(layers) == pytest.approx(shipped.predict_s(layers), rel=0.02)


def test_a_regression_beats_one_speed_per_type(data_dir: Path) -> None:
    """Against the simplest model, one effective speed for all convolutions, the error falls by at least half."""
    for side in ("edge", "cloud"):
        table = read_neurosurgeon(data_dir / "neurosurgeon_layers" / "dataset" / side)
        rows = [(a, b) for a, b in zip(table.layers, table.seconds, strict=True) if a.kind == "conv"]
        flops, seconds = np.array([a.flops for a, _ in rows]), np.array([b for _, b in rows])
        one_speed = flops * np.median(seconds / flops)
        error = float(np.median(np.abs(one_speed / seconds - 1)))
        assert load_platform(f"neurosurgeon-{side}").models["conv"].held_out.median_error < 0.5 * error


def test_the_jetson_set(data_dir: Path) -> None:
    table = read_orin(data_dir / "jetson_orin_layers")
    report = fit_platform(table, "orin", "MobileNetV2 on a Jetson Orin")
    assert set(report.platform.models) == {"conv", "dw_conv"}
    total = report.platform.predict_s(table.layers).sum()
    assert total == pytest.approx(sum(table.seconds), rel=0.05)


def test_a_platform_that_lacks_a_type() -> None:
    platform = load_platform("neurosurgeon-edge")
    layers = [Layer("relu", 8, 8, (4, 4), (4, 4)), Layer("linear", 64, 10)]
    with pytest.raises(InputError, match="relu: must have a regression"):
        platform.predict_s(layers)
    seconds = platform.predict_s(layers, missing="zero")
    assert seconds[0] == 0 < seconds[1]
    assert platform.predict_stages_s([layers[1:], layers[1:] * 3]) == pytest.approx([seconds[1], 3 * seconds[1]])
    assert isinstance(platform, PlatformModel)
