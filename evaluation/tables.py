"""The comparison as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .metrics import metric
from .scores import Comparison
from .statistics import Estimate
from .summary import Row, reference_method, rows_of

__all__ = ["print_table", "summary_table"]

_COLUMNS = {
    "latency_s": 2,
    "latency_p95_s": 5,
    "latency_p99_s": 3,
    "failure_rate": 2,
    "accuracy": 4,
    "usd_per_1000": 2,
    "leakage": 2,
    "energy_j": 6,
}
"""Columns and how early they are left out where space is short (the higher the earlier)."""


def print_table(
    comparison: Comparison,
    console: Console | None = None,
    *,
    weights: str | None = None,
    rng: np.random.Generator | None = None,
) -> None:
    """Print one table per preference: rewards with intervals, paired differences, and what users feel.

    Args:
        comparison: From `compare`.
        console: Where to print; None: standard output.
        weights: Only this preference.
        rng: For the bootstrap; None: seeded with the comparison's seed.
    """
    console = console or Console()
    rng = rng or np.random.default_rng(comparison.seed)
    for name in comparison.presets if weights is None else (weights,):
        console.print(summary_table(comparison, name, rng, width=console.width))
    for note in comparison.notes:
        console.print(note, highlight=False, markup=False)
    logs = len(set(comparison.traces))
    console.print(
        f"{len(comparison.episodes)} episodes of {comparison.facts['episode_intervals']} intervals on {logs} logs, the "
        f"same worlds for all (seed {comparison.seed}); ± (half-widths) and brackets: 95 % intervals, resampling logs "
        "and training runs.",
        highlight=False,
        markup=False,
    )


def summary_table(
    comparison: Comparison,
    weights_name: str,
    rng: np.random.Generator | None = None,
    *,
    width: int = 200,
    rows: Sequence[Row] | None = None,
) -> Table:
    """One preference as a rich table; columns that do not fit into the width are left out, the least telling first.

    Args:
        comparison: Raw scores.
        weights_name: One of its preferences.
        rng: For the bootstrap.
        width: Characters at hand.
        rows: From `rows_of`, where they are computed already.
    """
    rows = rows_of(comparison, weights_name, rng) if rows is None else rows
    reference = reference_method(comparison, weights_name)
    preference = ", ".join(f"{x:g}" for x in comparison.presets[weights_name])
    measured = [(metric(name).label, rank) for name, rank in _COLUMNS.items()]
    columns = [
        ("policy", 0),
        ("reward", 0),
        (f"{reference} minus it", 1),
        *measured,
        ("top action", 4),
        ("decision ms", 6),
    ]
    cells = [_cells(row) for row in rows]
    sizes = [max(len(head), *(len(row[k].plain) for row in cells)) + 3 for k, (head, _) in enumerate(columns)]
    kept = list(range(len(columns)))
    while sum(sizes[k] for k in kept) + 1 > width and len(kept) > 2:
        kept.remove(max(kept, key=lambda k: (columns[k][1], k)))
    table = Table(title=f"{weights_name} (latency, cost, privacy: {preference})", title_justify="left")
    for k in kept:
        table.add_column(columns[k][0], no_wrap=True, justify="left" if k == 0 else "right")
    for row, line in zip(rows, cells, strict=True):
        table.add_row(*(line[k] for k in kept), style="bold" if row.learned else None)
    left_out = [columns[k][0] for k in range(len(columns)) if k not in kept]
    if left_out:
        table.caption = f"in a wider terminal: {', '.join(left_out)}"
    return table


def _cells(row: Row) -> list[Text]:
    name = f"{row.method} ×{row.members}" if row.members > 1 else row.method
    cells = [Text(name), Text(f"{row.reward.mean:.4f} ± {half_width(row.reward):.4f}")]
    if row.versus is None:
        cells.append(Text(""))
    else:
        colour = "" if not row.versus.excludes_zero else "green" if row.versus.difference.mean > 0 else "red"
        cells.append(Text(interval_text(row.versus.difference), style=colour))
    for column in _COLUMNS:
        entry = metric(column)
        cells.append(Text(f"{row.values[column] * entry.scale:.{entry.digits}f}"))
    cells.append(Text(f"{100 * row.top_action_share:.0f} %"))
    cells.append(Text(f"{1e3 * row.decision_one_s:.2f}"))
    return cells


def half_width(value: Estimate) -> float:
    """Half the width of the mean's interval."""
    return 0.5 * (value.high - value.low)


def interval_text(value: Estimate, digits: int = 4) -> str:
    """A mean with its interval, signed.

    >>> interval_text(Estimate(0.1, 0.05, 0.2, 0.1, 0.1, 0.1, 8, 4, 1), 2)
    '+0.10 [+0.05, +0.20]'
    """
    return f"{value.mean:+.{digits}f} [{value.low:+.{digits}f}, {value.high:+.{digits}f}]"
