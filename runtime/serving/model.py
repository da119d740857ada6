"""A network that is run in parts: any stages in a row with the heads among them, loaded where they are needed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError, did_you_mean
from ...profiles.networks.checkpoints import build_network, read_checkpoint, shape_from
from ...profiles.networks.network import EarlyExitCnn, NetworkShape
from ...profiles.networks.recipes import NETWORKS
from .segments import Segment, SegmentStore

__all__ = ["Activation", "Answer", "SplitModel", "load_split_model"]

StateDict = Mapping[str, Tensor]
IMAGE_SIDES = {3: 32, 1: 28}
"""Side of the images by channels, where a run folder does not say: CIFAR-10 and Fashion-MNIST."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A head was sure enough, or was the last."""

    exit: int
    label: int
    confidence: float
    """Calibrated probability of the label."""
    logits: Tensor
    """(classes,)"""
    first_confidence: float
    """At the first head; NaN: not computed here."""


@dataclass(frozen=True, eq=False)
class Activation:
    """Nobody answered up to this cut."""

    tensor: Tensor
    """(1, …), what crosses the cut; the raw uint8 image at cut 0."""
    cut: int
    first_confidence: float


class SplitModel:
    """An early-exit network as stages and heads, of which any part can be loaded and run.

    A head that sits after stage `m` belongs to the part that ends with `m`: the tier before a cut asks it. With an
    infinite threshold only the last head is computed, as in the environment. Parts give the bits of the whole: they
    are the same modules on tensors of the same memory layout.

    Args:
        shape: The network's shape.
        state: Gives its parameters; called when a part is loaded, so that they need not stay in memory.
        temperature: Divides the logits of each head before the softmax.
        side: Side of the images in pixels.
        resident: Parts kept loaded at a time.
    """

    def __init__(
        self,
        shape: NetworkShape,
        state: Callable[[], StateDict],
        temperature: tuple[float, ...] = (),
        side: int = 0,
        resident: int = 2,
    ) -> None:
        self.network_shape = shape
        self.temperature = temperature or (1.0,) * len(shape.exits)
        if len(self.temperature) != len(shape.exits) or not all(value > 0 for value in self.temperature):
            raise InputError("split model", "temperature", "must be one positive number per exit", self.temperature)
        self.side = side or IMAGE_SIDES[shape.channels]
        self._state = state
        self.shapes = self._shapes()
        self.fingerprint = self._fingerprint()
        self.segments = SegmentStore(self._load, resident)

    @property
    def stages(self) -> int:
        """Number of stages, M."""
        return len(self.network_shape.widths)

    @property
    def exits(self) -> tuple[int, ...]:
        """Cut at which each head sits; the last is M."""
        return self.network_shape.exits

    def run(self, tensor: Tensor, first: int, last: int, threshold: float = math.inf) -> Answer | Activation:
        """Run stages `[first, last)` with the heads after them.

        Args:
            tensor: What crosses cut `first`, shape `shapes[first]`; at cut 0 the uint8 image.
            first: Cut to begin at.
            last: Cut to end at.
            threshold: Confidence at which a head answers.

        Raises:
            InputError: If the cuts are not in order.
        """
        if not 0 <= first <= last <= self.stages:
            raise InputError("split model", "cuts", f"must satisfy 0 <= first <= last <= {self.stages}", (first, last))
        if first == last:
            return Activation(tensor, first, math.nan)
        segment, _ = self.segments.get(first, last)
        return run_segment(segment, tensor, threshold)

    def keep_whole(self) -> None:
        """Load the whole network once; parts are taken from it from now on, and no switch costs a pause."""
        whole, _ = self.segments.get(0, self.stages)

        def part(first: int, last: int) -> Segment:
            heads = {after: head for after, head in whole.heads.items() if first < after <= last}
            return Segment(first, last, whole.stages[first:last], heads, whole.final, whole.prepare)

        self.segments = SegmentStore(part, 1 << 16)

    def whole(self) -> EarlyExitCnn:
        """The network in one piece, in evaluation mode; for comparisons and for running everything in one place."""
        network = build_network(self.network_shape)
        network.load_state_dict(dict(self._state()))
        return network.eval()

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of the tensor at each cut for one image."""
        image = torch.zeros(1, self.network_shape.channels, self.side, self.side)
        with torch.inference_mode():
            return tuple(tuple(tensor.shape) for tensor in _skeleton(self.network_shape).activations(image))

    def _fingerprint(self) -> str:
        """Names the function that is computed: shape, temperatures and every parameter."""
        digest = hashlib.sha256(json.dumps([self.network_shape.as_dict(), self.temperature, self.side]).encode())
        for name, value in sorted(self._state().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value.numpy()).tobytes())
        return digest.hexdigest()[:32]

    def _load(self, first: int, last: int) -> Segment:
        """The modules of a part, with parameters of their own."""
        network = _skeleton(self.network_shape)
        exits = [(index, after) for index, after in enumerate(self.exits) if first < after <= last]
        parts: dict[str, nn.Module] = {f"stages.{stage}.": network.stages[stage] for stage in range(first, last)}
        parts |= {f"heads.{index}.": network.heads[index] for index, _ in exits}
        state = self._state()
        for prefix, module in parts.items():
            own = {name.removeprefix(prefix): _copy(value) for name, value in state.items() if name.startswith(prefix)}
            module.load_state_dict(own, assign=True)
            module.requires_grad_(False).eval()
        return Segment(
            first=first,
            last=last,
            stages=tuple(network.stages[stage] for stage in range(first, last)),
            heads={after: (index, network.heads[index], self.temperature[index]) for index, after in exits},
            final=self.stages,
            prepare=network.prepare,
        )


def _skeleton(shape: NetworkShape) -> EarlyExitCnn:
    """The modules with whatever parameters; the meta device would do too, but its first use imports for a second."""
    with torch.random.fork_rng(devices=[]):
        return EarlyExitCnn(shape).eval()


def _copy(value: Tensor) -> Tensor:
    """A parameter in memory of its own (the state may be a mapped file), in the order that convolutions prefer."""
    return value.clone(memory_format=torch.channels_last if value.dim() == 4 else torch.contiguous_format)


@torch.inference_mode()
def run_segment(segment: Segment, tensor: Tensor, threshold: float) -> Answer | Activation:
    """Run a loaded part on the tensor of one image."""
    value = segment.prepare(tensor) if segment.first == 0 else tensor
    first_confidence = math.nan
    for cut, stage in enumerate(segment.stages, start=segment.first + 1):
        value = stage(value)
        if cut in segment.heads and (math.isfinite(threshold) or cut == segment.final):
            index, head, temperature = segment.heads[cut]
            answer = judge(index, head(value)[0], temperature)
            first_confidence = answer.confidence if index == 0 else first_confidence
            if answer.confidence >= threshold or cut == segment.final:
                return Answer(index, answer.label, answer.confidence, answer.logits, first_confidence)
    return Activation(value, segment.last, first_confidence)


def judge(index: int, logits: Tensor, temperature: float) -> Answer:
    """What a head's logits (classes,) say."""
    plain = logits.numpy().astype(np.float64) / temperature
    weights = np.exp(plain - plain.max())
    label = int(plain.argmax())
    return Answer(index, label, min(float(weights[label] / weights.sum()), 1.0), logits, math.nan)


def load_split_model(spec: str | Path, resident: int = 2) -> SplitModel:
    """A split model by name.

    Args:
        spec: A finished run folder of `edgecloud profiles train`, or `random:NETWORK` or `random:NETWORK:SEED` for an
            untrained network of `edgecloud.profiles.networks.recipes.NETWORKS` (for tests and for trying things out).
        resident: Parts kept loaded at a time.

    Raises:
        InputError: If there is no such run or network.
    """
    words = str(spec).split(":")
    if words[0] == "random" and len(words) in (2, 3):
        return _random_model(words[1], words[2] if len(words) == 3 else "0", resident)
    folder = Path(spec)
    report = _report(folder)
    checkpoint = folder / "checkpoint.pt"
    shape = shape_from(read_checkpoint(checkpoint))

    def state() -> StateDict:
        # Mapped: only the parameters that are asked for are read from the disk.
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        network: StateDict = content["network"]
        return network

    return SplitModel(shape, state, tuple(float(value) for value in report.get("temperature", ())), 0, resident)


def _report(folder: Path) -> dict[str, Any]:
    path = folder / "training.json"
    if not path.is_file():
        remedy = "train one with 'edgecloud profiles train', or use random:small"
        raise InputError(folder, "", "must be a finished training run", None, remedy)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        raise InputError(path, "", "must be readable JSON", str(error)) from error


def _random_model(name: str, seed: str, resident: int) -> SplitModel:
    """An untrained network whose activations and confidences spread like a trained one's."""
    if name not in NETWORKS:
        raise InputError("model", "random", f"must be one of {', '.join(NETWORKS)}", name, did_you_mean(name, NETWORKS))
    if not seed.isdecimal():
        raise InputError("model", "random", "must end with a seed, a whole number", seed)
    shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        network = build_network(shape)
        images = torch.randint(0, 256, (32, shape.channels, 32, 32), dtype=torch.uint8)
        network.train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # statistics of the one batch
        with torch.no_grad():
            network(network.prepare(images))
            for head in network.heads:
                for parameter in list(head.parameters())[-2:]:
                    parameter.mul_(8.0)
    state = {key: value.detach() for key, value in network.state_dict().items()}
    return SplitModel(shape, lambda: state, resident=resident)
