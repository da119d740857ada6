"""Fitting the link models to logs.

Every estimate here is a closed form or a small, deterministic optimisation; there is no randomness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.special import ndtri
from scipy.stats import rankdata

from ..errors import InputError
from .arrivals import IntArray
from .link import FloatArray, LinkTrace
from .models import ArMixture, Component, LinkModel, OutageModel, PowerNormal, RttModel
from .nuwins import RttRun

__all__ = [
    "CYCLE_S",
    "fit_link_models",
    "fit_rtt_models",
    "outage_lengths",
    "pooled_correlation",
    "rtt_bins_s",
    "seconds_mbps",
]

CYCLE_S = 5.0
"""Period of a cycle that the Belgium logs show: in most of them the rate swings every five seconds, with a phase that
wanders. NYU-METS has none, so that it probably comes from how these logs were measured; it is modelled all the same."""

_TAU_S = (0.0, 2.0, 6.0, 20.0, 60.0, 200.0, None)
_CYCLE_TAU_S = (10.0, 50.0, 250.0)
_LAGS_S = np.array([*range(1, 17), 18, 20, 25, 30, 32, 37, 45, 60])
_MOVEMENT = {"foot": "walking", "bicycle": "walking", "walking": "walking", "static": "static"}
_PRIOR_LOGS = 3.0
_SUM_WEIGHT = 100.0
_PRIOR_OUTAGES = 1.0
_QUANTILES = np.linspace(0.01, 0.99, 99)
_DEFAULT_TILT = 1.0
_POWERS = (0.5, 1.25)
"""Range of the marginal's power. Of the families tried (gamma, Weibull, fixed powers, powers from 0.3 to 2) this one
came nearest to logs that the fit had not seen."""


def seconds_mbps(trace: LinkTrace) -> FloatArray:
    """Rates of a log in Mbit/s, one per whole second from its first full row, shape (n,)."""
    return trace.aligned(1.0).resample(1.0, tail="drop").rate_bps / 1e6


def fit_link_models(
    traces: Sequence[LinkTrace], rtt: Mapping[str, RttModel] | None = None, technology: str = "lte"
) -> dict[str, LinkModel]:
    """One model per transport mode, fitted to logs.

    * *Marginal*: the three parameters of `PowerNormal` by least squares between the quantiles at 1 to 99 % of the
      seconds outside outages of all logs of the mode.
    * *Autocorrelation*: normal scores of the rate, seconds in an outage left out; each log's own correlation at lags
      of 1 to 60 s, and the share of the variance that lies between logs; weights of the fixed time constants by
      non-negative least squares on what these two are expected to be in logs of that length (a short log
      underestimates slow components, and the fit knows it). Few logs say little: a mode with n logs is averaged with
      all modes with weights n and 3.
    * *Outages*: starts per second, mean length and mean score beside them, averaged with all modes as if one more
      outage of the common kind had been seen.

    Args:
        traces: Logs to fit to; only these are used.
        rtt: Round-trip models by technology and movement, attached as they are: that of 'walking' to foot and bicycle,
            of 'static' to static, of 'driving' to the rest.
        technology: Radio technology of the logs.

    Raises:
        InputError: There is no log.
    """
    if not traces:
        raise InputError("fit", "traces", "must contain at least one log", 0)
    logs: dict[str, list[FloatArray]] = {}
    directions = {trace.mode: trace.direction for trace in traces}
    for trace in sorted(traces, key=lambda trace: (trace.mode, trace.name)):
        logs.setdefault(trace.mode, []).append(seconds_mbps(trace))
    laws = {mode: _fit_power_normal(np.concatenate(rates)) for mode, rates in logs.items()}
    scores = {mode: [_scores(laws[mode], rates) for rates in logs[mode]] for mode in logs}
    every = [score for per_mode in scores.values() for score in per_mode]
    common = _dynamics_target(every)
    common_outages = _outage_counts(every)
    models = {}
    for mode in sorted(logs):
        own, n = _dynamics_target(scores[mode]), len(logs[mode])
        own = np.where(np.isfinite(own), own, common)
        length = int(np.mean([rates.size for rates in logs[mode]]))
        models[mode] = LinkModel(
            mode=mode,
            direction=directions[mode],
            rate=laws[mode],
            dynamics=_fit_mixture((n * own + _PRIOR_LOGS * common) / (n + _PRIOR_LOGS), length, CYCLE_S),
            outages=_fit_outages(_outage_counts(scores[mode]), common_outages),
            rtt=(rtt or {}).get(f"{technology}-{_MOVEMENT.get(mode, 'driving')}"),
            n_logs=n,
            n_seconds=sum(rates.size for rates in logs[mode]),
        )
    return models


def fit_rtt_models(runs: Sequence[RttRun], bin_s: float = 1.0) -> dict[str, RttModel]:
    """One round-trip model per radio technology and movement, fitted to ping runs averaged over bins of one second.

    Floor, median, spread and tail by least squares between the logarithms of the quantiles at 1 to 99 %; the
    autocorrelation is that of the normal scores of the ranks.

    Returns:
        Models by name, for example 'lte-driving'.
    """
    bins: dict[tuple[str, str], list[FloatArray]] = {}
    for run in runs:
        means = rtt_bins_s(run, bin_s)
        if means.size:
            bins.setdefault((run.technology, run.mode), []).append(means)
    models = {}
    for (technology, movement), series in sorted(bins.items()):
        values = np.concatenate(series)
        floor_s, log_median, log_sd, tail = _fit_rtt_marginal(values)
        scores = np.split(ndtri(rankdata(values) / (values.size + 1)), np.cumsum([run.size for run in series])[:-1])
        models[f"{technology}-{movement}"] = RttModel(
            technology=technology,
            movement=movement,
            floor_s=_round(floor_s) if floor_s > 1e-6 else 0.0,
            log_median=_round(log_median),
            log_sd=_round(log_sd),
            tail=_round(tail) if tail > 1e-6 else 0.0,
            dynamics=_fit_mixture(_dynamics_target(scores), int(np.mean([run.size for run in series])), None),
        )
    return models


def rtt_bins_s(run: RttRun, bin_s: float = 1.0) -> FloatArray:
    """Mean round-trip time of each whole bin of a run in seconds, shape (n,)."""
    per_bin = max(1, round(bin_s / run.dt_s))
    whole = run.rtt_s.size // per_bin
    return np.asarray(run.rtt_s[: whole * per_bin].reshape(whole, per_bin).mean(axis=1), dtype=np.float64)


def _fit_rtt_marginal(values: FloatArray) -> tuple[float, float, float, float]:
    """Floor, log median, log spread and tail of `RttModel`."""
    wanted, scores = np.quantile(values, _QUANTILES), ndtri(_QUANTILES)
    lowest = float(values.min())

    def parts(x: FloatArray) -> tuple[float, float, float, float]:
        floor_s = lowest / (1.0 + np.exp(-x[0]))
        return float(floor_s), float(x[1]), float(np.exp(x[2])), float(0.5 / (1.0 + np.exp(-x[3])))

    def distance(x: FloatArray) -> float:
        floor_s, log_median, log_sd, tail = parts(x)
        fitted = floor_s + np.exp(np.minimum(log_median + log_sd * scores * np.exp(tail * scores**2 / 2.0), 5.0))
        return float(np.mean(np.log(fitted / wanted) ** 2))

    start = np.array([2.0, np.log(np.median(values) - 0.88 * lowest), -0.7, -1.0])
    found = minimize(distance, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-5, "fatol": 1e-10})
    return parts(found.x)


def pooled_correlation(series: Sequence[FloatArray], lags: IntArray) -> FloatArray:
    """Autocorrelation at each lag about the common mean of several series, NaNs left out; shape of lags.

    NaN for a lag that no series is long enough for.
    """
    mean = float(np.nanmean(np.concatenate(list(series))))
    variance = float(np.nanvar(np.concatenate(list(series))))
    result = np.full(len(lags), np.nan)
    for at, lag in enumerate(lags):
        products = [(values[lag:] - mean) * (values[:-lag] - mean) for values in series if values.size > lag]
        joined = np.concatenate(products) if products else np.array([])
        if np.isfinite(joined).any() and variance > 0.0:
            result[at] = float(np.nanmean(joined)) / variance
    return result


def outage_lengths(rates: FloatArray) -> IntArray:
    """Lengths in seconds of the runs of zeros (or NaNs) in a series, shape (number of runs,)."""
    down = np.concatenate([[0], (~(rates > 0.0)).astype(np.int64), [0]])
    steps = np.diff(down)
    return (np.flatnonzero(steps == -1) - np.flatnonzero(steps == 1)).astype(np.int64)


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _fit_power_normal(rates: FloatArray) -> PowerNormal:
    """Least squares between quantiles."""
    positive = rates[rates > 0.0]
    if positive.size < 2 or np.ptp(positive) == 0.0:
        raise InputError("fit", "rate", "must vary: a mode needs at least two different positive rates", positive.size)
    wanted = np.quantile(positive, _QUANTILES)
    scale = float(np.mean(positive))

    def law(parameters: FloatArray) -> PowerNormal:
        power = _POWERS[0] + (_POWERS[1] - _POWERS[0]) / (1.0 + np.exp(-parameters[0]))
        return PowerNormal(power=float(power), mean=float(parameters[1]), sd=float(np.exp(parameters[2])))

    def distance(parameters: FloatArray) -> float:
        return float(np.mean((law(parameters).quantile(_QUANTILES) - wanted / scale) ** 2))

    starts = [np.array([x, 1.0, np.log(0.5)]) for x in (-2.0, 0.0, 2.0)]
    found = min(
        (
            minimize(distance, start, method="Nelder-Mead", options={"maxiter": 800, "xatol": 1e-4, "fatol": 1e-8})
            for start in starts
        ),
        key=lambda result: float(result.fun),
    )
    best = law(found.x)
    unit = scale**best.power
    return PowerNormal(power=_round(best.power), mean=_round(best.mean * unit), sd=_round(best.sd * unit))


def _scores(law: PowerNormal, rates: FloatArray) -> FloatArray:
    scores = ndtri(np.clip(law.cdf(rates), 1e-4, 1.0 - 1e-4))
    return np.where(rates > 0.0, scores, np.nan)


def _dynamics_target(scores: Sequence[FloatArray]) -> FloatArray:
    """Mean over logs of their own correlation at each lag, then the share of variance between logs: (lags + 1,)."""
    per_log = np.array([pooled_correlation([series], _LAGS_S) for series in scores])
    known = np.isfinite(per_log)
    totals = np.where(known, per_log, 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    within = np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)
    sizes = np.array([np.isfinite(series).sum() for series in scores], dtype=np.float64)
    inner = np.array([np.nanvar(series) for series in scores])
    total = float(np.nanvar(np.concatenate(list(scores))))
    return np.append(within, max(0.0, 1.0 - float(np.average(inner, weights=sizes)) / total))


def _candidates(cycle_s: float | None) -> list[Component]:
    """Components whose weights are fitted, each with a nominal weight of 1."""
    plain = [Component(weight=1.0, tau_s=tau) for tau in _TAU_S]
    if cycle_s is None:
        return plain
    return plain + [Component(weight=1.0, tau_s=tau, period_s=cycle_s) for tau in _CYCLE_TAU_S]


def _fit_mixture(target: FloatArray, n: int, cycle_s: float | None) -> ArMixture:
    """Non-negative weights whose expected correlation in logs of n values comes nearest to the target.

    A component with correlation c(k) has a log mean of variance V = mean of c over all pairs of instants; in a log
    about its own mean it is expected to have the covariance c(k) - V. With the measured correlation r(k) this makes
    sum(w (c(k) - V - r(k) (1 - V))) = 0 for every lag, and sum(w V) = the share of variance between logs.
    """
    lags = _LAGS_S.astype(np.float64)
    every = np.arange(n, dtype=np.float64)
    pairs = np.where(every == 0.0, 1.0, 2.0) * (1.0 - every / n) / n
    candidates = _candidates(cycle_s)
    columns = []
    for candidate in candidates:
        level = float(pairs @ candidate.correlation(every))
        columns.append([*(candidate.correlation(lags) - level - target[:-1] * (1.0 - level)), level])
    matrix = np.array(columns).T
    wanted = np.append(np.zeros(lags.size), target[-1])
    known = np.isfinite(target)
    stacked = np.vstack([matrix[known], np.full(len(candidates), _SUM_WEIGHT)])
    weights, _ = nnls(stacked, np.append(wanted[known], _SUM_WEIGHT))
    rounded = np.round(weights / weights.sum(), 4)
    rounded[int(np.argmax(rounded))] += 1.0 - rounded.sum()
    return ArMixture(
        components=tuple(
            candidate.model_copy(update={"weight": round(float(weight), 4)})
            for candidate, weight in zip(candidates, rounded, strict=True)
            if weight > 0.0
        )
    )


def _outage_counts(scores: Sequence[FloatArray]) -> tuple[float, float, float, list[float]]:
    """Outages, seconds in them, seconds outside, and the scores of the seconds beside them."""
    lengths = np.concatenate([outage_lengths(np.where(np.isnan(series), 0.0, 1.0)) for series in scores])
    up = float(sum(np.isfinite(series).sum() for series in scores))
    beside: list[float] = []
    for series in scores:
        down = np.isnan(series)
        edge = ~down & (np.append(down[1:], False) | np.insert(down[:-1], 0, False))
        beside.extend(series[edge].tolist())
    return float(lengths.size), float(lengths.sum()), up, beside


def _fit_outages(
    own: tuple[float, float, float, list[float]], common: tuple[float, float, float, list[float]]
) -> OutageModel:
    count, down, up, beside = own
    if common[0] == 0.0:
        return OutageModel(start_probability=0.0, mean_length_s=1.0, tilt=_DEFAULT_TILT)
    common_rate, common_length = common[0] / common[2], common[1] / common[0]
    tilt = -float(np.mean([*beside, float(np.mean(common[3]))])) if common[3] else _DEFAULT_TILT
    return OutageModel(
        start_probability=_round((count + _PRIOR_OUTAGES) / (up + _PRIOR_OUTAGES / common_rate)),
        mean_length_s=_round((down + _PRIOR_OUTAGES * common_length) / (count + _PRIOR_OUTAGES)),
        tilt=_round(min(max(tilt, 0.0), 4.0)),
    )
