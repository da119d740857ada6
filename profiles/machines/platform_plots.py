"""Pictures of platform models: predicted against measured, stage by stage, and whole networks over their operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .layer_data import LayerTable
from .platform_model import PlatformModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_fit", "draw_networks", "draw_stages"]

Floats = NDArray[np.float64]
COLUMNS = 3
MOST_POINTS = 2000


def draw_fit(platform: PlatformModel, table: LayerTable) -> Figure:
    """One panel per layer type: every measured layer against its prediction; the grey band is a factor of 1.5."""
    from matplotlib.figure import Figure

    kinds = list(platform.models)
    rows = -(-len(kinds) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.6 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        index = [number for number, layer in enumerate(table.layers) if layer.kind == kind]
        chosen = index[:: max(1, len(index) // MOST_POINTS)]
        measured = 1e3 * np.array([table.seconds[number] for number in chosen])
        predicted = 1e3 * platform.predict_s([table.layers[number] for number in chosen])
        ends = np.array([min(measured.min(), predicted.min()), max(measured.max(), predicted.max())])
        axes.fill_between(ends, ends / 1.5, ends * 1.5, color="0.9")
        axes.plot(ends, ends, color="0.5", linewidth=0.8)
        axes.scatter(measured, predicted, s=4, alpha=0.4)
        held_out = platform.models[kind].held_out
        axes.set(xscale="log", yscale="log", xlabel="measured ms", ylabel="predicted ms")
        axes.set_title(f"{kind}: median error {held_out.median_error:.0%}, n = {len(index)}", fontsize=10)
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    figure.suptitle(f"{platform.name}: {platform.description}", fontsize=10)
    return figure


def draw_stages(stages: Sequence[str], seconds: Mapping[str, Floats], title: str) -> Figure:
    """Milliseconds per stage, one bar per source.

    Args:
        stages: Names of the M stages.
        seconds: Source (a platform, 'measured') to seconds per stage, (M,).
        title: What the network is.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.9 * len(stages)), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(seconds)
    for number, (name, values) in enumerate(seconds.items()):
        axes.bar(np.arange(len(stages)) + number * width, 1e3 * values, width, label=name)
    axes.set_xticks(np.arange(len(stages)) + 0.4 - width / 2, stages, rotation=45, ha="right")
    axes.set(ylabel="ms", title=title)
    axes.legend(fontsize=8)
    return figure


def draw_networks(measured: Mapping[str, tuple[Floats, Floats]], speeds: Mapping[str, float]) -> Figure:
    """One panel per device: measured latency over operations, and the line of the catalogue's effective speed.

    Args:
        measured: Device to the operations and the measured seconds of its networks, (n,) each.
        speeds: Device to the catalogue's operations per second.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    rows = -(-len(measured) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (name, (flops, seconds)) in zip(panels, measured.items(), strict=False):
        ends = np.array([flops.min(), flops.max()])
        axes.scatter(flops / 1e6, 1e3 * seconds, s=1, alpha=0.15, rasterized=True)
        axes.plot(ends / 1e6, 1e3 * ends / speeds[name], color="C1")
        axes.set(xscale="log", yscale="log", xlabel="MFLOP", ylabel="ms")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(name, fontsize=10)
    for axes in panels[len(measured) :]:
        axes.set_axis_off()
    return figure
