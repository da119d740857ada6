"""The networks that DADS was measured with, as graphs of layers that a platform model can predict.

NiN, tiny YOLOv2, VGG16, AlexNet and ResNet18 at 224 x 224. Activations are part of the layer before them (the platform
models were fitted without a regression of their own for them), sums of residual blocks take no time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgecloud.baselines.mincut import LayerGraph
from edgecloud.profiles.machines.layers import Layer, slid_size
from edgecloud.profiles.machines.platform_model import PlatformModel

PIXELS = 224
INPUT_BYTES = 3 * PIXELS * PIXELS
"""The raw image, one byte per value."""


@dataclass
class Network:
    """Layers, what each writes, and who reads whom."""

    name: str
    layers: list[Layer] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, name: str, layer: Layer, parents: tuple[int, ...]) -> int:
        """Append a layer; -1 as a parent is the input."""
        self.layers.append(layer)
        self.names.append(name)
        index = len(self.layers) - 1
        self.edges += [(parent, index) for parent in parents if parent >= 0]
        return index

    @property
    def flops(self) -> float:
        """Operations of one inference, a multiply-add as two."""
        return float(sum(layer.flops for layer in self.layers))

    @property
    def is_chain(self) -> bool:
        """Whether every layer reads the one before it and nothing else."""
        return sorted(self.edges) == [(k, k + 1) for k in range(len(self.layers) - 1)]

    def graph(self, device: PlatformModel, server: PlatformModel, bytes_per_value: float) -> LayerGraph:
        """Predicted times and what crosses; the network reads one byte per value of its input."""
        return LayerGraph(
            device.predict_s(self.layers, "zero"),
            server.predict_s(self.layers, "zero"),
            bytes_per_value * np.array([layer.output_elements for layer in self.layers], dtype=np.float64),
            np.array(self.edges, dtype=np.int64).reshape(-1, 2),
            float(INPUT_BYTES),
        )


class _Maker:
    """Builds a network front to back; `at` is (layer, side, channels)."""

    def __init__(self, name: str) -> None:
        self.network = Network(name)
        self.at = (-1, PIXELS, 3)

    def _slide(self, name: str, kind: str, out: int, kernel: int, stride: int, pad: int) -> None:
        parent, side, channels = self.at
        new = slid_size(side, kernel, stride, pad)
        layer = Layer(kind, channels, out, (side, side), (new, new), (kernel, kernel), stride)
        self.at = (self.network.add(name, layer, (parent,)), new, out)

    def conv(
        self, name: str, out: int, kernel: int, stride: int = 1, pad: int | None = None, norm: bool = False
    ) -> None:
        self._slide(name, "conv", out, kernel, stride, kernel // 2 if pad is None else pad)
        if norm:
            parent, side, channels = self.at
            layer = Layer("batchnorm", channels, channels, (side, side), (side, side))
            self.at = (self.network.add(f"{name}.norm", layer, (parent,)), side, channels)

    def pool(self, name: str, kernel: int, stride: int, pad: int = 0, kind: str = "maxpool") -> None:
        self._slide(name, kind, self.at[2], kernel, stride, pad)

    def linear(self, name: str, out: int) -> None:
        parent, side, channels = self.at
        layer = Layer("linear", channels * side * side, out)
        self.at = (self.network.add(name, layer, (parent,)), 1, out)

    def add(self, name: str, other: tuple[int, int, int]) -> None:
        parent, side, channels = self.at
        layer = Layer("add", channels, channels, (side, side), (side, side))
        self.at = (self.network.add(name, layer, (parent, other[0])), side, channels)


def alexnet() -> Network:
    """Krizhevsky et al. 2012, in one tower (no groups)."""
    m = _Maker("AlexNet")
    m.conv("conv1", 96, 11, 4, 2)
    m.pool("pool1", 3, 2)
    m.conv("conv2", 256, 5)
    m.pool("pool2", 3, 2)
    for k, out in ((3, 384), (4, 384), (5, 256)):
        m.conv(f"conv{k}", out, 3)
    m.pool("pool5", 3, 2)
    for k, out in ((6, 4096), (7, 4096), (8, 1000)):
        m.linear(f"fc{k}", out)
    return m.network


def vgg16() -> Network:
    """Configuration D of Simonyan and Zisserman 2015."""
    m = _Maker("VGG16")
    for block, (count, out) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for k in range(1, count + 1):
            m.conv(f"conv{block}_{k}", out, 3)
        m.pool(f"pool{block}", 2, 2)
    for k, out in ((6, 4096), (7, 4096), (8, 1000)):
        m.linear(f"fc{k}", out)
    return m.network


def nin() -> Network:
    """Network in network (Lin et al. 2014), its ImageNet form: four convolutions with two 1 x 1 ones after each."""
    m = _Maker("NiN")
    blocks = ((96, 11, 4, 0, 96), (256, 5, 1, 2, 256), (384, 3, 1, 1, 384), (1024, 3, 1, 1, 1000))
    for k, (out, kernel, stride, pad, last) in enumerate(blocks, start=1):
        m.conv(f"conv{k}", out, kernel, stride, pad)
        m.conv(f"cccp{k}a", out, 1)
        m.conv(f"cccp{k}b", last, 1)
        if k < len(blocks):
            m.pool(f"pool{k}", 3, 2)
    m.pool("pool4", m.at[1], 1, kind="avgpool")
    return m.network


def tiny_yolo_v2() -> Network:
    """Tiny YOLOv2 (Redmon and Farhadi 2017), 20 classes and five boxes, here at 224 x 224 as DADS' frames."""
    m = _Maker("tinyYOLOv2")
    for k, out in enumerate((16, 32, 64, 128, 256), start=1):
        m.conv(f"conv{k}", out, 3, norm=True)
        m.pool(f"pool{k}", 2, 2)
    for k, out in ((6, 512), (7, 1024), (8, 1024)):
        m.conv(f"conv{k}", out, 3, norm=True)
    m.conv("conv9", 125, 1)
    return m.network


def resnet18() -> Network:
    """He et al. 2016, 18 layers: the one that is no chain."""
    m = _Maker("ResNet18")
    m.conv("conv1", 64, 7, 2, 3, norm=True)
    m.pool("pool1", 3, 2, 1)
    for stage, out in enumerate((64, 128, 256, 512), start=2):
        for block in (1, 2):
            name, stride = f"conv{stage}_{block}", 2 if block == 1 and stage > 2 else 1
            shortcut = m.at
            m.conv(f"{name}a", out, 3, stride, norm=True)
            m.conv(f"{name}b", out, 3, norm=True)
            if stride > 1:
                main, m.at = m.at, shortcut
                m.conv(f"{name}s", out, 1, stride, norm=True)
                shortcut, m.at = m.at, main
            m.add(f"{name}+", shortcut)
    m.pool("pool", m.at[1], 1, kind="avgpool")
    m.linear("fc", 1000)
    return m.network


MODELS: dict[str, Callable[[], Network]] = {
    "NiN": nin,
    "tinyYOLOv2": tiny_yolo_v2,
    "VGG16": vgg16,
    "AlexNet": alexnet,
    "ResNet18": resnet18,
}
