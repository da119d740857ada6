"""The report's pictures, as SVG text."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ..envs.rollout import latency_edges_s
from .scores import Comparison
from .summary import Row, action_shares

__all__ = ["STYLE", "actions_svg", "differences_svg", "latency_svg", "parts_svg", "to_svg"]

Floats = NDArray[np.float64]

PARTS = {
    "reward_latency": ("latency", "#4269d0"),
    "reward_cost": ("cost", "#efb118"),
    "reward_privacy": ("privacy", "#a463f2"),
    "reward_accuracy": ("lost accuracy", "#6cc5b0"),
    "reward_failure": ("failures", "#ff725c"),
}
_PATH = re.compile(r'\bd="[^"]*"')
_LONG = re.compile(r"(\d\.\d\d)\d+")
_BETTER, _WORSE, _UNCLEAR = "#2a7f3f", "#c23b22", "#777777"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""Of every picture of a page."""


def to_svg(figure: Figure, salt: str) -> str:
    """A figure as an `<svg>` element that can stand in a page beside others.

    Args:
        figure: Drawn already.
        salt: Different for every figure of a page: identifiers inside depend on it.
    """
    buffer = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    return _PATH.sub(lambda path: _LONG.sub(r"\1", path.group()), text)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def differences_svg(rows: Sequence[Row], reference: str, salt: str) -> str:
    """Reference minus every other method, paired, with intervals; what lies far outside is an arrow with its value."""
    compared = [row for row in rows if row.versus is not None]
    with rc_context(STYLE):
        figure = _figure(8.5, 1.0 + 0.3 * max(len(compared), 1))
        axis = figure.subplots()
        if compared:
            _draw_differences(axis, compared)
        axis.axvline(0.0, color="k", lw=0.8)
        axis.set_xlabel(
            f"reward of {reference} minus reward of the other (per interval): right of 0, {reference} is better"
        )
        return to_svg(figure, salt)


def _draw_differences(axis: Axes, compared: Sequence[Row]) -> None:
    pairs = [row.versus.difference for row in compared if row.versus is not None]
    size = np.sort([max(abs(pair.low), abs(pair.high)) for pair in pairs])
    limit = 1.15 * float(size[min(len(size) - 1, (len(size) + 1) // 2)])
    limit = limit or 1.0
    for k, (row, pair) in enumerate(zip(compared, pairs, strict=True)):
        clear = row.versus is not None and row.versus.excludes_zero
        colour = _UNCLEAR if not clear else _BETTER if pair.mean > 0 else _WORSE
        text = f"{pair.mean:+.3f} [{pair.low:+.3f}, {pair.high:+.3f}]"
        if abs(pair.mean) > limit:
            side = float(np.sign(pair.mean))
            axis.plot([0.93 * side * limit], [k], marker=">" if side > 0 else "<", color=colour, ms=7)
        else:
            low, high = max(pair.low, -limit), min(pair.high, limit)
            axis.plot([low, high], [k, k], color=colour, lw=2, solid_capstyle="butt")
            axis.plot([pair.mean], [k], "o", color=colour, ms=5)
        axis.text(1.02, k, text, transform=axis.get_yaxis_transform(), va="center", fontsize=8, color=colour)
    lowest = min(0.0, *(max(pair.low, -limit) for pair in pairs))
    axis.set_xlim(1.1 * lowest - 0.03 * limit, limit)
    axis.set_yticks(range(len(compared)), [row.method for row in compared])
    axis.set_ylim(len(compared) - 0.5, -0.5)
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)


def parts_svg(rows: Sequence[Row], salt: str) -> str:
    """What each method's reward is lost to: bars of the reward's parts, longer is worse."""
    with rc_context(STYLE):
        figure = _figure(8.5, 1.2 + 0.3 * len(rows))
        axis = figure.subplots()
        left = np.zeros(len(rows))
        for name, (label, colour) in PARTS.items():
            width = np.array([-row.values[name] for row in rows])
            shown = np.maximum(width, 0.0)
            axis.barh(range(len(rows)), shown, left=left, color=colour, label=label, height=0.7)
            left += shown
        totals = np.array([-row.reward.mean for row in rows])
        limit = 1.25 * float(np.sort(left)[min(len(left) - 1, (2 * len(left)) // 3)]) or 1.0
        for k, (total, end) in enumerate(zip(totals, left, strict=True)):
            inside = end > limit
            x = limit if inside else end + 0.01 * limit
            axis.text(x, k, f"{total:.3f}", va="center", ha="right" if inside else "left", fontsize=8)
        axis.set_xlim(0.0, 1.1 * limit)
        axis.set_yticks(range(len(rows)), [row.method for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel("reward lost per interval (number: minus the reward; bars beyond the axis are cut)")
        axis.legend(ncols=5, loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=8)
        return to_svg(figure, salt)


def latency_svg(comparison: Comparison, methods: Sequence[str], weights_name: str, salt: str) -> str:
    """Share of requests that took longer than a time, on logarithmic axes: the tail, failures at its end."""
    edges = latency_edges_s(comparison.timeout_s)
    with rc_context(STYLE):
        figure = _figure(8.5, 4.0)
        axis = figure.subplots()
        for k, method in enumerate(methods):
            runs = comparison.runs_of(method, weights_name)
            counts = np.sum([run.latency_counts.sum(axis=0) for run in runs], axis=0)
            total = counts.sum()
            longer = 1.0 - np.cumsum(counts)[:-1] / max(total, 1)
            step = slice(None, None, 4)
            keep = longer[step] > 0
            width, colour = (2.2, "k") if method in comparison.learned else (1.1, f"C{k % 10}")
            time_ms, share = 1e3 * edges[1:-1][step][keep], 100 * longer[step][keep]
            dashes = "-" if k < 10 or method in comparison.learned else "--"
            axis.plot(time_ms, share, label=method, lw=width, color=colour, ls=dashes)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(5.0, 1.05e3 * comparison.timeout_s)
        axis.set_ylim(0.05, 105)
        axis.set_xlabel("latency (ms); the curve's end is the hard timeout, its height there the share that failed")
        axis.set_ylabel("requests that took longer (%)")
        axis.grid(which="major", color="#dddddd", lw=0.6)
        axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return to_svg(figure, salt)


def actions_svg(comparison: Comparison, methods: Sequence[str], weights_name: str, salt: str) -> str:
    """Share of the intervals per placement, threshold, route and pool size; a collapsed policy shows one cell each."""
    shares = [action_shares(comparison, method, weights_name) for method in methods]
    facts = comparison.facts
    stages = int(str(facts["stages"]))
    labels = [
        [_placement_label(d, e, stages) for d, e in _pairs(facts["placements"])],
        [str(x) for x in _items(facts["thresholds"])],
        [str(x) for x in _items(facts["routes"])],
        [str(x) for x in range(int(str(facts["vm_targets"])))],
    ]
    panels = [np.array([getattr(s, part) for s in shares]) for part in ("placement", "threshold", "route", "vm_target")]
    used = panels[0].max(axis=0) >= 0.05
    rest = panels[0][:, ~used].sum(axis=1, keepdims=True)
    panels[0], labels[0] = (
        np.hstack([panels[0][:, used], rest]),
        [labels[0][k] for k in np.flatnonzero(used)] + ["other"],
    )
    titles = ("placement (device | edge | cloud stages)", "exit threshold", "route", "VM target")
    with rc_context(STYLE):
        widths = [len(names) + 1 for names in labels]
        figure = _figure(max(8.5, 2.2 + 0.24 * sum(widths)), 1.9 + 0.26 * len(methods))
        axes = figure.subplots(1, 4, width_ratios=widths)
        for k, (axis, panel, names, title) in enumerate(zip(axes, panels, labels, titles, strict=True)):
            for (i, j), share in np.ndenumerate(panel):
                if share >= 0.005:
                    axis.add_patch(Rectangle((j, i), 1.0, 1.0, facecolor=str(round(1.0 - min(float(share), 1.0), 3))))
            axis.set_xlim(0, len(names))
            axis.hlines(range(1, len(methods)), 0, len(names), color="#eeeeee", lw=0.4)
            axis.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90, fontsize=7)
            axis.set_yticks(np.arange(len(methods)) + 0.5, methods if k == 0 else [""] * len(methods))
            axis.set_ylim(len(methods), 0)
            axis.set_title(title, fontsize=8)
            axis.tick_params(length=0)
        return to_svg(figure, salt)


def _placement_label(device: int, edge: int, stages: int) -> str:
    return f"{device}|{edge - device}|{stages - edge}"


def _items(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _pairs(value: object) -> list[tuple[int, int]]:
    return [(int(pair[0]), int(pair[1])) for pair in _items(value) if isinstance(pair, (list, tuple))]
