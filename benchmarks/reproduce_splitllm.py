"""SplitLLM (arXiv 2410.10759): work kept on the client, gain over greedy, and waiting at the server.

    python benchmarks/reproduce_splitllm.py

Client and server are as fast as the paper's at a sequence of 4096 (7.727 s and 0.0979 s, taken as the Transformer's);
times follow operations. The lengths, bandwidths and latency limits of its grid were not at hand: ours are below, and
decide the shares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from reproduction import Figure, mean, options, print_figures, print_table
from transformer_models import Chain, bert, cmt, gpt2, transformer

from edgecloud.baselines.layer_tiers import LayerTiers, TierPlan, greedy_tiers, optimal_tiers, single_tier, ticks_of
from edgecloud.profiles import load_profile
from edgecloud.profiles.sequence import at_length

CLIENT_S, SERVER_S, ANCHOR_LENGTH = 7.727, 0.0979, 4096
SPEED_UP = CLIENT_S / SERVER_S
DELAY_S = 0.010
"""Of every message (the paper's)."""
BANDWIDTHS_BPS = (100e6, 250e6, 500e6, 1000e6)
LIMITS = (0.15, 0.2, 0.3, 0.4, 0.5)
"""Latency limits, as shares of what the client alone takes."""
LENGTHS, PIXELS = (512, 1024, 2048, 4096), (224, 512, 1024)
TICKS = 2000
"""Units of time in a limit."""

HORIZON_S = 500.0
"""How long requests arrive: with one server, Poisson arrivals a mean beta apart and this horizon the paper's maxima at
two beta agree on one mean service time per method."""
QUEUE_LENGTHS = (2560, 3072, 3584, 4096)
QUEUE_LIMIT, QUEUE_BPS = 0.3, 500e6

METHODS: dict[str, Callable[[LayerTiers, int], TierPlan | None]] = {
    "DP": optimal_tiers,
    "greedy": greedy_tiers,
    "no split": single_tier,
}
PAPER_MODELS = {
    "Transformer 6+6": (28.9, 14.6),
    "BERT": (27.8, 5.5),
    "GPT-2-like": (29.2, 12.5),
    "vision (CMT-S)": (44.3, 55.4),
}
"""The paper's share kept on the client and gain over greedy, percent."""
PAPER_WAITS_S = {
    ("maximum", 57): {"DP": 1.36, "greedy": 3.13, "no split": 110.62},
    ("mean", 57): {"DP": 0.0061, "greedy": 0.0682, "no split": 47.507},
    ("maximum", 45): {"DP": 59.2, "greedy": 87.2, "no split": 270.5},
    ("mean", 60): {"no split": 73.67},
}
"""By beta in thousandths."""


def client_flops() -> float:
    """Operations per second of the paper's client."""
    return float(transformer(ANCHOR_LENGTH).flops.sum()) / CLIENT_S


@dataclass(frozen=True)
class Task:
    """A network on a client and a server, (L,) seconds on the client, (L + 1,) bytes, (L,) value."""

    name: str
    client_s: np.ndarray
    cut_bytes: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, chain: Chain) -> Task:
        """At the speed of the paper's client."""
        return cls(chain.name, chain.flops / client_flops(), chain.cut_bytes, chain.flops)


def layered(task: Task, bandwidth_bps: float, limit: float) -> tuple[LayerTiers, float]:
    """The constrained shortest path of one setting, and its unit of time in seconds."""
    tick_s = limit * float(task.client_s.sum()) / TICKS
    way = DELAY_S + 8.0 * task.cut_bytes / bandwidth_bps
    move = np.zeros((len(way), 2, 2))
    move[:, 0, 1] = move[:, 1, 0] = way
    run = np.stack([task.client_s, task.client_s / SPEED_UP], axis=1)
    value = np.stack([task.value, np.zeros_like(task.value)], axis=1)
    return LayerTiers(ticks_of(run, tick_s), ticks_of(move, tick_s), value), tick_s


@dataclass(frozen=True)
class Setting:
    """Shares of the operations kept on the client under one bandwidth and limit, by method."""

    task: str
    kept: dict[str, float]
    switches: int


def solve(task: Task, bandwidth_bps: float, limit: float) -> Setting | None:
    """Every method on one setting; None where nothing meets the limit."""
    problem, _ = layered(task, bandwidth_bps, limit)
    plans = {name: method(problem, TICKS) for name, method in METHODS.items()}
    best = plans["DP"]
    if best is None:
        return None
    total = float(task.value.sum())
    kept = {name: plan.value / total if plan is not None else 0.0 for name, plan in plans.items()}
    return Setting(task.name, kept, int(np.abs(np.diff([0, *best.tiers.tolist(), 0])).sum()))


def paper_tasks(quick: bool) -> list[Task]:
    """The paper's networks over lengths and image sizes."""
    lengths, pixels = (LENGTHS[-1:], PIXELS[1:2]) if quick else (LENGTHS, PIXELS)
    text = [Task.of(make(length)) for make in (transformer, bert, gpt2) for length in lengths]
    return text + [Task.of(cmt(side)) for side in pixels]


def measured_tasks() -> list[Task]:
    """Shipped profiles: stage times measured on one core take the place of operations over a speed."""
    profiles = [at_length(load_profile(name), n) for name in ("bert-base", "gpt2") for n in (128, 512)]
    profiles += [load_profile("vit-b16-224"), load_profile("resnet50-224")]
    found = []
    for profile in profiles:
        fp32 = [float(stage.output_fp32_bytes or stage.output_bytes) for stage in profile.stages[:-1]]
        sizes = np.array([profile.input_bytes, *fp32, profile.result_bytes], dtype=np.float64)
        seconds = np.array([stage.latency_s for stage in profile.stages])
        found.append(Task(f"{profile.name} profile", seconds, sizes, np.array([s.flops for s in profile.stages])))
    return found


def grid(tasks: Sequence[Task], quick: bool) -> list[Setting]:
    """All settings in which some placement meets the limit."""
    bandwidths, limits = (BANDWIDTHS_BPS[-1:], LIMITS[-2:]) if quick else (BANDWIDTHS_BPS, LIMITS)
    found = [solve(task, rate, limit) for task in tasks for rate in bandwidths for limit in limits]
    return [setting for setting in found if setting is not None]


def gain(settings: Sequence[Setting]) -> float:
    """Work that the exact method keeps over what greedy keeps, less one; of sums, since greedy may keep nothing."""
    return sum(s.kept["DP"] for s in settings) / max(sum(s.kept["greedy"] for s in settings), 1e-12) - 1.0


def waiting_s(service_s: np.ndarray, gaps_s: np.ndarray) -> np.ndarray:
    """Waiting of each request at one first-come first-served server: Lindley's recursion, (n,).

    With S the sum of service minus gap up to a request, its wait is S less the least S so far.
    """
    total = np.concatenate([[0.0], np.cumsum(service_s[:-1] - gaps_s[1:])])
    return np.asarray(total - np.minimum.accumulate(total))


def server_seconds(quick: bool) -> dict[str, np.ndarray]:
    """Server time of a request of each length, by method."""
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    for length in QUEUE_LENGTHS[-2:] if quick else QUEUE_LENGTHS:
        task = Task.of(transformer(length))
        setting = solve(task, QUEUE_BPS, QUEUE_LIMIT)
        assert setting is not None
        for name, kept in setting.kept.items():
            found[name].append((1.0 - kept) * float(task.client_s.sum()) / SPEED_UP)
    return {name: np.array(seconds) for name, seconds in found.items()}


def waits(beta_s: float, seconds: dict[str, np.ndarray], seed: int, runs: int) -> dict[str, tuple[float, float]]:
    """Mean and maximum waiting of each method, averaged over runs with the same arrivals and lengths."""
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in seconds}
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        gaps = rng.exponential(beta_s, int(2.0 * HORIZON_S / beta_s))
        gaps = gaps[np.cumsum(gaps) < HORIZON_S]
        kinds = rng.integers(0, len(next(iter(seconds.values()))), len(gaps))
        for name, choices in seconds.items():
            wait = waiting_s(choices[kinds], gaps)
            rows[name].append((float(wait.mean()), float(wait.max())))
    return {name: (mean([r[0] for r in values]), mean([r[1] for r in values])) for name, values in rows.items()}


def print_grid(settings: Sequence[Setting]) -> None:
    """Shares by network and method."""
    rows = []
    for name in dict.fromkeys(s.task for s in settings):
        own = [s for s in settings if s.task == name]
        shares = [f"{100 * mean([s.kept[m] for s in own]):.1f} %" for m in METHODS]
        back = sum(s.switches > 2 for s in own) / len(own)
        rows.append([name, str(len(own)), *shares, f"{100 * gain(own):.1f} %", f"{back:.0%}"])
    head = ["kept on the client", "feasible settings", *METHODS, "DP over greedy", "visits the server twice"]
    print_table(head, rows)


def print_queue(seed: int, quick: bool) -> None:
    """The throughput simulation."""
    seconds = server_seconds(quick)
    print(f"\nServer time of a request, {len(next(iter(seconds.values())))} lengths equally likely:")
    print_table(["", "mean ms"], [[name, f"{1e3 * mean(v):.1f}"] for name, v in seconds.items()])
    figures = []
    runs = 2 if quick else 20
    for (kind, beta), theirs in PAPER_WAITS_S.items():
        ours = waits(beta / 1000.0, seconds, seed, runs)
        for name, value in theirs.items():
            own = ours[name][0 if kind == "mean" else 1]
            figures.append(Figure(f"beta = {beta}/1000, {kind} waiting, {name}", value, own, " s"))
    print_figures(f"Throughput simulation, {HORIZON_S:.0f} s, {runs} runs", figures)


def main(argv: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, argv)
    settings = grid(paper_tasks(chosen.quick), chosen.quick)
    limits = ", ".join(f"{x:.0%}" for x in LIMITS)
    print(f"Limits {limits} of the client's own time; 100 to 1000 Mbit/s; {DELAY_S * 1e3:.0f} ms a message.")
    print_grid(settings)
    if not chosen.quick:
        print("\nShipped profiles, stage times as measured:")
        print_grid(grid(measured_tasks(), False))
    figures = []
    for name, (share, over) in PAPER_MODELS.items():
        own = [s for s in settings if s.task == name]
        figures.append(Figure(f"{name}: share of the work moved", share, 100 * mean([s.kept["DP"] for s in own]), "%"))
        figures.append(Figure(f"{name}: gain over greedy", over, 100 * gain(own), "%"))
    figures.append(Figure("all: gain over greedy", 19.0, mean([f.ours for f in figures[1::2]]), "%"))
    figures.append(Figure("all: share of the work moved", 100 / 3, mean([f.ours for f in figures[0:8:2]]), "%"))
    print_figures("SplitLLM", figures)
    print_queue(chosen.seed, chosen.quick)


if __name__ == "__main__":
    main()
