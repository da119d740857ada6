import csv
import io

import numpy as np
import pytest

from edgecloud.errors import InputError
from edgecloud.profiles import NEVER, list_profiles, load_profile
from edgecloud.profiles.curves import cheapest_within, threshold_curve


def test_rows_by_hand(make_profile):
    """Four samples, confidences 0.9, 0.4, 0.6, 1.0 at the first exit; stages 100, 200, 300; heads 10 and 20."""
    curve = threshold_curve(make_profile(), [0.5, 0.95])
    assert curve.exit_rates.tolist() == [[0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert curve.flops == pytest.approx([110 + 0.25 * 520, 110 + 0.75 * 520, 620])
    assert curve.latency_s == pytest.approx([0.0012 + 0.25 * 0.003, 0.0012 + 0.75 * 0.003, 0.004])
    assert curve.accuracy.tolist() == [0.75, 1.0, 0.75]
    assert curve.threshold[-1] == NEVER


def test_csv_reads_back(make_profile):
    curve = threshold_curve(make_profile())
    rows = list(csv.DictReader(io.StringIO(curve.as_csv())))
    assert len(rows) == len(curve.threshold)
    assert rows[-1]["threshold"] == "never"
    assert float(rows[0]["exit_rate_exit1"]) == curve.exit_rates[0, 0]
    assert float(rows[3]["mean_flops"]) == pytest.approx(curve.flops[3], rel=1e-5)


WITH_EXITS = [name for name in list_profiles() if load_profile(name).has_exit_table]


@pytest.mark.parametrize("name", WITH_EXITS)
def test_ends_of_the_curve(name):
    profile = load_profile(name)
    curve = threshold_curve(profile)
    assert curve.flops[-1] == profile.total_flops
    assert curve.latency_s[-1] == pytest.approx(profile.total_latency_s)
    assert curve.exit_rates.sum(axis=1) == pytest.approx(1)
    assert np.all(np.diff(curve.exit_rates[:-1, 0]) <= 0)


def test_unknown_accuracy(unjudged):
    with pytest.raises(InputError) as caught:
        threshold_curve(unjudged)
    assert caught.value.field == "table"


def test_cheapest_within(make_profile):
    curve = threshold_curve(make_profile(), [0.5, 0.95])
    assert cheapest_within(curve, 0.0) == 0
    best = threshold_curve(make_profile(correct=np.array([[0, 1], [0, 1], [0, 1], [0, 1]], dtype=bool)), [0.5, 0.95])
    assert cheapest_within(best, 0.0) == 2
    assert cheapest_within(best, 0.25) == 1
