"""What a training works on: the stable-baselines3 model, its environments, its validation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from stable_baselines3 import PPO

from ..envs import EdgeCloudVecEnv, Problem
from ..traces import LinkTrace, TraceSet, generated_split
from .adapter import Sb3VecEnv
from .config import TrainConfig
from .fast_policy import FastMultiDiscretePolicy
from .pool import PoolNetwork
from .reward import LearnerReward
from .validation import Validation

__all__ = ["Session", "build_model", "training_links"]

_ALTERED = 7  # the stream of the altered logs, apart from the other uses of the seed
_ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def build_model(config: TrainConfig, env: Sb3VecEnv) -> PPO:
    """A stable-baselines3 PPO with these settings."""
    torch.set_num_threads(config.threads)
    start, end = config.learning_rate, config.learning_rate_end
    layers = list(config.hidden)
    return PPO(
        FastMultiDiscretePolicy,
        env,
        learning_rate=lambda left: end + (start - end) * left,
        n_steps=config.rollout_steps,
        batch_size=config.minibatch,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.entropy_coef,
        vf_coef=config.value_coef,
        max_grad_norm=config.max_grad_norm,
        target_kl=config.target_kl or None,
        policy_kwargs={
            "net_arch": {"pi": layers, "vf": layers},
            "private": env.private,
            "activation_fn": _ACTIVATIONS[config.activation],
            "optimizer_kwargs": {"eps": 1e-5, "fused": True},
        },
        seed=config.seed,
        device=config.device,
    )


def training_links(traces: TraceSet, config: TrainConfig) -> tuple[LinkTrace, ...]:
    """The training part of the traces; recorded ones are joined by generated ones, and all by altered copies."""
    links = traces.split.train
    if traces.recorded and config.generated_logs:
        links += generated_split(config.seed, (config.generated_logs, 1, 1)).train
    rng = np.random.default_rng([config.seed, _ALTERED])
    copies = [_altered(link, number + 1, config, rng) for number in range(config.altered_logs) for link in links]
    return (*links, *copies)


def _altered(link: LinkTrace, number: int, config: TrainConfig, rng: np.random.Generator) -> LinkTrace:
    """The log as of another network: all rates times one factor, and a constant round-trip time of its own."""
    factor, rtt_s = (math.exp(rng.uniform(*np.log(bounds))) for bounds in (config.altered_rate, config.altered_rtt_s))
    name = f"{link.name}_altered_{number}"
    return replace(link.scaled(factor), name=name, rtt_s=np.full(len(link.rate_bps), rtt_s))


class Session:
    """Model, environments and validation of a running training."""

    def __init__(self, problem: Problem, traces: TraceSet, config: TrainConfig) -> None:
        self.problem, self.config = problem, config
        self.validation = Validation(
            problem, traces.split.validation, config.validation_windows, config.validation_preferences
        )
        batch = EdgeCloudVecEnv(config.num_envs, problem, training_links(traces, config))
        self.env = Sb3VecEnv(
            batch,
            config.reward_scale,
            config.stagger,
            config.foresight,
            LearnerReward.of(batch.simulator, config),
            config.pool_review,
            config.pool_exploration,
        )
        sizes = problem.encoder.size, config.pool_hidden, int(problem.nvec[3])
        self.env.pool = PoolNetwork.untrained(*sizes, margin=config.pool_margin)
        self.model = build_model(config, self.env)
