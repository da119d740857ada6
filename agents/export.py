"""What an exported policy consists of: its graph and the facts that make it usable without this project's code."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..envs import ROUTES, SCHEMA, Problem, compile_problem
from ..errors import InputError
from ..source import git_revision, versions
from .checkpoint import Checkpoint, read_checkpoint
from .ppo_policy import PPOPolicy, check_problem, checkpoint_path
from .runs import open_run

__all__ = ["Exported", "export_policy", "problem_of"]


class Exported(NamedTuple):
    """A policy ready to be packed.

    Attributes:
        facts: Everything but the graph, as JSON values: see `edgecloud.runtime.artifact`.
        graph: ONNX model.
    """

    facts: dict[str, Any]
    graph: bytes


def problem_of(path: str | Path, scenario: str = "") -> Problem:
    """The problem that a run or checkpoint was trained on.

    Args:
        path: A run folder or a checkpoint.
        scenario: Shipped name or file; empty: as the run's manifest says, else the checkpoint's.

    Raises:
        InputError: The scenario is not at hand.
    """
    if scenario:
        return compile_problem(scenario)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    if (folder / "run.json").is_file():
        manifest = open_run(folder).manifest
        return compile_problem(manifest.scenario_source or manifest.scenario)
    return compile_problem(read_checkpoint(checkpoint_path(path)).meta["scenario"])


def export_policy(path: str | Path, problem: Problem | None = None, which: str = "best") -> Exported:
    """A trained policy with its encoder as one graph, and what belongs to it.

    Args:
        path: A run folder or a checkpoint file.
        problem: What it was trained on; None: found by `problem_of`.
        which: 'best' or 'last', where a folder is given.

    Raises:
        InputError: There is no checkpoint, it is damaged, it was trained on another problem, or onnx is not installed.
    """
    file = checkpoint_path(path, which)
    checkpoint = read_checkpoint(file)
    problem = problem or problem_of(path)
    encoder = check_problem(checkpoint.meta, problem, str(file))
    policy = PPOPolicy.of(checkpoint)
    try:
        from .onnx_graph import policy_graph
    except ImportError as error:
        remedy = "pip install 'edgecloud[runtime]'"
        raise InputError("export", "", f"needs the package 'onnx' ({error})", remedy=remedy) from error
    graph = policy_graph(
        encoder,
        policy.layers,
        checkpoint.meta["activation"] == "relu",
        checkpoint.meta["nvec"][:-1],
        policy.pool.arrays,
        policy.pool.margin,
    )
    return Exported(_facts(checkpoint, problem, path), graph)


def _facts(checkpoint: Checkpoint, problem: Problem, path: str | Path) -> dict[str, Any]:
    meta, scenario = checkpoint.meta, problem.scenario
    return {
        "scenario": {"name": scenario.name, "fingerprint": problem.fingerprint(), "profile": problem.profile.name},
        "measurements": [
            {"name": field.name, "size": field.size, "unit": field.unit, "meaning": field.meaning} for field in SCHEMA
        ],
        "observation": problem.encoder.to_dict(),
        "actions": {
            "stages": problem.stages,
            "placements": problem.placements.tolist(),
            "thresholds": [None if math.isinf(value) else value for value in problem.thresholds.tolist()],
            "routes": list(ROUTES),
            "vm_targets": int(problem.nvec[3]),
            "start": problem.start_action.tolist(),
        },
        "control": {
            "interval_s": scenario.control.interval_s,
            "pool_review": int(meta["pool_review"]),
            "resident_placements": scenario.control.resident_placements,
            "weights": [float(weight) for weight in np.asarray(scenario.objective.weights)],
        },
        "network": {name: meta[name] for name in ("hidden", "activation", "pool_hidden", "pool_margin")},
        "provenance": _provenance(checkpoint, path),
    }


def _provenance(checkpoint: Checkpoint, path: str | Path) -> dict[str, Any]:
    """Where the policy comes from; paths by their last part only: an artifact leaves the machine."""
    meta = checkpoint.meta
    known = {name: meta[name] for name in ("kind", "steps", "seed", "score") if meta.get(name) is not None}
    made = {"checkpoint": checkpoint.source.name, "exported_with": {"versions": versions(), "git": git_revision()}}
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    if not (folder / "run.json").is_file():
        return {**known, **made}
    manifest = open_run(folder).manifest
    trained = {"created": manifest.created, "versions": manifest.versions, "git": manifest.git}
    trained |= {"traces": manifest.traces, "traces_digest": manifest.traces_digest}
    return {**known, "run": folder.resolve().name, "trained_with": trained, **made}
