"""A recorded link inside the kernel: exact integrals over its piecewise-constant rate."""

from __future__ import annotations

import numpy as np

from .compiled import inner

__all__ = ["bin_at", "carried_bits", "send"]

_NEVER = np.inf


@inner
def bin_at(offset, index, length):  # type: ignore[no-untyped-def]
    """Bin of a trace that wraps around at its end."""
    place = offset + index
    return place if place < length else place % length


@inner
def send(rate, first, length, offset, width_s, begin_s, bits, limit_s):  # type: ignore[no-untyped-def]
    """When the link has carried `bits` from `begin_s` on, exactly; infinity if that is after `limit_s`."""
    now = begin_s
    index = int(now / width_s)
    while now < limit_s:
        edge = (index + 1) * width_s
        r = rate[first + bin_at(offset, index, length)]
        capacity = r * (edge - now)
        if capacity >= bits:
            end = now + bits / r if bits > 0.0 else now
            return end if end <= limit_s else _NEVER
        bits -= capacity
        now = edge
        index += 1
    return _NEVER


@inner
def carried_bits(rate, first, length, offset, width_s, begin_s, end_s):  # type: ignore[no-untyped-def]
    """Bits that the link can carry between two instants."""
    total = 0.0
    now = begin_s
    index = int(now / width_s)
    while now < end_s:
        edge = min((index + 1) * width_s, end_s)
        total += rate[first + bin_at(offset, index, length)] * (edge - now)
        now = edge
        index += 1
    return total
