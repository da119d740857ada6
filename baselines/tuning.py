"""Scoring rules on validation traces: how the rules' defaults were chosen, and how to choose them for your scenario.

    python -m edgecloud.baselines.tuning dp dp:horizon=1 dp:vms=1 --traces validation-logs/

prints the mean reward per interval of each rule, at the default weights and at each preset, on the *validation* part of
the link traces (test traces are never touched). `--sweep dp-held` scores the rule's alternatives, one option at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..envs.preferences import PRESETS
from ..envs.problem import Problem, compile_problem
from ..envs.rollout import evaluation_windows, rollout
from ..envs.scenario import DEFAULT_SCENARIO
from ..traces import LinkTrace, default_traces
from .registry import load_policy

__all__ = ["SWEEPS", "main", "score"]

Floats = NDArray[np.float64]

SWEEPS: dict[str, dict[str, tuple[str, ...]]] = {
    "dp-held": {
        "horizon": ("1", "2", "4", "6", "8", "12"),
        "margin": ("0", "0.01", "0.03", "0.08"),
        "vms": ("0", "1", "2"),
        "rate": ("last", "average", "mean", "harmonic", "min"),
        "rate_sigma": ("0", "0.2", "0.4", "0.6"),
        "rate_blend": ("0.4", "0.6", "0.8"),
        "arrivals": ("last", "average", "mean", "filter"),
        "arrival_margin": ("0", "0.1", "0.2"),
        "spread": ("0", "0.05", "0.1"),
        "pool_gain": ("0.02", "0.05", "0.1"),
        "pool_margin": ("0", "0.02", "0.05", "0.1"),
    },
    "mpc": {
        "horizon": ("3", "4", "8"),
        "candidates": ("6", "20"),
        "samples": ("16", "64"),
        "caution": ("0", "0.5", "2"),
        "trust": ("0", "0.3", "1"),
        "rate": ("harmonic", "last"),
        "rate_sigma": ("0.35", "0.7"),
        "warm": ("0", "2", "8"),
    },
    "edgent": {"deadline": ("0.5", "2"), "server": ("faas", "any"), "queues": ("true",), "rate": ("average", "blend")},
    "edgent-dynamic": {"deadline": ("0.5", "2"), "server": ("faas", "any"), "expected_run": ("5", "60")},
    "spinn": {
        "deadline": ("0.5", "2"),
        "drop": ("-1", "0", "0.02"),
        "server": ("faas", "any"),
        "queues": ("true",),
    },
    "splitllm": {"deadline": ("0.5", "2"), "queues": ("true",), "rate": ("average", "blend")},
    "amps-inf": {"deadline": ("0.5", "2"), "queues": ("true",), "rate": ("average", "blend")},
    "dnnsplit": {"queues": ("true",), "rate": ("average", "blend")},
    "dads": {"margin": ("0.1", "0.2"), "server": ("faas", "vm")},
    "loadpart": {"margin": ("0.1", "0.2"), "rate": ("average", "blend", "harmonic")},
    "libra": {
        "spread": ("-1", "1"),
        "window_s": ("20", "120"),
        "utilisation": ("0.6", "1"),
        "patience_s": ("30", "120"),
    },
    "serflow": {"drop": ("0.005", "0.02"), "spread": ("-1", "1"), "utilisation": ("0.6", "1")},
    "hybrid-llm": {"drop": ("0.005", "0.01", "0.04"), "small": ("2",), "server": ("faas",)},
    "neurosurgeon": {"margin": ("0", "0.1", "0.2"), "server": ("edge", "faas", "vm")},
    "always-cloud-vm": {
        "vms": ("1", "2"),
        "utilisation": ("0.6", "0.8"),
        "patience": ("30", "60", "120"),
        "threshold": ("0.9", "0.7"),
    },
    "always-edge": {"threshold": ("0.9", "0.7", "0.5")},
    "always-device": {"threshold": ("0.9", "0.7", "0.5")},
    "always-faas": {"threshold": ("0.9", "0.7", "0.5")},
}
"""Values tried for each option of a rule, one at a time."""


def score(spec: str, problem: Problem, traces: Sequence[LinkTrace], repeats: int = 1, seed: int = 1) -> Floats:
    """Mean reward per interval of every episode, float64 (1 + presets, episodes), at the default weights first.

    Args:
        spec: As for `load_policy`.
        problem: The compiled problem.
        traces: Link traces; consecutive windows cover each.
        repeats: Episodes per window.
        seed: Of the worlds; the same for every rule.
    """
    windows = evaluation_windows(traces, problem, repeats)
    preferences = np.array([problem.scenario.objective.weights, *PRESETS.values()])
    weights = np.repeat(preferences, len(windows), axis=0)
    episodes = rollout(load_policy(spec), problem, traces, windows * len(preferences), weights, seed)
    return episodes.mean_reward().reshape(len(preferences), -1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description="Score rules on validation traces.")
    parser.add_argument("specs", nargs="*", help="rules, as for edgecloud evaluate --against")
    parser.add_argument("--scenario", default=DEFAULT_SCENARIO)
    parser.add_argument("--traces", default=None, help="folder of recorded logs; default: the fitted generator")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="take every n-th validation trace")
    parser.add_argument("--sweep", choices=sorted(SWEEPS), help="score this rule's alternatives too")
    options = parser.parse_args(arguments)
    specs = list(options.specs)
    if options.sweep:
        specs.append(options.sweep)
        table = SWEEPS[options.sweep]
        specs += [f"{options.sweep}:{name}={value}" for name, values in table.items() for value in values]
    problem = compile_problem(options.scenario)
    chosen = default_traces(options.traces)
    traces = chosen.split.validation[:: options.every]
    print(f"{len(traces)} validation traces: {chosen.origin}; seed {options.seed}")
    print(f"{'mean reward per interval':36s}" + "".join(f"{name:>15s}" for name in ("default", *PRESETS, "mean")))
    for spec in specs:
        means = score(spec, problem, traces, options.repeats, options.seed).mean(axis=1)
        print(f"{spec:36s}" + "".join(f"{value:15.4f}" for value in (*means, means.mean())), flush=True)


if __name__ == "__main__":
    main()
