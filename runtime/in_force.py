"""The plan in force: what a controller knows of its own past decisions, as the measured row shows it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["OWN_FIELDS", "InForce"]

OWN_FIELDS = ("placement", "threshold", "route", "vm_target", "placement_age", "other_placement")
"""Fields of the measured row that follow from the decisions alone."""


class InForce:
    """Action in force, its age, and the placements kept loaded; least recently used ones are given up.

    Args:
        start: Indices in force before the first decision: placement, threshold, route, VM target.
        resident: Placements that device and edge keep loaded.

    >>> plan = InForce((0, 0, 0, 0), resident=2)
    >>> plan.decide((3, 0, 0, 0)), plan.decide((5, 0, 0, 0)), plan.decide((3, 0, 0, 0))
    (False, True, False)
    >>> plan.fields()["other_placement"], plan.fields()["placement_age"]
    (5, 0)
    """

    def __init__(self, start: Sequence[int], resident: int) -> None:
        self._start, self._slots = tuple(int(part) for part in start), resident
        self.reset()

    def reset(self) -> None:
        """Back to before the first decision."""
        self.action = self._start
        self._loaded: list[int] = []
        self._age = 0
        self._decided = False

    def decide(self, action: Sequence[int]) -> bool:
        """Put an action in force; whether a placement has to be loaded for it (the first one is free)."""
        parts = tuple(int(part) for part in action)
        placement, first = parts[0], not self._decided
        self._age = 0 if first or placement != self.action[0] else self._age + 1
        paused = not first and placement not in self._loaded
        self._loaded = [placement, *(other for other in self._loaded if other != placement)][: self._slots]
        self.action, self._decided = parts, True
        return paused

    def fields(self) -> dict[str, int]:
        """Values of `OWN_FIELDS`."""
        other = self._loaded[1] if len(self._loaded) > 1 else self.action[0]
        return dict(zip(OWN_FIELDS, (*self.action, self._age, other), strict=True))
