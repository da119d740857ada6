"""Decide where to cut a neural network between device, edge and cloud.

`gymnasium.make("edgecloud-v0")` and `gymnasium.make_vec("edgecloud-v0", num_envs=64)` give the environments;
`compile_problem`, `rollout` and `Policy` are what rules and evaluations are written with.
"""

from __future__ import annotations

import gymnasium

from .envs import (
    Action,
    EdgeCloudEnv,
    EdgeCloudVecEnv,
    Measurements,
    Policy,
    Problem,
    Rule,
    Scenario,
    Window,
    compile_problem,
    evaluation_windows,
    list_scenarios,
    load_scenario,
    rollout,
)
from .errors import InputError

__all__ = [
    "ENV_IDS",
    "Action",
    "EdgeCloudEnv",
    "EdgeCloudVecEnv",
    "InputError",
    "Measurements",
    "Policy",
    "Problem",
    "Rule",
    "Scenario",
    "Window",
    "compile_problem",
    "evaluation_windows",
    "list_scenarios",
    "load_scenario",
    "rollout",
]

__version__ = "0.1.0"

ENV_IDS = {
    "edgecloud-v0": "camera-lte",
    "edgecloud-burst-v0": "camera-burst",
    "edgecloud-drone-v0": "drone-battery",
    "edgecloud-gateway-v0": "gateway-5g",
}
"""Registered environment ids and the scenario of each."""

for _id, _scenario in ENV_IDS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(
            id=_id,
            entry_point="edgecloud.envs.single:EdgeCloudEnv",
            vector_entry_point="edgecloud.envs.vector:EdgeCloudVecEnv",
            kwargs={"scenario": _scenario},
        )
