"""Processor time of one training step of each early-exit network in float32 and in bfloat16, on one thread.

python benchmarks/exit_training_speed.py
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgecloud.profiles.images.image_set import ImageSet
from edgecloud.profiles.networks.recipes import NETWORKS, network_shape, train_settings
from edgecloud.profiles.networks.training import train_network

STEPS, BATCH, HELD_OUT = 8, 128, 64


def noise_images(channels: int, side: int) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (STEPS * BATCH + HELD_OUT, channels, side, side), dtype=np.uint8)
    labels = rng.integers(0, 10, len(pixels))
    return ImageSet(pixels, labels, pixels[:1], labels[:1], name="noise")


def step_s(network: str, precision: str) -> float:
    dataset, side = ("fashion-mnist", 28) if network == "small" else ("cifar10", 32)
    shape = network_shape(network, dataset)
    settings = replace(train_settings(shape, "joint", 1, 0, precision, 0), held_out=HELD_OUT)
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        train_network(
            noise_images(shape.channels, side),
            Path(folder) / "checkpoint.pt",
            settings,
            shape,
            on_step=lambda *_: moments.append(time.thread_time()),
        )
    return float(np.median(np.diff(moments)))


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'network':10} {'float32 s':>10} {'bfloat16 s':>10} {'ratio':>6}")
    for network in NETWORKS:
        plain, reduced = step_s(network, "float32"), step_s(network, "bfloat16")
        print(f"{network:10} {plain:10.3f} {reduced:10.3f} {plain / reduced:6.2f}")


if __name__ == "__main__":
    main()
