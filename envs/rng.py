"""Counter-based random numbers: a draw is a pure function of who asks, when and for what.

A key identifies (seed, environment, episode); a stream within it the interval; a draw its request and purpose. Nothing
is stored, so the same seed gives the same world whatever the batch size, the order of execution or the policy: policies
are compared on common random numbers (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11). The mixing
function is the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA'14).
"""

from __future__ import annotations

import numpy as np

from .compiled import inner

__all__ = ["TABLE_BITS", "TABLE_SIZE", "exponential", "key_of", "mix", "poisson", "stream", "uniform"]

TABLE_BITS = 11
TABLE_SIZE = 1 << TABLE_BITS
"""Entries of a quantile table; the top bits of a draw index it."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MUL1 = np.uint64(0xBF58476D1CE4E5B9)
_MUL2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)
_TWO_POW_MINUS_52 = 1.0 / 4503599627370496.0


@inner
def mix(z):  # type: ignore[no-untyped-def]
    """SplitMix64's finaliser: a bijection of 64 bits that passes avalanche tests."""
    z = np.uint64(z)
    z = (z ^ (z >> _S30)) * _MUL1
    z = (z ^ (z >> _S27)) * _MUL2
    return z ^ (z >> _S31)


@inner
def stream(key, counter):  # type: ignore[no-untyped-def]
    """64 random bits of `counter` under `key`; also a key for a stream below it."""
    return mix(np.uint64(key) + (np.uint64(counter) + np.uint64(1)) * _GOLDEN)


@inner
def uniform(bits):  # type: ignore[no-untyped-def]
    """A double in the open interval (0, 1) from 64 random bits."""
    return (np.float64(np.uint64(bits) >> _S12) + 0.5) * _TWO_POW_MINUS_52


@inner
def exponential(bits):  # type: ignore[no-untyped-def]
    """A unit-mean exponential draw."""
    return -np.log(uniform(bits))


@inner
def key_of(seed, env, episode):  # type: ignore[no-untyped-def]
    """The key of one episode of one environment."""
    return stream(stream(mix(np.uint64(seed) + _GOLDEN), env), episode)


@inner
def poisson(mean, bits, limit):  # type: ignore[no-untyped-def]
    """A Poisson draw by inversion, at most `limit`; `mean` up to about 500, beyond which exp(-mean) is too small."""
    u = uniform(bits)
    p = np.exp(-mean)
    cumulative = p
    n = 0
    while u > cumulative and n < limit:
        n += 1
        p *= mean / n
        cumulative += p
    return n
