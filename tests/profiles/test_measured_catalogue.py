"""The shipped profiles of known architectures: published sizes, and what the commands promise."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import edgecloud.profiles
from edgecloud.profiles import list_profiles, load_profile
from edgecloud.profiles.pruning import can_win_in_any
from edgecloud.profiles.sequence import at_length, cache_bytes_before_cut

SHIPPED = Path(edgecloud.profiles.__file__).parent / "shipped"
PARAMETERS = {  # weights and biases of the architectures, counted layer by layer from their definitions
    "vgg16-224": 138_357_544,
    "resnet50-224": 25_557_032,
    "mobilenetv2-224": 3_504_872,
    "vit-b16-224": 86_567_656,
    "bert-base": 109_483_778,
    "gpt2": 124_439_808,
}
VGG16_CONVOLUTIONS = [  # input and output channels, pixels
    (3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56), (256, 256, 56),
    (256, 512, 28), (512, 512, 28), (512, 512, 28), (512, 512, 14), (512, 512, 14), (512, 512, 14),
]  # fmt: skip
SURE = {"vgg16-224", "resnet50-224", "mobilenetv2-224", "vit-b16-224", "bert-base", "gpt2"}
"""Must be there; each of the others is tested as soon as its files are, and skipped with a reason before that."""


def absent(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(name not in {*SURE, *list_profiles()}, reason=f"{name} is not shipped yet")


NAMES = [pytest.param(name, marks=absent(name)) for name in sorted(PARAMETERS)]


def test_the_catalogue_is_complete_and_small():
    attacked = {"cifar10-chain-ee", "cifar10-resnet-ee", "fashion-mnist-sdn"}
    assert SURE | attacked | {"cifar10-ee-32", "cifar10-ee-224"} <= set(list_profiles())
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 20e6


@pytest.mark.parametrize("name", NAMES)
def test_measured_profile(name):
    profile = load_profile(name)
    made = profile.provenance
    assert profile.name == name
    assert made["parameters"] == PARAMETERS[name]
    assert {"command", "date", "seed", "versions", "weights", "notes", "load_average_before"} <= set(made)
    assert made["command"].startswith("edgecloud profile ")
    assert "/work" not in str(made)
    assert profile.reference.runs >= 7
    assert 0.9 < profile.stage_latency_s.sum() / profile.reference.whole_latency_s < 1.1
    assert not profile.has_exit_table
    assert not profile.leakage_known
    assert all(stage.latency_s > 0 for stage in profile.stages)


@pytest.mark.parametrize("name", NAMES)
def test_layers_agree_with_stages(name):
    profile = load_profile(name)
    table = profile.layers
    flops = np.bincount(
        [layer.stage for layer in table.layers],
        weights=[layer.flops for layer in table.layers],
        minlength=profile.n_stages,
    )
    assert np.array_equal(flops, profile.stage_flops)
    by_position = {cut.position: cut for cut in table.cuts}
    assert all(by_position[stage.end].sizes == stage.sizes for stage in profile.stages)
    assert all(len(by_position[stage.end].tensors) == 1 for stage in profile.stages)
    shapes = {layer.name: layer.shape for layer in table.layers}
    for cut in table.cuts[1:]:
        sizes, known = cut.sizes, [shapes[name] for name in cut.tensors if name not in table.inputs]
        elements = sum(int(np.prod(shape)) for shape in known)
        whole_numbers = sizes.fp32 == sizes.fp16 == sizes.int8 == 8 * elements  # token numbers, only reshaped so far
        assert sizes.fp32 == 2 * sizes.fp16 == 4 * sizes.int8 or set(cut.tensors) & set(table.inputs) or whole_numbers
        assert elements <= sizes.int8


@pytest.mark.parametrize("name", NAMES)
def test_few_cuts_can_win(name):
    profile = load_profile(name)
    keep = can_win_in_any(profile.cut_sizes(), profile.result_bytes)
    assert 3 <= keep.sum() < profile.n_stages
    plain = [
        cut.sizes.model_copy(update=dict.fromkeys(("fp32_zstd", "fp16_zstd", "int8_zstd")))
        for cut in profile.layers.cuts
    ]
    assert can_win_in_any(plain, profile.result_bytes).sum() < len(plain) / 4


def test_operations_of_vgg16():
    """All from the definition: 2 x 9 x input x output channels x pixels, and three linear layers."""
    convolutions = [2 * 9 * i * o * p * p for i, o, p in VGG16_CONVOLUTIONS]
    linear = [2 * i * o for i, o in ((25_088, 4096), (4096, 4096), (4096, 1000))]
    assert load_profile("vgg16-224").stage_flops.tolist() == [*convolutions, *linear]


@pytest.mark.parametrize(
    ("name", "gflop"),
    [
        ("resnet50-224", 8.18),
        ("mobilenetv2-224", 0.60),
        pytest.param("vit-b16-224", 35.1, marks=absent("vit-b16-224")),
    ],
)
def test_operations(name, gflop):
    """Twice the multiply-adds that are usually quoted (4.09, 0.30 and 17.6 billion)."""
    assert load_profile(name).total_flops / 1e9 == pytest.approx(gflop, rel=0.01)


def transformer_flops(tokens: int, seen: int) -> float:
    """Twelve layers of width 768: four square and two fourfold products, and attention to `seen` tokens."""
    return 12 * (2 * tokens * 12 * 768 * 768 + 2 * 2 * tokens * seen * 768)


@absent("bert-base")
def test_bert_over_lengths():
    profile = load_profile("bert-base")
    assert {point.phase for point in profile.sequence} == {"prefill"}
    assert len(profile.sequence) >= 3
    for point in profile.sequence:
        head = 2 * 768 * 768 + 2 * 768 * 2
        assert sum(point.stage_flops) == transformer_flops(point.length, point.length) + head
        assert point.cut_sizes[5].int8 == 768 * point.length
    assert at_length(profile, 100).total_flops == pytest.approx(transformer_flops(100, 100) + head, rel=1e-9)


@absent("gpt2")
def test_gpt2_over_lengths():
    profile = load_profile("gpt2")
    phases = [point.phase for point in profile.sequence]
    assert phases.count("prefill") == phases.count("decode") >= 3
    head = 2 * 768 * 50_257
    for point in profile.sequence:
        decode = point.phase == "decode"
        tokens, seen = (1, point.length + 1) if decode else (point.length, point.length)
        assert sum(point.stage_flops) == transformer_flops(tokens, seen) + head
        assert sum(point.stage_cache_bytes) == 12 * 2 * 4 * 768 * seen
        assert {sizes.int8 for sizes in point.cut_sizes[1:-2]} == {768 * tokens}
    before = cache_bytes_before_cut(profile, 128)
    assert before[0] == 0
    assert before[-1] == 12 * 2 * 4 * 768 * 129
    assert all(a <= b for a, b in itertools.pairwise(before))


@absent("gpt2")
def test_decoding_costs_less_than_reading():
    gpt2 = load_profile("gpt2")
    assert at_length(gpt2, 128, "decode").total_latency_s < at_length(gpt2, 128).total_latency_s / 2
