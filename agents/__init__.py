"""Training with PPO, its run folders and checkpoints, and the trained policy in use.

Names are loaded when they are first used: a trained policy needs neither torch nor stable-baselines3, training does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .adapter import Sb3VecEnv
    from .checkpoint import Checkpoint, read_checkpoint, write_checkpoint
    from .config import DEFAULT_PRESET, PRESETS, TrainConfig, config_with, load_config, preset
    from .fast_policy import FastMultiDiscretePolicy
    from .loading import load_sb3_policy
    from .ppo_policy import PPOPolicy, checkpoint_path, is_trained
    from .runs import Manifest, RunFolder, open_run, run_name
    from .trainer import Progress, TrainResult, resume, train
    from .validation import Scores, Validation

__all__ = [
    "DEFAULT_PRESET",
    "PRESETS",
    "Checkpoint",
    "FastMultiDiscretePolicy",
    "Manifest",
    "PPOPolicy",
    "Progress",
    "RunFolder",
    "Sb3VecEnv",
    "Scores",
    "TrainConfig",
    "TrainResult",
    "Validation",
    "checkpoint_path",
    "config_with",
    "is_trained",
    "load_config",
    "load_sb3_policy",
    "open_run",
    "preset",
    "read_checkpoint",
    "resume",
    "run_name",
    "train",
    "write_checkpoint",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "adapter": ("Sb3VecEnv",),
        "checkpoint": ("Checkpoint", "read_checkpoint", "write_checkpoint"),
        "config": ("DEFAULT_PRESET", "PRESETS", "TrainConfig", "config_with", "load_config", "preset"),
        "fast_policy": ("FastMultiDiscretePolicy",),
        "loading": ("load_sb3_policy",),
        "ppo_policy": ("PPOPolicy", "checkpoint_path", "is_trained"),
        "runs": ("Manifest", "RunFolder", "open_run", "run_name"),
        "trainer": ("Progress", "TrainResult", "resume", "train"),
        "validation": ("Scores", "Validation"),
    },
)
