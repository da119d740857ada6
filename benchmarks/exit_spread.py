"""How much a training with early exits varies over seeds: accuracy per exit, operations saved for at most one point.

python benchmarks/exit_spread.py PROFILE RUN RUN …   (a profile of that network, for its operations; finished runs)
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from edgecloud.profiles import Profile, load_profile
from edgecloud.profiles.curves import cheapest_within, threshold_curve
from edgecloud.profiles.networks.runs import read_run


def saved(profile: Profile, lost: float = 0.01) -> float:
    """Share of the operations that some threshold saves at no more than this loss of accuracy."""
    curve = threshold_curve(profile)
    return float(1 - curve.flops[cheapest_within(curve, lost)] / curve.flops[-1])


def row(name: str, profile: Profile) -> tuple[str, list[float]]:
    return name, [*(float(value) for value in profile.exit_accuracy()), saved(profile)]


def rows(profile: Profile, runs: list[Path]) -> list[tuple[str, list[float]]]:
    """The shipped table first, then that of each run on the same operations."""
    found = [row(profile.name, profile)]
    for folder in runs:
        run = read_run(folder)
        replaced = dataclasses.replace(profile, confidence=run.confidence, correct=run.correct)
        found.append(row(f"seed {run.settings.seed}, {run.report['machine'].split(' (')[0]}", replaced))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="shipped name or .json file")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders of edgecloud profiles train")
    given = parser.parse_args()
    profile = load_profile(given.profile)
    found = rows(profile, given.runs)
    titles = ["training", *(head.name for head in profile.exits), "operations saved at 1 point"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name, values in found:
        print(f"| {name} | {' | '.join(f'{100 * value:.2f} %' for value in values)} |")
    own = np.array([values for _, values in found[1:]])
    if len(own) > 1:
        print(f"| standard deviation over the runs | {' | '.join(f'{100 * v:.2f}' for v in own.std(axis=0, ddof=1))} |")


if __name__ == "__main__":
    main()
