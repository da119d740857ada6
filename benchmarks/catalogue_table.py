"""The tables of docs/profiling.md from the shipped profiles.

python benchmarks/catalogue_table.py [NAME or .json file ...]
"""

from __future__ import annotations

import sys

import numpy as np

from edgecloud.profiles import Profile, list_profiles, load_profile
from edgecloud.profiles.pruning import can_win_in_any


def row(profile: Profile) -> str:
    """One network."""
    made = profile.provenance
    table = profile.layers
    assert table is not None
    sizes = profile.cut_sizes()
    wins = np.flatnonzero(can_win_in_any(sizes, profile.result_bytes))
    plain = [entry.model_copy(update=dict.fromkeys(("fp32_zstd", "fp16_zstd", "int8_zstd"))) for entry in sizes]
    wins_plain = np.flatnonzero(can_win_in_any(plain, profile.result_bytes))
    cells = [
        f"`{profile.name}`",
        f"{made['parameters'] / 1e6:.2f}",
        f"{profile.total_flops / 1e9:.3f}",
        f"{len(table.layers)} / {len(table.cuts)}",
        f"{profile.n_stages}",
        f"{len(wins_plain)} / {len(wins)}",
        f"{profile.total_latency_s * 1e3:.1f}",
        f"{profile.reference.whole_latency_s * 1e3:.1f}",
        f"{made['sum_over_whole']:.3f}",
        f"{made['whole_spread']:.0%}",
        f"{profile.reference.runs}",
        f"{max(stage.memory_bytes for stage in profile.stages) / 1e6:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def sequence_rows(profile: Profile) -> list[str]:
    """One transformer over its lengths."""
    rows = []
    for point in profile.sequence:
        inner = max(sizes.int8 for sizes in point.cut_sizes[1:-2])
        cells = [
            f"`{profile.name}`",
            point.phase,
            f"{point.length}",
            f"{sum(point.stage_flops) / 1e9:.3f}",
            f"{point.whole_latency_s * 1e3:.1f}",
            f"{sum(point.stage_latency_s) / point.whole_latency_s:.3f}",
            f"{inner:,}",
            f"{sum(point.stage_cache_bytes):,}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def main(names: list[str]) -> None:
    profiles = [load_profile(name) for name in names or list_profiles()]
    profiles = [profile for profile in profiles if profile.layers is not None]
    head = ("profile", "parameters M", "GFLOP", "operators / legal cuts", "stages", "cuts that can win, plain / zstd",
            "sum ms", "whole ms", "ratio", "spread", "runs", "memory MB")  # fmt: skip
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for profile in profiles:
        print(row(profile))
    head = ("profile", "phase", "tokens", "GFLOP", "ms", "sum / whole", "bytes at an inner cut, int8", "cache bytes")
    print("\n| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for profile in profiles:
        for line in sequence_rows(profile):
            print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
