"""How the kernel is compiled: without reference counting, cached between runs, anew when a part of it has changed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from numba import njit, typeof
from numba.core.options import DefaultOptions

__all__ = ["entry", "entry_point", "inner", "refresh"]


def _known(**options: bool) -> dict[str, Any]:
    """Those options that the installed numba has."""
    return {name: value for name, value in options.items() if hasattr(DefaultOptions, name)}


# The kernel's arguments are tuples of some ninety arrays and it allocates nothing. Counting references to each of them
# on every access costs twenty times the simulation itself; without allocations there is nothing to count.
_UNCOUNTED = _known(_nrt=False)

inner: Any = njit(error_model="numpy", **_known(forceinline=True), **_UNCOUNTED)
"""Decorates a function that is part of an entry point and is compiled with it."""

entry: Any = njit(cache=True, error_model="numpy", **_UNCOUNTED)
"""Decorates a function that Python calls; its machine code is kept on disk."""


def refresh(module_file: str, *parts: ModuleType) -> None:
    """Recompile the entry points of a module if something that is compiled into them is newer than their cache.

    numba compares the time stamp of one file only, the one that defines the entry point; so that file gets a new one.
    Where it may not be written (an installed package), its parts do not change by themselves either.
    """
    own = Path(module_file)
    with suppress(OSError):
        newest = max(Path(part.__file__).stat().st_mtime for part in parts if part.__file__)
        if newest > own.stat().st_mtime:
            os.utime(own)


def entry_point(function: Any, arguments: tuple[Any, ...]) -> Any:
    """The machine code of a compiled function for the types of some arguments.

    Calling it skips numba's look-up of the types of all arrays (ten microseconds a call): the caller answers for them.
    """
    signature = tuple(
        typeof(argument)  # type: ignore[no-untyped-call]
        for argument in arguments
    )
    function.compile(signature)
    return function.get_overload(signature)
