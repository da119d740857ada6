"""What the reproductions share: a table of theirs, ours and the ratio, and the options that every one has."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figure:
    """One figure of a paper beside ours; `theirs` is None where no figure of theirs could be read."""

    what: str
    theirs: float | None
    ours: float
    unit: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over theirs."""
        return self.ours / self.theirs if self.theirs else None


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table: the first column to the left, the others to the right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]).rstrip())


def print_figures(title: str, figures: Sequence[Figure]) -> None:
    """Theirs, ours and the ratio, one figure a line."""
    print(f"\n{title}")
    rows = []
    for f in figures:
        theirs = "-" if f.theirs is None else f"{f.theirs:.4g}{f.unit}"
        rows.append([f.what, theirs, f"{f.ours:.4g}{f.unit}", "-" if f.ratio is None else f"{f.ratio:.2f}"])
    print_table(["", "theirs", "ours", "ours / theirs"], rows)


def options(description: str | None, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """`--seed` and `--quick`, with the first line of a module's docstring as the help."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--quick", action="store_true", help="a small part of it, for the tests")
    return parser.parse_args(argv)


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Arithmetic mean of finite values."""
    return float(np.mean(np.asarray(values, dtype=np.float64)))
