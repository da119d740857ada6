"""Cuts that can never be optimal, after DNNSplit (IEEE Access 2024): what holds, and under which assumptions.

Two tiers. Cut `k` costs ``J(k) = a W_k + c (W_M - W_k) + t B_k + p L_k``: the work before the cut at the device's price
per operation, the work after it at the server's, the bytes that cross at the link's price per byte (seconds, joules,
dollars, weighted and added up), and what the tensor reveals. All prices are non-negative and otherwise arbitrary.

*Cut k is pruned when an earlier cut j < k has B_j <= B_k and L_j <= L_k, and the result has B_M <= B_k.* Then it never
wins strictly, because ``W`` never falls, and

* where the device is the dearer one, a >= c: ``J(k) - J(j) = (a - c)(W_k - W_j) + t (B_k - B_j) + p (L_k - L_j) >= 0``;
* where it is the cheaper one, a < c: ``J(k) - J(M) = (c - a)(W_M - W_k) + t (B_k - B_M) + p (L_k - L_M) >= 0``, as
  nothing is revealed where nothing is sent (L_M = 0).

So no weights, bandwidth or speeds make a pruned cut win as long as one effective speed describes a tier (which is how
the environment scales a profile). Where the tiers' speeds differ from stage to stage, the first line still holds if
each single stage is at least as dear on the device as on the server; the second does not, so that a cut may be lost
that suits a device which is faster at *some* stages. Where privacy has no weight (p = 0) and the result is no larger
than what crosses any cut, the argument also covers three tiers with two cuts, whatever their prices.
`tests/profiles/test_pruning.py` checks all of this against brute force.

It does not cover objectives that are no sum: the throughput of a pipeline whose slowest part decides, queues, hard
memory limits of the server. Where several encodings are possible a cut is only pruned if it is pruned in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .layer_table import CutSizes

__all__ = ["can_win", "can_win_in_any"]


def can_win(cut_bytes: ArrayLike, leakage: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Which cuts may be optimal for some prices; the others are dominated, as the module's text proves.

    Args:
        cut_bytes: Bytes across each cut 0..M in one encoding, shape (M + 1,); the result last.
        leakage: What each cut reveals, shape (M + 1,), if privacy has a weight; None if it has none.

    Returns:
        Boolean, shape (M + 1,). The first and the last cut are always kept.

    >>> can_win([150_528, 802_816, 100_352, 100_352, 4_096, 1_000]).tolist()
    [True, False, True, False, True, True]
    """
    sizes = np.asarray(cut_bytes, dtype=np.float64)
    revealed = np.zeros(len(sizes)) if leakage is None else np.asarray(leakage, dtype=np.float64)
    keep = np.ones(len(sizes), dtype=np.bool_)
    for cut in range(1, len(sizes) - 1):
        dominated = (sizes[:cut] <= sizes[cut]) & (revealed[:cut] <= revealed[cut])
        keep[cut] = not (dominated.any() and sizes[-1] <= sizes[cut])
    return keep


def can_win_in_any(sizes: Sequence[CutSizes], result_bytes: int, leakage: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Which cuts may be optimal in at least one encoding whose size is known at every cut.

    Args:
        sizes: What crosses each cut 0..M, M + 1 entries; the last is not used, the result's size stands for it.
        result_bytes: Bytes of the result as sent.
        leakage: As in `can_win`.

    Returns:
        Boolean, shape (M + 1,).
    """
    known = [entry.known() for entry in sizes[:-1]]
    common = set(known[0]).intersection(*known)
    keep = np.zeros(len(sizes), dtype=np.bool_)
    for encoding in common:
        keep |= can_win([*(entry[encoding] for entry in known), result_bytes], leakage)
    return keep
