"""Print a comparison's raw scores as Markdown tables: what docs/results.md and the README hold.

edgecloud evaluate runs/seed* --against all --weights all --repeats 8 --out report
python benchmarks/results_table.py report
"""

import argparse

from edgecloud.evaluation import load_comparison, rows_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a folder that `edgecloud evaluate --out` wrote")
    comparison, _ = load_comparison(parser.parse_args().folder)
    print(f"{len(comparison.episodes)} episodes per policy and preference.\n")
    summary: dict[str, list[str]] = {}
    for preset, weights in comparison.presets.items():
        shown = ", ".join(f"{weight:g}" for weight in weights)
        print(f"### {preset} (latency, cost, privacy: {shown})\n")
        heads = ("policy", "reward [95 %]", "agent minus it [95 %]", "mean ms", "p95 ms")
        heads += ("failed %", "right %", "$/1000", "leakage")
        print("| " + " | ".join(heads) + " |")
        print("|---|---|---|---|---|---|---|---|---|")
        for row in rows_of(comparison, preset):
            name = f"**{row.method}** ×{row.members}" if row.learned else row.method
            reward = f"{row.reward.mean:.3f} [{row.reward.low:.3f}, {row.reward.high:.3f}]"
            gap, mark = "", ""
            if row.versus is not None:
                mark = "" if row.versus.excludes_zero else " (includes 0)"
                difference = row.versus.difference
                gap = f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{mark}"
            v = row.values
            print(
                f"| {name} | {reward} | {gap} | {1e3 * v['latency_s']:.0f} | {1e3 * v['latency_p95_s']:.0f} | "
                f"{100 * v['failure_rate']:.2f} | {100 * v['accuracy']:.1f} | {v['usd_per_1000']:.4f} | "
                f"{v['leakage']:.3f} |"
            )
            summary.setdefault(row.method, []).append(f"{row.reward.mean:.3f}")
        print()
    print("### Mean reward per interval\n")
    print("| policy | " + " | ".join(comparison.presets) + " |\n|---" + "|---" * len(comparison.presets) + "|")
    for method, means in summary.items():
        print(f"| {method} | " + " | ".join(means) + " |")


if __name__ == "__main__":
    main()
