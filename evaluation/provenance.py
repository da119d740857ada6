"""What a reader needs to make the same scores again."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..source import git_revision, versions

__all__ = ["provenance_of", "run_provenance"]


def provenance_of(command: Sequence[str], origin: str, part: str, seed: int, repeats: int) -> dict[str, Any]:
    """Command, traces, seeds, versions and machine.

    Args:
        command: As it was called.
        origin: Where the link traces come from, one line.
        part: Part of the split.
        seed: Of the worlds.
        repeats: Episodes per window.
    """
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(command),
        "traces": origin,
        "part": part,
        "seed": seed,
        "repeats": repeats,
        "git": git_revision(),
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def run_provenance(runs: Sequence[str]) -> list[str]:
    """One line per run folder: seed, command and traces of its training."""
    lines = []
    for spec in runs:
        path = Path(spec.partition("=")[2] or spec)
        file = (path if path.is_dir() else path.parent) / "run.json"
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            lines.append(f"{spec}: seed {run['seed']}, trained on {run['traces']}, {' '.join(run['command'])}")
        except (OSError, ValueError, KeyError, TypeError):
            lines.append(spec)
    return lines
