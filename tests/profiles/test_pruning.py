"""A pruned cut never wins: brute force over prices, two and three tiers, against the rule."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.profiles.layer_table import CutSizes
from edgecloud.profiles.pruning import can_win, can_win_in_any

prices = st.one_of(st.just(0), st.integers(0, 1000))
"""Whole numbers: the comparisons below are exact."""


@st.composite
def networks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bytes (M + 1,), work before each cut (M + 1,), leakage (M + 1,)."""
    stages = draw(st.integers(1, 9))
    sizes = draw(st.lists(st.integers(1, 12), min_size=stages + 1, max_size=stages + 1))
    work = draw(st.lists(st.integers(0, 6), min_size=stages, max_size=stages))
    leakage = draw(st.lists(st.integers(0, 6), min_size=stages, max_size=stages))
    return np.array(sizes), np.concatenate([[0], np.cumsum(work)]), np.array([*leakage, 0])


@settings(max_examples=600, deadline=None)
@given(networks(), prices, prices, prices, prices)
def test_no_prices_make_a_pruned_cut_win(network, device, server, link, privacy):
    sizes, work, leakage = network
    cost = device * work + server * (work[-1] - work) + link * sizes
    assert cost[can_win(sizes)].min() == cost.min()
    cost = cost + privacy * leakage
    assert cost[can_win(sizes, leakage)].min() == cost.min()


@settings(max_examples=600, deadline=None)
@given(networks(), prices, prices, prices, prices, prices)
def test_three_tiers(network, device, edge, cloud, uplink, backhaul):
    """Two cuts, both among the kept ones: as good as any pair, for any prices, if the result is the smallest."""
    sizes, work, _ = network
    sizes = np.append(sizes[:-1], sizes.min())
    kept = np.flatnonzero(can_win(sizes))

    def cost(first: int, second: int) -> int:
        parts = device * work[first] + edge * (work[second] - work[first]) + cloud * (work[-1] - work[second])
        return int(parts + uplink * sizes[first] + backhaul * sizes[second])

    everything = min(cost(a, b) for a, b in itertools.combinations_with_replacement(range(len(sizes)), 2))
    assert min(cost(a, b) for a, b in itertools.combinations_with_replacement(kept.tolist(), 2)) == everything


@settings(max_examples=300, deadline=None)
@given(networks(), st.data(), prices)
def test_speeds_that_differ_from_stage_to_stage(network, data, link):
    """A server that is no dearer for any single stage: pruning holds whatever the ratios are."""
    sizes, _, _ = network
    stages = len(sizes) - 1
    on_server = np.array(data.draw(st.lists(st.integers(0, 20), min_size=stages, max_size=stages)))
    surplus = np.array(data.draw(st.lists(st.integers(0, 20), min_size=stages, max_size=stages)))
    before = np.concatenate([[0], np.cumsum(on_server + surplus)])
    after = on_server.sum() - np.concatenate([[0], np.cumsum(on_server)])
    cost = before + after + link * sizes
    assert cost[can_win(sizes)].min() == cost.min()


@settings(max_examples=200, deadline=None)
@given(networks())
def test_nothing_is_kept_without_reason(network):
    """What is kept is a strict minimum of the prefix, or smaller than the result."""
    sizes, _, _ = network
    for cut in np.flatnonzero(can_win(sizes))[1:-1]:
        assert sizes[cut] < sizes[:cut].min() or sizes[cut] < sizes[-1]


def test_a_cut_that_only_privacy_wants():
    """The later tensor is larger but reveals less: kept only if leakage counts."""
    sizes, leakage = [10, 20, 1], [1.0, 0.2, 0.0]
    assert can_win(sizes).tolist() == [True, False, True]
    assert can_win(sizes, leakage).tolist() == [True, True, True]


def test_the_assumption_is_needed():
    """A device that is faster at one stage and slower at the next makes a pruned cut win: the stated limit is real."""
    sizes = np.array([5, 5, 4])
    device, server = np.array([1, 100]), np.array([50, 1])
    cost = [server.sum() + 5, device[0] + server[1] + 5, device.sum() + 4]
    assert not can_win(sizes)[1]
    assert np.argmin(cost) == 1


def test_encodings():
    """Smaller than the input only when compressed: kept."""
    cuts = [
        CutSizes(fp32=40, fp16=20, int8=10, int8_zstd=9),
        CutSizes(fp32=80, fp16=40, int8=20, int8_zstd=5),
        CutSizes(fp32=80, fp16=40, int8=20, int8_zstd=9),
        CutSizes(fp32=4, fp16=2, int8=1, int8_zstd=1),
    ]
    assert can_win_in_any(cuts, 2).tolist() == [True, True, False, True]
    plain = [cut.model_copy(update={"int8_zstd": None}) for cut in cuts]
    assert can_win_in_any(plain, 2).tolist() == [True, False, False, True]


@pytest.mark.parametrize("size", [2, 3])
def test_ends_are_kept(size):
    assert can_win(np.ones(size))[[0, -1]].all()
