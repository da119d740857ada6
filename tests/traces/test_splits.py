import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecloud.errors import InputError
from edgecloud.traces import LinkTrace, load_link_traces, split_traces


def log(name, mode, rate=None):
    return LinkTrace(name, mode, [0.0, 1.0], [rate or float(abs(hash((name, mode))) % 10_007 + 1)])


def logs(mode, count):
    return [log(f"{mode}{i}", mode, 1e6 + 1e3 * i + sum(mode.encode())) for i in range(count)]


def names(split):
    return [[trace.name for trace in part] for part in (split.train, split.validation, split.test)]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 5), st.randoms())
def test_every_log_lands_once_and_modes_are_covered(sizes, seed, shuffler):
    modes = [f"mode{i}" for i in range(len(sizes))]
    traces = [trace for mode, size in zip(modes, sizes, strict=True) for trace in logs(mode, size)]
    if max(sizes) < 3:
        with pytest.raises(InputError, match="three logs"):
            split_traces(traces, seed)
        return
    split = split_traces(traces, seed)
    parts = names(split)
    assert sorted(itertools.chain(*parts)) == sorted(trace.name for trace in traces)
    for mode, size in zip(modes, sizes, strict=True):
        counts = [sum(trace.mode == mode for trace in part) for part in (split.train, split.validation, split.test)]
        assert counts[0] >= 1
        if size >= 3:
            assert min(counts) >= 1
            assert counts[0] >= max(counts[1:])
        else:
            assert counts == [1, 0, size - 1]
    shuffled = list(traces)
    shuffler.shuffle(shuffled)
    assert names(split_traces(shuffled, seed)) == parts


def test_seeds_differ_and_fractions_count():
    traces = logs("bus", 20)
    assert names(split_traces(traces, 0)) != names(split_traces(traces, 1))
    split = split_traces(traces, 0, (0.5, 0.25, 0.25))
    assert [len(part) for part in names(split)] == [10, 5, 5]


def test_two_forms_of_a_recording_stay_together():
    base = logs("bus", 6)
    renamed = [LinkTrace(f"copy{i}", "bus", trace.edges_s, trace.rate_bps) for i, trace in enumerate(base)]
    same_name = [trace.scaled(2.0) for trace in base]
    for seed in range(5):
        split = split_traces([*base, *renamed, *same_name], seed)
        for part in (split.train, split.validation, split.test):
            numbers = {int(trace.name.removeprefix("bus").removeprefix("copy")) for trace in part}
            assert len(part) == 3 * len(numbers)


def test_content_bridges_two_names():
    # n-a, m-b and n-b: name n and content b make one log of all three.
    a, b = [1e6], [2e6]
    traces = [LinkTrace("n", "bus", [0, 1], a), LinkTrace("m", "bus", [0, 1], b), LinkTrace("n", "bus", [0, 1], b)]
    for seed in range(5):
        split = split_traces([*traces, *logs("bus", 3)], seed)
        sizes = [sum(trace.name in "mn" for trace in part) for part in (split.train, split.validation, split.test)]
        assert sorted(sizes) == [0, 0, 3]


def test_bad_fractions_and_seed():
    for fractions in ((0.5, 0.5, 0.5), (1.0, 0.0, 0.0)):
        with pytest.raises(InputError, match="fractions"):
            split_traces(logs("bus", 5), 0, fractions)
    with pytest.raises(InputError, match="seed"):
        split_traces(logs("bus", 5), -1)


def test_recorded_logs(data_dir):
    traces = load_link_traces(data_dir / "belgium4g")
    split = split_traces(traces, 0)
    assert sum(map(len, names(split))) == 29
    for part in (split.train, split.validation, split.test):
        assert {"foot", "bus", "car", "tram"} <= {trace.mode for trace in part}
    assert [sum(t.mode == "train" for t in part) for part in (split.train, split.validation, split.test)] == [1, 0, 1]
    raw = load_link_traces(data_dir / "belgium4g" / "raw")
    doubled = split_traces([*raw, *traces], 0)
    assert [sorted(set(part)) for part in names(doubled)] == [sorted(part) for part in names(split)]
    assert np.isclose(sum(trace.duration_s for trace in traces) / 3600.0, 3.61, atol=0.01)
