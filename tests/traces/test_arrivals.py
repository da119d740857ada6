import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecloud.errors import InputError
from edgecloud.traces import (
    MarkovArrivals,
    PoissonArrivals,
    RecordedArrivals,
    load_arrivals,
    load_arrivals_csv,
    load_azure_functions,
    load_azure_llm,
)

FUNCTIONS = "HashFunction,HashApp,HashOwner,minute_1,minute_2\nabc1,x,y,3,0\nabd2,x,y,1,60\n"
LLM = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:06.9899600,3180,8
"""


def rng(seed=0):
    return np.random.default_rng(seed)


def test_poisson_moments():
    counts = PoissonArrivals(20.0).sample_counts(20_000, 0.5, rng())
    assert counts.mean() == pytest.approx(10.0, rel=0.02)
    assert counts.var() == pytest.approx(10.0, rel=0.05)
    assert PoissonArrivals(0.0).sample_counts(3, 1.0, rng()).tolist() == [0, 0, 0]


def test_markov_moments():
    source = MarkovArrivals((10.0, 40.0), (30.0, 10.0))
    assert source.mean_rps == 17.5
    counts = np.concatenate([source.sample_counts(2_000, 1.0, rng(seed)) for seed in range(40)])
    assert counts.mean() == pytest.approx(17.5, rel=0.03)
    # Variance: Poisson part + variance of the integrated rate; relaxation rate 1/30 + 1/10 per second.
    relax = 1 / 30 + 1 / 10
    spread = 0.75 * 0.25 * 30.0**2
    expected = 17.5 + 2 * spread * (relax - 1 + np.exp(-relax)) / relax**2
    assert counts.var() == pytest.approx(expected, rel=0.06)


def test_markov_single_level_is_poisson_and_three_levels_are_stationary():
    one = MarkovArrivals((5.0,), (1.0,)).sample_counts(5_000, 1.0, rng())
    assert one.mean() == pytest.approx(5.0, rel=0.03)
    three = MarkovArrivals((0.0, 10.0, 100.0), (1.0, 2.0, 1.0))
    assert three.sample_counts(20_000, 1.0, rng()).mean() == pytest.approx(three.mean_rps, rel=0.04)


@given(
    counts=st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any),
    dt_s=st.sampled_from([0.5, 1.0, 2.0, 60.0]),
    ratio=st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.0, 0.7]),
)
def test_recorded_counts_are_conserved_on_any_grid(counts, dt_s, ratio):
    source = RecordedArrivals(np.array(counts), dt_s)
    n = round(len(counts) / ratio)
    if n * ratio != pytest.approx(len(counts)):
        return
    sampled = source.sample_counts(n, dt_s * ratio, rng(), start_s=0.0)
    assert sampled.shape == (n,)
    assert sampled.sum() == sum(counts)


def test_recorded_starts_anywhere_and_goes_round():
    source = RecordedArrivals(np.array([1, 2, 3]), 1.0)
    assert source.sample_counts(7, 1.0, rng(), start_s=1.0).tolist() == [2, 3, 1, 2, 3, 1, 2]
    starts = {int(source.sample_counts(1, 1.0, rng(seed))[0]) for seed in range(20)}
    assert starts == {1, 2, 3}


def test_recorded_scaling_keeps_the_mean():
    source = RecordedArrivals(np.full(20_000, 4), 1.0, scale=2.25)
    assert source.mean_rps == 9.0
    counts = source.sample_counts(20_000, 1.0, rng())
    assert counts.mean() == pytest.approx(9.0, rel=0.01)
    assert counts.min() >= 8


def test_recorded_is_a_value():
    source = RecordedArrivals(np.array([1, 2]), 1.0, "a")
    twin = pickle.loads(pickle.dumps(source))
    assert twin.equals(source)
    assert not twin.counts.flags.writeable
    assert not source.equals(RecordedArrivals(np.array([1, 3]), 1.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: PoissonArrivals(-1.0),
        lambda: PoissonArrivals(float("nan")),
        lambda: MarkovArrivals((), ()),
        lambda: MarkovArrivals((1.0,), (1.0, 2.0)),
        lambda: MarkovArrivals((1.0, 2.0), (1.0, 0.0)),
        lambda: RecordedArrivals(np.array([-1]), 1.0),
        lambda: RecordedArrivals(np.array([0.5]), 1.0),
        lambda: RecordedArrivals(np.array([0, 0]), 1.0),
        lambda: RecordedArrivals(np.array([1]), 0.0),
        lambda: RecordedArrivals(np.array([1]), 1.0, scale=0.0),
        lambda: PoissonArrivals(1.0).sample_counts(0, 1.0, rng()),
        lambda: PoissonArrivals(1.0).sample_counts(1, 0.0, rng()),
    ],
)
def test_bad_values(make):
    with pytest.raises(InputError):
        make()


def test_azure_functions(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(FUNCTIONS)
    assert load_azure_functions(path).counts.tolist() == [4, 60]
    assert load_arrivals(path).dt_s == 60.0
    assert load_azure_functions(path, "abc").counts.tolist() == [3, 0]
    assert load_azure_functions(path, 1).counts.tolist() == [1, 60]
    assert load_azure_functions(path, ["abc1", "abd"]).counts.tolist() == [4, 60]
    second = load_azure_functions(path, 1).sample_counts(60, 1.0, rng(), start_s=60.0)
    assert second.sum() == 60
    assert second.max() < 10  # spread, not in one second
    with pytest.raises(InputError, match="start of one HashFunction"):
        load_azure_functions(path, "ab")
    with pytest.raises(InputError, match="row from 0 to 1"):
        load_azure_functions(path, 2)
    for broken, part in (
        (FUNCTIONS.replace(",60", ",-60"), "line 3, minute_2"),
        (FUNCTIONS.replace(",60", ",x"), "line 3, minute_2"),
        (FUNCTIONS.replace(",60", ""), "line 3"),
        (FUNCTIONS.splitlines()[0], "at least one row"),
        ("HashFunction,a\nx,1\n", "minute columns"),
    ):
        path.write_text(broken)
        with pytest.raises(InputError, match=part):
            load_azure_functions(path)


def test_azure_llm(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text(LLM)
    assert load_azure_llm(path).counts.tolist() == [2, 0, 0, 1]
    assert load_arrivals(path, dt_s=10.0).counts.tolist() == [3]
    path.write_text(LLM.replace("18:17:06", "18:17:01"))
    with pytest.raises(InputError, match="line 4, TIMESTAMP: must not be earlier"):
        load_azure_llm(path)
    path.write_text(LLM.replace("2023-11-16 18:17:06.9899600", "noon"))
    with pytest.raises(InputError, match="line 4, TIMESTAMP: must be a date and time"):
        load_azure_llm(path)
    path.write_text(LLM[: LLM.rindex(",")])
    with pytest.raises(InputError, match="line 4: must have 3 fields"):
        load_azure_llm(path)


def test_plain_arrivals(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t_s,count\n0,1\n5,2\n10,0\n")
    source = load_arrivals_csv(path)
    assert (source.counts.tolist(), source.dt_s) == ([1, 2, 0], 5.0)
    path.write_text("arrival_s\n3.5\n3.9\n5.6\n")
    assert load_arrivals(path).counts.tolist() == [2, 0, 1]
    for text, part in (
        ("t_s,count\n0,1\n5,2\n11,0\n", "line 4, t_s: must be 5 s after"),
        ("t_s,count\n0,1\n5,2.5\n", "line 3, count: must be a whole number"),
        ("t_s,count\n0,0\n1,0\n", "at least one request"),
        ("arrival_s\n3\n2\n", "line 3, arrival_s: must not be earlier"),
        ("when\n3\n", "header"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=part):
            load_arrivals(path)


def test_recorded_data(data_dir):
    functions = load_arrivals(data_dir / "azure_functions2019" / "azure2019_1000_inv.csv")
    assert (functions.counts.size, functions.dt_s) == (1440, 60.0)
    code = load_arrivals(data_dir / "azure_llm2023" / "AzureLLMInferenceTrace_code.csv")
    conv = load_arrivals(data_dir / "azure_llm2023" / "AzureLLMInferenceTrace_conv.csv")
    assert (code.counts.sum(), conv.counts.sum()) == (8819, 19366)
    assert code.dispersion > 10.0 > 2.0 > conv.dispersion
