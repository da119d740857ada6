"""The examples in the docstrings, by module name: by path they would not find the package under its folder mapping."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = [
    "edgecloud",
    "edgecloud.agents",
    "edgecloud.baselines",
    "edgecloud.cli",
    "edgecloud.envs",
    "edgecloud.evaluation",
    "edgecloud.pricing",
    "edgecloud.profiles",
    "edgecloud.profiles.images",
    "edgecloud.profiles.machines",
    "edgecloud.profiles.measuring",
    "edgecloud.profiles.networks",
    "edgecloud.profiles.privacy",
    "edgecloud.profiles.profiler",
    "edgecloud.runtime",
    "edgecloud.runtime.cloud",
    "edgecloud.runtime.link",
    "edgecloud.runtime.serving",
    "edgecloud.traces",
]


def module_names() -> list[str]:
    """Every module of every package; tests/test_packaging.py checks that PACKAGES is complete."""
    names = []
    for package in PACKAGES:
        names.append(package)
        path = importlib.import_module(package).__path__
        names += [f"{package}.{item.name}" for item in pkgutil.iter_modules(path) if not item.ispkg]
    return sorted(name for name in set(names) if not name.endswith("__main__"))


@pytest.mark.parametrize("name", module_names())
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
