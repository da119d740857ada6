"""Packages whose public names are loaded when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__` (PEP 562).

    Args:
        package: Its `__name__`.
        homes: Public names by the submodule that defines them.

    >>> load, names = lazy_names("edgecloud", {"source": ("versions",)})
    >>> names(), "numpy" in load("versions")()
    (['versions'], True)
    """
    module_of = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> Any:
        """Load a public name on first use."""
        if name not in module_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(f".{module_of[name]}", package), name)

    return load, lambda: sorted(module_of)
