"""A small seeded network, its certificates, and requests to it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from edgecloud.runtime.serving.certificates import Credentials, make_certificates, read_credentials
from edgecloud.runtime.serving.messages import Request
from edgecloud.runtime.serving.model import Activation, SplitModel, load_split_model
from edgecloud.runtime.serving.payloads import LOSSLESS, Encoding, pack
from edgecloud.runtime.serving.plan import Plan

SPEC = "random:small"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def split_model() -> SplitModel:
    """Shared by tests that do not change which parts are loaded."""
    return load_split_model(SPEC, resident=64)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="session")
def credentials(folder: Path) -> dict[str, Credentials]:
    return {name: read_credentials(folder, name) for name in ("device", "edge", "cloud")}


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5.0
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left


@pytest.fixture(scope="session")
def request_at() -> Callable[..., Request]:
    """Makes a device's request."""
    return _request_at


def _request_at(
    model: SplitModel, image: torch.Tensor, plan: Plan, encoding: Encoding = LOSSLESS, **changes: object
) -> Request:
    """A device's request under a plan that leaves something to the servers."""
    head = model.run(image, 0, plan.cut_device)
    assert isinstance(head, Activation)
    values: dict[str, object] = {
        "id": os.urandom(16),
        "model": model.fingerprint,
        "plan": plan,
        "cut": plan.cut_device,
        "deadline_s": 20.0,
        "payload": pack(head.tensor, encoding),
        "sent_s": time.time(),
        "want_logits": True,
    }
    return Request(**{**values, **changes})  # type: ignore[arg-type]
