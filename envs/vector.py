"""The Gymnasium vector environment: the kernel on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..traces import LinkTrace, default_traces
from .measure import Measurements
from .problem import Problem, compile_problem
from .scenario import DEFAULT_SCENARIO, Scenario
from .simulator import Simulator, Window
from .spaces import check_options, fresh_seed, spaces_of
from .state import TERMS, State

__all__ = ["EdgeCloudVecEnv", "resolve_traces"]


def resolve_traces(traces: str | Path | Sequence[LinkTrace] | None, part: str = "train") -> tuple[LinkTrace, ...]:
    """Link traces from a folder, from the default source (recorded logs, else the generator), or as given."""
    if part not in ("train", "validation", "test"):
        raise InputError("part", "", "must be 'train', 'validation' or 'test'", part)
    if traces is None or isinstance(traces, (str, Path)):
        chosen: tuple[LinkTrace, ...] = getattr(default_traces(traces).split, part)
        return chosen
    return tuple(traces)


class EdgeCloudVecEnv(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """Many EdgeCloud environments advanced together by one compiled kernel.

    Description, action space, observation space and reward are those of `EdgeCloudEnv`. Environment `i` of
    `reset(seed=s)` sees the same world for every batch size above `i`. Episodes that end are reset within the same step
    (`AutoresetMode.SAME_STEP`): the last observation stands in `info["final_obs"]`.

    Args:
        num_envs: Batch size, N.
        scenario: A `Scenario`, a shipped scenario's name, the path of a file, or a compiled `Problem`.
        traces: Link traces, a folder of logs, or None for the default source.
        part: Which part of a split is used where `traces` is not a sequence: 'train', 'validation' or 'test'.
        weights: Preference (3,) or (N, 3) for latency, cost and privacy; None: drawn for every episode.
        records: Put the requests of every interval into `info["records"]`.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        scenario: Scenario | Problem | str | Path = DEFAULT_SCENARIO,
        traces: str | Path | Sequence[LinkTrace] | None = None,
        part: str = "train",
        weights: ArrayLike | None = None,
        records: bool = False,
    ) -> None:
        self.problem = scenario if isinstance(scenario, Problem) else compile_problem(scenario)
        links = resolve_traces(traces, part)
        self.simulator = Simulator(self.problem, links, num_envs, weights=weights, records=records)
        self.num_envs = num_envs
        self.render_mode = None
        self.single_observation_space, self.single_action_space = spaces_of(self.problem)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._records = records
        self._seeded = False
        self._every = np.ones(num_envs, dtype=np.bool_)
        self._never = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start new episodes in all environments.

        Args:
            seed: Which sequence of worlds; None continues the running one (drawing a seed the first time).
            options: 'weights' (3,) or (N, 3) and 'windows', one `Window` per environment, hold from here on.
        """
        options = check_options(options, ("weights", "windows"))
        if "weights" in options:
            self.simulator.set_weights(options["weights"])
        if "windows" in options:
            self.simulator.set_windows([Window(*w) if isinstance(w, tuple) else w for w in options["windows"]])
        if seed is None and not self._seeded:
            seed = fresh_seed()
        self._seeded = True
        measured = self.simulator.reset(seed)
        return self.problem.encoder(measured.rows), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Advance all environments by one control interval."""
        if not self._seeded:
            raise ResetNeeded("call reset() before the first step()")
        measured = self.simulator.step(actions)
        terms = self.simulator.terms
        observation = self.problem.encoder(measured.rows)
        info: dict[str, Any] = {}
        for k, name in enumerate(TERMS):
            info[name] = terms[:, k].copy()
            info[f"_{name}"] = self._every
        if self._records:
            info["records"] = [self.simulator.records[i, : int(terms[i, 0])].copy() for i in range(self.num_envs)]
        truncated = self.simulator.done
        if truncated.any():
            info["final_info"] = {k: v for k, v in info.items() if k != "records"}
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(truncated):
                final[i] = observation[i]
            info["final_obs"], info["_final_obs"], info["_final_info"] = final, truncated, truncated
            fresh = self.simulator.reset(only=truncated)
            observation = observation.copy()
            observation[truncated] = self.problem.encoder(fresh.rows[truncated])
        reward = terms[:, TERMS.index("reward")].copy()
        return observation, reward, self._never.copy(), truncated, info

    @property
    def measurements(self) -> Measurements:
        """What a controller can measure now, in SI units."""
        return self.simulator.measurements

    def get_state(self) -> State:
        """A deep copy of the simulation's state."""
        return self.simulator.get_state()

    def set_state(self, state: State) -> None:
        """Restore a copied state."""
        self.simulator.set_state(state)

    def __repr__(self) -> str:
        return f"EdgeCloudVecEnv(num_envs={self.num_envs}, scenario='{self.problem.scenario.name}')"
