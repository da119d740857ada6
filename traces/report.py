"""How near the generated logs come to recorded ones that the fit did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp

from .fitting import fit_link_models, outage_lengths, pooled_correlation, seconds_mbps
from .link import FloatArray, LinkTrace
from .models import LinkModel
from .splits import split_traces

__all__ = ["LAGS_S", "QUANTILES", "GroupReport", "LogStatistics", "Repeated", "compare", "repeat_fit", "statistics"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LAGS_S = (1, 5, 10, 30)
_COPIES = 20
_HALVINGS = 100


@dataclass(frozen=True)
class LogStatistics:
    """What is compared, of a set of logs at one value per second.

    Attributes:
        mean_mbps: Mean rate.
        quantiles_mbps: At the probabilities of QUANTILES.
        correlation: At the lags of LAGS_S: median over the logs of each log's own autocorrelation.
        zero_share: Share of the seconds in which nothing is carried.
        outages_per_hour: How often that begins.
        outage_mean_s: Mean length of an outage; NaN without any.
        outage_p90_s: Its 90 % quantile; NaN without any.
    """

    mean_mbps: float
    quantiles_mbps: tuple[float, ...]
    correlation: tuple[float, ...]
    zero_share: float
    outages_per_hour: float
    outage_mean_s: float
    outage_p90_s: float


@dataclass(frozen=True)
class GroupReport:
    """One mode, or all modes together: held-out logs next to generated ones.

    Attributes:
        mode: Transport mode, or 'all'.
        n_train: Logs that the model was fitted to.
        n_held_out: Logs that it was compared with.
        held_out: Statistics of the held-out logs.
        generated: Statistics of generated logs of the same lengths.
        ks: Largest distance between the distribution functions of the rate, held-out against generated.
        ks_train: The same, held-out against the logs of the fit: what real logs of the mode differ by.
        ks_halves: The same between two random halves of all recorded logs: median over many halvings; NaN for one log.
        correlation_halves: Median absolute difference of the correlations between two such halves.
    """

    mode: str
    n_train: int
    n_held_out: int
    held_out: LogStatistics
    generated: LogStatistics
    ks: float
    ks_train: float
    ks_halves: float
    correlation_halves: tuple[float, ...]


def statistics(logs: Sequence[FloatArray]) -> LogStatistics:
    """Statistics of logs given as rates in Mbit/s, one per second."""
    joined = np.concatenate(list(logs))
    lengths = np.concatenate([outage_lengths(log) for log in logs])
    return LogStatistics(
        mean_mbps=float(joined.mean()),
        quantiles_mbps=tuple(float(value) for value in np.quantile(joined, QUANTILES)),
        correlation=_correlations(logs),
        zero_share=float((joined == 0.0).mean()),
        outages_per_hour=float(lengths.size / joined.size * 3600.0),
        outage_mean_s=float(lengths.mean()) if lengths.size else float("nan"),
        outage_p90_s=float(np.quantile(lengths, 0.9)) if lengths.size else float("nan"),
    )


def _per_log(logs: Sequence[FloatArray]) -> FloatArray:
    """Each log's own correlation at the lags of LAGS_S, shape (logs, lags); NaN for a short or constant log."""
    return np.array([pooled_correlation([log], np.array(LAGS_S)) for log in logs])


def _medians(per_log: FloatArray) -> tuple[float, ...]:
    columns = [column[np.isfinite(column)] for column in per_log.T]
    return tuple(float(np.median(column)) if column.size else float("nan") for column in columns)


def _correlations(logs: Sequence[FloatArray]) -> tuple[float, ...]:
    return _medians(_per_log(logs))


def _generate(models: Mapping[str, LinkModel], like: Sequence[LinkTrace], seed: int) -> list[FloatArray]:
    logs = []
    for number, trace in enumerate(like):
        for copy in range(_COPIES):
            rng = np.random.default_rng([seed, number, copy])
            logs.append(seconds_mbps(models[trace.mode].sample(seconds_mbps(trace).size, rng)))
    return logs


def _halves(logs: Sequence[FloatArray], rng: np.random.Generator) -> tuple[float, tuple[float, ...]]:
    """Median KS distance and median differences of correlation between random halves of some logs."""
    if len(logs) < 2:
        return float("nan"), (float("nan"),) * len(LAGS_S)
    distances, differences, per_log = [], [], _per_log(logs)
    for _ in range(_HALVINGS if len(logs) > 2 else 1):
        order = rng.permutation(len(logs))
        first, second = order[: len(logs) // 2], order[len(logs) // 2 :]
        distances.append(_ks([logs[i] for i in first], [logs[i] for i in second]))
        differences.append(np.abs(np.subtract(_medians(per_log[first]), _medians(per_log[second]))))
    return float(np.median(distances)), tuple(float(value) for value in np.median(differences, axis=0))


def _ks(first: Sequence[FloatArray], second: Sequence[FloatArray]) -> float:
    return float(ks_2samp(np.concatenate(list(first)), np.concatenate(list(second)), method="asymp").statistic)


def compare(
    models: Mapping[str, LinkModel], train: Sequence[LinkTrace], held_out: Sequence[LinkTrace], seed: int = 0
) -> list[GroupReport]:
    """Compare models with held-out logs, per mode and for all modes together.

    For every held-out log 20 logs of the same mode and length are generated.

    Args:
        models: Models by mode, fitted to the training logs only.
        train: Those logs.
        held_out: Others; modes without a model are left out.
        seed: Of the generated logs and of the halvings.

    Returns:
        One report per mode among the held-out logs, sorted, and 'all' at the end.
    """
    known = [trace for trace in held_out if trace.mode in models]
    groups: list[tuple[str, tuple[str, ...]]] = [(mode, (mode,)) for mode in sorted({trace.mode for trace in known})]
    groups.append(("all", tuple(mode for mode, _ in groups)))
    reports = []
    for label, modes in groups:
        seen_traces = [trace for trace in train if trace.mode in modes]
        unseen_traces = [trace for trace in known if trace.mode in modes]
        seen = [seconds_mbps(trace) for trace in seen_traces]
        unseen = [seconds_mbps(trace) for trace in unseen_traces]
        generated = _generate(models, unseen_traces, seed)
        ks_halves, correlation_halves = _halves(seen + unseen, np.random.default_rng(seed))
        reports.append(
            GroupReport(
                mode=label,
                n_train=len(seen),
                n_held_out=len(unseen),
                held_out=statistics(unseen),
                generated=statistics(generated),
                ks=_ks(unseen, generated),
                ks_train=_ks(unseen, seen) if seen else float("nan"),
                ks_halves=ks_halves,
                correlation_halves=correlation_halves,
            )
        )
    return reports


@dataclass(frozen=True)
class Repeated:
    """Means over many splits, each with its own fit.

    Attributes:
        mode: Transport mode, or 'all'.
        n_splits: How many splits had the mode among their held-out logs.
        ks: Mean distance, held-out against generated.
        ks_train: Mean distance, held-out against the logs of the fit.
        correlation_error: Mean absolute difference of the correlation at the lags of LAGS_S, held-out to generated.
        correlation_train: The same, held-out against the logs of the fit.
    """

    mode: str
    n_splits: int
    ks: float
    ks_train: float
    correlation_error: tuple[float, ...]
    correlation_train: tuple[float, ...]


def repeat_fit(traces: Sequence[LinkTrace], seeds: Sequence[int]) -> list[Repeated]:
    """Split, fit on the train part and compare with the rest, once per seed; one split of few logs says little."""
    rows: dict[str, list[tuple[float, ...]]] = {}
    for seed in seeds:
        split = split_traces(traces, seed)
        held_out = (*split.validation, *split.test)
        for report in compare(fit_link_models(split.train), split.train, held_out, seed):
            modes = {trace.mode for trace in held_out} if report.mode == "all" else {report.mode}
            seen = _correlations([seconds_mbps(trace) for trace in split.train if trace.mode in modes])
            wanted = np.array(report.held_out.correlation)
            error = np.abs(wanted - report.generated.correlation)
            rows.setdefault(report.mode, []).append((report.ks, report.ks_train, *error, *np.abs(wanted - seen)))
    result = []
    for mode, values in rows.items():
        mean = [float(value) for value in np.mean(values, axis=0)]
        n = len(LAGS_S)
        result.append(Repeated(mode, len(values), mean[0], mean[1], tuple(mean[2 : 2 + n]), tuple(mean[2 + n :])))
    return sorted(result, key=lambda row: (row.mode == "all", row.mode))
