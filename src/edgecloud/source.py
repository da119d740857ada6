"""Which code made a result: versions and revision."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

__all__ = ["git_revision", "versions"]

_PACKAGES = ("edgecloud", "torch", "stable-baselines3", "gymnasium", "numpy", "numba")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what its numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str:
    """Revision of the checkout that the package is run from; empty if it is no checkout."""
    here = Path(__file__).resolve().parent
    try:
        run = _git(here, "rev-parse", "HEAD")
        # An installed copy inside somebody's repository (a virtual environment) is not that repository's source.
        if run is None or _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None:
            return ""
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return run + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
