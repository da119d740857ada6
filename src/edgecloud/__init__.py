"""Decide where to cut a neural network between device, edge and cloud.

`gymnasium.make("edgecloud-v0")` and `gymnasium.make_vec("edgecloud-v0", num_envs=64)` give the environments;
`compile_problem`, `rollout` and `Policy` are what rules and evaluations are written with.

Names and packages are loaded when they are first used: a program that embeds an exported policy (`edgecloud.runtime`)
needs neither gymnasium nor numba. Where gymnasium is installed, importing this package registers the environments.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_PARTS = ("agents", "baselines", "envs", "errors", "evaluation", "pricing", "profiles", "runtime", "traces")
"""Packages and modules that are loaded by their name alone."""


def __getattr__(name: str) -> Any:
    """Load a public name, or a package, on first use."""
    if name in _PARTS:
        return import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(".errors" if name == "InputError" else ".envs", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_PARTS])


def _register() -> None:
    """Make the environments known to gymnasium, if it is there."""
    try:
        import gymnasium
    except ImportError:
        return
    for name, scenario in ENV_IDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name,
                entry_point="edgecloud.envs.single:EdgeCloudEnv",
                vector_entry_point="edgecloud.envs.vector:EdgeCloudVecEnv",
                kwargs={"scenario": scenario},
            )


_register()
