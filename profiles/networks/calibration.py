"""Temperature calibration of every head, and the table of confidence and correctness per sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

__all__ = ["ExitTable", "calibration_error", "exit_table", "fit_temperature"]

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ExitTable:
    """What every head says about every test sample.

    Attributes:
        confidence: float32 (n, E), calibrated probability of the predicted class.
        correct: bool (n, E).
        temperature: One per head, fitted on held-out training images.
        error_before: Expected calibration error per head at temperature 1, over the n samples.
        error_after: The same at the fitted temperature.
    """

    confidence: NDArray[np.float32]
    correct: NDArray[np.bool_]
    temperature: tuple[float, ...]
    error_before: tuple[float, ...]
    error_after: tuple[float, ...]


def fit_temperature(logits: FloatArray, labels: IntArray) -> float:
    """The temperature that minimises the negative log-likelihood (Guo et al., ICML 2017, section 4.2).

    Args:
        logits: Shape (n, classes).
        labels: Shape (n,).

    Returns:
        A temperature in [0.1, 10].
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))


def calibration_error(confidence: FloatArray, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over equal bins of confidence.

    >>> calibration_error(np.array([0.75, 0.75, 0.75, 0.75]), np.array([True, True, True, False]))
    0.0
    """
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, weights=confidence.astype(np.float64) - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def exit_table(
    held_out_logits: FloatArray, held_out_labels: IntArray, test_logits: FloatArray, test_labels: IntArray
) -> ExitTable:
    """Fit one temperature per head on held-out samples and apply it to the test samples.

    Args:
        held_out_logits: Shape (h, E, classes).
        held_out_labels: Shape (h,).
        test_logits: Shape (n, E, classes).
        test_labels: Shape (n,).
    """
    heads = range(test_logits.shape[1])
    temperature = tuple(fit_temperature(held_out_logits[:, head], held_out_labels) for head in heads)
    scale = np.asarray(temperature)[None, :, None]
    confidence = softmax(test_logits.astype(np.float64) / scale, axis=2).max(axis=2)
    plain = softmax(test_logits.astype(np.float64), axis=2).max(axis=2)
    correct = test_logits.argmax(axis=2) == test_labels[:, None]
    return ExitTable(
        confidence=np.clip(confidence, 0.0, 1.0).astype(np.float32),
        correct=correct,
        temperature=temperature,
        error_before=tuple(calibration_error(plain[:, head], correct[:, head]) for head in heads),
        error_after=tuple(calibration_error(confidence[:, head], correct[:, head]) for head in heads),
    )
