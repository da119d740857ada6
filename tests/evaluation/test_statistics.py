import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from edgecloud.evaluation import Estimate, estimate, interquartile_mean, paired_difference
from edgecloud.evaluation.statistics import weighted_interquartile_mean


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_interquartile_mean_is_the_trimmed_mean() -> None:
    values = rng().standard_normal(40)
    assert_allclose(interquartile_mean(values), stats.trim_mean(values, 0.25))


@given(st.lists(st.integers(0, 4), min_size=4, max_size=12).filter(lambda counts: sum(counts) > 0))
def test_a_weight_is_as_many_copies(counts: list[int]) -> None:
    values = np.random.default_rng(len(counts)).standard_normal(len(counts))
    weighted = weighted_interquartile_mean(values, np.array([counts], dtype=np.float64))
    assert_allclose(weighted[0], interquartile_mean(np.repeat(values, counts)), atol=1e-12)


def test_identical_scores_differ_by_exactly_nothing() -> None:
    scores = rng().standard_normal((1, 12))
    paired = paired_difference(scores, scores, np.arange(12) // 3, rng())
    assert paired.difference.mean == paired.difference.low == paired.difference.high == 0.0
    assert paired.wins == 0.5
    assert not paired.excludes_zero


def test_a_constant_shift_is_found_exactly_whatever_the_noise() -> None:
    noise = 100.0 * rng().standard_normal(12)
    paired = paired_difference(noise + 0.25, noise, np.arange(12) // 2, rng())
    assert_allclose([paired.difference.low, paired.difference.mean, paired.difference.high], 0.25)
    assert paired.wins == 1.0
    assert paired.excludes_zero


def test_the_mean_is_over_episodes_and_runs() -> None:
    scores = np.array([[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]])
    found = estimate(scores, [0, 0, 0, 1], rng())
    assert found.mean == 3.5
    assert (found.episodes, found.clusters, found.runs) == (4, 2, 2)


def covered(runs: int, logs: int, worlds: int = 300) -> float:
    """How often the 95 % interval holds the truth (zero) when training runs, logs and episodes all vary."""
    source = np.random.default_rng(runs * 100 + logs)
    clusters = np.repeat(np.arange(logs), 3)
    hits = 0
    for _ in range(worlds):
        between = source.standard_normal(logs)[clusters]
        luck = 0.7 * source.standard_normal((runs, 1)) * (runs > 1)
        scores = between + luck + 0.5 * source.standard_normal((runs, clusters.size))
        found = estimate(scores, clusters, source, resamples=1000)
        hits += found.low <= 0.0 <= found.high
    return hits / worlds


@pytest.mark.parametrize(("runs", "logs"), [(1, 5), (1, 11), (1, 20), (5, 5), (5, 8), (3, 3)])
def test_intervals_cover_the_truth_with_few_logs_and_few_runs(runs: int, logs: int) -> None:
    share = covered(runs, logs)
    assert 0.92 <= share <= 1.0  # three standard errors of 300 worlds below 95 %: 91.2 %


def test_episodes_of_one_log_do_not_count_as_independent() -> None:
    clusters = np.repeat(np.arange(5), 50)
    scores = np.random.default_rng(1).standard_normal(5)[clusters]
    found = estimate(scores, clusters, rng())
    alone = estimate(scores[::50], np.arange(5), rng())
    assert_allclose(found.high - found.low, alone.high - alone.low, rtol=0.15)


def test_two_logs_give_a_very_wide_interval() -> None:
    found = estimate([0.0, 1.0], [0, 1], rng())
    assert found.high - found.low > 10.0


def test_one_log_is_said_to_be_one() -> None:
    found = estimate(np.arange(8.0), np.zeros(8), rng())
    assert found.clusters == 1
    assert found.low < 3.5 < found.high


def test_one_episode_has_no_interval() -> None:
    found = estimate([1.0], [0], rng())
    assert found.mean == 1.0
    assert np.isnan(found.low)


def test_the_generator_decides() -> None:
    scores = rng().standard_normal(60)
    clusters = np.arange(60) // 3
    first: Estimate = estimate(scores, clusters, np.random.default_rng(5))
    assert first == estimate(scores, clusters, np.random.default_rng(5))
    assert first != estimate(scores, clusters, np.random.default_rng(6))
