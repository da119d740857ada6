"""The batched environment as stable-baselines3 wants it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium import Wrapper
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from ..envs import EdgeCloudVecEnv
from ..envs.foresight import INPUTS, foresee
from ..envs.state import State
from .pool import PoolControl, PoolNetwork
from .reward import LearnerReward
from .statistics import Statistics

__all__ = ["Sb3VecEnv"]

Indices = int | Iterable[int] | None


class Sb3VecEnv(VecEnv):
    """`EdgeCloudVecEnv` behind stable-baselines3's `VecEnv`: 4-tuples, a list of info dictionaries, own reset.

    Episodes never terminate, they are truncated: the info of an environment whose episode has ended holds its last
    observation (`terminal_observation`) and `TimeLimit.truncated`, from which the learner bootstraps. All other infos
    are empty: reward terms and actions are summed for the whole batch in `statistics` instead.

    The learner chooses placement, threshold and route; whoever sizes the VM pool (`pool`) is a part of its world.

    Args:
        env: The environment.
        reward_scale: Constant factor on the reward.
        stagger: Let the first episodes begin at intervals spread evenly over an episode, so that they do not all end at
            the same step. Only their length differs: the system is idle at that interval as it is at the first.
        foresight: Append the world's inputs of this many coming intervals to each observation, for the critic alone.
        reward: What the learner is paid for an interval; None: the reward as it happened.
        pool_review: Intervals between decisions about the VM pool, see `PoolControl`.
        pool_exploration: Share of the episodes that begin with a given pool.

    Attributes:
        pool: Decides the VM targets.
    """

    def __init__(
        self,
        env: EdgeCloudVecEnv,
        reward_scale: float = 1.0,
        stagger: bool = False,
        foresight: int = 0,
        reward: LearnerReward | None = None,
        pool_review: int = 1,
        pool_exploration: float = 0.0,
    ) -> None:
        self.env, self.reward_scale, self.stagger, self.foresight = env, reward_scale, stagger, foresight
        self.reward = LearnerReward(env.simulator) if reward is None else reward
        self._ahead = np.zeros((env.num_envs, foresight + 1, len(INPUTS)), dtype=np.float32)
        self.statistics = Statistics(env.problem.nvec)
        targets = int(env.problem.nvec[3])
        self.pool = PoolNetwork.untrained(env.problem.encoder.size, 1, targets)
        self._control = PoolControl(pool_review, pool_exploration, targets - 1)
        self._actions = np.zeros((env.num_envs, 4), dtype=np.int64)
        size = env.problem.encoder.size + self.private
        super().__init__(env.num_envs, Box(-1.0, 1.0, (size,), np.float32), MultiDiscrete(env.problem.nvec[:3]))

    @property
    def private(self) -> int:
        """Columns at the end of an observation that only the critic may see."""
        return self.foresight * len(INPUTS)

    def _look_ahead(self) -> None:
        """Refresh the coming inputs; one interval more than is shown, for observations at the end of an episode."""
        if self.foresight:
            simulator = self.env.simulator
            ahead = foresee(self.env.problem.params, simulator.bank, simulator.state, self.foresight + 1)
            self._ahead = _scaled(ahead, self.env.problem.params.interval_s)

    def _with_private(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.foresight:
            return observation
        self._look_ahead()
        return np.concatenate([observation, self._ahead[:, :-1].reshape(self.num_envs, -1)], axis=1)

    def reset(self) -> NDArray[np.float32]:
        """Start new episodes; the seed given to `seed` (of environment 0) starts the sequence of worlds."""
        options = self._options[0] if self._options else {}
        observation, _ = self.env.reset(seed=self._seeds[0], options=options)
        if self.stagger:
            state = self.env.get_state()
            length = self.env.problem.params.episode_intervals
            state.t[:] = np.arange(self.num_envs) * length // self.num_envs
            self.env.set_state(state)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self._with_private(observation)

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Keep the actions, int64 (N, 3), for `step_wait`; the VM targets are added here."""
        state = self.env.simulator.state
        decided = state.action[:, 3].copy()
        due = self._control.due(state)
        if due.any():
            decided[due] = self.pool.targets(self.env.problem.encoder(self.env.measurements.rows[due]), decided[due])
        self._actions = np.column_stack([actions, self._control.targets(state, decided)])

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Advance all environments by one interval."""
        before = time.perf_counter()
        self.reward.before(self._actions)
        observation, _, terminated, truncated, info = self.env.step(self._actions)
        terms = self.env.simulator.terms
        self.statistics.add(terms, self._actions, time.perf_counter() - before)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            last = info["final_obs"][i]
            infos[i]["terminal_observation"] = (
                np.concatenate([last, self._ahead[i, 1:].ravel()]) if self.foresight else last
            )
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        reward = (self.reward.after(terms, self._actions, done) * self.reward_scale).astype(np.float32)
        return self._with_private(observation), reward, done, infos

    def get_state(self) -> State:
        """A deep copy of the simulation's state."""
        return self.env.get_state()

    def set_state(self, state: State) -> NDArray[np.float32]:
        """Restore a copied state and return the observation that it stands at."""
        self.env.set_state(state)
        return self._with_private(self.env.problem.encoder(self.env.measurements.rows))

    def close(self) -> None:
        """Nothing is held outside the process."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """An attribute of the batched environment, once per environment asked for."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of the batched environment; the environments share it.

        Raises:
            ValueError: Only some environments are named.
        """
        self._need_all(attr_name, indices)
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batched environment once; its result stands for every environment asked for."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Wrapper[Any, Any, Any, Any]], indices: Indices = None) -> list[bool]:
        """Never: there are no single environments to wrap."""
        return [False for _ in self._get_indices(indices)]

    def _need_all(self, name: str, indices: Indices) -> None:
        if indices is not None and sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(f"'{name}' is shared by all environments of a batch: leave 'indices' out.")


def _scaled(inputs: NDArray[np.float64], interval_s: float) -> NDArray[np.float32]:
    """The world's inputs within about [-1, 1]: rate and arrivals logarithmically, shares linearly."""
    unit = np.empty(inputs.shape, dtype=np.float32)
    unit[..., 0] = np.log1p(inputs[..., 0] / 0.5e6) / np.log1p(200.0)
    unit[..., 1] = np.log1p(inputs[..., 1] / (2.0 * interval_s)) / np.log1p(64.0)
    unit[..., 2:] = inputs[..., 2:]
    scaled: NDArray[np.float32] = np.clip(2.0 * unit - 1.0, -1.0, 1.0)
    return scaled
