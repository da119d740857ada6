"""Gymnasium spaces of a problem."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from .problem import Problem

__all__ = ["fresh_seed", "spaces_of"]


def spaces_of(problem: Problem) -> tuple[Box, MultiDiscrete]:
    """Observation and action space of one environment."""
    observation = Box(-1.0, 1.0, shape=(problem.encoder.size,), dtype=np.float32)
    return observation, MultiDiscrete(problem.nvec)


def fresh_seed() -> int:
    """A seed from the operating system's entropy."""
    return int(np.random.SeedSequence().generate_state(1)[0])
