from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from edgecloud.errors import InputError
from edgecloud.profiles import load_profile
from edgecloud.profiles.machines.layers import Layer, group_stages
from edgecloud.profiles.machines.stage_check import measure_here, network_of
from edgecloud.profiles.machines.tracing import trace_layers
from edgecloud.profiles.networks.recipes import network_shape


class Block(nn.Module):
    """A residual block with functional calls: no module to hook for the sum and the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(8, 16, (1, 3), padding=(0, 1), stride=1, bias=False)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.relu(self.wide(x))
        return functional.relu6(wide + self.norm(self.deep(wide)))


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.MaxPool2d(3, 2, 1),
        Block(),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
        nn.Softmax(-1),
    ).eval()


def test_every_layer_is_found_in_order() -> None:
    trace = trace_layers(network(), torch.rand(1, 3, 32, 32))
    small = (8, 8)
    assert [item.layer for item in trace.layers] == [
        Layer("conv", 3, 8, (32, 32), (16, 16), (3, 3), 2),
        Layer("maxpool", 8, 8, (16, 16), small, (3, 3), 2),
        Layer("conv", 8, 16, small, small, (1, 3)),
        Layer("relu", 16, 16, small, small),
        Layer("dw_conv", 16, 16, small, small, (3, 3), 1, 16),
        Layer("batchnorm", 16, 16, small, small),
        Layer("add", 16, 16, small, small),
        Layer("relu", 16, 16, small, small),
        Layer("avgpool", 16, 16, small, (4, 4), (2, 2), 2),
        Layer("avgpool", 16, 16, (4, 4), (1, 1), (4, 4), 4),
        Layer("linear", 16, 10),
    ]
    assert trace.other == {"_softmax": 1}
    assert list(group_stages(trace.layers)) == ["0", "1", "2", "3", "4", "6"]
    deeper = trace_layers(network(), torch.rand(1, 3, 32, 32), depth=2)
    assert {"2.wide", "2.deep", "2"} <= set(group_stages(deeper.layers))


def test_operations_agree_with_the_flop_counter() -> None:
    model, image = network(), torch.rand(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    assert sum(item.layer.flops for item in trace_layers(model, image).layers) == counter.get_total_flops()


def test_attention_is_reported_as_unlisted_work() -> None:
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    tokens = torch.rand(1, 5, 16)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        trace = trace_layers(model, tokens)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    listed = sum(item.layer.flops for item in trace.layers)
    assert {item.layer.kind for item in trace.layers} >= {"linear", "relu"}
    assert listed == 2 * 5 * (16 * 48 + 16 * 16 + 2 * 16 * 32)
    assert trace.other_flops == 2 * 2 * 2 * 5 * 5 * 8  # two products, two heads, five by five tokens, eight channels
    assert "native_layer_norm" in trace.other


def test_what_cannot_be_traced() -> None:
    with pytest.raises(InputError, match="one sample"):
        trace_layers(network(), torch.rand(2, 3, 32, 32))
    with pytest.raises(InputError, match="known type"):
        trace_layers(nn.Softmax(-1), torch.rand(1, 3))


def test_the_profiled_network_is_rebuilt() -> None:
    profile = load_profile("cifar10-ee-224")
    found = network_of(profile)
    assert [sum(layer.flops for layer in stage) for stage in found.stages] == profile.stage_flops.tolist()
    assert [sum(layer.flops for layer in head) for head in found.heads] == profile.exit_flops.tolist()
    small = load_profile("cifar10-ee-32")
    costs = measure_here(network_of(small), runs=7)
    assert [stage.flops for stage in costs.stages] == small.stage_flops.tolist()


def test_a_network_of_grey_images(make_profile) -> None:  # type: ignore[no-untyped-def]
    shape = asdict(network_shape("small", "fashion-mnist", "joint"))
    found = network_of(make_profile(provenance={"training": {"shape": shape}, "cost_pixels": 28}))
    costs = measure_here(found, runs=7)
    assert [stage.flops for stage in costs.stages] == [sum(layer.flops for layer in stage) for stage in found.stages]


def test_a_profile_without_a_network(make_profile) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="must tell the network's shape"):
        network_of(make_profile())
