"""Episodes to draw: the same world under the agent and under the best rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..envs import Problem, evaluation_windows, rollout
from ..errors import InputError
from ..traces import LinkTrace
from .fixed import BEST_FIXED
from .scores import Comparison, Method
from .storage import write_atomically
from .summary import reference_method

__all__ = ["DrawnEpisode", "draw_episodes", "load_episodes", "save_episodes"]

Floats = NDArray[np.float64]
FILE = "episodes.npz"


@dataclass(frozen=True, eq=False)
class DrawnEpisode:
    """One recorded episode.

    Attributes:
        method: Who decided.
        title: What it shows.
        terms: float64 (T, len(TERMS)).
        rows: float64 (T, D).
    """

    method: str
    title: str
    terms: Floats
    rows: Floats


def draw_episodes(
    comparison: Comparison,
    methods: Sequence[Method],
    problem: Problem,
    traces: Sequence[LinkTrace],
    weights_name: str | None = None,
) -> tuple[DrawnEpisode, ...]:
    """Replay one episode under the reference and under the best other method that is not a constant.

    The episode is the one in which the reference's score is the median.

    Args:
        comparison: Raw scores, which say who to draw and where.
        methods: As they were compared.
        problem: The compiled problem.
        traces: As they were compared on.
        weights_name: The preference; None: the first.
    """
    name = weights_name or next(iter(comparison.presets))
    known = {method.name: method for method in methods}
    ranked = sorted(known, key=lambda method: -float(comparison.scores(method, name).mean()))
    reference = reference_method(comparison, name)
    if reference == BEST_FIXED and ranked:
        reference = ranked[0]
    others = [method for method in ranked if method not in (reference, *comparison.learned)]
    chosen = [method for method in (reference, *others[:1]) if method in known]
    if not chosen:
        return ()
    scores = comparison.scores(reference, name)[0]
    index = int(np.argsort(scores, kind="stable")[len(scores) // 2])
    label = comparison.episodes[index]
    repeats = 1 + max(episode.repeat for episode in comparison.episodes)
    windows = evaluation_windows(traces, problem, repeats)
    drawn = []
    for method in chosen:
        policy = known[method].members[0]
        run = rollout(policy, problem, traces, windows, comparison.presets[name], comparison.seed, keep_rows=True)
        reward = float(run.mean_reward()[index])
        title = f"{method}, {name}, {label.mode} {label.trace} from {label.start_s:g} s: reward {reward:.4f}"
        drawn.append(DrawnEpisode(method, title, run.terms[:, index].copy(), run.rows[:, index].copy()))
    return tuple(drawn)


def save_episodes(episodes: Sequence[DrawnEpisode], folder: Path) -> Path:
    """Write the episodes beside the raw scores, atomically."""
    import io

    buffer = io.BytesIO()
    arrays: dict[str, NDArray[np.generic]] = {
        "method": np.array([episode.method for episode in episodes], dtype=np.str_),
        "title": np.array([episode.title for episode in episodes], dtype=np.str_),
    }
    for k, episode in enumerate(episodes):
        arrays[f"terms{k}"], arrays[f"rows{k}"] = episode.terms, episode.rows
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    path = folder / FILE
    write_atomically(path, buffer.getvalue())
    return path


def load_episodes(folder: Path) -> tuple[DrawnEpisode, ...]:
    """Read what `save_episodes` wrote; nothing where there is no file.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    try:
        with np.load(path, allow_pickle=False) as data:
            names, titles = data["method"], data["title"]
            return tuple(
                DrawnEpisode(str(name), str(title), data[f"terms{k}"], data[f"rows{k}"])
                for k, (name, title) in enumerate(zip(names, titles, strict=True))
            )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, "", f"must be readable episodes ({type(error).__name__})") from error
