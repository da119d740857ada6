"""DADS and Neurosurgeon on chains and graphs; the networks that they are compared on."""

from __future__ import annotations

import numpy as np
import pytest
import reproduce_neurosurgeon_dads as script
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_models import INPUT_BYTES, MODELS, resnet18, vgg16

from edgecloud.baselines.mincut import LayerGraph, lowest_latency_split

seconds = st.floats(1e-4, 10.0)
layers = st.lists(st.tuples(seconds, seconds, st.floats(0.0, 1e7)), min_size=1, max_size=12)
rates = st.floats(1e4, 1e9)


@given(layers, st.floats(0.0, 1e7), rates)
@settings(max_examples=60, deadline=None)
def test_on_a_chain_the_minimum_cut_is_as_fast_as_the_scan(rows, input_bytes, rate_bps):
    device, server, output = np.array(rows).T
    graph = LayerGraph.chain(device, server, output, input_bytes)
    scan = script.neurosurgeon_chain(graph, rate_bps).latency_s
    whole = min(split.latency_s for split in script.trivial(graph, rate_bps))
    assert lowest_latency_split(graph, rate_bps).latency_s == pytest.approx(scan, rel=1e-6, abs=1e-6 * whole)


@given(st.integers(0, 10_000), rates)
@settings(max_examples=60, deadline=None)
def test_on_a_graph_no_rival_is_faster_than_the_minimum_cut(seed, rate_bps):
    graph = script.random_graph(np.random.default_rng(seed))
    best = lowest_latency_split(graph, rate_bps).latency_s
    for rival in script.RIVALS.values():
        assert rival(graph, rate_bps).latency_s >= best * (1.0 - 1e-6)


def test_on_some_graph_every_rival_is_slower():
    graphs = [script.random_graph(np.random.default_rng([0, k])) for k in range(20)]
    losses = script.graph_losses(graphs, np.geomspace(1e5, 1e8, 5).tolist())
    assert all(values.max() > 0.05 for values in losses.values())


def test_the_published_speed_ups_of_resnet18_are_those_of_two_numbers():
    device, cloud, misfit = script.implied_totals_s()
    assert misfit < 0.03
    for rate, gain, saving in zip(
        script.RATES_BPS.values(), script.RESNET18_EDGE_GAIN, script.RESNET18_CLOUD_SAVING, strict=True
    ):
        assert device / ((1.0 - saving) * (8.0 * INPUT_BYTES / rate + cloud)) == pytest.approx(gain, rel=0.03)


def test_the_calibrated_platforms_take_that_long():
    graph = resnet18().graph(*script.calibrated(), 4.0)
    expected = script.implied_totals_s()[:2]
    assert (graph.device_s.sum(), graph.server_s.sum()) == pytest.approx(expected, rel=1e-9)


def test_networks_have_their_published_size():
    weights = {name: sum(layer.weights for layer in make().layers) for name, make in MODELS.items()}
    assert weights["VGG16"] == 138_357_544 - 4224 - 9192  # less the biases of convolutions and linear layers
    assert weights["ResNet18"] == 11_689_512 - 2 * 4800 - 1000  # less two parameters a normalised channel, one bias
    assert [make().is_chain for make in MODELS.values()] == [True, True, True, True, False]
    assert vgg16().flops == pytest.approx(30.94e9, rel=1e-3)


def test_heavy_load_never_has_the_longer_bottleneck():
    outcomes = script.evaluate(["AlexNet"], 1.0)
    for outcome in outcomes:
        assert outcome.heavy.bottleneck_s <= outcome.light.bottleneck_s
        assert outcome.light.latency_s <= min(outcome.device.latency_s, outcome.cloud.latency_s) * (1 + 1e-6)


def test_load_gets_heavy_where_the_upload_takes_as_long_as_a_frame():
    graph = LayerGraph.chain([9.0, 9.0], [0.1, 0.1], [1e6, 1e3], 125_000.0)  # everything in the cloud
    assert script.heavy_from_bps(graph, frames_per_s=2.0) == pytest.approx(2e6, rel=1e-3)


def test_the_command_prints_theirs_and_ours(capsys):
    script.main(["--quick"])
    text = capsys.readouterr().out
    assert "ours / theirs" in text
    assert "ResNet18 Wi-Fi" in text
    assert "random graphs" in text
