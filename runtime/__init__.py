"""The runtime: a trained policy, or any rule, in charge of a really split model in separate processes.

Names are loaded when they are first used: an exported policy needs numpy and onnxruntime only, the rest of the runtime
the whole project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .controller import Controller, run_clock
    from .journal import Recording, read_recording
    from .logs import open_log
    from .metrics import Metrics
    from .policy import Decision, Policy
    from .recording import Recorder
    from .records import RequestRecord
    from .telemetry import Telemetry

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "controller": ("Controller", "run_clock"),
        "journal": ("Recording", "read_recording"),
        "logs": ("open_log",),
        "metrics": ("Metrics",),
        "policy": ("Decision", "Policy"),
        "recording": ("Recorder",),
        "records": ("RequestRecord",),
        "telemetry": ("Telemetry",),
    },
)
