"""Training a policy with PPO, from a new run folder or from where an older run stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from ..envs import EdgeCloudVecEnv, Policy, Problem
from ..errors import InputError
from ..files import write_atomically
from ..traces import LinkTrace, TraceSet, generated_split
from .adapter import Sb3VecEnv
from .checkpoint import write_checkpoint
from .cloning import Cloned, clone
from .config import TrainConfig
from .fast_policy import FastMultiDiscretePolicy
from .logs import CsvWriter, EventWriter
from .pool import PoolNetwork
from .pool_learning import PoolTrials, fit_pool, try_pools
from .ppo_policy import PPOPolicy
from .runs import RunFolder, create_run, json_bytes, open_run
from .snapshot import describe, policy_arrays, restore, training_arrays
from .statistics import summary
from .validation import Validation

__all__ = ["Progress", "TrainResult", "build_model", "resume", "train"]

_ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
_HEADS = ("placement", "threshold", "route")


@dataclass(frozen=True)
class Progress:
    """How far a training is; handed to the reporter after every update.

    Attributes:
        steps: Transitions done.
        total: Transitions to do.
        steps_per_s: Of this session, validation left out.
        reward: Mean reward per interval of the last rollout, with exploration.
        score: Last validation score.
        best: Highest validation score.
        note: A line for people, when something has happened.
    """

    steps: int
    total: int
    steps_per_s: float
    reward: float
    score: float
    best: float
    note: str = ""


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Attributes:
        folder: The run.
        steps: Transitions done, earlier sessions included.
        seconds: Wall-clock time, earlier sessions included.
        steps_per_s: Of this session, validation left out.
        env_share: Share of the training time that the environment took.
        best_score: Highest validation score.
        best_steps: When it was reached.
        first_score: Validation score before PPO's first update.
        cloned: How the warm start went; None without one.
    """

    folder: Path
    steps: int
    seconds: float
    steps_per_s: float
    env_share: float
    best_score: float
    best_steps: int
    first_score: float
    cloned: Cloned | None = None


Report = Callable[[Progress], None]


def build_model(config: TrainConfig, env: Sb3VecEnv) -> PPO:
    """A stable-baselines3 PPO with these settings."""
    torch.set_num_threads(config.threads)
    start, end = config.learning_rate, config.learning_rate_end
    layers = list(config.hidden)
    return PPO(
        FastMultiDiscretePolicy,
        env,
        learning_rate=lambda left: end + (start - end) * left,
        n_steps=config.rollout_steps,
        batch_size=config.minibatch,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.entropy_coef,
        vf_coef=config.value_coef,
        max_grad_norm=config.max_grad_norm,
        target_kl=config.target_kl or None,
        policy_kwargs={
            "net_arch": {"pi": layers, "vf": layers},
            "private": env.private,
            "activation_fn": _ACTIVATIONS[config.activation],
            "optimizer_kwargs": {"eps": 1e-5, "fused": True},
        },
        seed=config.seed,
        device=config.device,
    )


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
    session = _Session(problem, traces, config)
    run = create_run(Path(folder), config, problem, traces, command, scenario_source, traces_source)
    cloned = None
    if teacher is not None:
        rng = np.random.default_rng(np.random.SeedSequence(config.seed).spawn(1)[0])
        links = session.env.env.simulator.traces
        cloned = clone(session.model, teacher, problem, links, config, rng)
        write_atomically(run.path / "warm_start.json", json_bytes(asdict(cloned)))
    return session.learn(_Loop(session, run, report, cloned), None)


def resume(folder: str | Path, problem: Problem, traces: TraceSet, *, report: Report | None = None) -> TrainResult:
    """Continue a run from its last checkpoint, as if it had not stopped (bit for bit on one thread of one machine).

    Raises:
        InputError: The run is damaged, or its scenario, profile or traces have changed; nothing is written then.
    """
    run = open_run(folder)
    run.check(problem, traces)
    checkpoint = run.read_last()
    session = _Session(problem, traces, run.config)
    restore(session.model, session.env, run.config, problem, checkpoint)
    loop = _Loop(session, run, report, None)
    loop.restore(checkpoint.meta, str(checkpoint.source))
    loop.average = checkpoint.shaped("average", {k: v.shape for k, v in policy_arrays(session.model).items()})
    sizes = problem.encoder.size, run.config.pool_hidden, int(problem.nvec[3])
    session.env.pool = PoolNetwork(checkpoint.shaped("pool", PoolNetwork.shapes(*sizes)), run.config.pool_margin)
    if checkpoint.group("trials"):
        loop.trials = PoolTrials(checkpoint.need("trials/observations"), checkpoint.need("trials/rewards"))
    return session.learn(loop, session.model.num_timesteps)


def training_links(traces: TraceSet, config: TrainConfig) -> tuple[LinkTrace, ...]:
    """The training part of the traces; recorded ones are joined by generated ones, of which there are more."""
    links = traces.split.train
    if traces.recorded and config.generated_logs:
        links += generated_split(config.seed, (config.generated_logs, 1, 1)).train
    return links


class _Session:
    """Model, environments and validation of a running training."""

    def __init__(self, problem: Problem, traces: TraceSet, config: TrainConfig) -> None:
        self.problem, self.config = problem, config
        self.validation = Validation(
            problem, traces.split.validation, config.validation_windows, config.validation_preferences
        )
        batch = EdgeCloudVecEnv(config.num_envs, problem, training_links(traces, config))
        self.env = Sb3VecEnv(
            batch,
            config.reward_scale,
            config.stagger,
            config.foresight,
            config.expected_accuracy,
            config.pool_review,
            config.pool_exploration,
        )
        sizes = problem.encoder.size, config.pool_hidden, int(problem.nvec[3])
        self.env.pool = PoolNetwork.untrained(*sizes, margin=config.pool_margin)
        self.model = build_model(config, self.env)

    def learn(self, loop: _Loop, resumed_at: int | None) -> TrainResult:
        """Run PPO to its end."""
        run = loop.run
        writers = [CsvWriter(run.progress, resumed_at), EventWriter(run.tensorboard, resumed_at)]
        logger = Logger(folder=str(run.path), output_formats=writers)
        self.model.set_logger(logger)
        left = self.config.total_steps - self.model.num_timesteps
        try:
            if left > 0:
                self.model.learn(left, callback=loop, reset_num_timesteps=resumed_at is None)
        finally:
            logger.close()
        return loop.result()


class _Loop(BaseCallback):
    """What happens around the updates: validation, checkpoints, logs, schedules, reports.

    Checkpoints are taken where nothing is in flight: after an update, before the next rollout.
    """

    def __init__(self, session: _Session, run: RunFolder, report: Report | None, cloned: Cloned | None) -> None:
        super().__init__()
        self.session, self.run, self.report, self.cloned = session, run, report, cloned
        self.history: list[dict[str, Any]] = []
        self.best, self.best_steps, self.due = -np.inf, 0, 0
        self.average: dict[str, NDArray[Any]] = {}
        self.averaged_at = -1
        self.trials: PoolTrials | None = None
        self.rounds = 0
        self.earlier_s = 0.0
        self.begun = time.perf_counter()
        self.aside_s = 0.0
        self.env_s = 0.0
        self.steps_before = 0
        self.reward = np.nan
        self.note = ""

    def restore(self, meta: dict[str, Any], source: str) -> None:
        """Take over what a checkpoint says about the run so far."""
        try:
            self.best, self.best_steps = float(meta["best_score"]), int(meta["best_steps"])
            self.due, self.earlier_s = int(meta["next_validation"]), float(meta["seconds"])
            self.rounds = int(meta["pool_rounds"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(source, "meta", f"must describe the run so far ({error})") from error
        self.steps_before = self.averaged_at = int(meta["steps"])
        self.history = _read_history(self.run.validation, self.steps_before)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self._average()
        self._size_pool()
        if self.num_timesteps >= self.due:
            self._validate()
        self._tell()

    def _on_rollout_end(self) -> None:
        config, statistics = self.session.config, self.session.env.statistics
        done = min(self.num_timesteps / config.total_steps, 1.0)
        self.model.ent_coef = config.entropy_coef + (config.entropy_coef_end - config.entropy_coef) * done  # type: ignore[attr-defined]
        report = summary(statistics, self.session.problem)
        self.reward = report["reward/total"]
        self.env_s += statistics.seconds
        statistics.clear()
        report |= self._entropies()
        report |= {
            "time/seconds": self._seconds(),
            "time/steps_per_s": self._rate(),
            "time/env_share": self._env_share(),
        }
        report["train/entropy_coef"] = float(self.model.ent_coef)  # type: ignore[attr-defined]
        for name, value in report.items():
            self.logger.record(name, value)

    def _on_training_end(self) -> None:
        self._average()
        if not self.history or self.history[-1]["steps"] != self.num_timesteps:
            self._validate()
        self.logger.dump(self.num_timesteps)
        self._tell()

    def _average(self) -> None:
        """Take the parameters after an update into their average, once."""
        if self.averaged_at == self.num_timesteps:
            return
        self.averaged_at = self.num_timesteps
        now, keep = policy_arrays(self.session.model), self.session.config.weight_average
        if not self.average:
            self.average = now
        for name, array in now.items():
            self.average[name] = (keep * self.average[name] + (1.0 - keep) * array).astype(array.dtype)

    def _policy(self) -> PPOPolicy:
        """The policy as it would be used now."""
        meta = describe(self.session.config, self.session.problem, self.num_timesteps)
        return PPOPolicy(self.average, self.session.env.pool, meta, str(self.run.path))

    def _size_pool(self) -> None:
        """Fit the VM pool's network anew where a round is due."""
        config, problem, env = self.session.config, self.session.problem, self.session.env
        due = sum(share * config.total_steps <= self.num_timesteps for share in config.pool_rounds)
        if due <= self.rounds or problem.nvec[3] < 2:
            return
        self.rounds = due
        seed = int(np.random.SeedSequence([config.seed, due]).generate_state(1)[0])
        found = try_pools(problem, env.env.simulator.traces, self._policy(), config, seed, config.pool_trials)
        self.trials = found if self.trials is None else self.trials.joined(found, 2 * len(found.rewards))
        fit = fit_pool(self.trials, config.pool_hidden, config.pool_margin, seed)
        env.pool = fit.network
        for name in ("chosen", "fixed", "hindsight"):
            self.logger.record(f"pool/{name}", getattr(fit, name))

    def _entropies(self) -> dict[str, float]:
        """Entropy of each part of the action, on a part of the rollout."""
        policy, buffer = self.model.policy, self.model.rollout_buffer  # type: ignore[attr-defined]
        assert isinstance(policy, FastMultiDiscretePolicy)
        every = max(1, len(buffer.observations) // 8)
        rows = buffer.observations[::every].reshape(-1, buffer.observations.shape[-1])
        with torch.no_grad():
            values = policy.head_entropies(torch.as_tensor(rows, device=policy.device)).tolist()
        return {f"entropy/{name}": value for name, value in zip(_HEADS, values, strict=True)}

    def _validate(self) -> None:
        """Score the policy, keep it if it is the best, and write the checkpoint to resume from."""
        before = time.perf_counter()
        session, steps = self.session, self.num_timesteps
        model = session.model
        weights = self.average
        if not all(np.isfinite(array).all() for array in weights.values()):
            rule = (
                f"made the network's parameters infinite after step {self.history[-1]['steps'] if self.history else 0}"
            )
            raise InputError(self.run.path, "learning_rate", rule, session.config.learning_rate, "lower it")
        meta = describe(session.config, session.problem, steps)
        pool = {f"pool/{name}": array for name, array in session.env.pool.arrays.items()}
        scores = session.validation.score(self._policy())
        entry = {"steps": steps, "seconds": round(self._seconds(), 3), **asdict(scores)}
        self.history = [old for old in self.history if old["steps"] < steps] + [entry]
        if scores.mean > self.best:
            self.best, self.best_steps = scores.mean, steps
            arrays = {f"policy/{name}": array for name, array in weights.items()} | pool
            write_checkpoint(self.run.best, {**meta, "score": scores.mean}, arrays)
        self.due = (steps // session.config.validate_every + 1) * session.config.validate_every
        write_atomically(self.run.validation, json_bytes(self.history))
        rest = {
            "score": scores.mean,
            "best_score": self.best,
            "best_steps": self.best_steps,
            "next_validation": self.due,
            "seconds": self._seconds(),
            "updates": model._n_updates,
            "pool_rounds": self.rounds,
        }
        more = {f"average/{name}": array for name, array in weights.items()} | pool
        if self.trials is not None:
            more |= {f"trials/{name}": array for name, array in self.trials._asdict().items()}
        write_checkpoint(self.run.last, {**meta, **rest}, {**training_arrays(model, session.env), **more})
        self.logger.record("validation/score", scores.mean)
        for name, value in scores.by_preference.items():
            self.logger.record(f"validation/{name}", value)
        self.aside_s += time.perf_counter() - before

    def _tell(self) -> None:
        if self.report is not None:
            total, score = self.session.config.total_steps, self.history[-1]["mean"] if self.history else np.nan
            self.report(Progress(self.num_timesteps, total, self._rate(), self.reward, score, self.best))

    def _seconds(self) -> float:
        return self.earlier_s + time.perf_counter() - self.begun

    def _training_s(self) -> float:
        return time.perf_counter() - self.begun - self.aside_s

    def _rate(self) -> float:
        return (self.num_timesteps - self.steps_before) / max(self._training_s(), 1e-9)

    def _env_share(self) -> float:
        return self.env_s / max(self._training_s(), 1e-9)

    def result(self) -> TrainResult:
        """What it came to."""
        return TrainResult(
            folder=self.run.path,
            steps=self.session.model.num_timesteps,
            seconds=self._seconds(),
            steps_per_s=self._rate(),
            env_share=self._env_share(),
            best_score=self.best,
            best_steps=self.best_steps,
            first_score=self.history[0]["mean"],
            cloned=self.cloned,
        )


def _read_history(path: Path, steps: int) -> list[dict[str, Any]]:
    """The validation scores up to a step.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        history = [dict(entry) for entry in content if int(entry["steps"]) <= steps and float(entry["mean"]) <= np.inf]
    except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
        raise InputError(path, "", f"must hold the run's validation scores ({type(error).__name__})") from error
    if not history:
        raise InputError(path, "", "must hold a score from before the checkpoint")
    return history
