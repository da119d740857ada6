"""An exported policy against the one that was trained: equal actions, and how long a decision takes.

python benchmarks/export_decision.py [RUN] [--rows 20000]

Without a run, one is trained with the preset 'quick' on generated links. Rows come from the policy's own episodes and,
as many again, from uniform draws over more than the range of every field.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgecloud.agents import PPOPolicy, load_sb3_policy, preset, train
from edgecloud.agents.export import export_policy, problem_of
from edgecloud.envs import SCHEMA, Measurements, Problem, compile_problem, evaluation_windows, rollout
from edgecloud.runtime import Policy
from edgecloud.runtime.artifact import write_artifact
from edgecloud.traces import default_traces

Rows = NDArray[np.float64]


def rows_of(policy: PPOPolicy, problem: Problem, rows: int) -> Rows:
    """Half from episodes, half drawn."""
    links = default_traces(None).split.test
    count = -(-rows // (2 * problem.params.episode_intervals))
    windows = (evaluation_windows(links, problem) * count)[:count]
    weights = np.random.default_rng(0).dirichlet(np.ones(3), count)
    seen = rollout(policy, problem, links, windows, weights, keep_rows=True).rows
    drawn = random_rows(problem, rows - rows // 2, np.random.default_rng(1))
    return np.concatenate([seen.reshape(-1, seen.shape[2])[: rows // 2], drawn])


def random_rows(problem: Problem, count: int, rng: np.random.Generator) -> Rows:
    """Rows drawn field by field, somewhat beyond what a controller can measure."""
    nvec = problem.nvec
    tops = {
        "placement": nvec[0],
        "other_placement": nvec[0],
        "threshold": nvec[1],
        "route": nvec[2],
        "vm_target": nvec[3],
    }
    ranges = {"rate_bps": 150e6, "rate_average_bps": 150e6, "rtt_s": 1.0, "uplink_queue_bytes": 20e6}
    parts = []
    for field in SCHEMA:
        if field.name in tops:
            part = rng.integers(0, tops[field.name], size=(count, 1)).astype(np.float64)
        elif field.name == "weights":
            part = rng.dirichlet(np.ones(3), count)
        elif field.unit == "share":
            part = rng.uniform(0.0, 1.0, size=(count, field.size))
        else:  # most queues are short: a square of a uniform number
            part = ranges.get(field.name, 100.0) * rng.uniform(0.0, 1.0, size=(count, field.size)) ** 2
        parts.append(part)
    return np.concatenate(parts, axis=1)


def median_us(decide: Callable[[int], object], count: int) -> float:
    """Median microseconds of a call."""
    for k in range(100):
        decide(k)
    taken = []
    for k in range(count):
        before = time.perf_counter()
        decide(k)
        taken.append(time.perf_counter() - before)
    return 1e6 * float(np.median(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare an exported policy with the trained one.")
    parser.add_argument("run", nargs="?", default="")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--calls", type=int, default=2_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = options.run
        if not run:
            run = f"{folder}/run"
            train(compile_problem("camera-lte"), default_traces(None), preset("quick"), Path(run))
        problem = problem_of(run)
        exported = export_policy(run, problem)
        path = Path(folder) / "policy.edgecloud"
        write_artifact(path, exported.facts, exported.graph)
        size_kb = path.stat().st_size / 1000
        artifact = Policy.load(path)
    ppo, network = PPOPolicy.load(run), load_sb3_policy(run)
    ppo.reset(problem, 1, np.full((1, 3), 1 / 3), 0)
    rows = rows_of(ppo, problem, options.rows)
    observations = problem.encoder(rows)
    expected = network.predict(observations, deterministic=True)[0]
    graph = artifact.inspect(rows)
    ppo.reset(problem, len(rows), np.zeros((len(rows), 3)), 0)
    whole = ppo.act(Measurements(rows))
    distinct = len(np.unique(whole, axis=0))
    print(f"{len(rows)} rows, {distinct} different actions; artifact of {size_kb:.0f} kB")
    print(f"observations not bit for bit the encoder's: {(graph['observations'] != observations).any(1).sum()}")
    print(
        f"largest difference of a logit to PPOPolicy's: {np.abs(graph['logits'] - ppo.logits(observations)).max():.1e}"
    )
    print(f"actions that differ from stable-baselines3's: {(graph['choice'] != expected).any(1).sum()}")
    print(f"actions that differ from PPOPolicy's, VM target included: {(artifact.act(rows) != whole).any(1).sum()}")
    named = _named(rows)
    ppo.reset(problem, 1, np.zeros((1, 3)), 0)
    n = len(rows)
    timed = {
        "Policy.decide, fields by name": median_us(lambda k: artifact.decide(named[k % 100]), options.calls),
        "Policy.decide, a whole row": median_us(lambda k: artifact.decide(rows[k % n]), options.calls),
        "PPOPolicy.act": median_us(lambda k: ppo.act(Measurements(rows[k % n][None])), options.calls),
        "stable-baselines3 predict": median_us(
            lambda k: network.predict(problem.encoder(rows[k % n][None]), deterministic=True), options.calls
        ),
    }
    slowest = timed["stable-baselines3 predict"]
    print(f"{'median of one decision, encoder included':42s}{'µs':>8s}{'of predict':>12s}")
    for name, us in timed.items():
        print(f"{name:42s}{us:8.0f}{us / slowest:12.2f}")


def _named(rows: Rows) -> list[dict[str, object]]:
    """The first hundred rows as a program would have them."""
    result = []
    for row in rows[:100]:
        content: dict[str, object] = {}
        at = 0
        for field in SCHEMA:
            part = row[at : at + field.size].tolist()
            content[field.name] = part if field.size > 1 else part[0]
            at += field.size
        result.append(content)
    return result


if __name__ == "__main__":
    main()
