"""What happens around PPO's updates: the VM pool's rounds, validation, checkpoints, logs, schedules, reports."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from ..errors import InputError
from ..files import write_atomically
from .checkpoint import write_checkpoint
from .cloning import Cloned
from .fast_policy import FastMultiDiscretePolicy
from .pool_learning import PoolTrials, fit_pool, try_pools
from .ppo_policy import PPOPolicy
from .runs import RunFolder, json_bytes
from .session import Session
from .snapshot import describe, policy_arrays, training_arrays
from .statistics import summary

__all__ = ["Loop", "Progress", "Report", "TrainResult"]

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


class Loop(BaseCallback):
    """What happens around the updates: validation, checkpoints, logs, schedules, reports.

    Checkpoints are taken where nothing is in flight: after an update, before the next rollout.
    """

    def __init__(self, session: Session, run: RunFolder, report: Report | None, cloned: Cloned | None) -> None:
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
