"""What has happened in a running episode, kept for drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["History"]

Floats = NDArray[np.float64]


class History:
    """Terms and measured rows of an episode, one per interval."""

    def __init__(self) -> None:
        self._terms: list[Floats] = []
        self._rows: list[Floats] = []

    def append(self, terms: Floats, row: Floats) -> None:
        """Add an interval (copied)."""
        self._terms.append(terms.copy())
        self._rows.append(row.copy())

    def clear(self) -> None:
        """Forget the episode."""
        self._terms.clear()
        self._rows.clear()

    @property
    def terms(self) -> Floats:
        """float64 (T, len(TERMS))."""
        return np.array(self._terms)

    @property
    def rows(self) -> Floats:
        """float64 (T, D)."""
        return np.array(self._rows)
