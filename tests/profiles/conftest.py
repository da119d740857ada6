from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecloud.profiles import Exit, Profile, Reference, Stage
from edgecloud.profiles.images import ImageSet


def small_parts(**changes: Any) -> dict[str, Any]:
    """A valid profile of three stages, two exits and four samples, as keyword arguments."""
    stages = tuple(
        Stage(
            name=f"s{number}", flops=100.0 * number, output_bytes=size, weight_bytes=8, memory_bytes=64, latency_s=0.001
        )
        for number, size in ((1, 50), (2, 20), (3, 10))
    )
    exits = (
        Exit(name="exit1", after_stage=1, flops=10.0, latency_s=0.0002),
        Exit(name="final", after_stage=3, flops=20.0, latency_s=0.001),
    )
    parts: dict[str, Any] = {
        "name": "small",
        "description": "three stages",
        "stages": stages,
        "input_bytes": 30,
        "result_bytes": 4,
        "exits": exits,
        "confidence": np.array([[0.9, 0.95], [0.4, 0.8], [0.6, 0.7], [1.0, 0.5]]),
        "correct": np.array([[True, True], [False, True], [False, True], [True, False]]),
        "leakage": np.array([1.0, 0.8, 0.5, 0.0]),
        "reference": Reference(machine="test machine", effective_flops=620.0 / 0.004),
        "leakage_measure": "invented",
        "provenance": {"command": "none", "seed": 1, "nested": {"values": [1, 2.5, None]}},
    }
    return parts | changes


@pytest.fixture
def make_profile() -> Callable[..., Profile]:
    return lambda **changes: Profile(**small_parts(**changes))


@pytest.fixture(scope="session")
def coloured_images() -> ImageSet:
    """Ten classes told apart by their colour, noisy: a network learns them in seconds."""
    rng = np.random.default_rng(5)
    colours = rng.uniform(40, 215, (10, 3))

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 10, count)
        noise = rng.normal(0, 25, (count, 3, 32, 32))
        images = np.clip(colours[labels][:, :, None, None] + noise, 0, 255).astype(np.uint8)
        return images, labels.astype(np.int64)

    return ImageSet(*part(384), *part(96), name="coloured noise")
