import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecloud.errors import InputError
from edgecloud.traces import LinkTrace, transfer_end_s


def make(edges, rates, **kwargs):
    return LinkTrace("t", "static", edges, rates, **kwargs)


@st.composite
def traces(draw, min_rate=0.0):
    n = draw(st.integers(1, 30))
    widths = draw(hnp.arrays(np.float64, n, elements=st.floats(1e-3, 20.0)))
    rates = draw(hnp.arrays(np.float64, n, elements=st.one_of(st.just(min_rate), st.floats(max(min_rate, 1e3), 1e9))))
    with_rtt = draw(st.booleans())
    rtt = draw(hnp.arrays(np.float64, n, elements=st.floats(1e-3, 1.0))) if with_rtt else None
    return make(np.concatenate([[0.0], np.cumsum(widths)]), rates, rtt_s=rtt)


def test_closed_forms():
    trace = make([0, 1, 3, 4], [8e6, 0.0, 16e6])
    assert trace.duration_s == 4.0
    assert trace.total_bytes == 3e6
    assert trace.mean_bps == 6e6
    assert trace.zero_fraction == 0.5
    assert trace.bits_between(0.5, 3.5) == 12e6
    assert trace.bits_between([0, -1, 3.5], [1, 0, 9]).tolist() == [8e6, 0.0, 8e6]
    assert trace.quantile_bps([0.0, 0.5, 0.51, 1.0]).tolist() == [0.0, 0.0, 8e6, 16e6]
    assert trace.scaled(0.5).rate_bps.tolist() == [4e6, 0.0, 8e6]


def test_transfer_closed_forms():
    trace = make([0, 1, 3, 4], [8e6, 0.0, 16e6])
    assert transfer_end_s(trace, 0.0, 1e6) == 1.0  # ends exactly as the outage begins, not after it
    assert transfer_end_s(trace, 0.25, 1e6) == pytest.approx(3.125)
    assert transfer_end_s(trace, 2.0, 0.0) == 2.0
    assert transfer_end_s(trace, 3.0, 2e6) == 4.0
    assert transfer_end_s(trace, 3.0, 2e6 + 1) == float("inf")
    assert transfer_end_s(trace, 7.0, 1.0) == float("inf")
    with pytest.raises(InputError, match="start_s"):
        transfer_end_s(trace, -1.0, 1.0)
    with pytest.raises(InputError, match="payload_bytes"):
        transfer_end_s(trace, 0.0, float("nan"))


def test_arrays_are_copied_and_read_only():
    rates = np.array([1.0, 2.0])
    trace = make([0, 1, 2], rates)
    rates[0] = 9.0
    assert trace.rate_bps[0] == 1.0
    for array in (trace.edges_s, trace.rate_bps):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5.0


def test_pickle_and_copy_keep_value_and_immutability():
    trace = make([0, 1, 2.5], [1e6, 2e6], rtt_s=[0.02, 0.03], direction="uplink")
    for twin in (pickle.loads(pickle.dumps(trace)), copy.deepcopy(trace), copy.copy(trace)):
        assert twin.equals(trace)
        assert not twin.rate_bps.flags.writeable
        assert twin.total_bytes == trace.total_bytes
    assert not trace.equals(trace.scaled(2.0))
    assert not trace.equals("trace")


@pytest.mark.parametrize(
    ("edges", "rates", "kwargs", "field"),
    [
        ([0, 1], [], {}, "rate_bps"),
        ([0, 1], [1, 2], {}, "edges_s"),
        ([1, 2], [1], {}, "edges_s"),
        ([0, 2, 1], [1, 1], {}, r"edges_s\[2\]"),
        ([0, 1], [-1], {}, r"rate_bps\[0\]"),
        ([0, 1], [np.nan], {}, r"rate_bps\[0\]"),
        ([0, np.inf], [1], {}, "edges_s"),
        ([0, 1], [1], {"rtt_s": [0.0]}, r"rtt_s\[0\]"),
        ([0, 1], [1], {"rtt_s": [0.1, 0.1]}, "rtt_s"),
        ([0, 1], [1], {"direction": "sideways"}, "direction"),
    ],
)
def test_bad_traces_name_the_field(edges, rates, kwargs, field):
    with pytest.raises(InputError, match=f"lab.csv: {field}: must"):
        make(edges, rates, source="lab.csv", **kwargs)


@given(traces(), st.floats(0.01, 30.0))
def test_resample_conserves_bytes_and_time(trace, dt_s):
    again = trace.resample(dt_s)
    assert again.total_bytes == pytest.approx(trace.total_bytes, rel=1e-12)
    assert again.duration_s == trace.duration_s
    width = np.diff(again.edges_s)
    assert np.allclose(width[:-1], dt_s, rtol=1e-6)
    assert width[-1] <= dt_s * (1 + 1e-6)
    bits = trace.bits_between(again.edges_s[:-1], again.edges_s[1:])
    assert np.allclose(again.rate_bps * width, bits, rtol=1e-9, atol=1e-3)
    if trace.rtt_s is not None:
        assert again.rtt_s is not None
        mean = np.average(trace.rtt_s, weights=np.diff(trace.edges_s))
        assert np.average(again.rtt_s, weights=width) == pytest.approx(mean, rel=1e-9)


@given(traces(), st.floats(0.0, 50.0), st.floats(1.0, 1e8))
def test_transfer_agrees_with_bits_between(trace, start_s, payload_bytes):
    end_s = transfer_end_s(trace, start_s, payload_bytes)
    carried = float(trace.bits_between(start_s, trace.duration_s))
    if np.isinf(end_s):
        assert carried <= 8 * payload_bytes * (1 + 1e-9) + 1e-3
    else:
        assert end_s >= start_s
        sent = float(trace.bits_between(start_s, end_s))
        # The instant is a float: one step of it is worth so many bits.
        step_bits = np.spacing(end_s) * trace.rate_bps.max() * 4
        assert sent == pytest.approx(8 * payload_bytes, rel=1e-9, abs=step_bits + 1e-3)


@given(traces(), st.floats(0.0, 10.0), st.floats(1.0, 1e7), st.floats(1.0, 1e7))
@settings(max_examples=50)
def test_transfers_follow_each_other(trace, start_s, first_bytes, second_bytes):
    together = transfer_end_s(trace, start_s, first_bytes + second_bytes)
    middle = transfer_end_s(trace, start_s, first_bytes)
    if np.isfinite(middle):
        one_by_one = transfer_end_s(trace, middle, second_bytes)
        longest = np.diff(trace.edges_s).max()
        if np.isfinite(together) and np.isfinite(one_by_one):
            near = abs(together - one_by_one) <= 1e-9 * (1 + together)
            # Rounding may put an end on either side of an outage.
            assert near or 0.0 in trace.rate_bps or abs(together - one_by_one) < longest


def test_resample_tail_and_errors():
    trace = make([0, 0.5, 2.5], [8e6, 4e6])
    kept = trace.resample(1.0)
    assert kept.edges_s.tolist() == [0, 1, 2, 2.5]
    assert kept.rate_bps.tolist() == [6e6, 4e6, 4e6]
    assert trace.resample(1.0, tail="drop").edges_s.tolist() == [0, 1, 2]
    assert trace.resample(10.0).rate_bps.tolist() == [pytest.approx(12e6 / 2.5)]
    with pytest.raises(InputError, match="must not exceed"):
        trace.resample(10.0, tail="drop")
    with pytest.raises(InputError, match="dt_s"):
        trace.resample(0.0)
    with pytest.raises(InputError, match="factor"):
        trace.scaled(-1.0)


def test_resample_of_a_grid_is_the_identity():
    trace = make(np.arange(601) * 0.1, np.arange(600) * 1e3)
    assert trace.resample(0.1).rate_bps.size == 600
    assert trace.resample(1.0).rate_bps.size == 60
    whole = make(np.arange(601.0), np.arange(600) * 1e3)
    assert np.allclose(whole.resample(1.0).rate_bps, whole.rate_bps, atol=1e-6)


def test_aligned_drops_a_leading_fragment_only():
    trace = make([0, 0.2, 1.2, 2.2], [1e6, 2e6, 3e6])
    assert trace.aligned().edges_s.tolist() == pytest.approx([0, 1, 2])
    assert trace.aligned().rate_bps.tolist() == [2e6, 3e6]
    assert trace.aligned().aligned() is not None
    whole = make([0, 1, 2], [1e6, 2e6])
    assert whole.aligned() is whole
