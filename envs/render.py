"""Drawing an episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .measure import Measurements
from .problem import ROUTES, Problem
from .state import TERMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_episode", "to_image"]

Floats = NDArray[np.float64]


def draw_episode(problem: Problem, terms: Floats, rows: Floats, title: str = "") -> Figure:
    """An episode over time: bandwidth and arrivals, cuts, threshold and route, VMs and instances, latency, cost.

    Args:
        problem: The problem that was run.
        terms: float64 (T, len(TERMS)), what each interval did.
        rows: float64 (T, D), what was measured at its end.
        title: Put above the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 11), layout="constrained")
    axes = figure.subplots(6, 1, sharex=True)
    if len(terms):
        measured = Measurements(rows)
        column = {name: terms[:, k] for k, name in enumerate(TERMS)}
        t = np.arange(len(terms), dtype=np.float64) * problem.scenario.control.interval_s
        _draw_world(axes[0], t, measured)
        _draw_cuts(axes[1], t, measured, problem)
        _draw_exit_and_route(axes[2], t, measured, problem)
        _draw_pool(axes[3], t, measured)
        _draw_latency(axes[4], t, column, problem)
        _draw_money(axes[5], t, column)
    axes[-1].set_xlabel("time (s)")
    if title:
        figure.suptitle(title)
    return figure


def _draw_world(axis: Axes, t: Floats, measured: Measurements) -> None:
    axis.plot(t, measured.rate_bps[:, 0] / 1e6, color="tab:blue", lw=1)
    axis.set_ylabel("uplink (Mbit/s)", color="tab:blue")
    other = axis.twinx()
    other.step(t, measured.arrivals[:, 0], color="tab:gray", lw=0.8, where="post")
    other.set_ylabel("arrivals", color="tab:gray")


def _draw_cuts(axis: Axes, t: Floats, measured: Measurements, problem: Problem) -> None:
    cuts = problem.placements[measured.placement.astype(np.int64)]
    axis.fill_between(t, 0, cuts[:, 0], step="post", color="tab:green", alpha=0.6, label="device")
    axis.fill_between(t, cuts[:, 0], cuts[:, 1], step="post", color="tab:orange", alpha=0.6, label="edge")
    axis.fill_between(t, cuts[:, 1], problem.stages, step="post", color="tab:blue", alpha=0.4, label="cloud")
    axis.set_ylabel("stage")
    axis.legend(loc="upper right", ncols=3, fontsize="small")


def _draw_exit_and_route(axis: Axes, t: Floats, measured: Measurements, problem: Problem) -> None:
    axis.step(t, measured.threshold, where="post", color="tab:purple", lw=1)
    labels = [f"{x:g}" if np.isfinite(x) else "never" for x in problem.thresholds]
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylabel("exit threshold", color="tab:purple")
    other = axis.twinx()
    other.plot(t, measured.route, ".", color="tab:brown", ms=3)
    other.set_yticks(range(len(ROUTES)), ROUTES)
    other.set_ylabel("route", color="tab:brown")


def _draw_pool(axis: Axes, t: Floats, measured: Measurements) -> None:
    axis.step(t, measured.vm_running, where="post", label="VMs running")
    axis.step(t, measured.vm_running + measured.vm_booting, where="post", ls=":", label="with booting")
    axis.step(t, measured.warm_instances + measured.busy_instances, where="post", label="function instances", lw=0.8)
    axis.set_ylabel("servers")
    axis.legend(loc="upper right", ncols=3, fontsize="small")


def _draw_latency(axis: Axes, t: Floats, column: dict[str, Floats], problem: Problem) -> None:
    arrived = np.maximum(column["arrived"], 1)
    axis.plot(t, 1e3 * column["latency_s"] / arrived, color="tab:red", lw=1)
    axis.axhline(1e3 * problem.scenario.limits.timeout_s, color="k", lw=0.5, ls="--")
    axis.set_ylabel("mean latency (ms)", color="tab:red")
    other = axis.twinx()
    other.step(t, column["failed"], where="post", color="k", lw=0.8)
    other.set_ylabel("failed")


def _draw_money(axis: Axes, t: Floats, column: dict[str, Floats]) -> None:
    axis.plot(t, 1e3 * np.cumsum(column["usd"]), color="tab:olive")
    axis.set_ylabel("total cost (m$)", color="tab:olive")
    other = axis.twinx()
    other.plot(t, column["leakage"] / np.maximum(column["arrived"], 1), color="tab:pink", lw=0.8)
    other.set_ylabel("leakage", color="tab:pink")


def to_image(figure: Figure) -> NDArray[np.uint8]:
    """Pixels of a figure, uint8 (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())
    return pixels[..., :3].copy()
