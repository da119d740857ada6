from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecloud.profiles import Exit, Profile, Reference, Stage
from edgecloud.profiles.images.image_set import ImageSet
from edgecloud.profiles.layer_table import CutSizes, Layer, LayerCut, LayerTable, SequencePoint


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


@pytest.fixture
def unjudged() -> Profile:
    """A measured network whose accuracy and leakage nobody knows, with sizes, layers and sequence lengths."""
    return Profile(**small_parts(**unjudged_parts()))


def unjudged_parts() -> dict[str, Any]:
    """What a profile without exit table and leakage has in the place of them."""
    sizes = [CutSizes(fp32=4 * b, fp16=2 * b, int8=b, int8_zstd=b - 1) for b in (30, 50, 20, 4)]
    stages = tuple(
        stage.model_copy(update={"sizes": size, "end": end, "parameters": 2})
        for stage, size, end in zip(small_parts()["stages"], sizes[1:], (1, 2, 4), strict=True)
    )
    layers = tuple(
        Layer(name=name, operator="aten.linear.default", inputs=(before,), shape=(1, 3), dtype="float32", stage=stage)
        for name, before, stage in (("a", "x", 0), ("b", "a", 1), ("c", "b", 2), ("d", "c", 2))
    )
    cuts = tuple(
        LayerCut(position=position, tensors=(name,), sizes=sizes[min(position, 3)])
        for position, name in enumerate(("x", "a", "b", "c", "d"))
    )
    points = tuple(
        SequencePoint(
            phase=phase,
            length=n,
            stage_latency_s=(0.001 * n, 0.002 * n, 0.003 * n),
            stage_latency_spread=(0.1, 0.1, 0.1),
            stage_flops=(5.0 * n, 10.0 * n + 2.0 * n * n, 7.0 * n),
            stage_memory_bytes=(10 * n, 20 * n, 30 * n),
            cut_sizes=tuple(CutSizes(fp32=4 * n * b, fp16=2 * n * b, int8=n * b) for b in (8, 32, 32, 1)),
            stage_cache_bytes=(0, 64 * n, 64 * n),
            whole_latency_s=0.006 * n,
        )
        for phase in ("prefill", "decode")
        for n in (8, 16, 32, 64)
    )
    flops = sum(stage.flops for stage in stages)
    return {
        "stages": stages,
        "exits": (Exit(name="final", after_stage=3, flops=0.0, latency_s=0.0),),
        "confidence": np.zeros((0, 1)),
        "correct": np.zeros((0, 1)),
        "leakage": np.array([1.0, np.nan, np.nan, 0.0]),
        "leakage_measure": "not measured",
        "reference": Reference(machine="test machine", effective_flops=flops / 0.003, energy_j=1.5, energy_meter="m"),
        "input_sizes": sizes[0],
        "layers": LayerTable(inputs=("x",), layers=layers, cuts=cuts),
        "sequence": points,
    }
