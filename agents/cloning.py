"""A start from somebody else's decisions: imitate a policy before learning by reinforcement (behaviour cloning).

The value function is fitted to the discounted rewards of the same episodes, so that the first advantages of PPO are not
noise that undoes the imitation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from ..envs import ROUTES, EdgeCloudVecEnv, Policy, Problem
from ..traces import LinkTrace
from .adapter import Sb3VecEnv
from .config import TrainConfig
from .fast_policy import FastMultiDiscretePolicy

__all__ = ["Cloned", "Demonstrations", "clone", "demonstrate"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Decisions of a policy.

    Attributes:
        observations: Encoded, float32 (S, D).
        actions: Placement, threshold and route, int64 (S, 3).
        returns: Discounted sums of scaled rewards, float32 (S,).
        score: Mean reward per interval of the demonstrating policy.
    """

    observations: Floats
    actions: NDArray[np.int64]
    returns: Floats
    score: float


@dataclass(frozen=True)
class Cloned:
    """How an imitation went.

    Attributes:
        teacher: Name of the imitated policy.
        transitions: Decisions learnt from.
        teacher_score: Its mean reward per interval on the training traces, preferences drawn from the simplex.
        agreement: Share of the decisions, of each part of the action, that the network repeats.
    """

    teacher: str
    transitions: int
    teacher_score: float
    agreement: tuple[float, ...]


def demonstrate(
    teacher: Policy,
    problem: Problem,
    traces: Sequence[LinkTrace],
    config: TrainConfig,
    rng: np.random.Generator,
) -> Demonstrations:
    """Let a policy run whole episodes in the training environment, preferences drawn uniformly from the simplex.

    Its VM targets are not asked: pools are given, as they will be at the start of the training.
    """
    n, length = config.num_envs, problem.params.episode_intervals
    env = Sb3VecEnv(
        EdgeCloudVecEnv(n, problem, traces),
        config.reward_scale,
        foresight=config.foresight,
        pool_review=config.pool_review,
        pool_exploration=config.pool_exploration,
    )
    observations, actions, returns, scores = [], [], [], []
    for _ in range(max(1, math.ceil(config.warm_start_steps / (n * length)))):
        env.seed(int(rng.integers(2**32)))
        seen = env.reset()
        teacher.reset(problem, n, env.env.simulator.state.weights.copy(), int(rng.integers(2**32)))
        rewards = np.empty((length, n))
        for t in range(length):
            chosen = teacher.act(env.env.measurements)
            observations.append(seen)
            actions.append(_shown(chosen, problem, env.env.measurements.vm_running))
            env.step_async(chosen[:, :3])
            seen, rewards[t], _, _ = env.step_wait()
        returns.append(_discounted(rewards, config.gamma).ravel())
        scores.append(float(rewards.mean()) / config.reward_scale)
    return Demonstrations(
        np.concatenate(observations),
        np.concatenate(actions),
        np.concatenate(returns).astype(np.float32),
        float(np.mean(scores)),
    )


def _shown(actions: NDArray[np.int64], problem: Problem, running: NDArray[np.float64]) -> NDArray[np.int64]:
    """Placement, threshold and route to imitate: where the route makes no difference, 'spill', which uses a VM if any.

    Nothing may run in the cloud, or no VM: then functions and spilling are the same. With one habit for both, a change
    of placement alone finds the VM once there is one; with 'function' it would take two changes at once.
    """
    spill, faas = ROUTES.index("spill"), ROUTES.index("faas")
    local = problem.placements[actions[:, 0], 1] == problem.stages
    same = local | ((running == 0) & (actions[:, 2] == faas))
    return np.column_stack([actions[:, :2], np.where(same, spill, actions[:, 2])])


def _discounted(rewards: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Discounted sums along the first axis; what follows the end is taken to be like the episode's mean."""
    running = rewards.mean(axis=0) / (1.0 - gamma)
    result = np.empty_like(rewards)
    for t in range(len(rewards) - 1, -1, -1):
        running = rewards[t] + gamma * running
        result[t] = running
    return result


def clone(
    model: PPO,
    teacher: Policy,
    problem: Problem,
    traces: Sequence[LinkTrace],
    config: TrainConfig,
    rng: np.random.Generator,
) -> Cloned:
    """Fit a model's policy and value function to a teacher. The model's own optimiser is not touched."""
    policy = model.policy
    assert isinstance(policy, FastMultiDiscretePolicy)
    shown = demonstrate(teacher, problem, traces, config, rng)
    data = [torch.as_tensor(x, device=policy.device) for x in (shown.observations, shown.actions, shown.returns)]
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    policy.set_training_mode(True)
    updates = config.warm_start_epochs * math.ceil(len(shown.actions) / config.minibatch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=max(updates, 1))
    for _ in range(config.warm_start_epochs):
        for index in np.array_split(
            rng.permutation(len(shown.actions)), math.ceil(len(shown.actions) / config.minibatch)
        ):
            observations, actions, returns = (part[torch.as_tensor(index)] for part in data)
            loss = _loss(policy, observations, actions, returns, config)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        logits = policy.head_logits(data[0])
        same = [float((x.argmax(1) == data[1][:, k]).float().mean()) for k, x in enumerate(logits)]
    return Cloned(teacher.name, len(shown.actions), shown.score, tuple(same))


def _loss(
    policy: FastMultiDiscretePolicy, observations: Tensor, actions: Tensor, returns: Tensor, config: TrainConfig
) -> Tensor:
    """Cross-entropy of every part of the action, plus the squared error of the value."""
    logits = policy.head_logits(observations)
    loss = policy.predict_values(observations).new_zeros(())
    for k, head in enumerate(logits):
        loss = loss + cross_entropy(head, actions[:, k], label_smoothing=config.warm_start_smoothing)
    return loss + config.value_coef * mse_loss(policy.predict_values(observations).flatten(), returns)
