"""Training a policy with PPO, from a new run folder or from where an older run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from stable_baselines3.common.logger import Logger

from ..envs import Policy, Problem
from ..errors import InputError
from ..files import write_atomically
from ..traces import TraceSet
from .cloning import clone
from .config import TrainConfig
from .logs import CsvWriter, EventWriter
from .loop import Loop, Progress, Report, TrainResult
from .pool import PoolNetwork
from .pool_learning import PoolTrials
from .runs import create_run, json_bytes, open_run
from .session import Session
from .snapshot import policy_arrays, restore

__all__ = ["Progress", "TrainResult", "resume", "train"]


def train(
    problem: Problem,
    traces: TraceSet,
    config: TrainConfig,
    folder: str | Path,
    *,
    teacher: Policy | None = None,
    command: Sequence[str] = (),
    scenario_source: str = "",
    traces_source: str = "",
    report: Report | None = None,
) -> TrainResult:
    """Train a policy in a new run folder.

    Args:
        problem: The compiled problem.
        traces: Training happens on `split.train`, validation on `split.validation`.
        config: Settings; its seed is the run's.
        folder: Must not exist, or be empty.
        teacher: The policy to imitate first; needed if and only if `config.warm_start` names one.
        command: How the run was started, for `run.json`.
        scenario_source: Name or path of the scenario, for `resume`.
        traces_source: Folder of the traces, for `resume`; empty for the default source.
        report: Called after every update.

    Raises:
        InputError: The folder is in use, or a setting makes no sense; nothing is written then.
    """
    if (teacher is None) != (not config.warm_start):
        raise InputError("settings", "warm_start", "must name the teacher that is given", config.warm_start)
    session = Session(problem, traces, config)
    run = create_run(Path(folder), config, problem, traces, command, scenario_source, traces_source)
    cloned = None
    if teacher is not None:
        rng = np.random.default_rng(np.random.SeedSequence(config.seed).spawn(1)[0])
        links = session.env.env.simulator.traces
        cloned = clone(session.model, teacher, problem, links, config, rng)
        write_atomically(run.path / "warm_start.json", json_bytes(asdict(cloned)))
    return _learn(session, Loop(session, run, report, cloned), None)


def resume(folder: str | Path, problem: Problem, traces: TraceSet, *, report: Report | None = None) -> TrainResult:
    """Continue a run from its last checkpoint, as if it had not stopped (bit for bit on one thread of one machine).

    Raises:
        InputError: The run is damaged, or its scenario, profile or traces have changed; nothing is written then.
    """
    run = open_run(folder)
    run.check(problem, traces)
    checkpoint = run.read_last()
    session = Session(problem, traces, run.config)
    restore(session.model, session.env, run.config, problem, checkpoint)
    loop = Loop(session, run, report, None)
    loop.restore(checkpoint.meta, str(checkpoint.source))
    loop.average = checkpoint.shaped("average", {k: v.shape for k, v in policy_arrays(session.model).items()})
    sizes = problem.encoder.size, run.config.pool_hidden, int(problem.nvec[3])
    session.env.pool = PoolNetwork(checkpoint.shaped("pool", PoolNetwork.shapes(*sizes)), run.config.pool_margin)
    if checkpoint.group("trials"):
        loop.trials = PoolTrials(checkpoint.need("trials/observations"), checkpoint.need("trials/rewards"))
    return _learn(session, loop, session.model.num_timesteps)


def _learn(session: Session, loop: Loop, resumed_at: int | None) -> TrainResult:
    """Run PPO to its end."""
    run = loop.run
    writers = [CsvWriter(run.progress, resumed_at), EventWriter(run.tensorboard, resumed_at)]
    logger = Logger(folder=str(run.path), output_formats=writers)
    session.model.set_logger(logger)
    left = session.config.total_steps - session.model.num_timesteps
    try:
        if left > 0:
            session.model.learn(left, callback=loop, reset_num_timesteps=resumed_at is None)
    finally:
        logger.close()
    return loop.result()
