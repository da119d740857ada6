import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from edgecloud.evaluation import Comparison, Point, hypervolume, pareto_front, points_of


def point(method: str, *axes: float) -> Point:
    return Point(method, "default", *axes, accuracy=0.9, failure_rate=0.0)


def test_volume_of_two_boxes_by_hand() -> None:
    points = [point("a", 0.5, 0.5, 0.5), point("b", 0.25, 0.75, 0.5)]
    # 0.5³ + 0.75·0.25·0.5 - what both cover: 0.5·0.25·0.5.
    assert_allclose(hypervolume(points), 0.125 + 0.09375 - 0.0625)
    assert_allclose(hypervolume([point("a", 1.0, 1.0, 0.5)], (2.0, 2.0, 1.0)), 1.0 * 1.0 * 0.5 / 4.0)


def test_beyond_the_reference_covers_nothing() -> None:
    assert hypervolume([point("a", 1.2, 0.1, 0.1)]) == 0.0
    assert hypervolume([]) == 0.0


def test_front_and_what_each_method_adds() -> None:
    points = [
        point("a", 0.2, 0.8, 0.5),
        point("b", 0.8, 0.2, 0.5),
        point("worse", 0.9, 0.9, 0.5),
        point("b", 0.8, 0.2, 0.5),
    ]
    front = pareto_front(points)
    assert {p.method for p in front.best} == {"a", "b"}
    assert front.without["worse"] == 0.0
    assert_allclose(front.without["a"], front.volume - front.by_method["b"])
    assert_allclose(front.volume, 0.5 * (0.8 * 0.2 + 0.2 * 0.8 - 0.2 * 0.2))


@given(st.lists(st.tuples(*[st.sampled_from([0.1, 0.3, 0.5, 0.9])] * 3), min_size=1, max_size=8))
def test_front_is_what_nothing_beats(axes: list[tuple[float, float, float]]) -> None:
    points = [point(str(k), *row) for k, row in enumerate(axes)]
    best = {p.method for p in pareto_front(points).best}
    for p in points:
        beaten = any(np.all(np.less_equal(q.axes, p.axes)) and q.axes != p.axes for q in points)
        assert (p.method in best) == (not beaten)
    assert_allclose(hypervolume([p for p in points if p.method in best]), hypervolume(points))


def test_points_are_in_the_reward_s_units(comparison: Comparison) -> None:
    weights = comparison.presets["default"]
    for p in points_of(comparison):
        if p.weights_name != "default":
            continue
        # The reward's cost part is minus weight × dollars per interval over the reference, whatever the episode.
        part = -comparison.scores(p.method, "default", "reward_cost").mean() / weights[1]
        assert_allclose(p.cost, part, rtol=1e-9)
        assert 0.0 <= p.leakage <= 1.0
