"""The run-length posterior against the sum over all segmentations; changes are noticed."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, logsumexp

from edgecloud.baselines.changepoint import ChangePoints

PRIOR = {"prior_mean": 0.5, "prior_weight": 0.3, "prior_shape": 1.5, "prior_scale": 0.4}


def evidence(x: np.ndarray) -> float:
    """Logarithm of the marginal likelihood of one run, closed form (normal-inverse-gamma)."""
    m, k, a, b = PRIOR.values()
    n, mean = len(x), float(np.mean(x))
    k_n, a_n = k + n, a + n / 2
    b_n = b + 0.5 * float(((x - mean) ** 2).sum()) + k * n * (mean - m) ** 2 / (2 * k_n)
    gammas = float(gammaln(a_n) - gammaln(a))
    return gammas + a * np.log(b) - a_n * np.log(b_n) + 0.5 * np.log(k / k_n) - n / 2 * np.log(2 * np.pi)


def by_segmentation(x: np.ndarray, hazard: float) -> np.ndarray:
    """P(run length after the last observation) by summing over every placement of change points."""
    scores: dict[int, list[float]] = {r: [] for r in range(len(x) + 1)}
    for ends in product((False, True), repeat=len(x)):  # does the run end after observation t?
        log, start = 0.0, 0
        for t, end in enumerate(ends):
            log += np.log(hazard if end else 1 - hazard)
            if end or t == len(x) - 1:
                log += evidence(x[start : t + 1])
            if end:
                start = t + 1
        scores[len(x) - start].append(log)
    total = np.array([logsumexp(scores[r]) if scores[r] else -np.inf for r in range(len(x) + 1)])
    return np.exp(total - logsumexp(total))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=7), st.floats(2, 50))
def test_posterior_is_the_sum_over_segmentations(values: list[float], run: float):
    x = np.array(values)
    found = ChangePoints(expected_run=run, longest=32, **PRIOR)
    found.reset(1)
    for value in x:
        found.update(np.array([value]))
    np.testing.assert_allclose(found.probability[0], by_segmentation(x, 1 / run), rtol=1e-6, atol=1e-9)


def test_a_jump_is_noticed_and_the_level_follows():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 0.1, 40), rng.normal(3, 0.1, 6)])
    found = ChangePoints()
    found.reset(1)
    lengths, levels = [], []
    for value in x:
        found.update(np.array([value]))
        lengths.append(found.run_length()[0])
        levels.append(found.level()[0])
    assert lengths[39] > 30
    assert lengths[42] < 6
    assert levels[39] == pytest.approx(0.0, abs=0.1)
    assert levels[45] == pytest.approx(3.0, abs=0.3)
    assert 0.05 < found.deviation()[0] < 0.6


def test_series_are_apart_and_long_runs_are_kept_short():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(100, 2))
    both = ChangePoints(longest=16)
    both.reset(2)
    one = ChangePoints(longest=16)
    one.reset(1)
    for row in x:
        both.update(row)
        one.update(row[1:])
    np.testing.assert_allclose(both.probability[1:], one.probability, rtol=1e-9)
    assert both.probability.shape == (2, 16)
    np.testing.assert_allclose(both.probability.sum(axis=1), 1.0)
