"""Trained agents that a comparison needs: those that are missing are trained, those that stopped are continued."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import joblib

from ..agents import open_run, preset, read_checkpoint
from ..agents.config import config_with
from ..envs import DEFAULT_SCENARIO, compile_problem
from ..errors import InputError
from ..traces import default_traces
from .resolve import resolve_policy

__all__ = ["is_finished", "train_missing"]

Progress = Callable[[str, float, float], None]


def train_missing(
    folder: Path,
    count: int,
    settings: str = "default",
    scenario: str = "",
    traces: str = "",
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Train agents with the seeds 0 to `count` - 1 below a folder, one process each, and return their run folders.

    A run that is finished is kept, one that was stopped goes on from its last checkpoint.

    Args:
        folder: Holds `seed0`, `seed1`, …
        count: How many agents.
        settings: A preset's name.
        scenario: Shipped name or file; empty: the default.
        traces: Folder of link traces; empty: the default source.
        jobs: Processes.
        progress: Called with a text, seeds done and seeds in all.

    Raises:
        InputError: A folder holds a run of other settings, or of another scenario or other traces.
    """
    preset(settings)
    folders = [folder / f"seed{seed}" for seed in range(count)]
    wanted = [seed for seed in range(count) if not is_finished(folders[seed], settings, seed)]
    if progress is not None:
        progress("training", count - len(wanted), count)
    calls = [joblib.delayed(_train)(folders[seed], seed, settings, scenario, traces) for seed in wanted]
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        results = joblib.Parallel(n_jobs=min(jobs, max(len(calls), 1)), return_as="generator_unordered")(calls)
        for done, seed in enumerate(results, count - len(wanted) + 1):
            if progress is not None:
                progress(f"trained seed {seed}", done, count)
    return tuple(folders)


def is_finished(folder: Path, settings: str, seed: int) -> bool:
    """Whether a run has made all its steps.

    Raises:
        InputError: It is a run of other settings or another seed.
    """
    if not (folder / "run.json").is_file():
        return False
    run = open_run(folder)
    wanted = config_with(preset(settings), (), seed=seed)
    if run.config != wanted:
        rule = f"must be a run of the preset '{settings}' with seed {seed}"
        raise InputError(folder, "config.toml", rule, remedy="name its folder as an argument instead, or remove it")
    return run.last.is_file() and int(read_checkpoint(run.last).meta["steps"]) >= run.config.total_steps


def _train(folder: Path, seed: int, settings: str, scenario: str, traces: str) -> int:
    """Train or continue one agent."""
    from ..agents import resume, train

    problem, chosen = compile_problem(scenario or DEFAULT_SCENARIO), default_traces(traces or None)
    if (folder / "last.npz").is_file():
        resume(folder, problem, chosen)
        return seed
    if (folder / "run.json").is_file():  # stopped before its first checkpoint: nothing to go on from
        shutil.rmtree(folder)
    config = config_with(preset(settings), (), seed=seed)
    source = str(Path(scenario).resolve()) if scenario.endswith(".toml") else scenario or DEFAULT_SCENARIO
    train(
        problem,
        chosen,
        config,
        folder,
        teacher=resolve_policy(config.warm_start) if config.warm_start else None,
        command=["edgecloud", "train", "--preset", settings, "--seed", str(seed), "--out", str(folder)],
        scenario_source=source,
        traces_source=str(Path(traces).resolve()) if traces else "",
    )
    return seed
