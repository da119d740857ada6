"""Settings of a training run: one frozen model, its presets, and how they are read and written as TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import InputError, did_you_mean
from ..settings import read_settings, toml_literal

__all__ = ["DEFAULT_PRESET", "PRESETS", "TrainConfig", "config_with", "load_config", "preset"]

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Range = tuple[Positive, Positive]
Share = Annotated[float, Field(ge=0, le=1)]


class TrainConfig(BaseModel):
    """How a policy is trained. The text below each field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of everything: worlds, initial weights, exploration, minibatches."""
    total_steps: Count = 4_500_000
    """Transitions to train on, over all environments (rounded up to whole rollouts)."""
    num_envs: Count = 128
    """Environments advanced together by the kernel."""
    rollout_steps: Count = 32
    """Intervals that every environment runs between two updates."""
    minibatch: Annotated[int, Field(ge=2)] = 1024
    """Transitions per gradient step; should divide num_envs * rollout_steps."""
    epochs: Count = 4
    """Passes over a rollout."""
    learning_rate: Positive = 1e-3
    """Adam's step size at the start."""
    learning_rate_end: NonNegative = 5e-5
    """Adam's step size at the end; linear in between."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Discount per interval: the horizon is 1 / (1 - gamma) intervals."""
    pool_review: Count = 10
    """Intervals between decisions about the VM pool, in training and in use."""
    pool_exploration: Share = 0.7
    """Share of the training episodes that begin with a given pool, where the preference makes a VM cheap."""
    pool_rounds: tuple[Share, ...] = (0.5, 0.75, 0.95)
    """When the pool's network is fitted, as shares of the training; empty: no VM is ever rented."""
    pool_trials: Count = 2000
    """Moments that are continued with every pool size each time."""
    pool_horizon: Count = 120
    """Intervals for which each is continued (at most half an episode)."""
    pool_margin: NonNegative = 0.03
    """Predicted gain, in reward per interval, that a change of the pool must bring."""
    pool_hidden: Count = 64
    """Units of the pool's network."""
    gae_lambda: Share = 0.95
    """Bias against variance of the advantage estimate."""
    clip_range: Positive = 0.2
    """PPO's limit on the change of an action's probability ratio."""
    entropy_coef: NonNegative = 0.003
    """Weight of the entropy bonus at the start."""
    entropy_coef_end: NonNegative = 0.0005
    """Weight of the entropy bonus at the end; linear in between."""
    value_coef: NonNegative = 0.5
    """Weight of the value loss."""
    max_grad_norm: Positive = 0.5
    """Gradients are clipped to this norm."""
    target_kl: NonNegative = 0.0
    """Stop the passes over a rollout when the policy has moved further than this (nats); 0: never."""
    hidden: Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)] = (192, 192)
    """Units per hidden layer; the policy and the value function have a network each."""
    activation: Literal["tanh", "relu"] = "relu"
    """Between the layers."""
    reward_scale: Positive = 0.2
    """Constant factor on the reward that the learner sees (scores and logs are unscaled)."""
    foresight: Annotated[int, Field(ge=0, le=64)] = 8
    """Coming intervals whose inputs (rate, arrivals, edge load, difficulty) the critic sees; the policy never does."""
    expected_accuracy: bool = True
    """Learn from the accuracy that a threshold loses on average, not from what few requests happened to lose."""
    redraws: Annotated[int, Field(ge=0)] = 0
    """Draws of an interval's requests over which the learner's reward is averaged; 0: what happened."""
    warm_refund: Share = 0.0
    """Share of a cold start's delay and bill that the learner gets back, until the function instance expires."""
    refunded_instances: Count = 4
    """Function instances for which it does, at most."""
    weight_average: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """The policy that is validated and kept is an exponential average of the parameters over updates; 0: the last."""
    generated_logs: Annotated[int, Field(ge=0)] = 40
    """Generated link logs per transport mode that join recorded training logs."""
    altered_logs: Annotated[int, Field(ge=0)] = 0
    """Copies of every training log as of another network: other rates and another, constant, round-trip time."""
    altered_rate: Range = (0.5, 4.0)
    """Factor on a copy's rates: from, to; its logarithm is uniform."""
    altered_rtt_s: Range = (0.01, 0.08)
    """A copy's round-trip time in seconds: from, to; its logarithm is uniform."""
    stagger: bool = True
    """Start the first episodes at different intervals, so that environments do not end in step with each other."""
    warm_start: str = ""
    """Rule, run folder or exported policy whose decisions are imitated before PPO starts; empty: none."""
    warm_start_steps: Count = 76_800
    """Transitions of that policy to learn from."""
    warm_start_epochs: Count = 15
    """Passes over them."""
    warm_start_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Probability spread over the other choices while imitating, so that PPO can still explore."""
    validate_every: Count = 500_000
    """Transitions between validations; each also writes the checkpoint that a run is resumed from."""
    validation_windows: Count = 32
    """Episodes per preference, spread over the validation traces."""
    validation_preferences: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "default",
        "latency-heavy",
        "cost-heavy",
        "privacy-heavy",
    )
    """Preferences that validation averages over; 'best' is the highest mean."""
    device: str = "cpu"
    """Where the networks are: 'cpu', 'cuda' or 'auto'. They are small, and the defaults are for the CPU."""
    threads: Count = 1
    """Threads of torch on the CPU; more than one is slower on a shared machine."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minibatch > self.num_envs * self.rollout_steps:
            raise ValueError("minibatch must be at most num_envs * rollout_steps")
        for name in ("altered_rate", "altered_rtt_s"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must not end below its begin")
        return self

    def to_toml(self) -> str:
        """The settings as TOML, with their help as comments."""
        lines = []
        for name, field in type(self).model_fields.items():
            lines += [f"# {field.description}", f"{name} = {toml_literal(getattr(self, name))}"]
        return "\n".join(lines) + "\n"

    @classmethod
    def help(cls) -> list[tuple[str, str, str]]:
        """Name, default and meaning of every setting."""
        return [(name, toml_literal(f.default), f.description or "") for name, f in cls.model_fields.items()]


DEFAULT_PRESET = "default"

_TEACHER = "dp-held:horizon=6"  # imitated more easily than the longer horizon that is the better rule

PRESETS: dict[str, TrainConfig] = {
    "quick": TrainConfig(
        total_steps=40_960, num_envs=32, rollout_steps=32, hidden=(64, 64), validate_every=20_480, validation_windows=8
    ),
    "default": TrainConfig(warm_start=_TEACHER),
    "long": TrainConfig(
        warm_start=_TEACHER,
        warm_start_steps=307_200,
        total_steps=16_000_000,
        num_envs=512,
        minibatch=4096,
        learning_rate_end=1e-5,
        gamma=0.92,
        entropy_coef=0.01,
        redraws=8,
        warm_refund=1.0,
        altered_logs=2,
        validate_every=1_000_000,
    ),
}
"""'quick' shows in seconds that everything works, 'default' is the tuned one, 'long' is for a better policy."""


def preset(name: str) -> TrainConfig:
    """A preset by its name.

    Raises:
        InputError: There is none of that name.
    """
    if name not in PRESETS:
        raise InputError("preset", "", "must be a known preset", name, did_you_mean(name, PRESETS))
    return PRESETS[name]


def load_config(path: str | Path) -> TrainConfig:
    """Read settings from a TOML file; what it leaves out keeps the default.

    Raises:
        InputError: The file is missing, is no TOML, has an unknown key or breaks a rule.
    """
    return read_settings(Path(path), TrainConfig, Path(path).parent, "training settings")


def config_with(base: TrainConfig, changes: Iterable[str], **fixed: Any) -> TrainConfig:
    """Settings with some changed.

    Args:
        base: The settings to start from.
        changes: As on the command line, "name=value" with a TOML value (a bare word is a string).
        **fixed: Changes by name; None leaves a setting as it is.

    Raises:
        InputError: A name is unknown, or a value breaks a rule.
    """
    content = base.model_dump()
    for change in changes:
        name, separator, text = change.partition("=")
        name = name.strip()
        if not separator:
            raise InputError("setting", "", "must read name=value", change)
        if name not in content:
            raise InputError("setting", name, "is an unknown key", text, did_you_mean(name, content))
        content[name] = _value(text.strip())
    content.update({name: value for name, value in fixed.items() if value is not None})
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        rule = first["msg"].removeprefix("Value error, ")
        value = None if isinstance(first["input"], dict) else first["input"]
        raise InputError("setting", where, rule[:1].lower() + rule[1:], value) from error


def _value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text
