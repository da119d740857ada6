"""The best fixed action in hindsight: the constant that would have been best, had one known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs import ROUTES, TERMS, Measurements, Policy, Problem, Simulator, Window
from ..errors import InputError
from ..traces import LinkTrace

__all__ = [
    "BEST_FIXED",
    "FixedByWeights",
    "FixedSearch",
    "describe_action",
    "distinct_actions",
    "search_fixed",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BEST_FIXED = "best-fixed"
_PARTS = ("reward_latency", "reward_cost", "reward_privacy", "reward_accuracy", "reward_failure")
_COLUMNS = tuple(TERMS.index(name) for name in _PARTS)
_BATCH = 1024
_EXHAUSTIVE_STEPS = 6_000_000
_KEEP = 4


@dataclass(frozen=True, eq=False)
class FixedSearch:
    """What the search found.

    Attributes:
        presets: Preferences by name.
        actions: int64 (A, 4), the constants tried.
        rewards: float64 (A, presets, W): mean reward per interval; NaN where a constant was discarded before.
        exhaustive: Whether every constant ran on every episode.
    """

    presets: dict[str, tuple[float, float, float]]
    actions: Ints
    rewards: Floats
    exhaustive: bool

    def best(self, weights_name: str) -> Ints:
        """The best constant for a preference, int64 (4,)."""
        mean = self.rewards[:, list(self.presets).index(weights_name)].mean(axis=-1)
        return np.asarray(self.actions[np.nanargmax(mean)])

    def note(self, problem: Problem) -> str:
        """One line for people."""
        found = "; ".join(f"{name}: {describe_action(problem, self.best(name))}" for name in self.presets)
        how = "all on every episode" if self.exhaustive else "hopeless ones discarded after a part of the episodes"
        return f"best fixed action in hindsight of {len(self.actions)} distinct constants ({how}): {found}"


class FixedByWeights(Policy):
    """Plays the constant that the search found for the preference of each environment."""

    name = BEST_FIXED

    def __init__(self, search: FixedSearch) -> None:
        self._search = search
        self._actions = np.zeros((0, 4), dtype=np.int64)

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Look up each environment's preference."""
        known = np.array(list(self._search.presets.values()))
        best = np.stack([self._search.best(name) for name in self._search.presets])
        distance = np.abs(known[None] - weights[:, None]).sum(axis=2)
        if distance.min(axis=1).max() > 1e-9 and len(known) > 1:
            rule = f"must be one of those that the search was done for ({', '.join(self._search.presets)})"
            raise InputError(BEST_FIXED, "weights", rule, weights.tolist())
        self._actions = best[distance.argmin(axis=1)]

    def act(self, measurements: Measurements) -> Ints:
        """The constants."""
        return self._actions


def describe_action(problem: Problem, action: Ints) -> str:
    """An action in words: where the stages run, the threshold, the route and the pool.

    Parts that make no difference are left out.
    """
    placement, threshold, route, target = (int(x) for x in action)
    device, edge = (int(x) for x in problem.placements[placement])
    stages = problem.stages
    parts = []
    if device:
        parts.append(f"device 0–{device}" if device < stages else "device all")
    if edge > device:
        parts.append(f"edge {device}–{edge}" if (device, edge) != (0, stages) else "edge all")
    if edge < stages:
        parts.append(f"cloud {edge}–{stages}" if edge else "cloud all")
    exit_at = problem.thresholds[threshold]
    parts.append(f"exit at {exit_at:g}" if np.isfinite(exit_at) else "no early exit")
    if edge < stages:
        parts.append(ROUTES[route])
    if target:
        parts.append(f"{target} VM" + ("s" if target > 1 else ""))
    return ", ".join(parts)


def distinct_actions(problem: Problem, targets: Sequence[int] | None = None) -> Ints:
    """Constants that can differ in what they do or be the best, int64 (A, 4).

    Left out because another one does the same for no more money: any route but the function and any VMs where nothing
    runs in the cloud; VMs that the function route leaves idle; spilling without VMs (that is the function route).

    Args:
        problem: The compiled problem.
        targets: Pool sizes to consider; None: all. With a given pool the idle VMs are not left out.
    """
    p, k, r, v = (np.arange(n) for n in problem.nvec)
    pool = v if targets is None else np.asarray(targets)
    grid = np.stack(np.meshgrid(p, k, r, pool, indexing="ij"), axis=-1).reshape(-1, 4).astype(np.int64)
    vm, faas, spill = (ROUTES.index(name) for name in ("vm", "faas", "spill"))
    in_cloud = problem.placements[grid[:, 0], 1] < problem.stages
    route, target = grid[:, 2], grid[:, 3]
    idle = (target > 0) if targets is None else np.zeros(len(grid), dtype=np.bool_)
    same = (~in_cloud & ((route != faas) | idle)) | ((route == faas) & idle) | ((route == spill) & (target == 0))
    if targets is not None:  # held for a few intervals only: an empty pool answers nothing
        same |= (route == vm) & (target == 0)
    return np.asarray(grid[~same])


def search_fixed(
    problem: Problem,
    traces: Sequence[LinkTrace],
    windows: Sequence[Window],
    presets: Mapping[str, tuple[float, float, float]],
    seed: int = 0,
    *,
    exhaustive: bool = False,
    progress: Callable[[float], None] | None = None,
) -> FixedSearch:
    """Search the best constant for every preference.

    What a constant does to the requests does not depend on the preference, so one simulation serves all of them. Where
    all constants on all episodes are more than six million steps, successive halving is used: all run on a few episodes
    spread over the logs, the best quarter for any preference on more of them, and so on; the last ones run on every
    episode. `exhaustive` forbids that.

    Args:
        problem: The compiled problem.
        traces: Link traces.
        windows: One per episode; worlds are those that `rollout` uses for them.
        presets: Preferences by name.
        seed: Of the worlds.
        exhaustive: Run every constant on every episode.
        progress: Called with the share done.
    """
    actions = distinct_actions(problem)
    count, names = len(windows), list(presets)
    rounds = _rounds(windows, len(actions) * count * problem.params.episode_intervals, exhaustive)
    rewards = np.full((len(actions), len(names), count), np.nan)
    weights = np.array([presets[name] for name in names])
    alive = np.arange(len(actions))
    sizes = [max(16, len(actions) // _KEEP**k) for k in range(len(rounds))]
    total = sum(size * len(part) for size, part in zip(sizes, rounds, strict=True))
    done = 0
    for number, part in enumerate(rounds):
        for window in part:
            for begin in range(0, len(alive), _BATCH):
                chunk = alive[begin : begin + _BATCH]
                rewards[chunk, :, window] = _simulate(
                    problem, traces, windows[window], window, actions[chunk], weights, seed
                )
                done += len(chunk)
                if progress is not None:
                    progress(min(done / total, 1.0))
        if number + 1 < len(rounds):
            seen = np.concatenate(rounds[: number + 1])
            mean = rewards[alive][:, :, seen].mean(axis=2)
            order = np.argsort(-mean, axis=0, kind="stable")[: sizes[number + 1]]
            alive = alive[np.unique(order)]
    return FixedSearch(dict(presets), actions, rewards, len(rounds) == 1)


def _rounds(windows: Sequence[Window], steps: int, exhaustive: bool) -> list[Ints]:
    """Which episodes each round adds; the first ones come from as many logs as possible."""
    count = len(windows)
    nth: dict[int, int] = {}
    rank = []
    for window in windows:
        nth[window.trace] = nth.get(window.trace, -1) + 1
        rank.append(nth[window.trace])
    traces = np.array([window.trace for window in windows])
    order = np.lexsort((traces * 2654435761 % 4093, np.array(rank)))
    if exhaustive or steps <= _EXHAUSTIVE_STEPS or count < 4:
        return [order]
    first = max(2, count // 10)
    second = min(count, max(first + 2, count // 3))
    return [part for part in (order[:first], order[first:second], order[second:]) if len(part)]


def _simulate(
    problem: Problem,
    traces: Sequence[LinkTrace],
    window: Window,
    stream: int,
    actions: Ints,
    weights: Floats,
    seed: int,
) -> Floats:
    """Mean rewards of constants in one world, float64 (A, presets)."""
    count = len(actions)
    simulator = Simulator(problem, traces, count, weights=(1 / 3, 1 / 3, 1 / 3), windows=[window] * count)
    simulator.state.stream[:] = stream
    simulator.reset(seed)
    sums = np.zeros((count, len(_COLUMNS)))
    for _ in range(problem.params.episode_intervals):
        simulator.step(actions)
        sums += simulator.terms[:, _COLUMNS]
    sums /= problem.params.episode_intervals
    weighted: Floats = 3.0 * sums[:, :3] @ weights.T + sums[:, 3:].sum(axis=1, keepdims=True)
    return weighted
