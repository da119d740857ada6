"""Checks of the catalogue's speeds and of platform models against whole networks that others measured."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ...errors import InputError, did_you_mean
from ..catalogue import Catalogue
from .layer_data import read_cells
from .nas_bench_201 import CELLS, cell, count_table, live_edges
from .platform_model import PlatformModel

__all__ = [
    "HELP_COLUMNS",
    "RESNET50_FLOPS",
    "HelpCheck",
    "SebsCheck",
    "check_help",
    "check_sebs",
    "computes",
    "network_flops",
    "read_help",
    "worst",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HELP_COLUMNS: Mapping[str, tuple[str, bool, int]] = {
    "raspberry-pi-4-tflite": ("raspi4", True, 1),
    "pixel-2": ("pixel2", False, 1),
    "pixel-3": ("pixel3", True, 1),
    "essential-ph-1": ("essential_ph_1", False, 1),
    "galaxy-s7": ("samsung_s7", False, 1),
    "galaxy-a50": ("samsung_a50", False, 1),
    "xeon-gold-6226": ("gold_6226", False, 1),
    "xeon-gold-6240": ("gold_6240", False, 1),
    "xeon-silver-4114": ("silver_4114", False, 1),
    "xeon-silver-4210r": ("silver_4210r", False, 1),
    "gpu-1080ti-small": ("1080ti_1", False, 1),
    "gpu-2080ti-small": ("2080ti_1", False, 1),
    "gpu-titan-rtx-small": ("titan_rtx_1", False, 1),
    "gpu-titan-x-small": ("titanx_1", False, 1),
    "gpu-titan-xp-small": ("titanxp_1", False, 1),
    "gpu-1080ti-batch-256": ("1080ti_256", False, 256),
    "gpu-2080ti-batch-256": ("2080ti_256", False, 256),
    "gpu-titan-rtx-batch-256": ("titan_rtx_256", False, 256),
}
"""Catalogue entry to its column in the HELP table, whether that column's runtime leaves unused edges out (the rank
correlation with the operations says so for raspi4 and pixel3; the others run every edge), and images per batch."""

RESNET50_FLOPS = 8.2e9
"""Operations of ResNet-50 at 224 px, a multiply-add as two: what the catalogue's SeBS entry counts."""

SLOWEST = 1462
"""The network whose six edges are 3x3 convolutions: the catalogue's HELP entries are its operations per second."""


@dataclass(frozen=True)
class Spread:
    """Predicted over measured latency of many networks."""

    median: float
    p5: float
    p95: float
    error: float
    """Median of abs(predicted / measured - 1)."""
    rank: float
    """Spearman's correlation of prediction and measurement."""


@dataclass(frozen=True)
class HelpCheck:
    """One catalogue entry against its column of the HELP table.

    Attributes:
        name: Catalogue entry.
        column: Column of the table.
        networks: How many networks were compared: all that compute anything, without the calibration networks.
        speed: Operations over the catalogue's effective speed.
        speed_fitted: The same with the speed that suits the calibration networks best.
        layers: A platform model's sum over the layers, times the factor that suits the calibration networks best; None
            without a platform model.
        slope: Slope of ln(measured) over ln(operations): 1 where one effective speed serves all networks.
    """

    name: str
    column: str
    networks: int
    speed: Spread
    speed_fitted: Spread
    layers: Spread | None
    slope: float


def read_help(path: Path) -> dict[str, Floats]:
    """The HELP table (Lee et al., NeurIPS 2021): column name to seconds per network, (15625,), in order of the index.

    Raises:
        InputError: the file is missing, has not 15,625 networks, or holds something that is not a positive number.
    """
    rows = read_cells(path)
    if len(rows) != CELLS:
        raise InputError(path, "rows", f"must be {CELLS}, one per network", len(rows))
    try:
        order = np.argsort([int(row["arch_index"]) for row in rows])
        table = {
            name: np.array([float(row[name]) for row in rows])[order] / 1e3 for name in rows[0] if name != "arch_index"
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, "", "must have the column arch_index and numbers in the others", str(error)) from error
    for name, seconds in table.items():
        if not (np.isfinite(seconds).all() and (seconds > 0).all()):
            raise InputError(path, name, "must be positive in every row")
    return table


def check_help(
    table: Mapping[str, Floats],
    catalogue: Catalogue,
    platform: PlatformModel | None = None,
    calibration: int = 10,
    seed: int = 0,
) -> list[HelpCheck]:
    """Predict all networks on each device of `HELP_COLUMNS` and compare.

    Args:
        table: From `read_help`.
        catalogue: The catalogue of machines.
        platform: A platform model of *another* machine, to see whether its layers carry over up to one factor.
        calibration: How many random networks fix that factor; they are left out of the comparison.
        seed: Seed of their choice.

    Raises:
        InputError: fewer than one or too many calibration networks, a column is missing.
    """
    if not 1 <= calibration <= CELLS // 2:
        raise InputError("check", "calibration", f"must be 1 to {CELLS // 2} networks", calibration)
    order = np.random.default_rng(seed).permutation(CELLS)
    work = {live: _work(live, platform) for live in (False, True)}
    checks = []
    for name, (column, live, batch) in HELP_COLUMNS.items():
        if column not in table:
            raise InputError("HELP table", column, "must be a column", None, did_you_mean(column, table))
        measured, (flops, layer_s) = table[column], work[live]
        usable = order[computes(live)[order]]
        known, rest = usable[:calibration], usable[calibration:]
        by_speed = batch * flops / catalogue.compute(name).effective_flops
        fitted = flops * np.median(measured[known] / flops[known])
        layers = None
        if layer_s is not None:
            layers = _spread((layer_s * np.median(measured[known] / layer_s[known]))[rest], measured[rest])
        checks.append(
            HelpCheck(
                name=name,
                column=column,
                networks=len(rest),
                speed=_spread(by_speed[rest], measured[rest]),
                speed_fitted=_spread(fitted[rest], measured[rest]),
                layers=layers,
                slope=float(np.polyfit(np.log(flops[usable]), np.log(measured[usable]), 1)[0]),
            )
        )
    return checks


@functools.cache
def computes(live_only: bool) -> NDArray[np.bool_]:
    """Which networks compute anything, (15625,).

    A runtime that leaves unused edges out turns a cell without a path from its input to its output, and with it the
    whole network, into a constant.
    """
    return np.array([not live_only or bool(live_edges(cell(index))) for index in range(CELLS)])


def network_flops(live_only: bool) -> Floats:
    """Operations of every network, (15625,); with `live_only` those of the edges that are used."""
    return _work(live_only, None)[0]


def _work(live_only: bool, platform: PlatformModel | None) -> tuple[Floats, Floats | None]:
    """Operations of every network, and its seconds on the platform, (15625,) each."""
    layers, counts = count_table(live_only)
    flops = counts @ np.array([float(layer.flops) for layer in layers])
    return flops, None if platform is None else np.asarray(counts @ platform.predict_s(layers, "zero"))


def _spread(predicted: Floats, measured: Floats) -> Spread:
    ratio = predicted / measured
    p5, median, p95 = np.quantile(ratio, [0.05, 0.5, 0.95])
    rank = float(spearmanr(predicted, measured).statistic)
    return Spread(float(median), float(p5), float(p95), float(np.median(np.abs(ratio - 1))), rank)


@dataclass(frozen=True)
class SebsCheck:
    """One memory size of one provider: ResNet-50 inference as a function, warm."""

    provider: str
    memory_mb: int
    entry: str
    """Catalogue entry that predicts it."""
    predicted_s: float
    measured_s: float
    """Median of the provider's own time."""
    predicted_p95_s: float
    measured_p95_s: float
    client_s: float
    """Median as the client sees it."""

    @property
    def ratio(self) -> float:
        """Predicted over measured median."""
        return self.predicted_s / self.measured_s


def check_sebs(path: Path, catalogue: Catalogue) -> list[SebsCheck]:
    """Predict SeBS' warm ResNet-50 requests (benchmark 411) from the catalogue and compare.

    AWS memory sizes are predicted by `lambda-vcpu` times memory / 1769 MB; Google's sizes have entries of their own.

    Args:
        path: A CSV file with the columns cloud, bench, mem, type, c50 (client) and p50, p95 (provider), milliseconds.
        catalogue: The catalogue of machines.

    Raises:
        InputError: the file or a column is missing, or no row fits.
    """
    rows = read_cells(path)
    try:
        chosen = [row for row in rows if row["bench"] == "411" and row["type"] == "warm" and int(row["mem"]) > 0]
        checks = [_sebs_row(row, catalogue) for row in chosen if row["cloud"] in ("aws", "gcp")]
    except (KeyError, TypeError) as error:
        raise InputError(
            path, "", "must have the columns cloud, bench, mem, type, c50, p50, p95", str(error)
        ) from error
    if not checks:
        raise InputError(path, "", "must hold warm requests of benchmark 411")
    return sorted(checks, key=lambda check: (check.provider, check.memory_mb))


def _sebs_row(row: Mapping[str, str], catalogue: Catalogue) -> SebsCheck:
    memory = int(row["mem"])
    if row["cloud"] == "aws":
        entry = catalogue.compute("lambda-vcpu", count=memory / 1769)
    else:
        entry = catalogue.compute(f"google-function-{memory}mb")
    predicted = RESNET50_FLOPS / entry.effective_flops
    return SebsCheck(
        provider=row["cloud"],
        memory_mb=memory,
        entry=entry.name,
        predicted_s=predicted,
        measured_s=float(row["p50"]) / 1e3,
        predicted_p95_s=predicted * float(np.exp(1.645 * entry.noise_sigma)),
        measured_p95_s=float(row["p95"]) / 1e3,
        client_s=float(row["c50"]) / 1e3,
    )


def worst(checks: Sequence[SebsCheck]) -> float:
    """The largest factor between predicted and measured medians, at least 1."""
    return max(max(check.ratio, 1 / check.ratio) for check in checks)
