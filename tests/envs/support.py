"""Problems and worlds that the tests of this folder share."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgecloud.envs import Problem, Simulator, compile_problem
from edgecloud.traces import LinkTrace, generated_split

ROOT = Path(__file__).parents[2]


def _plain_python() -> Any:
    spec = importlib.util.spec_from_file_location("plain_python", ROOT / "benchmarks" / "plain_python.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["plain_python"] = module
    spec.loader.exec_module(module)
    return module


PlainSimulator = _plain_python().PlainSimulator
TRAIN = generated_split(0, duration_s=400.0).train


def with_params(problem: Problem, **fields: Any) -> Problem:
    """A problem whose compiled constants are replaced, with the types that they had (no recompilation)."""
    old = problem.params
    typed = {}
    for name, value in fields.items():
        before = getattr(old, name)
        typed[name] = np.array(value, dtype=before.dtype) if isinstance(before, np.ndarray) else type(before)(value)
    return dataclasses.replace(problem, params=old._replace(**typed))


def random_actions(problem: Problem, intervals: int, num_envs: int, seed: int = 0, hold: int = 1) -> np.ndarray:
    """Uniform actions, int64 (T, N, 4), each held for some intervals."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, problem.nvec, size=(-(-intervals // hold), num_envs, 4))
    return np.repeat(drawn, hold, axis=0)[:intervals]


def constant_link(rate_bps: float, bins: int = 50) -> LinkTrace:
    return LinkTrace("constant", "static", np.arange(bins + 1.0), np.full(bins, rate_bps))


def run(simulator: Simulator, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Terms (T, N, K) and measured rows (T, N, D)."""
    terms, rows = [], []
    for action in actions:
        rows.append(simulator.step(action).rows.copy())
        terms.append(simulator.terms.copy())
    return np.array(terms), np.array(rows)


__all__ = ["TRAIN", "PlainSimulator", "compile_problem", "constant_link", "random_actions", "run", "with_params"]
