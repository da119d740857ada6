"""Gymnasium spaces of a problem."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete, Space
from numpy.typing import NDArray

from ..errors import InputError, did_you_mean
from .problem import Problem

__all__ = ["check_options", "fresh_seed", "spaces_of"]


def spaces_of(problem: Problem) -> tuple[Space[NDArray[np.float32]], MultiDiscrete]:
    """Observation and action space of one environment."""
    observation: Any = Box(-1.0, 1.0, shape=(problem.encoder.size,), dtype=np.float32)
    return observation, MultiDiscrete(problem.nvec)


def fresh_seed() -> int:
    """A seed from the operating system's entropy."""
    return int(np.random.SeedSequence().generate_state(1)[0])


def check_options(options: dict[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """The options of a reset.

    Raises:
        InputError: An option is unknown.
    """
    for name in options or {}:
        if name not in known:
            raise InputError("reset", f"options.{name}", "is an unknown option", None, did_you_mean(str(name), known))
    return options or {}
