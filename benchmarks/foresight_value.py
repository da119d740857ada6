"""What a trained policy would gain if it saw what is to come: how much of a gap is missing information.

The policy of a run goes on learning in several arms that differ in one thing: what its actor sees of the coming
intervals. 'nothing' is PPO as usual; 'link' adds the link's rate, 'world' also arrivals, background load and
difficulty. The new inputs start with zero weight, so that all arms begin with the same decisions. None of this can be
deployed: it measures the worth of information that no controller has.

    python benchmarks/foresight_value.py RUN --traces LOGS --steps 2000000

prints the score of every arm on held-out logs, at the scenario's preference and the named ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecloud.agents.adapter import Sb3VecEnv
from edgecloud.agents.checkpoint import read_checkpoint
from edgecloud.agents.config import TrainConfig, config_with, load_config
from edgecloud.agents.fast_policy import FastMultiDiscretePolicy
from edgecloud.agents.ppo_policy import PPOPolicy, checkpoint_path
from edgecloud.agents.reward import LearnerReward
from edgecloud.agents.session import build_model, training_links
from edgecloud.envs import TERMS, EdgeCloudVecEnv, Problem, compile_problem, evaluation_windows
from edgecloud.envs.foresight import INPUTS
from edgecloud.envs.preferences import PRESETS, preference
from edgecloud.traces import LinkTrace, TraceSet, default_traces

ARMS: dict[str, tuple[str, ...]] = {"nothing": (), "link": ("rate_bps",), "world": INPUTS}


class Revealing(Sb3VecEnv):
    """The training environment with some of the critic's inputs moved to the front, where the actor sees them."""

    def __init__(self, env: EdgeCloudVecEnv, reveal: Sequence[str], config: TrainConfig, explore: bool = True) -> None:
        super().__init__(
            env,
            config.reward_scale,
            config.stagger and explore,
            config.foresight,
            LearnerReward.of(env.simulator, config),
            config.pool_review,
            config.pool_exploration if explore else 0.0,
        )
        columns = np.arange(config.foresight * len(INPUTS)).reshape(config.foresight, len(INPUTS))
        shown = [INPUTS.index(name) for name in reveal]
        hidden = [k for k in range(len(INPUTS)) if k not in shown]
        order = np.concatenate([columns[:, shown].ravel(), columns[:, hidden].ravel()])
        size = env.problem.encoder.size
        self.revealed = len(shown) * config.foresight
        self.order = np.concatenate([np.arange(size), size + order])

    @property
    def private(self) -> int:
        """Columns that the actor does not see."""
        return super().private - getattr(self, "revealed", 0)

    def reset(self) -> NDArray[np.float32]:
        """As of `Sb3VecEnv`."""
        return super().reset()[:, self.order]

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """As of `Sb3VecEnv`."""
        seen, rewards, done, infos = super().step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = info["terminal_observation"][self.order]
        return seen[:, self.order], rewards, done, infos


def widened(weights: dict[str, NDArray[Any]], env: Revealing) -> dict[str, torch.Tensor]:
    """A run's parameters for the arm's networks: new inputs of the actor weigh nothing, the critic's are reordered."""
    result = dict(weights)
    first = weights["mlp_extractor.policy_net.0.weight"]
    nothing = np.zeros((len(first), env.revealed), dtype=first.dtype)
    result["mlp_extractor.policy_net.0.weight"] = np.concatenate([first, nothing], axis=1)
    result["mlp_extractor.value_net.0.weight"] = weights["mlp_extractor.value_net.0.weight"][:, env.order]
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in result.items()}


def score(
    policy: FastMultiDiscretePolicy,
    run: PPOPolicy,
    problem: Problem,
    links: Sequence[LinkTrace],
    reveal: Sequence[str],
    config: TrainConfig,
    repeats: int,
) -> NDArray[np.float64]:
    """Mean reward per interval at each preference, on every window of some links."""
    names = ("default", *PRESETS)
    windows = evaluation_windows(links, problem, repeats)
    weights = np.repeat([preference(name, problem.scenario) for name in names], len(windows), axis=0)
    batch = EdgeCloudVecEnv(len(weights), problem, links, weights=weights)
    env = Revealing(batch, reveal, config, explore=False)
    env.pool = run.pool
    batch.simulator.set_windows([*windows] * len(names))
    env.seed(0)
    seen, total = env.reset(), np.zeros(len(weights))
    for _ in range(problem.params.episode_intervals):
        with torch.no_grad():
            env.step_async(policy._predict(torch.as_tensor(seen), deterministic=True).numpy())
        seen, *_ = env.step_wait()
        total += batch.simulator.terms[:, TERMS.index("reward")]
    return (total / problem.params.episode_intervals).reshape(len(names), -1).mean(axis=1)


def arm(run: Path, problem: Problem, traces: TraceSet, reveal: Sequence[str], steps: int, repeats: int) -> None:
    """Train an arm and print its scores before and after."""
    config = config_with(load_config(run / "config.toml"), [], total_steps=steps, learning_rate=5e-4)
    checkpoint = read_checkpoint(checkpoint_path(run))
    trained = PPOPolicy.of(checkpoint)
    env = Revealing(EdgeCloudVecEnv(config.num_envs, problem, training_links(traces, config)), reveal, config)
    env.pool = trained.pool
    model = build_model(config, env)
    model.policy.load_state_dict(widened(checkpoint.group("policy"), env))
    assert isinstance(model.policy, FastMultiDiscretePolicy)
    for moment in ("before", "after"):
        if moment == "after":
            model.learn(steps)
        values = score(model.policy, trained, problem, traces.split.test, reveal, config, repeats)
        label = f"{'+'.join(reveal) or 'nothing'}, {moment}"
        print(f"{label:48s}" + "".join(f"{value:10.4f}" for value in (*values, values.mean())), flush=True)


def main() -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description="Worth of seeing what is to come.")
    parser.add_argument("run", help="run folder of a trained policy")
    parser.add_argument("--traces", default=None, help="folder of recorded logs; default: the fitted generator")
    parser.add_argument("--steps", type=int, default=2_000_000, help="transitions of every arm")
    parser.add_argument("--repeats", type=int, default=4, help="episodes per window of a test log")
    parser.add_argument("--arms", default=",".join(ARMS), help="which of nothing, link, world")
    options = parser.parse_args()
    problem, traces = compile_problem("camera-lte"), default_traces(options.traces)
    print(f"{'actor sees':48s}" + "".join(f"{name[:9]:>10s}" for name in ("default", *PRESETS, "mean")))
    for name in options.arms.split(","):
        arm(Path(options.run), problem, traces, ARMS[name], options.steps, options.repeats)


if __name__ == "__main__":
    main()
