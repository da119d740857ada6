"""A trained policy in use: NumPy only, without torch and without stable-baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..envs import Encoder, Measurements, Policy, Problem
from ..errors import InputError
from .checkpoint import Checkpoint, read_checkpoint
from .pool import PoolNetwork

__all__ = ["PPOPolicy", "checkpoint_path", "is_trained", "network_shapes"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_BEST = "best.npz"


def checkpoint_path(path: str | Path, which: str = "best") -> Path:
    """The checkpoint that a path means: the file itself, or a run folder's 'best' or 'last' one.

    Raises:
        InputError: There is none.
    """
    path = Path(path)
    found = path / f"{which}.npz" if path.is_dir() else path
    if not found.is_file():
        remedy = "name a run folder or its best.npz or last.npz"
        raise InputError(path, "", f"must be a run folder or a checkpoint, but '{found}' does not exist", remedy=remedy)
    return found


def is_trained(path: str | Path) -> bool:
    """Whether a path looks like a run folder or a checkpoint."""
    path = Path(path)
    return path.suffix == ".npz" or (path / _BEST).is_file() or (path / "run.json").is_file()


def network_shapes(
    observation: int, hidden: tuple[int, ...], choices: int, private: int = 0
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters, as stable-baselines3 calls them; the critic has `private` inputs more."""
    shapes: dict[str, tuple[int, ...]] = {}
    for net in ("policy_net", "value_net"):
        before = observation + (private if net == "value_net" else 0)
        for layer, units in enumerate(hidden):
            shapes[f"mlp_extractor.{net}.{2 * layer}.weight"] = (units, before)
            shapes[f"mlp_extractor.{net}.{2 * layer}.bias"] = (units,)
            before = units
    for name, out in (("action_net", choices), ("value_net", 1)):
        shapes[f"{name}.weight"] = (out, hidden[-1])
        shapes[f"{name}.bias"] = (out,)
    return shapes


class PPOPolicy(Policy):
    """Chooses the likeliest parts of each action with a trained network, and now and then the size of the VM pool.

    The policy belongs to the problem that it was trained on: `reset` compares fingerprints. Preferences come with the
    measurements, so that one policy serves all.

    Args:
        weights: Parameters by stable-baselines3's names; the value network's are not needed.
        pool: Decides the VM targets.
        meta: As in a checkpoint.
        source: Where it came from, for messages.
        any_problem: Accept a problem with another fingerprint, as long as observations and actions have the same sizes.
    """

    name = "ppo"

    def __init__(
        self,
        weights: Mapping[str, NDArray[Any]],
        pool: PoolNetwork,
        meta: Mapping[str, Any],
        source: str = "policy",
        any_problem: bool = False,
    ) -> None:
        self.meta, self.pool, self.source, self.any_problem = dict(meta), pool, source, any_problem
        self._relu = meta["activation"] == "relu"
        names = [f"mlp_extractor.policy_net.{2 * k}" for k in range(len(meta["hidden"]))] + ["action_net"]
        self._layers = [(np.ascontiguousarray(weights[f"{n}.weight"].T), weights[f"{n}.bias"]) for n in names]
        self._bounds = np.cumsum(meta["nvec"][:-1])[:-1]
        self._encoder: Encoder | None = None
        self._t = 0

    @classmethod
    def load(cls, path: str | Path, which: str = "best", any_problem: bool = False) -> PPOPolicy:
        """Load a trained policy.

        Args:
            path: A run folder or a checkpoint file.
            which: 'best' or 'last', where a folder is given.
            any_problem: See the class.

        Raises:
            InputError: There is no checkpoint, or it is damaged or incomplete.
        """
        return cls.of(read_checkpoint(checkpoint_path(path, which)), any_problem)

    @classmethod
    def of(cls, checkpoint: Checkpoint, any_problem: bool = False) -> PPOPolicy:
        """The policy of a checkpoint that has been read."""
        meta = checkpoint.meta
        size, nvec = meta["observation_size"], meta["nvec"]
        shapes = network_shapes(size, tuple(meta["hidden"]), sum(nvec[:-1]), meta["private"])
        pool = PoolNetwork(
            checkpoint.shaped("pool", PoolNetwork.shapes(size, meta["pool_hidden"], nvec[-1])), meta["pool_margin"]
        )
        return cls(checkpoint.shaped("policy", shapes), pool, meta, str(checkpoint.source), any_problem)

    def reset(self, problem: Problem, num_envs: int, weights: NDArray[np.float64], seed: int) -> None:
        """Check that this is the problem that the policy was trained on, and take its encoder.

        Raises:
            InputError: It is another problem.
        """
        self._encoder = check_problem(self.meta, problem, self.source, self.any_problem)
        self._t = 0

    def act(self, measurements: Measurements) -> Ints:
        """The likeliest action of each environment, int64 (N, 4)."""
        if self._encoder is None:
            raise RuntimeError("PPOPolicy.act needs reset(problem, ...) first.")
        observations, target = self._encoder(measurements.rows), measurements.vm_target.astype(np.int64)
        if self._t % self.meta["pool_review"] == 0:
            target = self.pool.targets(observations, target)
        self._t += 1
        return np.column_stack([self.choose(observations), target])

    @property
    def layers(self) -> tuple[tuple[Floats, Floats], ...]:
        """Weight (inputs, outputs) and bias of each layer of the actor, its head last."""
        return tuple(self._layers)

    def choose(self, observations: Floats) -> Ints:
        """Placement, threshold and route for encoded observations, float32 (N, D) to int64 (N, 3)."""
        heads = np.split(self.logits(observations), self._bounds, axis=1)
        parts = [head.argmax(axis=1) for head in heads]
        return np.stack(parts, axis=1).astype(np.int64)

    def logits(self, observations: Floats) -> Floats:
        """Logits of all placements, thresholds and routes, end to end, float32 (N, sum(nvec[:3]))."""
        x = observations
        for k, (weight, bias) in enumerate(self._layers):
            if k:
                x = np.maximum(x, 0) if self._relu else np.tanh(x)
            x = x @ weight + bias
        return x


def check_problem(meta: Mapping[str, Any], problem: Problem, source: str, any_problem: bool = False) -> Encoder:
    """The encoder of a problem that a checkpoint fits.

    Raises:
        InputError: The checkpoint was trained on another problem.
    """
    fingerprint = problem.fingerprint()
    if meta["fingerprint"] != fingerprint and not any_problem:
        rule = (
            f"must be trained on the scenario in use ('{problem.scenario.name}', {fingerprint}), "
            f"but was trained on '{meta['scenario']}'"
        )
        raise InputError(source, "fingerprint", rule, meta["fingerprint"], "train on it, or allow another scenario")
    if list(meta["nvec"]) != problem.nvec.tolist():
        raise InputError(source, "nvec", f"must be {problem.nvec.tolist()} for this scenario", list(meta["nvec"]))
    if meta["observation_size"] != problem.encoder.size:
        raise InputError(source, "observation_size", f"must be {problem.encoder.size}", meta["observation_size"])
    return problem.encoder
