"""Measured rows from named measurements, checked: what an embedded policy is fed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, did_you_mean
from .in_force import OWN_FIELDS
from .manifest import MeasuredField

__all__ = ["RowBuilder"]

Floats = NDArray[np.float64]


class RowBuilder:
    """Puts measurements into the order that a policy was trained with.

    Args:
        fields: The row's layout.
        source: For messages.
    """

    def __init__(self, fields: Sequence[MeasuredField], source: object) -> None:
        self._source = source
        self._at: dict[str, tuple[int, int, str]] = {}
        self.width = 0
        for field in fields:
            self._at[field.name] = (self.width, field.size, field.unit)
            self.width += field.size
        self.vm_target = self._at["vm_target"][0]
        """Column of the VM target in force."""

    def row(self, given: Mapping[str, ArrayLike] | ArrayLike, own: Mapping[str, int]) -> Floats:
        """One row, float64 (D,).

        Args:
            given: Fields by name, or a whole row (D,) or (1, D), or an object with such `rows`.
            own: What the decisions so far imply, for the fields that are not given.

        Raises:
            InputError: A field is missing, unknown, of the wrong size or not finite.
        """
        if not isinstance(given, Mapping):
            rows = self.rows(getattr(given, "rows", given))
            if len(rows) != 1:
                raise InputError("measurements", "", f"must be one row of {self.width} numbers", rows.shape)
            whole: Floats = rows[0]
            return whole
        row = np.empty(self.width)
        for name, (at, size, _) in self._at.items():
            value = given[name] if name in given else own.get(name)
            if value is None:
                raise self._missing(name, given)
            self._put(row, name, at, size, value)
        if len(given) > len(self._at) or not given.keys() <= self._at.keys():
            name = sorted(map(str, given.keys() - self._at.keys()))[0]
            raise InputError("measurements", name, "is no measurement", None, did_you_mean(name, self._at))
        if not np.isfinite(row).all():
            raise self._not_finite(row)
        return row

    def rows(self, given: ArrayLike) -> Floats:
        """Whole rows, float64 (N, D).

        Raises:
            InputError: The shape is another, or a number is not finite.
        """
        try:
            rows = np.atleast_2d(np.asarray(given, dtype=np.float64))
        except (TypeError, ValueError):
            raise InputError("measurements", "", "must be fields by name or a row of numbers", given) from None
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise InputError("measurements", "", f"must have {self.width} columns", rows.shape)
        if not np.isfinite(rows).all():
            raise self._not_finite(rows[~np.isfinite(rows).all(axis=1)][0])
        return np.ascontiguousarray(rows)

    def _put(self, row: Floats, name: str, at: int, size: int, value: Any) -> None:
        try:
            if size == 1 and isinstance(value, (int, float)):
                row[at] = value
                return
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InputError("measurements", name, f"must be {_numbers(size)}", value) from None
        if array.shape != (size,) and not (size == 1 and array.size == 1):
            raise InputError("measurements", name, f"must be {_numbers(size)}", f"shape {array.shape}")
        row[at : at + size] = array.reshape(size)

    def _missing(self, name: str, given: Mapping[str, ArrayLike]) -> InputError:
        """The error for a missing field: a misspelt one is the likeliest reason."""
        stray = sorted(map(str, given.keys() - self._at.keys()))
        if stray:
            remedy = did_you_mean(stray[0], self._at)
            return InputError("measurements", stray[0], f"is no measurement, and '{name}' is missing", None, remedy)
        unit = self._at[name][2]
        optional = " (only what follows from the policy's own decisions may be left out)" if OWN_FIELDS else ""
        return InputError("measurements", name, f"is missing: {_numbers(self._at[name][1])}, unit {unit}{optional}")

    def _not_finite(self, row: Floats) -> InputError:
        for name, (at, size, _) in self._at.items():
            if not np.isfinite(row[at : at + size]).all():
                value = row[at : at + size].tolist()
                return InputError("measurements", name, "must be finite", value[0] if size == 1 else value)
        raise AssertionError("every number is finite")


def _numbers(size: int) -> str:
    return "a number" if size == 1 else f"{size} numbers"
