"""Sizes, operations, memory and grouping against figures worked out by hand."""

import numpy as np
import pytest
import torch
import zstandard
from torch import nn

from edgecloud.errors import InputError
from edgecloud.profiles.layer_table import CutSizes
from edgecloud.profiles.profiler import energy
from edgecloud.profiles.profiler.capture import capture
from edgecloud.profiles.profiler.costs import cut_sizes, measure_layers, measure_stages
from edgecloud.profiles.profiler.graph import LayerGraph
from edgecloud.profiles.profiler.grouping import coarsen, drop_pruned, fine_positions, stage_names
from edgecloud.profiles.profiler.payload import add_sizes, measure_sizes, quantise


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


@pytest.fixture
def small() -> LayerGraph:
    return LayerGraph(capture(Small(), (torch.randn(1, 8, generator=torch.Generator().manual_seed(1)),)))


def test_sizes_of_a_tensor():
    value = torch.relu(torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(0)))
    sizes = measure_sizes(value)
    assert (sizes.fp32, sizes.fp16, sizes.int8) == (65_536, 32_768, 16_384)
    raw = zstandard.ZstdCompressor(level=1).compress(value.numpy().tobytes())
    assert sizes.fp32_zstd == len(raw)
    assert sizes.int8_zstd < sizes.int8
    whole = measure_sizes(torch.arange(50).reshape(1, 50))
    assert (whole.fp32, whole.fp16, whole.int8) == (400, 400, 400)
    assert measure_sizes(torch.zeros(1, 7, dtype=torch.bool)).int8 == 7


def test_quantisation_error_is_half_a_step():
    value = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    codes, scale = quantise(value)
    assert codes.dtype == torch.int8
    assert float((codes * scale - value).abs().max()) <= scale / 2 * 1.001
    assert quantise(torch.zeros(3))[0].tolist() == [0, 0, 0]


def test_sums_of_sizes():
    known, unknown = CutSizes(fp32=4, fp16=2, int8=1, int8_zstd=1), CutSizes(fp32=8, fp16=4, int8=2)
    assert add_sizes([known, unknown]) == CutSizes(fp32=12, fp16=6, int8=3)
    assert add_sizes([known, known]).int8_zstd == 2


def test_operations_and_cuts_of_a_chain(small):
    layers = measure_layers(small)
    assert [layers.flops.get(node.name, 0) for node in small.nodes] == [2 * 8 * 16, 0, 2 * 16 * 4]
    assert [cut_sizes(small, cut.position, layers).fp32 for cut in small.cuts] == [32, 64, 64, 16]
    assert fine_positions(small, layers.flops, "all") == [0, 1, 2, 3]
    assert fine_positions(small, layers.flops, "narrow") == [0, 2, 3]
    assert stage_names(small, [0, 2, 3], layers.flops) == ["first", "second"]


def test_stage_costs(small):
    costs = measure_stages(small, [0, 2, 3], runs=7, original=lambda: None)
    assert costs.parameters == (8 * 16 + 16, 16 * 4 + 4)
    assert costs.weight_bytes == tuple(4 * count for count in costs.parameters)
    assert costs.memory_bytes == (4 * (16 + 16), 4 * (16 + 4))  # the input is let go once the first operator ran
    assert all(timing.median_s > 0 for timing in costs.latency)
    assert costs.runs == 7
    assert costs.cache_bytes == (0, 0)


def test_memory_counts_what_is_passed_on():
    """The skip stays alive through the block between: it is part of the middle stage's memory."""

    class Skip(Small):
        def forward(self, x):
            return x + nn.functional.pad(self.second(torch.relu(self.first(x))), (0, 4))

    graph = LayerGraph(capture(Skip(), (torch.randn(1, 8),)))
    costs = measure_stages(graph, [0, 1, 2, 3, 4, 5], runs=7)
    assert costs.memory_bytes[1] == 4 * (8 + 16 + 16)
    assert costs.memory_bytes[2] == 4 * (8 + 16 + 4)


def test_fewer_runs_when_time_is_short(named):
    graph = named("vgg16")
    assert measure_stages(graph, [0, len(graph.nodes)], runs=40, seconds=1e-6).runs == 7


def test_flops_of_every_architecture_add_up(architecture):
    """The operators' sum is what the counter finds for the whole."""
    from edgecloud.profiles.measuring.timing import count_flops

    graph = architecture
    with torch.inference_mode():
        whole = count_flops(lambda: graph.captured.module(*graph.captured.inputs))
    assert sum(measure_layers(graph).flops.values()) == whole > 0


def test_attention_is_counted(named):
    """2 layers, 2 heads of width 16, 12 tokens: two products of 12 x 16 x 12 multiply-adds per head."""
    flops = measure_layers(named("bert-base")).flops
    attention = [value for name, value in flops.items() if "attention" in name]
    assert attention == [2 * (2 * 2 * 12 * 16 * 12)] * 2


def test_narrow_stages_of_the_architectures(named):
    stages = {}
    for name in ("chain", "vgg16", "resnet50", "vit-b16", "bert-base", "gpt2-prefill", "gpt2-decode"):
        graph = named(name)
        stages[name] = len(fine_positions(graph, measure_layers(graph).flops, "narrow")) - 1
    assert stages == {
        "chain": 4,
        "vgg16": 16,
        "resnet50": 6,  # stem, four blocks, classifier
        "vit-b16": 6,  # patches, attention and MLP twice, classifier
        "bert-base": 7,  # embeddings, attention and MLP twice, pooler, classifier
        "gpt2-prefill": 6,  # embeddings, attention and MLP twice, head
        "gpt2-decode": 6,
    }


def test_stage_names_are_unique(architecture):
    flops = measure_layers(architecture).flops
    for grouping in ("narrow", "all"):
        names = stage_names(architecture, fine_positions(architecture, flops, grouping), flops)
        assert len(set(names)) == len(names)
        assert all(0 < len(name) <= 80 for name in names)


def test_winners_and_coarse_stages():
    sizes = {p: CutSizes(fp32=4 * b, fp16=2 * b, int8=b) for p, b in enumerate([10, 20, 8, 8, 5, 9, 1])}
    assert drop_pruned(range(7), sizes, 1) == [0, 2, 4, 6]
    work = [0.0, 1, 5, 6, 7, 9, 20]
    kept = coarsen(range(7), range(7), work, [0, 2, 4, 6], 3)
    assert kept == [0, 2, 4, 6]
    assert coarsen(range(7), range(7), work, [0, 2, 4, 6], 1) == [0, 6]
    assert coarsen(range(7), range(7), work, [0, 2, 4, 6], 99) == list(range(7))


def test_energy_meter(tmp_path):
    assert energy.find_meter(tmp_path) is None
    for number in (0, 1):
        package = tmp_path / f"intel-rapl:{number}"
        package.mkdir()
        (package / "energy_uj").write_text("999000000\n")
        (package / "max_energy_range_uj").write_text("1000000000\n")
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of package 0: not counted again
    meter = energy.find_meter(tmp_path)
    assert meter is not None
    assert len(meter.counters) == 2

    def call() -> None:
        for path in meter.counters:
            path.write_text(str((int(path.read_text()) + 500_000) % 1_000_000_001))

    assert energy.joules_per_call(meter, call, seconds=0) == pytest.approx(1.0)
    assert meter.joules((999_999_999, 0), (1_000, 0)) == pytest.approx(1002e-6, rel=1e-6)


def test_no_profile_of_parts_that_compute_something_else(small, monkeypatch):
    from edgecloud.profiles.profiler import costs

    monkeypatch.setattr(costs, "run_parts", lambda parts, graph, inputs: (torch.zeros(1, 4),))
    with pytest.raises(InputError, match="bit for bit"):
        measure_stages(small, [0, 2, 3], runs=7)


def test_layer_order_is_topological(architecture):
    place = {node.name: number for number, node in enumerate(architecture.nodes)}
    edges = [(place.get(a, -1), place[b]) for a, b in architecture.digraph().edges if b in place]
    assert np.all(np.diff(np.array(edges), axis=1) > 0)
