import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from edgecloud.profiles.privacy.leakage import centred_distances, distance_correlation, leakage_per_cut


def test_same_rotated_and_scaled_samples_are_fully_dependent():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(60, 8))
    rotation, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    assert distance_correlation(samples, samples) == pytest.approx(1)
    assert distance_correlation(samples, 3 * samples @ rotation + 5) == pytest.approx(1)


def test_independent_samples_of_many_dimensions():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(200, 1_000)), rng.normal(size=(200, 1_000))
    assert distance_correlation(first, second) < 0.1


def test_u_centring_against_the_definition():
    samples = np.random.default_rng(2).normal(size=(12, 3, 2))
    distance = squareform(pdist(samples.reshape(12, -1)))
    expected = np.zeros((12, 12))
    for i in range(12):
        for j in range(12):
            if i != j:
                row, column = distance[i].sum() / 10, distance[:, j].sum() / 10
                expected[i, j] = distance[i, j] - row - column + distance.sum() / 110
    assert np.allclose(centred_distances(samples), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40))
def test_symmetric_and_in_range(seed, count):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(count, 3)), rng.normal(size=(count, 5))
    value = distance_correlation(first, second)
    assert 0 <= value <= 1
    assert value == pytest.approx(distance_correlation(second, first), abs=1e-9)
    assert np.allclose(centred_distances(first).sum(axis=0), 0, atol=1e-9)


def test_constant_samples_reveal_nothing():
    assert distance_correlation(np.random.default_rng(3).normal(size=(10, 2)), np.ones((10, 2))) == 0


def test_noise_lowers_the_leakage_of_a_cut():
    rng = np.random.default_rng(4)

    def batch():
        raw = rng.normal(size=(150, 6))
        return [raw, raw + 0.1 * rng.normal(size=raw.shape), raw + 2 * rng.normal(size=raw.shape), raw]

    result = leakage_per_cut(batch() for _ in range(3))
    assert result.values[0] == 1
    assert result.values[3] == 0
    assert 1 > result.values[1] > 0.9 > result.values[2] > 0
    assert result.batches == 3
    assert result.deviation[0] == result.deviation[3] == 0
