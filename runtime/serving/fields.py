"""The strict schema of message headers: every field is there, of its type and in its range, and no other is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import InputError

__all__ = ["Check", "MessageError", "binary", "check_fields", "flag", "integer", "number", "text", "words"]

Check = Callable[[str, object], Any]
"""Takes a field's name and what was received; returns the value, or raises `MessageError`."""


class MessageError(InputError):
    """Bytes from a peer that are no message: malformed, oversized, of a wrong shape, or not meant for this server."""

    def __init__(self, field: str, rule: str, value: object = None, remedy: str = "") -> None:
        super().__init__("message", field, rule, value, remedy)

    def __reduce__(self) -> tuple[type[MessageError], tuple[str, str, object, str]]:  # type: ignore[override]
        return type(self), (self.field, self.rule, self.value, self.remedy)


def integer(low: int, high: int) -> Check:
    """A whole number between two bounds, both included."""

    def check(name: str, value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise MessageError(name, f"must be an integer between {low} and {high}", value)
        return value

    return check


def number(low: float, high: float, nan: bool = False) -> Check:
    """A real number between two bounds, both included; not a number only where `nan` says so."""

    def check(name: str, value: object) -> float:
        if type(value) not in (int, float):
            raise MessageError(name, "must be a number", value)
        assert isinstance(value, int | float)
        if not low <= value <= high and not (nan and math.isnan(value)):
            raise MessageError(name, f"must be between {low:g} and {high:g}", value)
        return float(value)

    return check


def text(longest: int) -> Check:
    """A string of at most `longest` characters."""

    def check(name: str, value: object) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise MessageError(name, f"must be a string of at most {longest} characters", value)
        return value

    return check


def words(*known: str) -> Check:
    """One of a few words."""

    def check(name: str, value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise MessageError(name, f"must be one of {', '.join(known)}", value)
        return value

    return check


def binary(shortest: int, longest: int) -> Check:
    """Bytes, of a length between two bounds."""

    def check(name: str, value: object) -> bytes:
        if not isinstance(value, bytes) or not shortest <= len(value) <= longest:
            raise MessageError(name, f"must be {shortest} to {longest} bytes", value)
        return value

    return check


def flag(name: str, value: object) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise MessageError(name, "must be true or false", value)
    return value


def check_fields(
    content: object, schema: Mapping[str, Check], where: str = "", partial: bool = False
) -> dict[str, Any]:
    """The checked fields of a received map.

    Args:
        content: What was received.
        schema: A check per field name.
        where: Name of the map in messages; empty for the header itself.
        partial: Whether fields may be missing.

    Raises:
        MessageError: Not a map, an unknown or missing field, or a value that breaks its rule.
    """
    if not isinstance(content, dict):
        raise MessageError(where or "header", "must be a map", type(content).__name__)
    prefix = f"{where}." if where else ""
    if len(content) > len(schema) or not content.keys() <= schema.keys():
        unknown = sorted(str(key)[:40] for key in content.keys() - schema.keys())
        raise MessageError(where or "header", "must hold known fields only", unknown[:5])
    if not partial and len(content) < len(schema):
        raise MessageError(where or "header", "lacks fields", sorted(schema.keys() - content.keys()))
    return {name: schema[name](prefix + name, value) for name, value in content.items()}
