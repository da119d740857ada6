"""A trained network as a stable-baselines3 policy, for those who want torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from gymnasium.spaces import Box, MultiDiscrete

from .checkpoint import read_checkpoint
from .fast_policy import FastMultiDiscretePolicy
from .ppo_policy import checkpoint_path, network_shapes

__all__ = ["load_sb3_policy"]


def load_sb3_policy(path: str | Path, which: str = "best") -> FastMultiDiscretePolicy:
    """The stable-baselines3 policy of a run or checkpoint, in evaluation mode.

    It maps encoded observations to placement, threshold and route; the VM pool has a network of its own (`PPOPolicy`).

    The critic is left out: it saw more in training than a policy ever will.

    Args:
        path: A run folder or a checkpoint file.
        which: 'best' or 'last', where a folder is given.

    Raises:
        InputError: There is no checkpoint, or it is damaged or incomplete.
    """
    checkpoint = read_checkpoint(checkpoint_path(path, which))
    meta = checkpoint.meta
    layers = list(meta["hidden"])
    policy = FastMultiDiscretePolicy(
        Box(-1.0, 1.0, shape=(meta["observation_size"],), dtype=np.float32),
        MultiDiscrete(meta["nvec"][:-1]),
        lambda _: 0.0,
        net_arch={"pi": layers, "vf": []},
        activation_fn=torch.nn.ReLU if meta["activation"] == "relu" else torch.nn.Tanh,
    )
    shapes = network_shapes(meta["observation_size"], tuple(layers), sum(meta["nvec"][:-1]), meta["private"])
    weights = checkpoint.shaped("policy", shapes)
    actor = {name: torch.from_numpy(array) for name, array in weights.items() if "value_net" not in name}
    policy.load_state_dict(actor, strict=False)
    policy.set_training_mode(False)
    return policy
