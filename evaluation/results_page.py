"""The tables of the large comparison as Markdown, computed from raw scores and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .markdown import table
from .pareto import REFERENCE, WIDE, hypervolume, pareto_front, points_of
from .scores import Comparison
from .standing import Standing, profiles_of, standings_of
from .statistics import Estimate, Paired, estimate, paired_difference
from .summary import mode_values, reference_method

__all__ = ["results_text"]

_SHARES = (0.9, 0.75, 0.5, 0.25, 0.1)


def results_text(comparison: Comparison, provenance: Mapping[str, Any], extra: Mapping[str, str] | None = None) -> str:
    """The generated part of the results' page.

    Args:
        comparison: Raw scores.
        provenance: As stored with them; its command is shown.
        extra: Further sections for a preference, by its name.
    """
    parts = [_head(comparison, provenance)]
    for name, weights in comparison.presets.items():
        rng = np.random.default_rng(comparison.seed)
        standings = standings_of(comparison, name, rng)
        parts.append(f"## {name} (latency, cost, privacy: {', '.join(f'{x:g}' for x in weights)})")
        parts += [_scores(standings, reference_method(comparison, name)), _service(standings)]
        parts += [_profiles(comparison, name, standings, rng), _modes(comparison, name, standings)]
        if extra and name in extra:
            parts.append(extra[name])
    if len(comparison.presets) > 1:
        parts.append(_together(comparison))
    parts.append(_pareto(comparison))
    return "\n\n".join(parts)


def _head(comparison: Comparison, provenance: Mapping[str, Any]) -> str:
    facts = comparison.facts
    logs = len(set(comparison.traces))
    worlds = 1 + max(label.repeat for label in comparison.episodes)
    agents = ", ".join(f"{name} ×{_members(comparison, name)}" for name in comparison.learned) or "none"
    lines = [
        "```console",
        f"$ {provenance.get('command', 'edgecloud compare')}",
        "```",
        "",
        f"Scenario `{facts['scenario']}` (fingerprint {facts['fingerprint']}), profile `{facts['profile']}`; "
        f"{provenance.get('traces', 'traces')}, part: {provenance.get('part', 'test')}. "
        f"{len(comparison.methods)} policies, {len(comparison.presets)} preferences, "
        f"{len(comparison.episodes)} episodes each of {facts['episode_intervals']} intervals of "
        f"{float(str(facts['interval_s'])):g} s: {logs} logs, {worlds} worlds per piece of a log, the same for all "
        f"(seed {comparison.seed}). Trained agents: {agents}.",
        "",
        "The score is the mean reward per interval; 0 is best. Brackets are 95 % intervals: whole logs are drawn "
        "within their transport mode (modes with a single log pooled) and training runs are drawn; *these logs* draws "
        "worlds and training runs only. *IQM* is the mean of the middle half. *P(better)* is the probability that the "
        "reference scores higher on a piece of a log, worlds and training runs drawn anew for both. *Missed* is the "
        "share that exceeded the hard timeout "
        f"({comparison.timeout_s:g} s), *late* the share above the latency reference "
        f"({1e3 * float(str(facts['latency_ref_s'])):g} ms).",
    ]
    return "\n".join([*lines, *(f"\n{note[:1].upper()}{note[1:]}." for note in comparison.notes)])


def _members(comparison: Comparison, method: str) -> int:
    return len(comparison.runs_of(method, next(iter(comparison.presets))))


def _name(standing: Standing) -> str:
    row = standing.row
    return _label(row.method, row.members, row.learned)


def _label(method: str, members: int, learned: bool) -> str:
    return f"**{method}** ×{members}" if learned else method


def _versus(pair: Paired) -> str:
    return _signed(pair.difference) + ("" if pair.excludes_zero else " (includes 0)")


def _scores(standings: Sequence[Standing], reference: str) -> str:
    head = ["policy", "mean reward", "IQM", "mean, these logs", f"{reference} minus it", f"P({reference} better)"]
    rows = []
    for standing in standings:
        row = standing.row
        versus = "" if row.versus is None else _versus(row.versus)
        better = "" if standing.improvement is None else _interval(standing.improvement, 2)
        reward, here = row.reward, standing.here
        middle = f"{reward.iqm:.3f} [{reward.iqm_low:.3f}, {reward.iqm_high:.3f}]"
        rows.append([_name(standing), _interval(reward), middle, _interval(here), versus, better])
    return table(head, rows)


def _service(standings: Sequence[Standing]) -> str:
    head = ["policy", "mean ms", "p95 ms", "p99 ms", "missed %", "late %", "accuracy %", "$/1000", "leakage"]
    head += ["J/request", "top action %", "decision µs", "of the interval %"]
    rows = []
    for standing in standings:
        row, v = standing.row, standing.row.values
        cells = [f"{1e3 * v[name]:.0f}" for name in ("latency_s", "latency_p95_s", "latency_p99_s")]
        cells += [f"{100 * v['failure_rate']:.2f}", f"{100 * standing.late:.1f}", f"{100 * v['accuracy']:.1f}"]
        cells += [f"{v['usd_per_1000']:.4f}", f"{v['leakage']:.3f}", f"{v['energy_j']:.3f}"]
        cells += [f"{100 * row.top_action_share:.0f}", f"{1e6 * row.decision_one_s:.0f}"]
        rows.append([_name(standing), *cells, f"{100 * standing.decision_share:.3f}"])
    return table(head, rows)


def _profiles(comparison: Comparison, name: str, standings: Sequence[Standing], rng: np.random.Generator) -> str:
    reference = reference_method(comparison, name)
    own = comparison.scores(reference, name)
    at = np.quantile(own, [1.0 - share for share in _SHARES])
    profiles = profiles_of(comparison, name, rng, at)
    head = ["% of episodes above", *(f"{score:.3f}" for score in at)]
    rows = []
    for standing in standings:
        p = profiles[standing.row.method]
        ends = zip(p.share, p.low, p.high, strict=True)
        rows.append([_name(standing), *(f"{100 * x:.0f} [{100 * a:.0f}, {100 * b:.0f}]" for x, a, b in ends)])
    shares = ", ".join(f"{100 * share:g}" for share in _SHARES)
    return f"Performance profile, at the scores that {shares} % of the episodes of {reference} exceed:\n\n" + table(
        head, rows
    )


def _modes(comparison: Comparison, name: str, standings: Sequence[Standing]) -> str:
    sizes = {
        m: len({t for t, s in zip(comparison.traces, comparison.strata, strict=True) if s == m})
        for m in comparison.modes
    }
    head = ["mean reward", *(f"{mode} ({sizes[mode]} log{'s' * (sizes[mode] > 1)})" for mode in comparison.modes)]
    rows = []
    for standing in standings:
        values = mode_values(comparison, standing.row.method, name)
        rows.append([_name(standing), *(f"{values[mode]['reward']:.3f}" for mode in comparison.modes)])
    return "By transport mode:\n\n" + table(head, rows)


def _together(comparison: Comparison) -> str:
    """Every method's mean over the preferences: one policy for all of them against another."""
    names, rng = list(comparison.presets), np.random.default_rng(comparison.seed)
    scores = {m: np.mean([comparison.scores(m, name) for name in names], axis=0) for m in comparison.methods}
    ranked = sorted(scores, key=lambda m: -float(scores[m].mean()))
    reference = comparison.learned[0] if comparison.learned else ranked[0]
    logs, strata = comparison.traces, comparison.strata
    rows = []
    for method in ranked:
        own, versus = estimate(scores[method], logs, rng, strata=strata), ""
        if method != reference:
            versus = _versus(paired_difference(scores[reference], scores[method], logs, rng, strata=strata))
        rows.append([_label(method, len(scores[method]), method in comparison.learned), _interval(own), versus])
    head = ["policy", "mean reward", f"{reference} minus it"]
    return f"## Mean over the preferences ({', '.join(names)})\n\n" + table(head, rows)


def _pareto(comparison: Comparison) -> str:
    points = points_of(comparison)
    front = pareto_front(points)
    wide = {m: hypervolume([p for p in points if p.method == m], WIDE) for m in comparison.methods}
    facts = comparison.facts
    text = (
        "## Latency, dollars and leakage together\n\n"
        "Every policy at every preference is a point: mean latency over the scenario's reference "
        f"({1e3 * float(str(facts['latency_ref_s'])):g} ms), dollars per interval over its reference "
        f"(${float(str(facts['cost_ref_usd'])):g}), mean leakage (1: the raw input). Accuracy is not an axis. "
        f"{len(front.best)} of {len(points)} points are not beaten in all three:"
    )
    head = ["policy", "preference", "latency", "cost", "leakage", "accuracy %", "missed %"]
    best = sorted(front.best, key=lambda point: point.axes)
    rows = [
        [
            p.method,
            p.weights_name,
            *(f"{x:.3f}" for x in p.axes),
            f"{100 * p.accuracy:.1f}",
            f"{100 * p.failure_rate:.2f}",
        ]
        for p in best
    ]
    head2 = ["policy", _box(REFERENCE), _box(WIDE), "lost without it"]
    methods = sorted(comparison.methods, key=lambda m: (-front.by_method[m], -wide[m]))
    rows2 = [[m, f"{front.by_method[m]:.4f}", f"{wide[m]:.4f}", f"{front.without[m]:.4f}"] for m in methods]
    rows2.append(["all together", f"{front.volume:.4f}", f"{hypervolume(points, WIDE):.4f}", ""])
    volumes = (
        "Hypervolume: the share of the box from 0 to a reference point that a policy's points, one per preference, are "
        "better than. A point that exceeds one side of the box covers nothing of it; *lost without it* is what all "
        "others together miss of the first box."
    )
    return "\n\n".join([text, table(head, rows), volumes, table(head2, rows2)])


def _box(reference: Sequence[float]) -> str:
    return "box to (" + ", ".join(f"{x:g}" for x in reference) + ")"


def _interval(value: Estimate, digits: int = 3) -> str:
    return f"{value.mean:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def _signed(value: Estimate, digits: int = 3) -> str:
    return f"{value.mean:+.{digits}f} [{value.low:+.{digits}f}, {value.high:+.{digits}f}]"
