"""Shared fixtures."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of recorded traces and tables; skips where there is none."""
    folder = Path(os.environ.get("EDGECLOUD_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("recorded data is absent (set EDGECLOUD_DATA to its folder)")
    return folder
