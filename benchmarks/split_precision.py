"""Accuracy on the real test images when the activation at each cut is sent with fewer bits.

    python benchmarks/split_precision.py RUN                 # a finished run of 'edgecloud profiles train'
    python benchmarks/split_precision.py RUN --images 2000   # quicker

Every image's tensor goes through the messages' codec by itself, as when it is served. The last classifier answers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from edgecloud.profiles.images.cifar10 import load_cifar10
from edgecloud.runtime.serving.model import load_split_model
from edgecloud.runtime.serving.payloads import Encoding, pack, unpack

BATCH = 250
NAMES = ("fp32", "fp16", "int8", "int8c", "int8+lz4", "int8+zstd")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_split_model(arguments.run)
    whole, data = model.whole(), load_cifar10()
    images = torch.from_numpy(data.test_images[: arguments.images])
    labels = torch.from_numpy(data.test_labels[: arguments.images])
    hits = torch.zeros(len(NAMES), model.stages, dtype=torch.int64)
    size = torch.zeros(len(NAMES), model.stages, dtype=torch.int64)
    same = 0
    for start in range(0, len(images), BATCH):
        tensors = whole.activations(whole.prepare(images[start : start + BATCH]))
        truth = labels[start : start + BATCH]
        same += int((whole.heads[-1](tensors[-1]).argmax(1) == truth).sum())
        for cut in range(1, model.stages):
            for index, name in enumerate(NAMES):
                payloads = [pack(row, Encoding.parse(name)) for row in tensors[cut].split(1)]
                size[index, cut] += sum(len(payload.data) + len(payload.scales) for payload in payloads)
                value = torch.cat([unpack(payload, model.shapes[cut]) for payload in payloads])
                for stage in whole.stages[cut:]:
                    value = stage(value)
                hits[index, cut] += int((whole.heads[-1](value).argmax(1) == truth).sum())
    print(f"{len(images)} test images; the whole network: {same / len(images):.4f}")
    print("accuracy (mean bytes sent) at cut " + "".join(f"{cut:>20}" for cut in range(1, model.stages)))
    for index, name in enumerate(NAMES):
        cells = (
            f"{hits[index, cut] / len(images):.4f} ({size[index, cut] // len(images):,})"
            for cut in range(1, model.stages)
        )
        print(f"{name:<34}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
