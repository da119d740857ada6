"""Making a bracket: the clairvoyant plan and the relaxation of every episode, resumable after each."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..baselines.clairvoyant import BUDGET, RecordedPlan, check_plans, improve_episode
from ..baselines.relaxation import coefficients_of, relaxed_cost
from ..envs import Problem, Simulator, Window, rollout
from ..envs.simulator import check_weights
from ..errors import InputError
from ..traces import LinkTrace
from .regret import Bracket
from .storage import write_atomically

__all__ = ["bracket", "digest_of", "load_bracket", "read_part", "save_bracket", "write_part"]

Ints = NDArray[np.int64]

FORMAT = 1
_ARRAYS = ("actions", "terms", "relaxed", "least", "given", "steps", "weights")
_PARTS = ("actions", "relaxed", "least", "given", "steps")
_RATES = (0.5, 2.0)  # multipliers of the reward in the bounds per unit


def bracket(
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    weights: ArrayLike,
    seed: int = 0,
    plans: Sequence[Ints] = (),
    *,
    budget: int = BUDGET,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bracket:
    """Bound what is possible in the worlds of some episodes, from below and from above.

    Args:
        problem: The compiled problem.
        traces: Link traces.
        windows: One per episode, N; worlds are those that `rollout` uses for them.
        weights: Preference (3,) or (N, 3).
        seed: Of the worlds.
        plans: Recorded actions of policies in these worlds, int64 (T, N, 4) each (`Episodes.actions`): the plan is at
            least as good as every one of them in every episode.
        budget: Intervals that the planner may simulate per episode.
        checkpoint: Folder where every finished episode is kept; a later call with the same arguments takes it there.
        progress: Called with episodes done and in all.

    Raises:
        InputError: The plans do not fit, or the folder cannot be written to.
    """
    count = len(windows)
    rows = check_weights(weights, count)
    check_plans(plans, problem, count)
    simulator = Simulator(problem, traces, count, weights=rows, windows=windows)
    simulator.reset(seed)
    parts = []
    for i, window in enumerate(windows):
        given = [np.ascontiguousarray(plan[:, i], dtype=np.int64) for plan in plans]
        file = None
        if checkpoint is not None:
            settings = [problem.fingerprint(), rows[i].tolist(), seed, i, window.offset, budget, FORMAT]
            file = checkpoint / f"{digest_of(settings, traces[window.trace], given)}.npz"
        part = read_part(file, _PARTS)
        if part is None:
            part = _episode(simulator, i, given, budget)
            write_part(file, part)
        parts.append(part)
        if progress is not None:
            progress(i + 1, count)
    actions = np.stack([part["actions"] for part in parts], axis=1)
    episodes = rollout(RecordedPlan(actions), problem, traces, windows, rows, seed)
    joined = {name: np.stack([part[name] for part in parts]) for name in _PARTS[1:]}
    arrived = np.maximum(episodes.total("arrived"), 1.0) / len(episodes.terms)
    joined["least"][:, 1] *= 1e3 / arrived
    return Bracket(tuple(windows), rows, seed, actions, episodes.terms, fingerprint=problem.fingerprint(), **joined)


def save_bracket(found: Bracket, path: Path) -> None:
    """Write a bracket to `path`, a .npz of plain arrays, atomically.

    Raises:
        InputError: It cannot be written.
    """
    meta = {"format": FORMAT, "seed": found.seed, "fingerprint": found.fingerprint}
    meta["windows"] = [[window.trace, window.offset] for window in found.windows]
    write_part(path, {name: getattr(found, name) for name in _ARRAYS} | {"meta": json.dumps(meta)})


def load_bracket(path: Path) -> Bracket:
    """Read a bracket.

    Raises:
        InputError: The file is missing, damaged or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            meta = json.loads(str(file["meta"]))
        if meta["format"] != FORMAT:
            raise InputError(path, "format", f"must be {FORMAT}", meta["format"])
        windows = tuple(Window(int(trace), int(offset)) for trace, offset in meta["windows"])
        return Bracket(windows=windows, seed=int(meta["seed"]), fingerprint=str(meta["fingerprint"]), **arrays)
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, "", f"must be a stored bracket ({type(error).__name__}: {error})") from error


def _episode(simulator: Simulator, i: int, plans: Sequence[Ints], budget: int) -> dict[str, Any]:
    """The arrays of one episode, `_PARTS`; dollars in `least` are per interval."""
    problem = simulator.problem
    plan = improve_episode(simulator, i, plans, budget)
    weighted = coefficients_of(problem, simulator.state.weights[i])
    scale = np.array([problem.params.latency_ref_s, problem.params.cost_ref_usd, 1.0])
    single = np.eye(3, weighted.shape[1]) / scale[:, None]
    cost = relaxed_cost(simulator, i, np.concatenate([weighted, *(single + rate * weighted for rate in _RATES)]))
    # Whoever is as good as the plan: unit + rate * cost is at least the relaxation's, the cost at most the plan's.
    bounds = [cost[1 + 3 * k : 4 + 3 * k] + rate * plan.reward for k, rate in enumerate(_RATES)]
    least = scale * np.maximum(np.max(bounds, axis=0), 0.0)
    values = (plan.actions, -cost[0], least, plan.given, plan.steps)
    return dict(zip(_PARTS, values, strict=True))


def digest_of(settings: Sequence[Any], trace: LinkTrace, plans: Sequence[Ints]) -> str:
    """What an episode's bounds depend on, as a file name."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    rtt = np.zeros(0) if trace.rtt_s is None else trace.rtt_s
    for array in (trace.edges_s, trace.rate_bps, rtt, *plans):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]


def read_part(file: Path | None, names: Sequence[str]) -> dict[str, Any] | None:
    """The arrays of a finished episode; None if there is none, or half of one."""
    if file is None or not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def write_part(file: Path | None, arrays: dict[str, Any]) -> None:
    """Keep arrays, atomically.

    Raises:
        InputError: They cannot be written.
    """
    if file is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomically(file, buffer.getvalue())
