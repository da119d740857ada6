"""Pictures of a profile: costs over the stages, and what a threshold buys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .curves import Curve
from .profile import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["THRESHOLDS", "draw_curve", "draw_profile", "save_plot"]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Thresholds that the command line tabulates, beside 'never'."""


def draw_profile(profile: Profile) -> Figure:
    """Six panels: bytes, operations, latency, leakage over the stages; exit rates and accuracy over the threshold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    panels = figure.subplots(2, 3)
    cuts = np.arange(profile.n_stages + 1)
    stages = [stage.name for stage in profile.stages]
    _bars(panels[0, 0], ["input", *stages[:-1], "result"], profile.cut_bytes / 1e3, "kB across the cut after …")
    _bars(panels[0, 1], stages, profile.stage_flops / 1e6, "MFLOP per stage")
    _bars(panels[0, 2], stages, profile.stage_latency_s * 1e3, "ms per stage, reference machine")
    panels[1, 0].plot(cuts, profile.leakage, marker="o")
    panels[1, 0].set(xlabel="cut", ylabel="leakage", ylim=(0, 1.05), xticks=cuts)
    _draw_thresholds(profile, panels[1, 1], panels[1, 2])
    figure.suptitle(f"{profile.name}: {profile.description}", fontsize=10)
    return figure


def _bars(axes: Axes, labels: list[str], values: np.ndarray, title: str) -> None:
    axes.bar(labels, values)
    axes.set_title(title, fontsize=10)


def _draw_thresholds(profile: Profile, rates_axes: Axes, accuracy_axes: Axes) -> None:
    grid = np.linspace(0.1, 1.0, 60)
    rates = np.array([profile.exit_rates(threshold) for threshold in grid])
    rates_axes.stackplot(grid, rates.T, labels=[head.name for head in profile.exits])
    rates_axes.set(xlabel="confidence threshold", ylabel="share of samples", xlim=(grid[0], 1), ylim=(0, 1))
    rates_axes.legend(loc="lower left", fontsize=8)
    accuracy_axes.plot(grid, [profile.accuracy(threshold) for threshold in grid], label="accuracy")
    whole = profile.total_flops
    accuracy_axes.plot(grid, [profile.expected_flops(threshold) / whole for threshold in grid], label="compute")
    accuracy_axes.set(xlabel="confidence threshold", ylabel="fraction", xlim=(grid[0], 1))
    accuracy_axes.legend(loc="lower right", fontsize=8)


def draw_curve(name: str, curve: Curve) -> Figure:
    """Exit rates over the threshold; accuracy over the share of the operations that is left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    rates, trade = figure.subplots(1, 2)
    grid = curve.threshold[:-1]
    rates.stackplot(grid, curve.exit_rates[:-1].T, labels=curve.names)
    rates.set(xlabel="confidence threshold", ylabel="share of samples", xlim=(grid[0], grid[-1]), ylim=(0, 1))
    rates.legend(loc="lower left", fontsize=8)
    whole = curve.flops[-1]
    trade.plot(curve.flops[:-1] / whole, 100 * curve.accuracy[:-1], label="operations")
    trade.plot(curve.latency_s[:-1] / curve.latency_s[-1], 100 * curve.accuracy[:-1], "--", label="latency")
    trade.axhline(100 * curve.accuracy[-1], color="grey", linewidth=1)
    trade.set(xlabel="mean cost relative to the network without exits", ylabel="accuracy, % (grey: without exits)")
    trade.legend(loc="lower right", fontsize=8)
    figure.suptitle(name, fontsize=10)
    return figure


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the suffix of `path` names (png, svg, pdf)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
