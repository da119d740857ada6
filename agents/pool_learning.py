"""Learning the size of the VM pool from trials: the same moment is continued with every size, and the gains are fitted.

Where to cut pays off within seconds; a VM boots for 25 s, is billed for a minute and saves a little each second from
then on. Policy gradients with a horizon of seconds never rent, and with one of minutes the noise of everything else
drowns the little. But the simulation can be copied: from one state, every pool size is kept for some minutes in the
same world (common random numbers), with the rest of the policy as it is. The differences are nearly free of noise, and
a regression on the observation decides. It is policy iteration by rollouts and supervised learning (Lagoudakis and
Parr, "Reinforcement learning as classification", ICML 2003), with every action tried and its gain kept, not its rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..envs import TERMS, EdgeCloudVecEnv, Policy, Problem, Simulator, State, Window
from ..traces import LinkTrace
from .pool import PoolControl, PoolNetwork

if TYPE_CHECKING:
    from .config import TrainConfig

__all__ = ["PoolFit", "PoolTrials", "fit_pool", "try_pools"]

Floats = NDArray[np.float32]

_CHUNK = 384  # states continued at once
_GIVEN = 0.75  # share of the episodes whose pool is given, so that states with every pool are met
_EPOCHS, _BATCH, _HELD_OUT = 60, 128, 0.2


class PoolTrials(NamedTuple):
    """Observations, float32 (S, D), and what every pool brought from there, float32 (S, targets).

    The latter is the mean reward per interval over the horizon.
    """

    observations: Floats
    rewards: Floats

    def joined(self, other: PoolTrials, limit: int) -> PoolTrials:
        """These and newer ones; the oldest are dropped beyond the limit."""
        both = (np.concatenate(pair)[-limit:] for pair in zip(self, other, strict=True))
        return PoolTrials(*both)


class PoolFit(NamedTuple):
    """A fitted network and how it does on trials that the fit did not see, in reward per interval."""

    network: PoolNetwork
    chosen: float  # with the pool that it chooses
    fixed: float  # with the best single pool for all
    hindsight: float  # with the best pool of each


def try_pools(
    problem: Problem, traces: Sequence[LinkTrace], policy: Policy, config: TrainConfig, seed: int, trials: int
) -> PoolTrials:
    """Continue moments of training episodes with every pool size.

    Args:
        problem: The compiled problem.
        traces: Training links.
        policy: Decides the rest of the action, without exploration.
        config: `num_envs`, `pool_horizon`, `pool_review`.
        seed: Of the worlds and of the choice of moments.
        trials: About how many moments.
    """
    rng = np.random.default_rng(seed)
    length, n = problem.params.episode_intervals, config.num_envs
    horizon = max(1, min(config.pool_horizon, length // 2))
    times = range(0, length - horizon + 1, config.pool_review)
    each = min(n, math.ceil(trials / len(times)))
    env = EdgeCloudVecEnv(n, problem, traces)
    seen, _ = env.reset(seed=int(rng.integers(2**32)))
    control = PoolControl(config.pool_review, _GIVEN, int(problem.nvec[3]) - 1)
    policy.reset(problem, n, env.simulator.state.weights.copy(), seed)
    states: list[State] = []
    observations: list[Floats] = []
    for t in range(times[-1] + 1):
        if t % config.pool_review == 0:
            chosen = rng.choice(n, each, replace=False)
            states.append(State._make(array[chosen] for array in env.simulator.state))
            observations.append(seen[chosen])
        actions = policy.act(env.measurements).copy()
        actions[:, 3] = control.targets(env.simulator.state, actions[:, 3])
        seen, *_ = env.step(actions)
    start = State._make(np.concatenate(parts) for parts in zip(*states, strict=True))
    rewards = _continued(problem, traces, policy, start, horizon, seed)
    return PoolTrials(np.concatenate(observations), rewards.astype(np.float32))


def _continued(
    problem: Problem, traces: Sequence[LinkTrace], policy: Policy, start: State, horizon: int, seed: int
) -> NDArray[np.float64]:
    """Mean reward per interval of every state with every pool size, (S, targets)."""
    targets, count, reward = int(problem.nvec[3]), len(start.t), TERMS.index("reward")
    result = np.zeros((count, targets))
    for begin in range(0, count, _CHUNK):
        part = State._make(np.repeat(array[begin : begin + _CHUNK], targets, axis=0) for array in start)
        size = len(part.t)
        simulator = Simulator(problem, traces, size, weights=part.weights, windows=[Window(0)] * size)
        simulator.set_state(part)
        policy.reset(problem, size, part.weights, seed)
        pool = np.arange(size) % targets
        total = np.zeros(size)
        for _ in range(horizon):
            actions = policy.act(simulator.measurements).copy()
            actions[:, 3] = pool
            simulator.step(actions)
            total += simulator.terms[:, reward]
        result[begin : begin + _CHUNK] = total.reshape(-1, targets) / horizon
    return result


def fit_pool(trials: PoolTrials, hidden: int, margin: float, seed: int) -> PoolFit:
    """Fit the gains and keep the epoch that decides best on held-out trials; renting nothing is the fallback.

    Args:
        trials: From `try_pools`.
        hidden: Units of the network.
        margin: Gain that a change must bring.
        seed: Of the initial parameters, the split and the minibatches.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(trials.rewards))
    held = max(1, round(_HELD_OUT * len(order)))
    test, train = order[:held], order[held:]
    gains = trials.rewards - trials.rewards.mean(axis=1, keepdims=True)
    scale = float(gains.std()) or 1.0
    size, targets = trials.observations.shape[1], trials.rewards.shape[1]
    best = PoolNetwork.untrained(size, hidden, targets, margin)
    score = _score(best, trials, test)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Linear(size, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, targets))
        optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
        x, y = torch.as_tensor(trials.observations), torch.as_tensor(gains / scale)
        for _ in range(_EPOCHS):
            for index in np.array_split(rng.permutation(train), max(1, len(train) // _BATCH)):
                rows = torch.as_tensor(index)
                loss = torch.nn.functional.huber_loss(net(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            arrays = {name: p.detach().numpy().copy() for name, p in net.state_dict().items()}
            arrays["2.weight"], arrays["2.bias"] = scale * arrays["2.weight"], scale * arrays["2.bias"]
            found = PoolNetwork(arrays, margin)
            if (now := _score(found, trials, test)) > score:
                best, score = found, now
    rewards = trials.rewards[test]
    return PoolFit(best, score, float(rewards.mean(axis=0).max()), float(rewards.max(axis=1).mean()))


def _score(network: PoolNetwork, trials: PoolTrials, rows: NDArray[np.int64]) -> float:
    """Mean reward with the pools that a network prefers."""
    return float(trials.rewards[rows, network.gains(trials.observations[rows]).argmax(axis=1)].mean())
