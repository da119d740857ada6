"""The report's pictures of distributions and trade-offs, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from .improvement import Profile
from .pareto import Front, Point
from .plots import STYLE, to_svg

__all__ = ["front_svg", "profiles_svg"]

_MARKS = "osD^v<>P*X"


def profiles_svg(profiles: Mapping[str, Profile], banded: Sequence[str], salt: str) -> str:
    """Share of the episodes above each score; further right and higher is better.

    Args:
        profiles: By method.
        banded: Methods drawn thick, with their bands (all bands together would hide each other).
        salt: See `to_svg`.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8.5, 4.0), layout="constrained")
        axis = figure.subplots()
        for k, (method, profile) in enumerate(profiles.items()):
            thick = method in banded
            dashes = "-" if k < 10 or thick else "--"
            width = 2.2 if thick else 1.0
            (line,) = axis.plot(profile.thresholds, 100 * profile.share, label=method, lw=width, ls=dashes)
            if thick:
                ends = (100 * profile.low, 100 * profile.high)
                axis.fill_between(profile.thresholds, *ends, color=line.get_color(), alpha=0.15, lw=0)
        axis.set_xlabel("mean reward of an episode")
        axis.set_ylabel("episodes above it (%)")
        axis.set_ylim(0, 101)
        axis.grid(color="#dddddd", lw=0.6)
        axis.legend(
            fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=1 + len(profiles) // 18
        )
        return to_svg(figure, salt)


def front_svg(front: Front, presets: Sequence[str], named: Sequence[str], salt: str) -> str:
    """Points of all policies in latency and dollars, shaded by leakage; those on the front with a ring.

    Args:
        front: Of the comparison.
        presets: Names of the preferences, each with a mark of its own.
        named: Methods whose points are labelled although they are not on the front.
        salt: See `to_svg`.
    """
    best = set(front.best)
    reach = [2.0 * max(point.axes[k] for point in front.best) for k in (0, 1)]
    with rc_context(STYLE):
        figure = Figure(figsize=(8.5, 5.0), layout="constrained")
        axis = figure.subplots()
        for k, name in enumerate(presets):
            shown = [p for p in front.points if p.weights_name == name and _inside(p, reach)]
            drawn = axis.scatter(
                [p.latency for p in shown],
                [p.cost for p in shown],
                c=[p.leakage for p in shown],
                vmin=0.0,
                vmax=1.0,
                cmap="viridis_r",
                marker=_MARKS[k % len(_MARKS)],
                edgecolors=["k" if p in best else "none" for p in shown],
                label=name,
                s=34,
            )
            for point in shown:
                if point in best or point.method in named:
                    axis.annotate(point.method, point.axes[:2], fontsize=6, xytext=(3, 3), textcoords="offset points")
        figure.colorbar(drawn, ax=axis, label="mean leakage (1: the raw input)")
        axis.axvline(1.0, color="#999999", lw=0.6)
        axis.axhline(1.0, color="#999999", lw=0.6)
        axis.set_xlim(0.0, reach[0])
        axis.set_ylim(-0.02 * reach[1], reach[1])
        axis.set_xlabel("mean latency over the scenario's reference")
        axis.set_ylabel("dollars per interval over the scenario's reference")
        axis.legend(fontsize=7, frameon=False)
        return to_svg(figure, salt)


def _inside(point: Point, reach: Sequence[float]) -> bool:
    return point.latency <= reach[0] and point.cost <= reach[1]
