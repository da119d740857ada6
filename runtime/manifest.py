"""The part of an artifact's manifest that decisions need, checked without further packages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import InputError
from .in_force import OWN_FIELDS

__all__ = ["Facts", "MeasuredField", "facts_of"]

_MOST = 100_000
_WIDEST = 4096


class MeasuredField(NamedTuple):
    """One measured quantity: its name, how many columns it takes, and its unit."""

    name: str
    size: int
    unit: str


class Facts(NamedTuple):
    """What decisions need.

    Attributes:
        scenario: Name of the scenario that the policy was trained on.
        fingerprint: Of the problem: scenario and profile.
        fields: The measured row's layout.
        placements: (cut_device, cut_edge) of each placement.
        thresholds: Confidence thresholds; infinite: never exit early.
        routes: Names.
        vm_targets: Sizes that the pool may be asked for, 0 included.
        start: Indices in force before the first decision.
        interval_s: Control interval.
        pool_review: Intervals between decisions about the pool.
        resident_placements: Placements that are kept loaded.
    """

    scenario: str
    fingerprint: str
    fields: tuple[MeasuredField, ...]
    placements: tuple[tuple[int, int], ...]
    thresholds: tuple[float, ...]
    routes: tuple[str, ...]
    vm_targets: int
    start: tuple[int, int, int, int]
    interval_s: float
    pool_review: int
    resident_placements: int

    @property
    def nvec(self) -> tuple[int, int, int, int]:
        """Sizes of the parts of an action."""
        return len(self.placements), len(self.thresholds), len(self.routes), self.vm_targets


class _Reader:
    """Values of a JSON object by dotted name, each of a type and within bounds."""

    def __init__(self, content: Mapping[str, Any], source: object) -> None:
        self.content, self.source = content, source

    def fail(self, name: str, rule: str, value: object = None) -> InputError:
        return InputError(self.source, f"manifest.json.{name}", rule, value)

    def get(self, name: str) -> Any:
        value: Any = self.content
        for part in name.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise self.fail(name, "is missing")
            value = value[part]
        return value

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise self.fail(name, "must be a text", value)
        return value

    def count(self, name: str, low: int = 1) -> int:
        return self.whole(name, self.get(name), low, _MOST)

    def whole(self, name: str, value: Any, low: int, high: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(name, f"must be a whole number from {low} to {high}", value)
        return value

    def several(self, name: str, read: Callable[[str, Any], Any]) -> tuple[Any, ...]:
        value = self.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= _MOST:
            raise self.fail(name, "must be a list that is not empty", value)
        return tuple(read(f"{name}[{k}]", item) for k, item in enumerate(value))

    def threshold(self, name: str, value: Any) -> float:
        if value is None:
            return math.inf
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0.0 <= value <= 1.0:
            raise self.fail(name, "must be a confidence from 0 to 1, or null", value)
        return float(value)

    def field(self, name: str, value: Any) -> MeasuredField:
        inner = _Reader(value if isinstance(value, Mapping) else {}, self.source)
        try:
            return MeasuredField(inner.text("name"), inner.count("size"), inner.text("unit"))
        except InputError as error:
            raise self.fail(name, f"must be a measurement: {error.field.rpartition('.')[2]} {error.rule}") from error

    def placement(self, name: str, value: Any, stages: int) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2:
            raise self.fail(name, "must be two cuts", value)
        device = self.whole(name, value[0], 0, stages)
        return device, self.whole(name, value[1], device, stages)


def facts_of(manifest: Mapping[str, Any], source: object) -> Facts:
    """The facts of a manifest.

    Raises:
        InputError: One is missing or breaks a rule.
    """
    read = _Reader(manifest, source)
    stages = read.count("actions.stages")
    interval_s = read.get("control.interval_s")
    if not isinstance(interval_s, (int, float)) or not 0.0 < interval_s < math.inf:
        raise read.fail("control.interval_s", "must be positive", interval_s)
    facts = Facts(
        scenario=read.text("scenario.name"),
        fingerprint=read.text("scenario.fingerprint"),
        fields=read.several("measurements", read.field),
        placements=read.several("actions.placements", lambda name, value: read.placement(name, value, stages)),
        thresholds=read.several("actions.thresholds", read.threshold),
        routes=read.several("actions.routes", lambda name, value: _route(read, name, value)),
        vm_targets=read.count("actions.vm_targets"),
        start=(0, 0, 0, 0),
        interval_s=float(interval_s),
        pool_review=read.count("control.pool_review"),
        resident_placements=read.count("control.resident_placements"),
    )
    _check_fields(read, facts)
    start = read.several("actions.start", lambda name, value: read.whole(name, value, 0, _MOST))
    if len(start) != 4 or any(part >= size for part, size in zip(start, facts.nvec, strict=True)):
        raise read.fail("actions.start", f"must be an action below {facts.nvec}", start)
    return facts._replace(start=start)


def _route(read: _Reader, name: str, value: Any) -> str:
    if value not in ("vm", "faas", "spill"):
        raise read.fail(name, "must be 'vm', 'faas' or 'spill'", value)
    return str(value)


def _check_fields(read: _Reader, facts: Facts) -> None:
    names = [field.name for field in facts.fields]
    if len(set(names)) != len(names):
        raise read.fail("measurements", "must have different names", names)
    sizes = {field.name: field.size for field in facts.fields}
    if sum(sizes.values()) > _WIDEST:
        raise read.fail("measurements", f"must have at most {_WIDEST} columns", sum(sizes.values()))
    for name in OWN_FIELDS:
        if sizes.get(name) != 1:
            raise read.fail("measurements", f"must have '{name}' with one column", sizes.get(name))
