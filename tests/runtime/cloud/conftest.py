"""Waiting for what other processes do."""

import time
from collections.abc import Callable

import pytest

from .support import PATIENCE_S


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        limit_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit_s, "it never became true"
            time.sleep(0.01)

    return wait
