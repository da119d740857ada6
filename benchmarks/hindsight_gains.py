"""How much better single decisions of a trained policy could have been: in hindsight, and by what a controller can see.

    python benchmarks/hindsight_gains.py RUN --traces LOGS

At moments of training episodes, 21 actions (seven placements, three thresholds) are begun with in copies of the
simulation and kept for one interval, or for four; the policy then goes on, in the very same world, and the critic
values what comes after twelve intervals. The gain over the policy's own decision has little noise. Printed are the
means, in reward (discounted sums, not per interval),

* of the best action in hindsight: what somebody gains who knows how this world goes on;
* of the action that a network expects to be best, on environments that it was not fitted to: what a better controller
  would gain from the same observation, or from the last eight of them.

If the second number is zero, no such change of the reaction to what is observed improves on the policy: what somebody
gains in hindsight is knowledge of the future. It bounds single changes by these actions, found by this regression; it
is no bound on all policies.
"""

from __future__ import annotations

import argparse
from collections import deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edgecloud.agents.adapter import Sb3VecEnv
from edgecloud.agents.checkpoint import read_checkpoint
from edgecloud.agents.config import TrainConfig, load_config
from edgecloud.agents.fast_policy import FastMultiDiscretePolicy
from edgecloud.agents.ppo_policy import PPOPolicy, checkpoint_path
from edgecloud.agents.reward import LearnerReward
from edgecloud.agents.session import build_model, training_links
from edgecloud.envs import EdgeCloudVecEnv, Problem, State, compile_problem
from edgecloud.traces import LinkTrace, default_traces

Floats = NDArray[np.float32]

CUTS = ((0, 0), (0, 6), (6, 6), (2, 2), (2, 6), (4, 4), (4, 6))
THRESHOLDS = (3, 4, 5)
ENVIRONMENTS, FITTED, EACH, EVERY, HISTORY, HORIZON = 128, 96, 48, 3, 8, 12


class Gains(NamedTuple):
    """Moments, and what each action brought more than the policy's own decision."""

    observations: Floats  # (S, D)
    histories: Floats  # (S, HISTORY * D), newest first
    environments: NDArray[np.int64]  # (S,)
    gains: Floats  # (S, A)


def environments(problem: Problem, links: tuple[LinkTrace, ...], config: TrainConfig, count: int) -> Sb3VecEnv:
    """As in training, without given pools."""
    env = EdgeCloudVecEnv(count, problem, links)
    return Sb3VecEnv(env, 1.0, True, config.foresight, LearnerReward.of(env.simulator, config), config.pool_review, 0.0)


def collect(run: Path, problem: Problem, links: tuple[LinkTrace, ...], moments: int, hold: int) -> Gains:
    """Try the actions along the policy's way."""
    config, checkpoint = load_config(run / "config.toml"), read_checkpoint(checkpoint_path(run))
    way = environments(problem, links, config, ENVIRONMENTS)
    tried = np.array([problem.action(*cuts, k, "spill", 0)[:3] for cuts in CUTS for k in THRESHOLDS])
    trials = environments(problem, links, config, EACH * (len(tried) + 1))
    way.pool = trials.pool = PPOPolicy.of(checkpoint).pool
    policy = build_model(config, way).policy
    policy.load_state_dict({name: torch.from_numpy(x) for name, x in checkpoint.group("policy").items()})
    assert isinstance(policy, FastMultiDiscretePolicy)
    rng, size = np.random.default_rng(0), problem.encoder.size
    for env in (way, trials):
        env.seed(1)
    seen = way.reset()
    trials.reset()
    past = deque([seen[:, :size]] * HISTORY, maxlen=HISTORY)
    parts: list[Gains] = []
    step = 0
    while sum(len(part.gains) for part in parts) < moments:
        past.appendleft(seen[:, :size])
        state = way.env.simulator.state
        room = np.flatnonzero((state.t > HISTORY) & (state.t < problem.params.episode_intervals - HORIZON - 1))
        if step % EVERY == 0 and len(room) >= EACH:
            chosen = rng.choice(room, EACH, replace=False)
            start = State._make(np.repeat(array[chosen], len(tried) + 1, axis=0) for array in state)
            returns = continued(policy, trials, start, tried, hold, config)
            history = np.concatenate([rows[chosen] for rows in past], axis=1)
            parts.append(Gains(seen[chosen, :size], history, chosen, returns[:, 1:] - returns[:, :1]))
        with torch.no_grad():
            way.step_async(policy._predict(torch.as_tensor(seen), deterministic=True).numpy())
        seen, *_ = way.step_wait()
        step += 1
    return Gains(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def continued(
    policy: FastMultiDiscretePolicy,
    env: Sb3VecEnv,
    start: State,
    tried: NDArray[np.int64],
    hold: int,
    config: TrainConfig,
) -> Floats:
    """Discounted rewards from each state, (EACH, 1 + A): the policy alone, then each action kept for a while first."""
    env.set_state(start)
    kept = np.tile(np.concatenate([tried[:1], tried]), (EACH, 1))
    own = np.tile(np.arange(len(tried) + 1) == 0, EACH)[:, None]
    total, factor = np.zeros(len(kept)), 1.0
    seen = torch.as_tensor(env._with_private(env.env.problem.encoder(env.env.measurements.rows)))
    with torch.no_grad():
        for h in range(HORIZON):
            chosen = policy._predict(seen, deterministic=True).numpy()
            env.step_async(np.where(own | (h >= hold), chosen, kept))
            after, rewards, _, _ = env.step_wait()
            total += factor * rewards
            factor *= config.gamma
            seen = torch.as_tensor(after)
        total += factor * policy.predict_values(seen).numpy()[:, 0] / config.reward_scale
    return total.reshape(EACH, -1).astype(np.float32)


def foreseeable(inputs: Floats, gains: Gains, seed: int = 0) -> tuple[float, float]:
    """Mean gain of the action that a fitted network expects to be best, on other environments, and its standard error.

    The decision of when to stop fitting is taken on a part of the fitted environments.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    groups = [gains.environments < 0.75 * FITTED, gains.environments >= FITTED]
    groups.insert(1, ~(groups[0] | groups[1]))
    train, stop, test = (np.flatnonzero(group) for group in groups)
    x = torch.as_tensor(inputs)
    y = torch.as_tensor(np.clip(gains.gains, -10.0, 10.0))
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU(),
        torch.nn.Linear(64, y.shape[1]),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    best, result = 0.0, np.zeros(len(test))
    for _ in range(30):
        for index in np.array_split(rng.permutation(train), max(1, len(train) // 256)):
            rows = torch.as_tensor(index)
            loss = torch.nn.functional.mse_loss(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            found = {
                name: realised(net(x[part]).numpy(), gains.gains[part]) for name, part in (("s", stop), ("t", test))
            }
        if found["s"].mean() > best:
            best, result = float(found["s"].mean()), found["t"]
    return float(result.mean()), float(result.std() / np.sqrt(len(result)))


def realised(expected: Floats, gains: Floats) -> Floats:
    """What the action with the highest expected gain brought, 0 where none is expected to bring any, (S,)."""
    best = expected.argmax(axis=1)
    rows = np.arange(len(best))
    return np.where(expected[rows, best] > 0.0, gains[rows, best], 0.0)


def main() -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description="Gains of single decisions, in hindsight and foreseeable.")
    parser.add_argument("run", help="run folder of a trained policy")
    parser.add_argument("--traces", default=None, help="folder of recorded logs; default: the fitted generator")
    parser.add_argument("--moments", type=int, default=20_000)
    options = parser.parse_args()
    run, problem = Path(options.run), compile_problem("camera-lte")
    links = training_links(default_traces(options.traces), load_config(run / "config.toml"))
    for hold in (1, 4):
        gains = collect(run, problem, links, options.moments, hold)
        hindsight = np.maximum(gains.gains.max(axis=1), 0.0)
        print(f"kept for {hold}: {len(hindsight)} moments; mean gain in hindsight {hindsight.mean():+.3f}", flush=True)
        for name, inputs in (("observation", gains.observations), (f"last {HISTORY} observations", gains.histories)):
            mean, error = foreseeable(inputs, gains)
            print(f"    foreseeable from the {name}: {mean:+.4f} (standard error {error:.4f})", flush=True)


if __name__ == "__main__":
    main()
