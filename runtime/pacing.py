"""Paces of machines that a calibration has measured: from its file to what the tiers' queues take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..envs import Problem
from ..envs.measured import MeasuredTier, load_measured
from ..errors import InputError
from .serving.model import SplitModel
from .serving.pace import MachinePace

__all__ = ["measured_pace", "pace_arguments"]


def pace_arguments(problem: Problem, tier: str, seed: int = 0) -> dict[str, Any]:
    """What `MachinePace` takes for a tier of a calibrated scenario, as JSON can hold it.

    Raises:
        InputError: The scenario names no measured times.
    """
    if problem.measured is None:
        remedy = "take scenario.toml of 'edgecloud calibrate', or give slowdowns"
        raise InputError(problem.scenario.name, "measured", "must name a file of measured times", "", remedy)
    exits = [head.after_stage for head in problem.profile.exits]
    return {**_times(problem.measured.tiers[tier]), "exits": exits, "seed": seed}


def measured_pace(times: str, tier: str, model: SplitModel) -> MachinePace:
    """The pace of a tier from a file of measured times.

    Raises:
        InputError: The file is wrong, or does not fit the network.
    """
    measured = load_measured(times)
    measured.check(model.stages, len(model.exits), times)
    return MachinePace(**_times(measured.tiers[tier]), exits=list(model.exits))


def _times(tier: MeasuredTier) -> Mapping[str, Any]:
    """Means per stage and head; the factors have mean one."""
    factors = np.asarray(tier.factors, dtype=np.float64)
    return {
        "stage_s": list(tier.stage_s),
        "head_s": list(tier.head_s),
        "factors": (factors / factors.mean()).tolist(),
    }
