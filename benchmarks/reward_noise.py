"""How much of the learner's reward is luck within the interval, and what averaging it away costs.

    python benchmarks/reward_noise.py RUN --traces LOGS

Along training episodes of a run's policy, at all preferences: the variance of the interval's reward, the part of it
that other draws of the same interval's requests show, with and without the accuracy term, and the time of a draw.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from edgecloud.agents import PPOPolicy
from edgecloud.envs import TERMS, Simulator, compile_problem
from edgecloud.envs.redrawn import RedrawnTerms
from edgecloud.traces import default_traces

_ENVIRONMENTS, _DRAWS = 128, 16


def main() -> None:
    """Print variances and the time of a draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder or checkpoint")
    parser.add_argument("--traces", default="", help="folder of link logs; default: generated ones")
    options = parser.parse_args()
    problem, policy = compile_problem("camera-lte"), PPOPolicy.load(options.run)
    simulator = Simulator(problem, default_traces(options.traces or None).split.train, _ENVIRONMENTS)
    measured = simulator.reset(0)
    policy.reset(problem, _ENVIRONMENTS, simulator.state.weights.copy(), 0)
    redrawn, spent = RedrawnTerms(simulator, _DRAWS), []
    reward, accuracy = TERMS.index("reward"), TERMS.index("reward_accuracy")
    happened, within = [], []
    for _ in range(problem.params.episode_intervals):
        actions = policy.act(measured)
        begun = time.perf_counter()
        draws = redrawn(actions)
        spent.append(time.perf_counter() - begun)
        both = np.stack([draws[..., reward], draws[..., reward] - draws[..., accuracy]])
        within.append(both.var(axis=2, ddof=1).mean(axis=1))
        measured = simulator.step(actions)
        terms = simulator.terms
        happened.append(np.stack([terms[:, reward], terms[:, reward] - terms[:, accuracy]]))
    total, luck = np.concatenate(happened, axis=1).var(axis=1), np.mean(within, axis=0)
    for name, a, b in zip(("all terms", "without the accuracy term"), total, luck, strict=True):
        print(f"{name}: variance {a:.3f}, of which luck within the interval {b:.3f} ({b / a:.0%})")
    print(f"a draw takes {1e6 * np.median(spent) / _ENVIRONMENTS / _DRAWS:.2f} microseconds (median)")


if __name__ == "__main__":
    main()
