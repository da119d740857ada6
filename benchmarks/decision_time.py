"""How long one decision of every rule takes, alone and as one of a batch, against the control interval.

python benchmarks/decision_time.py [--scenario NAME] [RULE ...]
"""

from __future__ import annotations

import argparse

import numpy as np

from edgecloud.baselines import list_policies, load_policy
from edgecloud.envs import compile_problem
from edgecloud.envs.rollout import evaluation_windows, rollout
from edgecloud.envs.scenario import DEFAULT_SCENARIO
from edgecloud.traces import generated_split


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the decisions of rules.")
    parser.add_argument("rules", nargs="*", help="default: all that ship")
    parser.add_argument("--scenario", default=DEFAULT_SCENARIO)
    parser.add_argument("--batch", type=int, default=32, help="environments of the batch")
    options = parser.parse_args()
    problem = compile_problem(options.scenario)
    traces = generated_split(0).validation
    windows = evaluation_windows(traces, problem)[: options.batch]
    print(
        f"{options.scenario}: milliseconds per decision and environment; the interval is {problem.params.interval_s} s"
    )
    print(f"{'rule':24s}{'alone':>9s}{f'of {len(windows)}':>9s}{'share of the interval, alone':>30s}")
    for spec in options.rules or list_policies():
        one, many = (
            rollout(load_policy(spec), problem, traces, part, np.full(3, 1 / 3)).decision_s
            for part in (windows[:1], windows)
        )
        share = one / problem.params.interval_s
        print(f"{spec:24s}{1e3 * one:9.3f}{1e3 * many:9.3f}{share:30.3%}", flush=True)


if __name__ == "__main__":
    main()
