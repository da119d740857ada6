"""Makes this folder's helpers importable: tests are collected as files, not as a package."""

import importlib.util
import sys
from pathlib import Path

for _name in ("generated", "plain_objective"):
    _spec = importlib.util.spec_from_file_location(f"baselines_{_name}", Path(__file__).with_name(f"{_name}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[f"baselines_{_name}"] = _module
    _spec.loader.exec_module(_module)
