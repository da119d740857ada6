"""The one error that bad input raises, and how it reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "did_you_mean"]


class InputError(ValueError):
    """Something a person gave us (a file, an option, a checkpoint) breaks a rule.

    The message is one line: ``source: field: rule. Got value.``, with a remedy where there is one. The command line
    prints it and exits with status 2; a library user catches it as a `ValueError`.

    Args:
        source: The file, option or object that the value came from.
        field: The field, column or line inside it; empty if the whole source is meant.
        rule: What must hold, as a sentence without a full stop ("must be positive").
        value: The offending value; left out of the message when None.
        remedy: What to do about it; optional.

    >>> print(InputError("lab.toml", "deadline_s", "must be positive", -1.0, "give seconds, for example 2.0"))
    lab.toml: deadline_s: must be positive. Got -1.0. Remedy: give seconds, for example 2.0
    """

    def __init__(self, source: object, field: str, rule: str, value: object = None, remedy: str = "") -> None:
        self.source, self.field, self.rule, self.value, self.remedy = str(source), field, rule, value, remedy
        super().__init__(self._message())

    def _message(self) -> str:
        head = f"{self.source}: {self.field}: {self.rule}" if self.field else f"{self.source}: {self.rule}"
        parts = [head]
        if self.value is not None:
            shown = repr(self.value)
            parts.append(f"Got {shown if len(shown) <= 120 else shown[:117] + '...'}")
        if self.remedy:
            parts.append(f"Remedy: {self.remedy}")
        return ". ".join(part.replace("\n", " ") for part in parts)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, object, str]]:
        return type(self), (self.source, self.field, self.rule, self.value, self.remedy)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy for a misspelt name: the nearest known ones, or all of them.

    >>> did_you_mean("neurosurgoen", ["dp", "neurosurgeon"])
    "did you mean 'neurosurgeon'?"
    >>> did_you_mean("x", ["dp", "random"])
    "use one of 'dp', 'random'"
    """
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=3)
    if near:
        return "did you mean " + " or ".join(f"'{name}'" for name in near) + "?"
    return "use one of " + ", ".join(f"'{name}'" for name in options)
