"""Where a trained policy and a rule part: whether they disagree, or only stand in different places.

    python benchmarks/two_ways.py RUN --rule dp-warm --traces LOGS

Both are asked in every interval, once along the run's own way and once along the rule's: how often they choose another
cut, and which; and how often each computes on the edge server along its own way, by the server's background load. Then,
at moments of the run's way, the world is copied and goes on for a while with the run's decisions, and with the rule's
for the first 1, 4, 10 or all intervals (the VM pool stays the run's): the mean gain of following the rule, in reward
per interval, with its standard error over the moments.
"""

from __future__ import annotations

import argparse
import copy
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecloud.envs import TERMS, Measurements, Policy, Problem, Simulator, Window, compile_problem, evaluation_windows
from edgecloud.envs.preferences import preference
from edgecloud.evaluation import resolve_policy
from edgecloud.traces import LinkTrace, default_traces

Floats = NDArray[np.float64]
Pair = tuple[tuple[int, int], tuple[int, int]]

FOLLOWED = (1, 4, 10, 0)
"""Intervals for which the rule is followed; 0: all of them."""

_REWARD = TERMS.index("reward")


class Ways:
    """A run and a rule in the same worlds."""

    def __init__(
        self,
        problem: Problem,
        links: tuple[LinkTrace, ...],
        windows: Sequence[Window],
        weights: Floats,
        specs: list[str],
    ) -> None:
        self.problem, self.links, self.windows, self.specs = problem, links, windows, specs
        self.weights = np.tile(weights, (len(windows), 1))

    def start(self) -> tuple[Simulator, list[Policy], Measurements]:
        """A fresh simulator and both policies."""
        simulator = Simulator(self.problem, self.links, len(self.windows), weights=self.weights, windows=self.windows)
        measured = simulator.reset(0)
        policies = [resolve_policy(spec) for spec in self.specs]
        for policy in policies:
            policy.reset(self.problem, len(self.windows), self.weights, 0)
        return simulator, policies, measured

    def along(self, leader: int) -> tuple[Counter[Pair], Floats]:
        """Along the way of one of them: pairs of cuts that both choose (run's, rule's), and its use of the edge server.

        The latter is the share of the intervals with a part there, by the state of its background load.
        """
        simulator, policies, measured = self.start()
        levels = len(self.problem.params.edge_load)
        found: Counter[Pair] = Counter()
        used, seen = np.zeros(levels), np.zeros(levels)
        for _ in range(self.problem.params.episode_intervals):
            actions = [policy.act(measured).copy() for policy in policies]
            cuts = [self.problem.placements[action[:, 0]] for action in actions]
            pairs = zip(*(both.tolist() for both in cuts), strict=True)
            found.update((tuple(mine), tuple(other)) for mine, other in pairs)
            state, own = simulator.state.edge_state.copy(), cuts[leader]
            seen += np.bincount(state, minlength=levels)
            used += np.bincount(state, weights=own[:, 1] > own[:, 0], minlength=levels)
            measured = simulator.step(actions[leader])
        return found, used / np.maximum(seen, 1.0)

    def gains(self, horizon: int, every: int) -> dict[int, Floats]:
        """Gain per interval of following the rule from moments of the run's way, by how long it is followed."""
        simulator, policies, measured = self.start()
        found: dict[int, list[Floats]] = {followed: [] for followed in FOLLOWED}
        for t in range(self.problem.params.episode_intervals - horizon):
            actions = [policy.act(measured).copy() for policy in policies]
            if t % every == every // 2:
                own = self._onward(simulator, policies, measured, horizon, -1)
                for followed, values in found.items():
                    values.append(self._onward(simulator, policies, measured, horizon, followed) - own)
            measured = simulator.step(actions[0])
        return {followed: np.concatenate(values) for followed, values in found.items()}

    def _onward(
        self, simulator: Simulator, policies: list[Policy], measured: Measurements, horizon: int, followed: int
    ) -> Floats:
        """Mean reward per interval, (N,), of copies that go on; the rule decides first (0: always, -1: never)."""
        world, (run, rule) = copy.deepcopy(simulator), copy.deepcopy(policies)
        total = np.zeros(len(self.windows))
        for t in range(horizon):
            own, other = run.act(measured).copy(), rule.act(measured)
            if followed == 0 or t < followed:
                own[:, :3] = other[:, :3]
            measured = world.step(own)
            total += world.terms[:, _REWARD]
        return np.asarray(total / horizon)


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder or checkpoint")
    parser.add_argument("--rule", default="dp-warm", help="what it is compared with")
    parser.add_argument("--traces", default="", help="folder of link logs; default: generated ones")
    parser.add_argument("--weights", default="default", help="preference: a name, or latency,cost,privacy")
    parser.add_argument("--horizon", type=int, default=40, help="intervals that copies go on for")
    parser.add_argument("--every", type=int, default=20, help="intervals between the moments that are copied")
    options = parser.parse_args()
    problem = compile_problem("camera-lte")
    links = default_traces(options.traces or None).split.test
    windows = evaluation_windows(links, problem, 1)
    weights = np.asarray(preference(options.weights, problem.scenario))
    ways = Ways(problem, links, windows, weights, [options.run, options.rule])
    for leader, name in enumerate(("the run", options.rule)):
        pairs, on_edge = ways.along(leader)
        total = sum(pairs.values())
        same = sum(count for (mine, other), count in pairs.items() if mine == other) / total
        print(f"along the way of {name}: the same cut in {same:.1%} of {total} intervals")
        for (mine, other), count in pairs.most_common(6):
            print(f"  run {mine}, {options.rule} {other}: {count / total:.1%}")
        shares = zip(problem.params.edge_load, on_edge, strict=True)
        print("  on the edge at load", ", ".join(f"{load:.2f}: {share:.0%}" for load, share in shares))
    for followed, values in ways.gains(options.horizon, options.every).items():
        error = values.std() / np.sqrt(len(values))
        print(
            f"rule followed for {followed or options.horizon} of {options.horizon} intervals: "
            f"{values.mean():+.4f} +- {error:.4f} per interval ({len(values)} moments)"
        )


if __name__ == "__main__":
    main()
