"""The tables of docs/exits.md and docs/leakage.md, from profiles: exits, thresholds, savings, attacks, defences.

python benchmarks/exit_tables.py cifar10-residual-ee …   (names of shipped profiles or paths of .json files)
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from edgecloud.profiles import NEVER, Profile, load_profile
from edgecloud.profiles.curves import cheapest_within, threshold_curve

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, NEVER)
ATTACKERS = ("same-set", "same-distribution", "other-set")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def exits(profile: Profile) -> str:
    training, operations = profile.provenance["training"], np.cumsum(profile.stage_flops)

    def rows() -> Iterator[list[str]]:
        for index, head in enumerate(profile.exits):
            here = operations[head.after_stage - 1] + head.flops
            yield [
                head.name,
                str(head.after_stage),
                f"{here / 1e6:.1f} MFLOP ({here / profile.total_flops:.0%})",
                f"{profile.exit_accuracy()[index]:.2%}",
                f"{training['temperature'][index]:.3f}",
                f"{training['calibration_error_before'][index]:.2%}",
                f"{training['calibration_error'][index]:.2%}",
            ]

    head = ("exit", "after stage", "operations up to here", "test accuracy", "temperature")
    return table((*head, "calibration error before", "after"), rows())


def thresholds(profile: Profile) -> str:
    curve = threshold_curve(profile, [value for value in THRESHOLDS if value <= 1])

    def rows() -> Iterator[list[str]]:
        for row, threshold in enumerate(curve.threshold):
            yield [
                "never" if threshold > 1 else f"{threshold:g}",
                *(f"{rate:.1%}" for rate in curve.exit_rates[row]),
                f"{curve.accuracy[row]:.2%}",
                f"{curve.flops[row] / curve.flops[-1]:.1%}",
                f"{curve.latency_s[row] / curve.latency_s[-1]:.1%}",
            ]

    return table(("threshold", *curve.names, "accuracy", "mean operations", "mean latency"), rows())


def savings(profile: Profile) -> str:
    curve = threshold_curve(profile)

    def rows() -> Iterator[list[str]]:
        for lost in (0.0, 0.005, 0.01, 0.02):
            row = cheapest_within(curve, lost)
            threshold = "never" if curve.threshold[row] > 1 else f"{curve.threshold[row]:g}"
            saved = (1 - curve.flops[row] / curve.flops[-1], 1 - curve.latency_s[row] / curve.latency_s[-1])
            yield [
                f"{100 * lost:g} points",
                threshold,
                f"{curve.accuracy[row]:.2%}",
                *(f"{part:.1%}" for part in saved),
            ]

    return table(("at most lost", "threshold", "accuracy", "operations saved", "latency saved"), rows())


def overthinking(profile: Profile) -> str:
    """Samples that an early exit already had right; errors at the end that an early exit had right."""
    early, final = profile.correct[:, :-1].any(axis=1), profile.correct[:, -1]
    return (
        f"right at some early exit: {early.mean():.1%} of the samples; of the final errors, "
        f"{(early & ~final).sum() / (~final).sum():.1%} were right at an early exit\n"
    )


def attacks(profile: Profile) -> str:
    found: dict[str, Any] = profile.provenance["attack"]
    results = {(row["cut"], row["attacker"], row["protection"]): row for row in found["results"]}

    def rows() -> Iterator[list[str]]:
        for cut in range(1, profile.n_stages):
            cells = [results.get((cut, attacker, "none")) for attacker in ATTACKERS]
            figures = [f"{row['mse']:.5f} / {row['psnr_db']:.2f} / {row['ssim']:.3f}" if row else "–" for row in cells]
            dependence = profile.provenance["distance_correlation"][cut]
            yield [str(cut), f"{profile.leakage[cut]:.3f}", *figures, f"{dependence:.3f}"]

    head = ("cut", "leakage", *(f"{name}: MSE / PSNR dB / SSIM" for name in ATTACKERS), "distance correlation")
    return f"MSE of the mean image {found['mean_image_mse']:.4f}\n\n" + table(head, rows())


def defences(profile: Profile) -> str:
    cuts = range(1, profile.n_stages)
    plain = ["none", *(f"{profile.leakage[cut]:.3f} / {profile.accuracy(NEVER):.2%}" for cut in cuts)]
    guarded = [
        [item.name, *(f"{item.leakage[cut]:.3f} / {item.accuracy[cut]:.2%}" for cut in cuts)]
        for item in profile.protections
    ]
    return table(("defence: leakage / accuracy", *(f"cut {cut}" for cut in cuts)), [plain, *guarded])


def main() -> None:
    for name in sys.argv[1:]:
        profile = load_profile(name)
        print(f"## {profile.name}: {profile.total_flops / 1e6:.1f} MFLOP, {profile.total_latency_s * 1e3:.2f} ms\n")
        parts = [exits, thresholds, savings, overthinking]
        if "attack" in profile.provenance:
            parts += [attacks, defences]
        print("\n".join(part(profile) for part in parts))


if __name__ == "__main__":
    main()
