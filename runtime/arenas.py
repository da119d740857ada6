"""How many heaps the C library's allocator keeps."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

__all__ = ["limit_arenas"]

_M_ARENA_MAX = -8  # malloc.h of glibc


def limit_arenas(count: int = 2) -> bool:
    """Keep the allocator from giving every thread of a server a heap of its own; for the start of a process.

    glibc makes up to eight heaps (arenas) per core and assigns threads to them in turn. A freed activation or part of a
    network stays with its heap, so that a server with many threads holds several times what it uses, and the more the
    longer it runs. It is what the variable MALLOC_ARENA_MAX does, for those who do not know it; where that is set, it
    decides. Other C libraries have no such setting, and nothing happens.

    Args:
        count: Heaps at most.

    Returns:
        Whether the limit is in force.
    """
    if not sys.platform.startswith("linux") or "MALLOC_ARENA_MAX" in os.environ:
        return False
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, count))
    return False
