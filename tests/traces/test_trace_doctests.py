import doctest
import importlib
import pkgutil

import pytest

import edgecloud.traces

MODULES = [f"edgecloud.traces.{info.name}" for info in pkgutil.iter_modules(edgecloud.traces.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_names_exist():
    assert sorted(edgecloud.traces.__all__, key=str) == sorted(set(edgecloud.traces.__all__), key=str)
    for name in edgecloud.traces.__all__:
        assert hasattr(edgecloud.traces, name)
