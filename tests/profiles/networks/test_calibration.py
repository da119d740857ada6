import numpy as np
import pytest

from edgecloud.profiles.networks.calibration import calibration_error, exit_table, fit_temperature


def drawn(true_temperature: float, count: int = 20_000, seed: int = 3):
    """Logits whose labels are drawn from the softmax at a known temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, 5))
    scaled = np.exp(logits / true_temperature)
    cumulative = np.cumsum(scaled / scaled.sum(axis=1, keepdims=True), axis=1)
    labels = (rng.random((count, 1)) > cumulative).sum(axis=1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_finds_the_temperature_that_made_the_labels(temperature):
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_table_is_calibrated_on_other_samples():
    logits, labels = drawn(2.5, count=40_000)
    held_out, test = slice(0, 20_000), slice(20_000, None)
    stacked = np.stack([logits, 2 * logits], axis=1)
    table = exit_table(stacked[held_out], labels[held_out], stacked[test], labels[test])
    assert table.confidence.dtype == np.float32
    assert table.confidence.shape == table.correct.shape == (20_000, 2)
    assert table.temperature[1] == pytest.approx(2 * table.temperature[0], rel=1e-3)
    assert np.allclose(table.confidence[:, 0], table.confidence[:, 1], atol=1e-4)
    assert max(table.error_after) < 0.02 < min(table.error_before)


def test_calibration_error_by_hand():
    confidence = np.array([1.0, 1.0, 0.5, 0.5])
    correct = np.array([True, False, True, False])
    assert calibration_error(confidence, correct, bins=10) == pytest.approx(0.25)
