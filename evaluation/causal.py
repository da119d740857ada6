"""The bound for controllers that do not know the requests to come, episode by episode, resumable after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..baselines.causal_bound import REDRAWS, causal_cost
from ..envs import Problem, Simulator, Window
from ..envs.simulator import check_weights
from ..traces import LinkTrace
from .bounds import digest_of, read_part, write_part

__all__ = ["causal_bounds"]

_FORMAT = "causal 1"  # another one where the bound is computed in another way
_PARTS = ("causal",)


def causal_bounds(
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    weights: ArrayLike,
    seed: int = 0,
    *,
    redraws: int = REDRAWS,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """What no controller exceeds on average that does not know the requests to come, float64 (N,).

    Args:
        problem: The compiled problem.
        traces: Link traces.
        windows: One per episode, N.
        weights: Preference (3,) or (N, 3).
        seed: Of the worlds.
        redraws: Of each interval's requests, see `causal_bound`.
        checkpoint: Folder where every finished episode is kept; a later call with the same arguments takes it there.
        progress: Called with episodes done and in all.

    Raises:
        InputError: There is no redraw, the weights do not fit, or the folder cannot be written to.
    """
    rows = check_weights(weights, len(windows))
    simulator = Simulator(problem, traces, len(windows), weights=rows, windows=windows)
    simulator.reset(seed)
    bounds = np.empty(len(windows))
    for i, window in enumerate(windows):
        file = None
        if checkpoint is not None:
            settings = [problem.fingerprint(), rows[i].tolist(), seed, i, window.offset, redraws, _FORMAT]
            file = checkpoint / f"{digest_of(settings, traces[window.trace], [])}.npz"
        part = read_part(file, _PARTS)
        if part is None:
            part = {"causal": np.array(-causal_cost(simulator, i, redraws))}
            write_part(file, part)
        bounds[i] = part["causal"]
        if progress is not None:
            progress(i + 1, len(windows))
    return bounds
