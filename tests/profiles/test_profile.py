import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from edgecloud.errors import InputError
from edgecloud.profiles import NEVER, Exit, Profile, Reference, Stage

MAKER_TABLE = st.integers(1, 4).flatmap(
    lambda exits: st.tuples(
        hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(exits)), elements=st.floats(0, 1, width=32)),
        st.permutations(range(1, 6)).map(lambda numbers: sorted(numbers[: exits - 1])),
        st.integers(0, 2**31),
    )
)


def build(confidence: np.ndarray, early: list[int], seed: int) -> Profile:
    stages = tuple(
        Stage(name=f"s{k}", flops=10.0, output_bytes=5, weight_bytes=1, memory_bytes=1, latency_s=1.0) for k in range(6)
    )
    exits = tuple(Exit(name=f"e{after}", after_stage=after, flops=1.0, latency_s=0.0) for after in (*early, 6))
    return Profile(
        name="random",
        description="",
        stages=stages,
        input_bytes=1,
        result_bytes=1,
        exits=exits,
        confidence=confidence,
        correct=np.random.default_rng(seed).random(confidence.shape) < 0.7,
        leakage=np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0]),
        reference=Reference(machine="none", effective_flops=61 / 6),
    )


@given(MAKER_TABLE, st.one_of(st.floats(0, 1), st.just(NEVER)))
def test_exit_properties(table, threshold):
    profile = build(*table)
    rates, reach = profile.exit_rates(threshold), profile.reach(threshold)
    assert rates.shape == (profile.n_exits,)
    assert rates.sum() == pytest.approx(1.0)
    assert reach.shape == (6,)
    assert np.all(np.diff(reach) <= 1e-12)
    assert reach[0] == pytest.approx(1.0)
    assert reach[-1] == pytest.approx(rates[-1])
    assert profile.accuracy(NEVER) == profile.correct[:, -1].mean()
    assert profile.expected_flops(NEVER) == pytest.approx(profile.total_flops)


@given(MAKER_TABLE, st.floats(0, 1), st.floats(0, 1))
def test_higher_threshold_leaves_later(table, first, second):
    profile = build(*table)
    low, high = sorted((first, second))
    assert np.all(profile.exit_index(low) <= profile.exit_index(high))
    assert np.all(profile.exit_index(high) <= profile.exit_index(NEVER))


def test_by_hand(make_profile):
    profile = make_profile()
    assert profile.exit_index(0.6).tolist() == [0, 1, 0, 0]
    assert profile.exit_rates(0.6).tolist() == [0.75, 0.25]
    assert profile.accuracy(0.6) == 0.75
    assert profile.reach(0.6).tolist() == [1.0, 0.25, 0.25]
    assert profile.expected_flops(0.6) == 100 + 0.25 * 500 + 10 + 0.25 * 20
    assert profile.exit_index(NEVER).tolist() == [1, 1, 1, 1]
    assert profile.cut_bytes.tolist() == [30, 50, 20, 4]
    assert profile.cut_bytes.dtype == np.int64
    assert profile.total_flops == 620
    assert profile.total_latency_s == pytest.approx(0.004)


def test_certain_samples_exit_at_one_but_not_at_never(make_profile):
    profile = make_profile()
    assert profile.exit_index(1.0).tolist() == [1, 1, 1, 0]
    assert profile.exit_index(NEVER)[3] == 1


def test_arrays_are_read_only_and_copied(make_profile):
    table = np.full((4, 2), 0.5, dtype=np.float32)
    profile = make_profile(confidence=table)
    table[0, 0] = 0.9
    assert profile.confidence[0, 0] == 0.5
    for array in (profile.confidence, profile.correct, profile.leakage, profile.cut_bytes, profile.stage_flops):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_pickle_and_deepcopy(make_profile):
    profile = make_profile()
    for other in (pickle.loads(pickle.dumps(profile)), copy.deepcopy(profile)):
        assert other.equals(profile)
        assert not other.confidence.flags.writeable
        assert other.cut_bytes.tolist() == profile.cut_bytes.tolist()
    assert not profile.equals(make_profile(input_bytes=31))
    assert not profile.equals(make_profile(leakage=[1, 0.7, 0.5, 0]))


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": "No Good"}, "name", "lower-case"),
        ({"input_bytes": 0}, "input_bytes", "at least 1"),
        ({"result_bytes": -4}, "result_bytes", "at least 1"),
        ({"stages": ()}, "stages", "at least one"),
        ({"exits": ()}, "exits", "final classifier"),
        ({"confidence": np.full((4, 3), 0.5)}, "confidence", "(samples, 2)"),
        ({"confidence": np.full(4, 0.5)}, "confidence", "(samples, 2)"),
        ({"confidence": np.empty((0, 2)), "correct": np.empty((0, 2))}, "confidence", "(samples, 2)"),
        ({"correct": np.ones((3, 2), bool)}, "correct", "shape of confidence"),
        ({"confidence": np.array([[0.5, 0.5]] * 3 + [[0.5, 1.5]])}, "confidence[3,1]", "[0, 1]"),
        ({"confidence": np.array([[0.5, np.nan]] * 4)}, "confidence[0,1]", "[0, 1]"),
        ({"leakage": [1, 0.5, 0]}, "leakage", "4 entries"),
        ({"leakage": [0.9, 0.8, 0.5, 0]}, "leakage[0]", "must be 1"),
        ({"leakage": [1, 0.8, 0.5, 0.1]}, "leakage[3]", "must be 0"),
        ({"leakage": [1, 1.2, 0.5, 0]}, "leakage[1]", "[0, 1]"),
        ({"leakage": [np.nan, 0.8, 0.5, 0]}, "leakage[0]", "[0, 1]"),
        ({"leakage": [1, 0.8, 0.5, np.nan]}, "leakage[3]", "[0, 1]"),
        ({"reference": Reference(machine="m", effective_flops=1.0)}, "reference.effective_flops", "155000"),
    ],
)
def test_parts_that_disagree(make_profile, changes, field, words):
    with pytest.raises(InputError) as caught:
        make_profile(**changes)
    assert caught.value.field == field
    assert words in caught.value.rule
    assert "\n" not in str(caught.value)


def test_stages_and_exits_that_disagree(make_profile):
    stages, exits = make_profile().stages, make_profile().exits
    with pytest.raises(InputError, match=r"stages\[1\].name"):
        make_profile(stages=(stages[0], stages[0], stages[2]))
    with pytest.raises(InputError, match=r"exits\[1\].after_stage: must be above 3"):
        make_profile(exits=(exits[1], exits[0]))
    with pytest.raises(InputError, match=r"exits\[1\].after_stage: must be 3"):
        make_profile(exits=(exits[0], exits[1].model_copy(update={"after_stage": 2})))
    idle = tuple(stage.model_copy(update={"latency_s": 0.0}) for stage in stages)
    final = exits[1].model_copy(update={"latency_s": 0.0})
    with pytest.raises(InputError, match="positive latency"):
        make_profile(stages=idle, exits=(exits[0], final))


def test_single_values_are_checked():
    with pytest.raises(ValidationError):
        Stage(name="s", flops=1, output_bytes=1, weight_bytes=0, memory_bytes=0, latency_s=-1)
    with pytest.raises(ValidationError):
        Exit(name="e", after_stage=0, flops=1, latency_s=0)


def test_fingerprint_follows_the_numbers(make_profile):
    profile = make_profile()
    assert profile.fingerprint() == make_profile(description="other words", provenance={}).fingerprint()
    stages = (profile.stages[0].model_copy(update={"output_bytes": 51}), *profile.stages[1:])
    others = [make_profile(input_bytes=31), make_profile(leakage=[1, 0.7, 0.5, 0]), make_profile(stages=stages)]
    assert len({profile.fingerprint(), *(other.fingerprint() for other in others)}) == 4
