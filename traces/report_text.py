"""The fit report as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.stats import ks_2samp

from .fitting import rtt_bins_s
from .link import FloatArray
from .models import RttModel
from .nuwins import RttRun
from .report import LAGS_S, QUANTILES, GroupReport, LogStatistics, Repeated

__all__ = ["fit_report"]

_RTT_QUANTILES = (0.05, 0.5, 0.95, 0.99)


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _list(values: Iterable[float], digits: int) -> str:
    return " / ".join(_number(value, digits) for value in values)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _statistics_row(mode: str, label: str, part: LogStatistics) -> list[str]:
    outages = _list((part.outages_per_hour, part.outage_mean_s, part.outage_p90_s), 1)
    return [
        mode,
        label,
        _number(part.mean_mbps, 1),
        _list(part.quantiles_mbps, 1),
        _list(part.correlation, 2),
        f"{100.0 * part.zero_share:.2f}",
        outages,
    ]


def fit_report(
    reports: Sequence[GroupReport],
    repeated: Sequence[Repeated] = (),
    rtt: Mapping[str, RttModel] | None = None,
    runs: Sequence[RttRun] = (),
) -> str:
    """Markdown tables of a comparison, of repeated fits and of round-trip times; empty parts are left out."""
    quantiles = "/".join(f"{100 * q:.0f}" for q in QUANTILES)
    lags = "/".join(str(lag) for lag in LAGS_S)
    rows = [row for report in reports for row in _two_rows(report)]
    header = ["mode", "logs", "mean", f"p{quantiles}", f"r at {lags} s", "zero %", "outages: per h / mean s / p90 s"]
    parts = ["Rates in Mbit/s; r is the median over logs of each log's autocorrelation.", _table(header, rows)]
    parts += [
        "Kolmogorov-Smirnov distance of the rate, and what real logs differ by.",
        _table(
            [
                "mode",
                "fitted to",
                "held out",
                "generated",
                "logs of the fit",
                "random halves",
                f"halves, r at {lags} s",
            ],
            [
                [
                    report.mode,
                    str(report.n_train),
                    str(report.n_held_out),
                    _number(report.ks, 2),
                    _number(report.ks_train, 2),
                    _number(report.ks_halves, 2),
                    _list(report.correlation_halves, 2),
                ]
                for report in reports
            ],
        ),
    ]
    if repeated:
        parts += [
            f"Means over {max(row.n_splits for row in repeated)} splits, each with its own fit.",
            _repeats(repeated),
        ]
    if rtt and runs:
        parts += ["Round-trip times in ms, means of one second.", _rtt_table(rtt, runs)]
    return "\n\n".join(parts) + "\n"


def _two_rows(report: GroupReport) -> list[list[str]]:
    return [
        _statistics_row(report.mode, f"held out ({report.n_held_out})", report.held_out),
        _statistics_row("", "generated", report.generated),
    ]


def _repeats(repeated: Sequence[Repeated]) -> str:
    lags = "/".join(str(lag) for lag in LAGS_S)
    header = [
        "mode",
        "KS generated",
        "KS logs of the fit",
        f"difference of r at {lags} s, generated",
        "logs of the fit",
    ]
    return _table(
        header,
        [
            [
                row.mode,
                _number(row.ks, 2),
                _number(row.ks_train, 2),
                _list(row.correlation_error, 2),
                _list(row.correlation_train, 2),
            ]
            for row in repeated
        ],
    )


def _rtt_table(rtt: Mapping[str, RttModel], runs: Sequence[RttRun]) -> str:
    rows = []
    for name, model in sorted(rtt.items()):
        bins = [rtt_bins_s(run) for run in runs if f"{run.technology}-{run.mode}" == name]
        if bins:
            rows.append(_rtt_row(name, np.concatenate(bins), len(bins), model))
    probabilities = "/".join(f"{100 * q:.0f}" for q in _RTT_QUANTILES)
    return _table(["link", "runs", f"measured p{probabilities}", f"model p{probabilities}", "KS"], rows)


def _rtt_row(name: str, measured: FloatArray, n_runs: int, model: RttModel) -> list[str]:
    modelled = model.quantile((np.arange(4000) + 0.5) / 4000)
    distance = float(ks_2samp(measured, modelled, method="asymp").statistic)
    return [
        name,
        str(n_runs),
        _list(1e3 * np.quantile(measured, _RTT_QUANTILES), 1),
        _list(1e3 * model.quantile(_RTT_QUANTILES), 1),
        _number(distance, 2),
    ]
