"""Where and with what something was measured."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import numpy as np
import torch

__all__ = ["machine_name", "today", "versions"]


def machine_name() -> str:
    """Processor model and architecture, without anything that identifies the host."""
    model = platform.processor() or "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{model} ({platform.machine()}, {os.cpu_count()} logical cores)"


def versions() -> dict[str, str]:
    """Of Python and of the libraries that a measurement depends on."""
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


def today() -> str:
    """The date in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
