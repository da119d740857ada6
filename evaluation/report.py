"""One self-contained HTML page from the raw scores on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib import rc_context

from ..envs import Problem
from ..envs.render import draw_episode
from .drawn import DrawnEpisode, load_episodes
from .improvement import Profile
from .metrics import METRICS, Metric, metric
from .pareto import pareto_front, points_of
from .plots import actions_svg, differences_svg, latency_svg, parts_svg, to_svg
from .plots_robust import front_svg, profiles_svg
from .scores import Comparison
from .standing import Standing, profiles_of, standings_of
from .storage import load_comparison, write_atomically
from .summary import mode_values, reference_method
from .tables import half_width, interval_text

__all__ = ["write_report"]

REPORT = "report.html"
_MODE_COLUMNS = ("reward", "latency_s", "latency_p95_s", "failure_rate", "accuracy", "usd_per_1000", "leakage")
_MAIN_COLUMNS = tuple(
    entry.name for entry in METRICS if not entry.name.startswith("reward") and entry.name != "requests"
)


@dataclass(frozen=True)
class _Section:
    """What the template shows of one preference."""

    name: str
    preference: str
    reference: str
    head: list[Metric]
    table: list[dict[str, Any]]
    differences: str
    parts: str
    latency: str
    actions: str
    profiles: str
    mode_head: list[Metric]
    modes: list[dict[str, Any]]


def write_report(folder: Path, problem: Problem | None = None, rng: np.random.Generator | None = None) -> Path:
    """Write `report.html` beside the raw scores in a folder, computed from nothing but them.

    Args:
        folder: Holds `scores.json` (and `episodes.npz`, which is drawn if the problem is given).
        problem: To draw episodes.
        rng: Draws the bootstrap's resamples; None: seeded with the comparison's seed.

    Returns:
        The page's path.

    Raises:
        InputError: The raw scores are missing or damaged, or the page cannot be written.
    """
    comparison, provenance = load_comparison(folder)
    rng = rng or np.random.default_rng(comparison.seed)
    sections = [_section(comparison, name, rng) for name in comparison.presets]
    episodes = load_episodes(folder) if problem is not None else ()
    drawn = [_episode_svg(problem, episode, k) for k, episode in enumerate(episodes) if problem is not None]
    page = _template().render(
        comparison=comparison,
        facts=comparison.facts,
        provenance=_flat(provenance),
        part=provenance.get("part", ""),
        sections=sections,
        episodes=drawn,
        logs=len(set(comparison.traces)),
        metrics=METRICS,
        decisions=_decisions(comparison),
        front=_front(comparison),
        version=metadata.version("edgecloud"),
    )
    path = folder / REPORT
    write_atomically(path, page.encode())
    return path


def _template() -> jinja2.Template:
    text = resources.files(__package__).joinpath("templates", "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


def _section(comparison: Comparison, name: str, rng: np.random.Generator) -> _Section:
    standings = standings_of(comparison, name, rng)
    rows = [standing.row for standing in standings]
    methods = [row.method for row in rows]
    reference = reference_method(comparison, name)
    banded = list(dict.fromkeys([reference, *(m for m in methods if m != reference)][:2]))
    return _Section(
        name=name,
        preference=", ".join(f"{x:g}" for x in comparison.presets[name]),
        reference=reference,
        head=[metric(column) for column in _MAIN_COLUMNS],
        table=[_cells(standing) for standing in standings],
        differences=differences_svg(rows, reference, f"difference-{name}"),
        parts=parts_svg(rows, f"parts-{name}"),
        latency=latency_svg(comparison, methods, name, f"latency-{name}"),
        actions=actions_svg(comparison, methods, name, f"actions-{name}"),
        profiles=profiles_svg(_profiles(comparison, methods, name, rng), banded, f"profiles-{name}"),
        mode_head=[metric(column) for column in _MODE_COLUMNS],
        modes=_modes(comparison, methods, name),
    )


def _profiles(
    comparison: Comparison, methods: Sequence[str], name: str, rng: np.random.Generator
) -> dict[str, Profile]:
    """Performance profiles, the best method first."""
    found = profiles_of(comparison, name, rng)
    return {method: found[method] for method in methods}


def _cells(standing: Standing) -> dict[str, Any]:
    """One row of the main table, formatted."""
    row, better = standing.row, standing.improvement
    versus, sign = "", ""
    if row.versus is not None:
        versus = interval_text(row.versus.difference)
        sign = "" if not row.versus.excludes_zero else "better" if row.versus.difference.mean > 0 else "worse"
    return {
        "method": row.method,
        "learned": row.learned,
        "members": row.members,
        "reward": f"{row.reward.mean:.4f}",
        "interval": f"[{row.reward.low:.4f}, {row.reward.high:.4f}]",
        "half_width": f"{half_width(row.reward):.4f}",
        "iqm": f"{row.reward.iqm:.4f} [{row.reward.iqm_low:.4f}, {row.reward.iqm_high:.4f}]",
        "better": "" if better is None else f"{better.mean:.2f} [{better.low:.2f}, {better.high:.2f}]",
        "late": f"{100 * standing.late:.1f}",
        "versus": versus,
        "wins": "" if row.versus is None else f"{100 * row.versus.wins:.0f}",
        "sign": sign,
        "values": [_format(metric(column), row.values[column]) for column in _MAIN_COLUMNS],
        "top": f"{100 * row.top_action_share:.0f}",
        "distinct": row.distinct_actions,
        "collapsed": row.learned and row.top_action_share > 0.95,
    }


def _modes(comparison: Comparison, methods: Sequence[str], name: str) -> list[dict[str, Any]]:
    """Rows of the per-mode table: a mode's methods, best first."""
    values = {method: mode_values(comparison, method, name) for method in methods}
    rows = []
    for mode in comparison.modes:
        reward = {method: values[method][mode]["reward"] for method in methods}
        ranked = sorted(methods, key=reward.__getitem__, reverse=True)
        for place, method in enumerate(ranked):
            cells = [_format(metric(column), values[method][mode][column]) for column in _MODE_COLUMNS]
            rows.append(
                {
                    "mode": mode,
                    "first": place == 0,
                    "method": method,
                    "learned": method in comparison.learned,
                    "values": cells,
                }
            )
    return rows


def _front(comparison: Comparison) -> str:
    """The picture of latency, dollars and leakage."""
    front = pareto_front(points_of(comparison))
    return front_svg(front, list(comparison.presets), comparison.learned, "front")


def _decisions(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """Decision time per method: one at a time, its share of the interval, and amortised over the batch."""
    interval_s = float(str(comparison.facts["interval_s"]))
    one = comparison.decision_one_s
    batch = {
        m: float(np.mean([run.decision_s for run in comparison.runs if run.method == m])) for m in comparison.methods
    }
    return [
        (m, f"{1e3 * one[m]:.3f}", f"{100 * one[m] / interval_s:.4f}", f"{1e3 * batch[m]:.4f}")
        for m in comparison.methods
    ]


def _format(entry: Metric, value: float) -> str:
    return f"{value * entry.scale:.{entry.digits}f}"


def _episode_svg(problem: Problem, episode: DrawnEpisode, number: int) -> str:
    with rc_context({"svg.fonttype": "none", "font.size": 9}):
        return to_svg(draw_episode(problem, episode.terms, episode.rows, episode.title), f"episode{number}")


def _flat(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Provenance as lines for a table."""
    lines = []
    for key, value in provenance.items():
        if isinstance(value, dict):
            text = ", ".join(f"{name} {item}" for name, item in value.items())
        elif isinstance(value, list):
            text = "; ".join(str(item) for item in value)
        else:
            text = str(value)
        lines.append((key.replace("_", " "), text))
    return lines
