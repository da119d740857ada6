"""Catalogue speeds that come from published times: operations over time, to the digits that the entry keeps."""

import pytest

from edgecloud.profiles import load_catalogue

CATALOGUE = load_catalogue()

RESNET50_V1 = 7.716e9  # stride in the 1x1 convolutions: tests/profiles/machines/test_layers.py counts it
RESNET50_V15 = 8.178e9
YOLO11S = 21.5e9

NCNN_MS = {
    "raspberry-pi-4-ncnn-stock": 486.97,
    "rk3399-ncnn": 418.18,
    "snapdragon-410-ncnn": 423.99,
    "snapdragon-660-ncnn": 266.59,
    "snapdragon-675-ncnn": 178.77,
    "snapdragon-810-ncnn": 286.42,
    "snapdragon-835-ncnn": 191.98,
    "snapdragon-855-plus-ncnn": 28.32,
    "kirin-970-ncnn": 214.42,
    "snapdragon-835-gpu-ncnn": 110.38,
    "snapdragon-855-plus-gpu-ncnn": 59.98,
    "kirin-970-gpu-ncnn": 125.02,
    "jetson-agx-xavier-cpu-ncnn": 75.47,
    "jetson-agx-xavier-gpu-ncnn": 13.11,
    "macbook-m1-core-ncnn": 43.75,
    "macbook-m1-gpu-ncnn": 7.68,
    "threadripper-3970x-core-ncnn": 128.21,
    "ryzen-v1605b-ncnn": 73.68,
    "gpu-rtx-2060-notebook-ncnn": 5.51,
    "gpu-rtx-2080-ncnn": 4.49,
    "gpu-rtx-3090-ncnn": 5.80,
    "gpu-quadro-rtx-8000-ncnn": 3.07,
}
OTHERS = {  # operations, milliseconds
    "gpu-t4-pytorch": (RESNET50_V15, 10.7),
    "gpu-v100-pytorch": (RESNET50_V15, 10.37),
    "gpu-t4-pytorch-batch-256": (256 * RESNET50_V15, 635.98),
    "gpu-v100-pytorch-batch-256": (256 * RESNET50_V15, 214.48),
    "jetson-orin-nano-super-cpu-ncnn": (YOLO11S, 122.02),
    "jetson-orin-nano-super-pytorch": (YOLO11S, 22.0),
    "jetson-orin-nano-super-tensorrt": (YOLO11S, 13.29),
    "jetson-orin-nano-super-tensorrt-fp16": (YOLO11S, 7.30),
    "jetson-orin-nx-cpu-ncnn": (YOLO11S, 68.13),
    "jetson-orin-nx-tensorrt": (YOLO11S, 14.13),
    "jetson-orin-nx-tensorrt-fp16": (YOLO11S, 7.55),
    "azure-function-consumption": (8.2e9, 581.46),
    "epyc-core-pytorch": (3.786e9, 46.995),
}
ALL = {name: (RESNET50_V1, ms) for name, ms in NCNN_MS.items()} | OTHERS


@pytest.mark.parametrize("name", ALL)
def test_speed_is_operations_over_time(name: str) -> None:
    operations, ms = ALL[name]
    assert CATALOGUE.compute(name).effective_flops == pytest.approx(operations / (ms / 1e3), rel=0.006)


def test_every_entry_of_these_sources_is_checked() -> None:
    sourced = [name for name, entry in CATALOGUE.computes.items() if "7.716 GFLOP" in entry.source]
    assert sorted(sourced) == sorted(NCNN_MS)
