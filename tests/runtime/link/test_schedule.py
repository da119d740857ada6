"""The shaper's integral against the traces' reference."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from edgecloud.errors import InputError
from edgecloud.runtime.link import RateSchedule
from edgecloud.traces import LinkTrace, transfer_end_s

RATES = st.lists(st.sampled_from([0.0, 1e5, 2e6, 8e6, 3.3e7]), min_size=1, max_size=8)


def trace_of(rates: list[float], repeats: int = 1) -> LinkTrace:
    return LinkTrace("t", "static", np.arange(len(rates) * repeats + 1.0), np.tile(rates, repeats))


@settings(max_examples=60, deadline=None)
@given(rates=RATES, start=st.floats(0, 20), payload=st.integers(1, 3_000_000))
def test_equals_the_reference_on_the_repeated_trace(rates: list[float], start: float, payload: int) -> None:
    got = RateSchedule(trace_of(rates)).finish_s(start, 8.0 * payload)
    if sum(rates) == 0:
        assert math.isinf(got)
        return
    repeats = 2 + int((start + 8.0 * payload / (sum(rates) / len(rates))) / len(rates))
    assert got == pytest.approx(transfer_end_s(trace_of(rates, repeats), start, payload), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    rates=RATES.filter(lambda rates: sum(rates) > 0),
    start=st.floats(0, 10),
    payload=st.integers(1, 1_000_000),
    cuts=st.lists(st.tuples(st.floats(0, 15), st.floats(0.1, 5)), max_size=4),
    part=st.floats(0.01, 0.99),
)
def test_cuts_only_delay_and_pieces_add_up(
    rates: list[float], start: float, payload: int, cuts: list[tuple[float, float]], part: float
) -> None:
    free, cut = RateSchedule(trace_of(rates)), RateSchedule(trace_of(rates))
    for at, seconds in cuts:
        cut.cut(at, seconds)
    bits = 8.0 * payload
    whole = cut.finish_s(start, bits)
    assert whole >= free.finish_s(start, bits) - 1e-6
    in_two = cut.finish_s(cut.finish_s(start, part * bits), (1 - part) * bits)
    assert in_two == pytest.approx(whole, abs=1e-5)
    assert not any(at + 1e-6 < whole < at + seconds - 1e-6 for at, seconds in cuts)


def test_scale_rtt_and_a_link_without_a_trace() -> None:
    trace = LinkTrace("t", "static", [0, 1, 2], [8e6, 4e6], [0.02, 0.08])
    schedule = RateSchedule(trace, rate_scale=0.5)
    assert schedule.rate_bps(0.5) == 4e6
    assert schedule.rate_bps(3.5) == 2e6
    assert (schedule.rtt_s(0.5), schedule.rtt_s(3.5)) == (0.02, 0.08)
    free = RateSchedule(None, rtt_s=0.1)
    assert (free.finish_s(3.0, 1e12), free.rtt_s(7.0)) == (3.0, 0.1)
    free.cut(2.0, 5.0)
    assert free.finish_s(3.0, 1e12) == 7.0
    assert free.rate_bps(3.0) == 0.0
    for wrong in ({"rate_scale": 0.0}, {"rtt_s": -1.0}):
        with pytest.raises(InputError, match="positive"):
            RateSchedule(trace, **wrong)
    with pytest.raises(InputError, match="longer than 0 s"):
        free.cut(0.0, 0.0)
