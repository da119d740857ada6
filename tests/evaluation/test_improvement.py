import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from edgecloud.evaluation import improvement_probability, mann_whitney, performance_profile


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_ties_count_half_by_hand() -> None:
    # Pairs of (1, 2, 2) with (2, 0): 1<2, 1>0, 2=2, 2>0, 2=2, 2>0, that is 3 won and 2 tied of 6.
    assert mann_whitney([1.0, 2.0, 2.0], [2.0, 0.0]) == (3 + 0.5 * 2) / 6


def test_it_is_scipy_s_statistic_over_all_pairs() -> None:
    draws = rng()
    a, b = draws.integers(0, 6, 17).astype(float), draws.integers(0, 6, 23).astype(float)
    assert_allclose(mann_whitney(a, b), stats.mannwhitneyu(a, b).statistic / (17 * 23))


def test_probability_is_averaged_over_tasks() -> None:
    method = np.array([[1.0, 3.0, 5.0, 5.0]])
    baseline = np.array([[2.0, 2.0, 5.0, 4.0], [0.0, 4.0, 6.0, 4.0]])
    # Task 0: (1, 3) against (2, 2): 2 of 4, (0, 4): 2 of 4; task 1: (5, 5) against (5, 4): 3 of 4, (6, 4): 2 of 4.
    found = improvement_probability(method, baseline, [0, 0, 1, 1], [0, 0, 1, 1], rng())
    by_hand = 0.5 * (0.5 * (2 / 4 + 2 / 4) + 0.5 * (3 / 4 + 2 / 4))
    assert_allclose(found.mean, by_hand)
    both = [mann_whitney(method[:, k], baseline[:, k].ravel()) for k in (slice(0, 2), slice(2, 4))]
    assert_allclose(found.mean, np.mean([np.mean(both[0]), np.mean(both[1])]))
    assert 0.0 <= found.low <= found.mean <= found.high <= 1.0
    assert found.episodes == 2


def test_the_other_way_round_is_the_rest() -> None:
    draws = rng()
    a, b = draws.standard_normal((3, 12)), draws.standard_normal((2, 12))
    place = (np.arange(12) // 2, np.arange(12) // 4)
    forth = improvement_probability(a, b, *place, np.random.default_rng(1))
    back = improvement_probability(b, a, *place, np.random.default_rng(1))
    assert_allclose(forth.mean + back.mean, 1.0)
    assert improvement_probability(a, a, *place, rng()).mean == 0.5


def test_always_better_is_certain() -> None:
    scores = rng().standard_normal((2, 8))
    found = improvement_probability(scores + 100.0, scores, np.arange(8), np.arange(8) // 2, rng())
    assert (found.low, found.mean, found.high) == (1.0, 1.0, 1.0)


def covered_probability(logs: int, worlds: int = 250) -> float:
    """How often the interval holds the truth when logs differ in how likely the method is better."""
    source = np.random.default_rng(logs)
    clusters = np.repeat(np.arange(logs), 8)
    tasks = np.repeat(np.arange(2 * logs), 4)
    hits = 0
    for _ in range(worlds):
        lead = source.normal(0.0, 1.0, logs)[clusters]  # symmetric: the truth is one half
        method = lead + source.standard_normal((3, clusters.size))
        baseline = source.standard_normal((1, clusters.size))
        found = improvement_probability(method, baseline, tasks, clusters, source, resamples=400)
        hits += found.low <= 0.5 <= found.high
    return hits / worlds


@pytest.mark.parametrize("logs", [5, 12])
def test_intervals_of_the_probability_cover(logs: int) -> None:
    assert 0.91 <= covered_probability(logs) <= 1.0  # three standard errors of 250 worlds below 95 %: 90.9 %


def test_profiles_by_hand() -> None:
    profile = performance_profile([[1.0, 2.0], [3.0, 4.0]], [0.0, 1.0, 2.5, 4.0], [0, 1], rng())
    assert_array_equal(profile.share, [1.0, 0.75, 0.5, 0.0])
    assert (profile.low <= profile.share).all()
    assert (profile.high >= profile.share).all()
    assert (profile.low[0], profile.high[0], profile.low[3], profile.high[3]) == (1.0, 1.0, 0.0, 0.0)


def test_profile_bands_are_those_of_logs() -> None:
    log = rng().standard_normal(30)
    copies = np.repeat(log, 20)
    alone = performance_profile(log, [0.0], np.arange(30), np.random.default_rng(2))
    many = performance_profile(copies, [0.0], np.repeat(np.arange(30), 20), np.random.default_rng(2))
    assert_allclose([many.low, many.high], [alone.low, alone.high])
