"""What a reader needs to make the same scores again."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["provenance_of", "run_provenance"]

_PACKAGES = ("edgecloud", "numpy", "numba", "gymnasium", "torch", "stable-baselines3")


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
        "git": _revision(),
        "versions": {"python": platform.python_version(), **_versions()},
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


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _revision() -> str:
    """Revision of the checkout that the package is run from, empty if it is no checkout."""
    here = Path(__file__).resolve()
    # An installed copy inside somebody's repository (a virtual environment) is not that repository's source.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return ""
    return _git(here.parent, "describe", "--always", "--dirty=+changes") or ""


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
