import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from edgecloud.evaluation import estimate
from edgecloud.evaluation.resampling import degrees_of_freedom, run_draws, unit_draws, units_of

Floats = np.typing.NDArray[np.float64]


def test_weights_keep_every_stratum_s_size() -> None:
    units = units_of(np.arange(7), [0, 0, 0, 1, 1, 1, 1])
    weights = unit_draws(np.random.default_rng(0), units, 500)
    assert_allclose(weights[:, :3].sum(axis=1), 3.0)
    assert_allclose(weights[:, 3:].sum(axis=1), 4.0)
    assert len({tuple(row) for row in weights.tolist()}) > 50


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_variance_is_right_however_few_units(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    drawn = run_draws(np.random.default_rng(1), count, 60_000) @ values / count
    assert_allclose(drawn.var(), values.var(ddof=1) / count, rtol=0.03)
    assert_allclose(drawn.mean(), values.mean(), atol=0.01)


def test_a_single_one_is_always_drawn() -> None:
    assert_array_equal(run_draws(np.random.default_rng(0), 1, 4), np.ones((4, 1)))


def test_strata_of_one_log_are_pooled() -> None:
    assert_array_equal(units_of(np.arange(5), list("abcde")).stratum, [0] * 5)
    # c and d have one log each: together they are one stratum, apart from a and b.
    found = units_of(np.arange(6), list("aabbcd")).stratum
    assert found[4] == found[5]
    assert len({int(found[0]), int(found[2]), int(found[4])}) == 3
    # a single log alone joins the smallest of the others.
    found = units_of(np.arange(6), list("aaabbc")).stratum
    assert found[5] == found[3] != found[0]


def test_one_log_falls_apart_into_its_episodes() -> None:
    units = units_of(["x"] * 4, ["bus"] * 4)
    assert units.clusters == 1
    assert_array_equal(units.of_episode, np.arange(4))


def test_degrees_of_freedom_by_hand() -> None:
    # One run; strata of 3 and 2 logs, variances 1 and 2: v = 3·1/25, 2·2/25 and f = (v1 + v2)² / (v1²/2 + v2²/1).
    scores = np.array([-1.0, 0.0, 1.0, -1.0, 1.0])
    found = degrees_of_freedom(scores[None, None, :], units_of(np.arange(5), list("aaabb")))
    first, second = 3 * 1.0 / 25, 2 * 2.0 / 25
    assert_allclose(found, (first + second) ** 2 / (first**2 / 2 + second**2 / 1))


def covered(strata: int, logs_each: int, use_strata: bool, worlds: int = 300) -> tuple[float, float]:
    """Coverage and mean width when strata differ by far more than the logs within them."""
    source = np.random.default_rng(strata * 10 + logs_each)
    stratum = np.repeat(np.arange(strata), logs_each)
    clusters = np.repeat(np.arange(strata * logs_each), 2)
    level = np.linspace(-5.0, 5.0, strata)
    hits, width = 0, 0.0
    for _ in range(worlds):
        log = level[stratum] + source.standard_normal(stratum.size)
        scores = np.repeat(log, 2) + 0.3 * source.standard_normal(clusters.size)
        found = estimate(scores, clusters, source, strata=np.repeat(stratum, 2) if use_strata else None, resamples=500)
        hits += found.low <= 0.0 <= found.high
        width += (found.high - found.low) / worlds
    return hits / worlds, width


@pytest.mark.parametrize(("strata", "logs_each"), [(3, 2), (5, 4)])
def test_stratified_intervals_cover_and_are_narrower(strata: int, logs_each: int) -> None:
    share, width = covered(strata, logs_each, True)
    assert 0.91 <= share <= 0.995
    _, blind = covered(strata, logs_each, False, worlds=60)
    assert width < 0.7 * blind


def test_intervals_of_the_interquartile_mean_cover() -> None:
    source = np.random.default_rng(3)
    clusters = np.repeat(np.arange(24), 2)
    hits = 0
    for _ in range(200):
        scores = np.repeat(source.standard_normal(24), 2) + 0.3 * source.standard_normal(48)
        found = estimate(scores, clusters, source, strata=np.repeat(np.arange(24) % 6, 2), resamples=500)
        hits += found.iqm_low <= 0.0 <= found.iqm_high  # symmetric: mean and interquartile mean are zero
    assert hits / 200 >= 0.90
