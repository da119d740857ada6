"""Between a training model and the arrays of a checkpoint: everything that continuing exactly needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO

from ..envs import Problem, State
from ..envs.foresight import INPUTS
from ..errors import InputError
from .adapter import Sb3VecEnv
from .checkpoint import Checkpoint
from .config import TrainConfig
from .ppo_policy import check_problem, network_shapes

__all__ = ["describe", "policy_arrays", "restore", "training_arrays"]

Arrays = dict[str, NDArray[Any]]

_ADAM = ("exp_avg", "exp_avg_sq", "step")


def describe(config: TrainConfig, problem: Problem, steps: int) -> dict[str, Any]:
    """The part of a checkpoint's JSON that a policy is rebuilt from."""
    return {
        "kind": "ppo",
        "fingerprint": problem.fingerprint(),
        "scenario": problem.scenario.name,
        "steps": steps,
        "hidden": list(config.hidden),
        "activation": config.activation,
        "nvec": problem.nvec.tolist(),
        "observation_size": problem.encoder.size,
        "private": config.foresight * len(INPUTS),
        "pool_review": config.pool_review,
        "pool_hidden": config.pool_hidden,
        "pool_margin": config.pool_margin,
        "seed": config.seed,
    }


def policy_arrays(model: PPO) -> Arrays:
    """The network's parameters, copied, by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.policy.state_dict().items()}


def training_arrays(model: PPO, env: Sb3VecEnv) -> Arrays:
    """Parameters, optimiser, environments and random generators."""
    arrays = {f"policy/{name}": array for name, array in policy_arrays(model).items()}
    state = model.policy.optimizer.state_dict()["state"]
    for index, entries in state.items():
        for key in _ADAM:
            arrays[f"optimizer/{index}.{key}"] = entries[key].detach().cpu().numpy().copy()
    arrays |= {f"env/{name}": array for name, array in env.get_state()._asdict().items()}
    assert isinstance(model._last_obs, np.ndarray)
    assert model._last_episode_starts is not None
    arrays["env/last_observation"] = model._last_obs.copy()
    arrays["env/last_starts"] = np.asarray(model._last_episode_starts).copy()
    _, keys, position, _, _ = np.random.get_state()  # noqa: NPY002 - stable-baselines3 shuffles with the global generator
    arrays["rng/torch"] = torch.get_rng_state().numpy()
    arrays["rng/numpy_keys"] = np.asarray(keys, dtype=np.uint32)
    arrays["rng/numpy_position"] = np.array(position, dtype=np.int64)
    return arrays


def restore(model: PPO, env: Sb3VecEnv, config: TrainConfig, problem: Problem, checkpoint: Checkpoint) -> None:
    """Put a model and its environments where a checkpoint was taken.

    Raises:
        InputError: The checkpoint belongs to another problem or other settings, or lacks something.
    """
    meta = checkpoint.meta
    check_problem(meta, problem, str(checkpoint.source))
    for name, expected in describe(config, problem, int(meta["steps"])).items():
        if meta.get(name) != expected:
            raise InputError(
                checkpoint.source, f"meta.{name}", f"must be {expected!r} as in config.toml", meta.get(name)
            )
    shapes = network_shapes(problem.encoder.size, config.hidden, int(problem.nvec[:3].sum()), env.private)
    weights = checkpoint.shaped("policy", shapes)
    model.policy.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    _restore_optimizer(model, checkpoint)
    _restore_env(model, env, checkpoint)
    model.num_timesteps = int(meta["steps"])
    model._n_updates = int(meta.get("updates", 0))
    _restore_generators(checkpoint)


def _restore_optimizer(model: PPO, checkpoint: Checkpoint) -> None:
    optimizer = model.policy.optimizer
    if not checkpoint.group("optimizer"):  # taken before the first update
        return
    parameters = optimizer.param_groups[0]["params"]
    expected: dict[str, tuple[int, ...]] = {}
    for index, parameter in enumerate(parameters):
        expected |= {f"{index}.exp_avg": tuple(parameter.shape), f"{index}.exp_avg_sq": tuple(parameter.shape)}
        expected[f"{index}.step"] = ()
    arrays = checkpoint.shaped("optimizer", expected)
    state = {
        index: {key: torch.from_numpy(np.array(arrays[f"{index}.{key}"])) for key in _ADAM}
        for index in range(len(parameters))
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _restore_env(model: PPO, env: Sb3VecEnv, checkpoint: Checkpoint) -> None:
    env.reset()  # the environment insists on it; all that it draws is replaced below
    now = env.get_state()
    arrays = {}
    for name, mine in now._asdict().items():
        found = checkpoint.need(f"env/{name}")
        if found.shape != mine.shape or found.dtype != mine.dtype:
            rule = f"must be {mine.dtype} of shape {mine.shape}"
            raise InputError(checkpoint.source, f"env/{name}", rule, f"{found.dtype} of shape {found.shape}")
        arrays[name] = found
    observation = checkpoint.need("env/last_observation")
    starts = checkpoint.need("env/last_starts")
    if observation.shape != (env.num_envs, *(env.observation_space.shape or ())):
        raise InputError(checkpoint.source, "env/last_observation", "must fit the environments", observation.shape)
    if starts.shape != (env.num_envs,):
        raise InputError(checkpoint.source, "env/last_starts", "must fit the environments", starts.shape)
    env.set_state(State(**arrays))
    model._last_obs = observation.astype(np.float32)
    model._last_episode_starts = starts.astype(bool)


def _restore_generators(checkpoint: Checkpoint) -> None:
    keys, position = checkpoint.need("rng/numpy_keys"), checkpoint.need("rng/numpy_position")
    try:
        torch.set_rng_state(torch.from_numpy(checkpoint.need("rng/torch").astype(np.uint8)))
        np.random.set_state(("MT19937", keys.astype(np.uint32), int(position), 0, 0.0))  # noqa: NPY002
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(checkpoint.source, "rng", f"must be the state of the random generators ({error})") from error
