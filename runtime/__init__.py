"""The runtime: a trained policy, or any rule, in charge of a really split model in separate processes.

Names are loaded when they are first used: an exported policy needs numpy and onnxruntime only, the rest of the runtime
the whole project.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .controller import Controller, run_clock
    from .journal import Recording, read_recording
    from .logs import open_log
    from .metrics import Metrics
    from .policy import Decision, Policy
    from .recording import Recorder
    from .records import RequestRecord
    from .telemetry import Telemetry

_HOME = {
    "controller": ("Controller", "run_clock"),
    "journal": ("Recording", "read_recording"),
    "logs": ("open_log",),
    "metrics": ("Metrics",),
    "policy": ("Decision", "Policy"),
    "recording": ("Recorder",),
    "records": ("RequestRecord",),
    "telemetry": ("Telemetry",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Controller",
    "Decision",
    "Metrics",
    "Policy",
    "Recorder",
    "Recording",
    "RequestRecord",
    "Telemetry",
    "open_log",
    "read_recording",
    "run_clock",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
