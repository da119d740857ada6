import json

import numpy as np
import pytest
from scipy import stats

from edgecloud.errors import InputError
from edgecloud.traces import (
    ArMixture,
    Component,
    LinkModel,
    OutageModel,
    PowerNormal,
    RttModel,
    default_traces,
    fit_link_models,
    fit_rtt_models,
    generated_split,
    load_link_models,
    load_link_traces,
    load_rtt_runs,
    save_link_models,
    shipped_models,
    split_traces,
)
from edgecloud.traces.fitting import outage_lengths, pooled_correlation, seconds_mbps
from edgecloud.traces.report import compare
from edgecloud.traces.report_text import fit_report

LAGS = np.array([1, 5, 10, 30])
MIXTURE = ArMixture(
    components=(
        Component(weight=0.2, tau_s=0.0),
        Component(weight=0.6, tau_s=20.0),
        Component(weight=0.1, tau_s=None),
        Component(weight=0.1, tau_s=50.0, period_s=5.0),
    )
)


def model(**changes):
    values = {
        "mode": "car",
        "direction": "downlink",
        "rate": PowerNormal(power=0.8, mean=15.0, sd=5.0),
        "dynamics": MIXTURE,
        "outages": OutageModel(start_probability=0.01, mean_length_s=3.0, tilt=1.5),
    }
    return LinkModel(**(values | changes))


def test_power_normal_inverts():
    law = PowerNormal(power=0.7, mean=5.0, sd=4.0)
    q = np.linspace(0.001, 0.999, 50)
    assert np.allclose(law.cdf(law.quantile(q)), q, atol=1e-9)
    assert law.cdf(0.0) == pytest.approx(0.0, abs=1e-12)


def test_mixture_has_the_stated_correlation():
    paths = [MIXTURE.sample(2000, 1.0, np.random.default_rng(seed)) for seed in range(200)]
    found = pooled_correlation(paths, LAGS)
    assert np.allclose(found, MIXTURE.correlation(LAGS), atol=0.04)
    joined = np.concatenate(paths)
    assert joined.var() == pytest.approx(1.0, abs=0.05)
    # Stationary from the first value on.
    assert np.var([path[0] for path in paths]) == pytest.approx(1.0, abs=0.3)


def test_outages_have_the_stated_rate_length_and_place():
    law = OutageModel(start_probability=0.01, mean_length_s=4.0, tilt=1.5)
    rng = np.random.default_rng(0)
    score = rng.standard_normal(400_000)
    down = law.sample(score, rng)
    lengths = outage_lengths(np.where(down, 0.0, 1.0))
    assert lengths.mean() == pytest.approx(4.0, rel=0.05)
    assert lengths.size / (~down).sum() == pytest.approx(0.01, rel=0.06)
    starts = np.flatnonzero(np.diff(down.astype(int)) == 1) + 1
    assert score[starts].mean() == pytest.approx(-1.5, abs=0.05)


def test_sampled_marginal_is_the_stated_one():
    source = model(outages=OutageModel(start_probability=0.0, mean_length_s=1.0, tilt=0.0))
    rates = (
        np.concatenate([source.sample(60, np.random.default_rng(seed)).rate_bps[::50] for seed in range(1500)]) / 1e6
    )
    assert stats.kstest(rates, source.rate.cdf).pvalue > 0.001


def test_sample_is_a_valid_trace_and_reproducible():
    rtt = RttModel(
        technology="lte", movement="driving", floor_s=0.02, log_median=-4.0, log_sd=0.4, tail=0.1, dynamics=MIXTURE
    )
    source = model(rtt=rtt)
    first, second = (source.sample(100.5, np.random.default_rng(3), "x") for _ in range(2))
    assert first.equals(second)
    assert first.duration_s == 101.0
    assert first.rtt_s is not None
    assert first.rtt_s.min() > 0.02
    assert rtt.median_s == pytest.approx(0.02 + np.exp(-4.0))
    assert rtt.quantile(0.5) == pytest.approx(rtt.median_s)


@pytest.mark.slow
def test_fit_recovers_a_known_model():
    truth = model()
    logs = [truth.sample(600, np.random.default_rng([5, i]), f"log{i}") for i in range(24)]
    fitted = fit_link_models(logs)["car"]
    q = np.array([0.1, 0.5, 0.9])
    assert np.allclose(fitted.rate.quantile(q), truth.rate.quantile(q), rtol=0.1)
    assert np.allclose(fitted.dynamics.correlation(LAGS), truth.dynamics.correlation(LAGS), atol=0.07)
    assert fitted.outages.mean_length_s == pytest.approx(3.0, rel=0.15)
    assert fitted.outages.start_probability == pytest.approx(0.01, rel=0.2)
    assert fitted.outages.tilt > 0.3
    assert fit_link_models(list(reversed(logs)))["car"] == fitted
    rows = compare({"car": fitted}, logs[:14], logs[20:])
    assert [row.mode for row in rows] == ["car", "all"]
    assert rows[0].ks < 0.12
    assert "| car | held out (4) |" in fit_report(rows)


def test_generated_split_has_disjoint_streams():
    split = generated_split(seed=1, logs_per_mode=(2, 1, 1), duration_s=30.0)
    every = [*split.train, *split.validation, *split.test]
    assert len(every) == 4 * len(shipped_models().models)
    assert len({trace.fingerprint for trace in every}) == len(every)
    assert len({trace.name for trace in every}) == len(every)
    more = generated_split(seed=1, logs_per_mode=(3, 1, 2), duration_s=30.0)
    known = {trace.name: trace.fingerprint for trace in (*more.train, *more.validation, *more.test)}
    assert all(known[trace.name] == trace.fingerprint for trace in every)
    other = generated_split(seed=2, logs_per_mode=(2, 1, 1), duration_s=30.0)
    assert not {trace.fingerprint for trace in every} & {trace.fingerprint for trace in other.train}
    with pytest.raises(InputError, match="logs_per_mode"):
        generated_split(0, (1, 0, 1))


def test_shipped_models_are_small_and_complete():
    shipped = shipped_models()
    assert set(shipped.models) == {"foot", "bicycle", "bus", "car", "train", "tram"}
    assert {"lte-driving", "lte-walking", "lte-static"} <= set(shipped.rtt)
    assert all(source.rtt is not None for source in shipped.models.values())
    # Parameters only: no list in the file is long enough to be a recording.
    longest = 0

    def look(value):
        nonlocal longest
        if isinstance(value, dict):
            for item in value.values():
                look(item)
        elif isinstance(value, list | tuple):
            longest = max(longest, len(value))
            for item in value:
                look(item)

    look(json.loads(shipped.model_dump_json()))
    assert longest <= 10


def test_model_files_round_trip_and_reject_nonsense(tmp_path):
    path = tmp_path / "m.json"
    save_link_models(path, {"car": model()}, {}, {"command": "test"})
    assert load_link_models(path).models == {"car": model()}
    data = json.loads(path.read_text())
    data["models"]["car"]["colour"] = "red"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"models.car.colour"):
        load_link_models(path)
    del data["models"]["car"]["colour"]
    data["models"]["car"]["dynamics"]["components"][0]["weight"] = 0.9
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="add up to 1"):
        load_link_models(path)
    path.write_text("{")
    with pytest.raises(InputError, match="line 1"):
        load_link_models(path)
    with pytest.raises(InputError, match="readable"):
        load_link_models(tmp_path / "none.json")


def test_default_traces_says_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGECLOUD_TRACES", raising=False)
    generated = default_traces(seed=4)
    assert not generated.recorded
    assert "generated" in generated.origin
    monkeypatch.setenv("EDGECLOUD_TRACES", str(tmp_path / "missing"))
    with pytest.raises(InputError, match="missing"):
        default_traces()


def test_fit_on_recorded_logs(data_dir):
    split = split_traces(load_link_traces(data_dir / "belgium4g"), 0)
    rtt = fit_rtt_models(load_rtt_runs(data_dir / "nuwins_uplink"))
    models = fit_link_models(split.train, rtt)
    # The shipped parameters are what the command makes of the logs; optimisers may differ in the last digits.
    shipped = shipped_models()
    for mode, fitted in models.items():
        q = np.array([0.05, 0.5, 0.95])
        assert np.allclose(fitted.rate.quantile(q), shipped.models[mode].rate.quantile(q), rtol=0.02)
        assert np.allclose(
            fitted.dynamics.correlation(LAGS), shipped.models[mode].dynamics.correlation(LAGS), atol=0.02
        )
        assert fitted.n_logs == shipped.models[mode].n_logs
    assert rtt["lte-driving"].median_s == pytest.approx(0.0339, abs=0.001)


def test_generated_logs_resemble_logs_that_the_fit_did_not_see(data_dir):
    split = split_traces(load_link_traces(data_dir / "belgium4g"), 0)
    held_out = [seconds_mbps(trace) for trace in (*split.validation, *split.test)]
    models = shipped_models().models
    generated = []
    for trace in (*split.validation, *split.test):
        for copy in range(8):
            rng = np.random.default_rng([copy, *trace.name.encode()])
            generated.append(seconds_mbps(models[trace.mode].sample(trace.duration_s, rng)))
    real, made = np.concatenate(held_out), np.concatenate(generated)
    assert stats.ks_2samp(real, made).statistic < 0.15
    assert made.mean() == pytest.approx(real.mean(), rel=0.15)
    own = np.median([pooled_correlation([series], LAGS) for series in held_out], axis=0)
    new = np.median([pooled_correlation([series], LAGS) for series in generated], axis=0)
    assert np.abs(own - new).max() < 0.15


def test_default_traces_from_a_folder(data_dir):
    traces = default_traces(data_dir / "belgium4g", seed=0)
    assert traces.recorded
    assert "29 recorded logs" in traces.origin
    # No first fragment is left: every first bin is a full second.
    assert min(trace.edges_s[1] for trace in traces.split.train) > 0.99
