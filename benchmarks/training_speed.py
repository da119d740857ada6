"""Training throughput: this project's set-up against stable-baselines3's default one on the same scenario, in one run.

    python benchmarks/training_speed.py

Prints transitions per second of each (wall clock, and CPU time, which a busy neighbour disturbs less), their ratio, and
the share of training that the environment takes. Both use one thread of torch unless told otherwise. The set-ups take
turns, and the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from edgecloud import EdgeCloudEnv, EdgeCloudVecEnv, compile_problem
from edgecloud.agents import Sb3VecEnv, config_with, preset
from edgecloud.agents.session import build_model
from edgecloud.envs import Problem
from edgecloud.traces import TraceSet, default_traces

Rates = tuple[float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="camera-lte")
    parser.add_argument("--preset", default="default", help="settings of this project's set-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    problem, traces = compile_problem(args.scenario), default_traces()
    setups: dict[str, Callable[[], Rates]] = {
        "stable-baselines3 default": _default_setup(problem, traces),
        "edgecloud": _own_setup(problem, traces, args.preset),
    }
    torch.set_num_threads(args.threads)
    rates: dict[str, list[Rates]] = {name: [] for name in setups}
    for _ in range(args.rounds):
        for name, run in setups.items():
            rates[name].append(run())
    medians = {
        name: tuple(statistics.median(column) for column in zip(*rows, strict=True)) for name, rows in rates.items()
    }
    print(f"scenario {problem.scenario.name}, torch threads {args.threads}, median of {args.rounds} rounds")
    print(f"{'':28}{'transitions/s':>15}{'per CPU second':>16}{'environment':>13}")
    for name, (wall, cpu, share) in medians.items():
        print(f"{name:28}{wall:15,.0f}{cpu:16,.0f}{share:13.1%}")
    theirs, ours = medians["stable-baselines3 default"], medians["edgecloud"]
    print(f"{'ratio':28}{ours[0] / theirs[0]:15.1f}{ours[1] / theirs[1]:16.1f}")


def _default_setup(problem: Problem, traces: TraceSet) -> Callable[[], Rates]:
    """PPO("MlpPolicy") with its default settings on a DummyVecEnv of 8 single environments."""
    links = traces.split.train
    envs = DummyVecEnv([lambda: EdgeCloudEnv(problem, links) for _ in range(8)])
    model = PPO("MlpPolicy", envs, device="cpu", seed=0)
    spent = [0.0]
    inner = envs.step_wait

    def timed() -> object:
        before = time.perf_counter()
        result = inner()
        spent[0] += time.perf_counter() - before
        return result

    envs.step_wait = timed  # type: ignore[method-assign,assignment]
    return _measure(model, 8 * model.n_steps, lambda: spent[0])


def _own_setup(problem: Problem, traces: TraceSet, name: str) -> Callable[[], Rates]:
    """The settings of a preset; validation and logging to files are left out on both sides."""
    config = config_with(preset(name), [])
    env = Sb3VecEnv(EdgeCloudVecEnv(config.num_envs, problem, traces.split.train), config.reward_scale, config.stagger)
    model = build_model(config, env)
    rollout = config.num_envs * config.rollout_steps
    model.learn(rollout)  # compile the kernel
    return _measure(model, rollout * max(1, 65_536 // rollout), lambda: env.statistics.seconds)


def _measure(model: PPO, steps: int, env_seconds: Callable[[], float]) -> Callable[[], Rates]:
    def run() -> Rates:
        before, cpu, env = time.perf_counter(), time.process_time(), env_seconds()
        model.learn(steps, reset_num_timesteps=False)
        wall = time.perf_counter() - before
        return steps / wall, steps / (time.process_time() - cpu), (env_seconds() - env) / wall

    return run


if __name__ == "__main__":
    main()
