"""Pictures of a profile: costs over the stages, and what a threshold buys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .catalogue import load_catalogue
from .curves import Curve
from .profile import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["THRESHOLDS", "draw_curve", "draw_profile", "save_plot"]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Thresholds that the command line tabulates, beside 'never'."""

MOST_LABELS, LABEL_LENGTH = 30, 24
TIERS = ("raspberry-pi-4-tflite", "edge-vcpu", "lambda-vcpu")
"""Machines of the catalogue that the latency is also drawn for."""


def draw_profile(profile: Profile) -> Figure:
    """Six panels: bytes, operations, latency, leakage over the stages; exit rates and accuracy over the threshold.

    Where leakage or exits are not known: memory and weights over the stages, or latency and bytes over the sequence
    length.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    panels = figure.subplots(2, 3)
    stages = [stage.name for stage in profile.stages]
    ends = ["input", *stages[:-1], "result"]
    _draw_bytes(panels[0, 0], profile, ends)
    _bars(panels[0, 1], stages, profile.stage_flops / 1e6, "MFLOP per stage")
    _draw_latency(panels[0, 2], profile, stages)
    if profile.leakage_known:
        _draw_leakage(panels[1, 0], profile, ends)
    else:
        _bars(panels[1, 0], stages, np.array([stage.memory_bytes for stage in profile.stages]) / 1e6, "MB of memory")
    if profile.has_exit_table:
        _draw_thresholds(profile, panels[1, 1], panels[1, 2])
    elif profile.sequence:
        _draw_sequence(profile, panels[1, 1], panels[1, 2])
    else:
        weights = np.array([stage.weight_bytes for stage in profile.stages])
        _bars(panels[1, 1], stages, weights / 1e6, "MB of weights per stage")
        panels[1, 2].axis("off")
    figure.suptitle(f"{profile.name}: {profile.description}", fontsize=10)
    return figure


def _bars(axes: Axes, labels: list[str], values: np.ndarray, title: str) -> None:
    axes.bar(np.arange(len(labels)), values)
    axes.set_title(title, fontsize=10)
    _label(axes, labels)


def _label(axes: Axes, labels: list[str]) -> None:
    """Name the stages on the x axis: upright where there are many, and then every second or third only."""
    step = -(-len(labels) // MOST_LABELS)
    crowded = max(len(label) for label in labels) * len(labels) > 45
    short = [label if len(label) <= LABEL_LENGTH else "…" + label[1 - LABEL_LENGTH :] for label in labels]
    size = 5.5 if len(labels) > 12 else 8
    axes.set_xticks(np.arange(len(labels))[::step], short[::step])
    axes.tick_params(axis="x", labelrotation=90 if crowded else 0, labelsize=size if crowded else 10)


def _draw_bytes(axes: Axes, profile: Profile, labels: list[str]) -> None:
    """Bytes across each cut as sent; where they were measured, in the other encodings too."""
    _bars(axes, labels, profile.cut_bytes / 1e3, "kB across the cut after …")
    sizes = profile.cut_sizes()[:-1]
    for name, mark in (("fp16", "_"), ("int8_zstd", ".")):
        values = [getattr(entry, name) for entry in sizes]
        if values and None not in values:
            axes.plot(
                np.arange(len(values)), np.array(values) / 1e3, mark, color="black", label=name.replace("_", " + ")
            )
    if sizes:
        axes.legend(fontsize=7)


def _draw_latency(axes: Axes, profile: Profile, stages: list[str]) -> None:
    """Milliseconds of each stage: measured on the reference machine, scaled to some tiers of the catalogue."""
    _bars(axes, stages, profile.stage_latency_s * 1e3, "ms per stage: reference machine (bars) and tiers")
    catalogue = load_catalogue()
    for name in TIERS:
        speed = catalogue.compute(name).effective_flops
        scaled = profile.stage_latency_s * 1e3 * profile.reference.effective_flops / speed
        axes.plot(np.arange(len(stages)), scaled, marker=".", linewidth=0.8, label=name)
    axes.set_yscale("log")
    axes.legend(fontsize=6)


def _draw_leakage(axes: Axes, profile: Profile, labels: list[str]) -> None:
    """What each cut reveals; behind each defence that was attacked, too (at the inner cuts: the ends have none)."""
    cuts = np.arange(profile.n_stages + 1)
    axes.plot(cuts, profile.leakage, marker="o", label="no defence")
    for item in profile.protections:
        axes.plot(cuts[1:-1], item.leakage[1:-1], marker=".", linewidth=0.8, label=item.name)
    axes.set(ylim=(0, 1.05))
    axes.set_title("leakage at the cut after …", fontsize=10)
    _label(axes, labels)
    if profile.protections:
        axes.legend(fontsize=6)


def _draw_sequence(profile: Profile, latency_axes: Axes, bytes_axes: Axes) -> None:
    """Latency of the whole model, and bytes at the cut in the middle, over the sequence length."""
    middle = profile.n_stages // 2
    for phase in ("prefill", "decode"):
        points = [point for point in profile.sequence if point.phase == phase]
        if not points:
            continue
        lengths = [point.length for point in points]
        latency_axes.plot(lengths, [p.whole_latency_s * 1e3 for p in points], marker="o", label=phase)
        bytes_axes.plot(lengths, [p.cut_sizes[middle].int8 / 1e3 for p in points], marker="o", label=phase)
    cache = [(p.length, sum(p.stage_cache_bytes) / 1e3) for p in profile.sequence if p.phase == "prefill"]
    if any(size for _, size in cache):
        bytes_axes.plot(*zip(*cache, strict=True), marker="x", label="cache (stays)")
    latency_axes.set(xlabel="tokens", ylabel="ms, whole model", yscale="log")
    bytes_axes.set(xlabel="tokens", ylabel=f"kB across cut {middle}", yscale="log")
    latency_axes.legend(fontsize=8)
    bytes_axes.legend(fontsize=8)


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
