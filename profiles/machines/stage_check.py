"""An independent network for a platform model: the early-exit CNN of a profile, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...errors import InputError
from ..measuring.costs import Costs, measure_costs
from ..networks.network import EarlyExitCnn, NetworkShape
from ..profile import Profile
from .layers import Layer
from .tracing import trace_layers

__all__ = ["ProfiledNetwork", "measure_here", "network_of"]


@dataclass(frozen=True)
class ProfiledNetwork:
    """The network behind a profile, with random weights, and its layers.

    Attributes:
        network: In evaluation mode.
        pixels: Height and width at which the profile was measured.
        stages: Layers of each stage, (M,).
        heads: Layers of each head, (E,).
    """

    network: EarlyExitCnn
    pixels: int
    stages: list[list[Layer]]
    heads: list[list[Layer]]


def network_of(profile: Profile) -> ProfiledNetwork:
    """Rebuild the early-exit CNN of a profile from its provenance, and list its layers.

    Raises:
        InputError: the profile does not say what shape its network has; those of `edgecloud profiles measure` do.
    """
    shape = profile.provenance.get("training", {}).get("shape")
    pixels = profile.provenance.get("cost_pixels")
    if not isinstance(shape, dict) or not isinstance(pixels, int):
        remedy = "give one that `edgecloud profiles measure` wrote"
        raise InputError(profile.name, "provenance.training.shape", "must tell the network's shape", None, remedy)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in shape.items()}
    network = EarlyExitCnn(NetworkShape(**values)).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as the trained one
    tensor = torch.rand(1, network.shape.channels, pixels, pixels)
    stages, heads = [], []
    with torch.no_grad():
        for number, stage in enumerate(network.stages, start=1):
            stages.append([item.layer for item in trace_layers(stage, tensor).layers])
            tensor = stage(tensor)
            if number in network.shape.exits:
                head = network.heads[network.shape.exits.index(number)]
                heads.append([item.layer for item in trace_layers(head, tensor).layers])
    return ProfiledNetwork(network, pixels, stages, heads)


def measure_here(found: ProfiledNetwork, runs: int = 31) -> Costs:
    """Stage and head latencies of the rebuilt network on this machine, as `edgecloud profiles measure` takes them."""
    return measure_costs(found.network, found.pixels, runs)
