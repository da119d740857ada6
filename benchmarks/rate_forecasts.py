"""How far causal forecasts of the link rate are off, by how far they look ahead: what the horizon plans against.

    python benchmarks/rate_forecasts.py [--traces LOGS] [--part validation]

Prints the median and the mean absolute error of the rate's logarithm for the three median paths of
`edgecloud.baselines.ratepaths`, and the weight of the last deviation from the slow average that least squares would
choose at each lead (on the training part, which the defaults of 'revert' were fitted to). Rates below 100 kbit/s count
as that.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from edgecloud.baselines.ratepaths import PATH_FORECASTS, RatePaths
from edgecloud.envs.measure import HISTORY, Measurements, column, width
from edgecloud.traces import default_traces

LEADS = (1, 2, 3, 4, 6, 8)
FLOOR_BPS = 1e5


def measured(rate_bps: NDArray[np.float64]) -> Measurements:
    """The rows that a controller would have measured along a trace, from its tenth interval on."""
    rows = np.zeros((len(rate_bps), width()))
    average = rate_bps[:10].mean()
    for i, rate in enumerate(rate_bps):
        average += 0.1 * (rate - average)
        rows[i, column("rate_average_bps")] = average
        for k in range(HISTORY):
            rows[i, column("rate_bps") + k] = rate_bps[max(i - k, 0)]
    return Measurements(rows[10:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors of causal forecasts of the link rate.")
    parser.add_argument("--traces", default=None, help="folder of recorded logs; default: the fitted generator")
    parser.add_argument("--part", default="validation", choices=("train", "validation", "test"))
    options = parser.parse_args()
    chosen = default_traces(options.traces)
    print(f"{chosen.origin}; part: {options.part}")
    print(f"{'lead':>4s}{'weight':>8s}" + "".join(f"{kind + ' median':>17s}{'mean':>8s}" for kind in PATH_FORECASTS))
    series = {
        part: [trace.aligned(1.0).resample(1.0, tail="drop").rate_bps for trace in getattr(chosen.split, part)]
        for part in {"train", options.part}
    }
    rows = {part: [(measured(rate), rate[10:]) for rate in rates] for part, rates in series.items()}
    for lead in LEADS:
        cells = ""
        for kind in PATH_FORECASTS:
            errors = []
            for m, rate in rows[options.part]:
                median = RatePaths(kind).median_bps(m, lead)[:-lead, lead - 1]
                errors.append(np.log(np.maximum(rate[lead:], FLOOR_BPS)) - np.log(median))
            error = np.abs(np.concatenate(errors))
            cells += f"{np.median(error):17.3f}{error.mean():8.3f}"
        print(f"{lead:4d}{weight(rows['train'], lead):8.2f}{cells}")


def weight(rows: list[tuple[Measurements, NDArray[np.float64]]], lead: int) -> float:
    """Least-squares share of the last deviation from the slow average that is left after `lead` intervals."""
    product = square = 0.0
    for m, rate in rows:
        average = np.log(np.maximum(m.rate_average_bps, FLOOR_BPS))[:-lead]
        deviation = np.log(np.maximum(m.rate_bps[:-lead, 0], FLOOR_BPS)) - average
        target = np.log(np.maximum(rate[lead:], FLOOR_BPS)) - average
        product += float(deviation @ target)
        square += float(deviation @ deviation)
    return product / square


if __name__ == "__main__":
    main()
