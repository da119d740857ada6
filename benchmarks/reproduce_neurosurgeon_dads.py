"""Neurosurgeon (ASPLOS 2017) and DADS (INFOCOM 2019): speed-up over device only and cloud only at four uplink rates.

    python benchmarks/reproduce_neurosurgeon_dads.py

Layer times come from the shipped platform models, multiplied so that ResNet18 takes as long on device and cloud as the
published speed-ups imply; the other networks then follow. A reproduction of the method on other machines' layer times,
not of their testbed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from layer_models import INPUT_BYTES, MODELS, Network, resnet18
from mincut_speed import DEVICE_FLOPS, SERVER_FLOPS, inception_v3
from reproduction import Figure, mean, options, print_figures, print_table

from edgecloud.baselines.mincut import LayerGraph, Split, low_bottleneck_split, lowest_latency_split
from edgecloud.baselines.neurosurgeon import split_latency_s
from edgecloud.profiles import load_profile
from edgecloud.profiles.machines.platform_model import PlatformModel, load_platform
from edgecloud.profiles.machines.predictors import scaled

RATES_BPS = {"CAT1": 0.13e6, "3G": 1.1e6, "LTE": 5.85e6, "Wi-Fi": 18.88e6}
"""Uplink rates of DADS."""

RESNET18_EDGE_GAIN = (1.46, 4.14, 7.23, 8.32)
RESNET18_CLOUD_SAVING = (0.64, 0.26, 0.07, 0.0)
"""DADS on ResNet18 at those rates: edge-only latency over its own, and its saving against cloud-only."""


def implied_totals_s() -> tuple[float, float, float]:
    """Seconds of ResNet18 on DADS' device and cloud that its published speed-ups imply, and the worst misfit.

    Edge-only latency is gain x (1 - saving) times cloud-only latency, upload of the raw image included: four equations
    for two unknowns, solved by least squares of their relative error.
    """
    factor = np.array(RESNET18_EDGE_GAIN) * (1.0 - np.array(RESNET18_CLOUD_SAVING))
    upload = 8.0 * INPUT_BYTES / np.array(list(RATES_BPS.values()))
    rows = np.column_stack([1.0 / (factor * upload), -1.0 / upload])  # device = factor (upload + cloud)
    (device, cloud), *_ = np.linalg.lstsq(rows, np.ones(len(factor)), rcond=None)
    misfit = np.abs(factor * (upload + cloud) / device - 1.0).max()
    return float(device), float(cloud), float(misfit)


def calibrated() -> tuple[PlatformModel, PlatformModel]:
    """The shipped edge and cloud models, each multiplied so that ResNet18 takes as long as DADS implies."""
    layers = resnet18().layers
    found = []
    for name, total in zip(("neurosurgeon-edge", "neurosurgeon-cloud"), implied_totals_s()[:2], strict=True):
        model = load_platform(name)
        factor = total / float(model.predict_s(layers, "zero").sum())
        found.append(scaled(model, factor, f"{name}-scaled", "ResNet18 as DADS' speed-ups imply"))
    return found[0], found[1]


def inception(device: PlatformModel, server: PlatformModel, bytes_per_value: float) -> LayerGraph:
    """InceptionV3 at the speed at which the platforms run ResNet18 (its layers have shapes that none was fitted to)."""
    graph, _ = inception_v3()
    resnet = resnet18()
    rate = [resnet.flops / float(p.predict_s(resnet.layers, "zero").sum()) for p in (device, server)]
    return replace(
        graph,
        device_s=graph.device_s * DEVICE_FLOPS / rate[0],
        server_s=graph.server_s * SERVER_FLOPS / rate[1],
        output_bytes=graph.output_bytes * bytes_per_value / 4.0,
    )


def compressed_bytes_per_value() -> float:
    """Bytes per value of int8 activations under Zstandard, the median over the inner cuts of the ResNet50 profile."""
    sizes = [stage.sizes for stage in load_profile("resnet50-224").stages[:-1]]
    return float(np.median([size.int8_zstd / size.int8 for size in sizes if size is not None]))


def neurosurgeon_chain(graph: LayerGraph, rate_bps: float) -> Split:
    """Neurosurgeon's linear scan over the cuts of a chain, with the package's predictor of every cut's latency."""
    layers = len(graph.device_s)
    device = np.concatenate([[0.0], np.cumsum(graph.device_s)])
    server = np.concatenate([np.cumsum(graph.server_s[::-1])[::-1], [0.0]])
    sent = np.concatenate([[graph.input_bytes], graph.output_bytes[:-1], [0.0]])
    latency = split_latency_s(device, server, sent, np.array([rate_bps]), np.zeros(1))[0]
    return graph.split(np.arange(layers) < int(latency.argmin()), rate_bps)


def neurosurgeon_in_order(graph: LayerGraph, rate_bps: float) -> Split:
    """Neurosurgeon's scan on a graph: cut after any layer in the order of execution, and send all that crosses."""
    layers = len(graph.device_s)
    splits = [graph.split(np.arange(layers) < cut, rate_bps) for cut in range(layers + 1)]
    return min(splits, key=lambda split: split.latency_s)


def neurosurgeon_as_chain(graph: LayerGraph, rate_bps: float) -> Split:
    """Neurosurgeon on a graph that it takes for a chain: it counts the last layer's output only, and pays for all."""
    layers = len(graph.device_s)
    believed = LayerGraph.chain(graph.device_s, graph.server_s, graph.output_bytes, graph.input_bytes)
    return graph.split(np.arange(layers) < int(neurosurgeon_chain(believed, rate_bps).on_device.sum()), rate_bps)


def trivial(graph: LayerGraph, rate_bps: float) -> tuple[Split, Split]:
    """Everything on the device; everything in the cloud."""
    layers = len(graph.device_s)
    return graph.split(np.ones(layers, dtype=bool), rate_bps), graph.split(np.zeros(layers, dtype=bool), rate_bps)


@dataclass(frozen=True)
class Outcome:
    """One network at one rate."""

    model: str
    rate: str
    chain: bool
    device: Split
    cloud: Split
    light: Split
    heavy: Split
    neurosurgeon: Split


def evaluate(names: Sequence[str], bytes_per_value: float) -> list[Outcome]:
    """Every network at every rate."""
    device, server = calibrated()
    found = []
    for name in names:
        network = MODELS[name]()
        graph = network.graph(device, server, bytes_per_value)
        scan = neurosurgeon_chain if network.is_chain else neurosurgeon_in_order
        for label, rate in RATES_BPS.items():
            light, heavy = lowest_latency_split(graph, rate), low_bottleneck_split(graph, rate)
            found.append(Outcome(name, label, network.is_chain, *trivial(graph, rate), light, heavy, scan(graph, rate)))
    return found


def random_graph(rng: np.random.Generator, layers: int = 12) -> LayerGraph:
    """Branches and joins: each layer reads one or two of the four before it; a server ten times as fast."""
    edges = [
        (int(p), v) for v in range(1, layers) for p in set(rng.integers(max(0, v - 4), v, size=rng.integers(1, 3)))
    ]
    device_s, output = rng.exponential(0.1, layers), rng.lognormal(10.0, 1.0, layers)
    return LayerGraph(device_s, 0.1 * device_s, output, np.array(edges), float(rng.lognormal(11.5, 0.5)))


RIVALS = {
    "scan in execution order": neurosurgeon_in_order,
    "scan as if a chain": neurosurgeon_as_chain,
    "choice of device or cloud": lambda graph, rate: min(trivial(graph, rate), key=lambda split: split.latency_s),
}
"""What Neurosurgeon may do on a graph."""


def graph_losses(graphs: Sequence[LayerGraph], rates_bps: Sequence[float]) -> dict[str, np.ndarray]:
    """How much slower than the minimum cut each rival is, one value per graph and rate."""
    found: dict[str, list[float]] = {name: [] for name in RIVALS}
    for graph in graphs:
        for rate in rates_bps:
            best = lowest_latency_split(graph, rate).latency_s
            for name, rival in RIVALS.items():
                found[name].append(rival(graph, rate).latency_s / best - 1.0)
    return {name: np.array(losses) for name, losses in found.items()}


def print_graphs(seed: int, quick: bool) -> None:
    """DADS against Neurosurgeon where the network is no chain."""
    device, server = calibrated()
    size = compressed_bytes_per_value()
    rates = np.geomspace(0.05e6, 50e6, 5 if quick else 16)
    cases: dict[str, list[LayerGraph]] = {"ResNet18": [resnet18().graph(device, server, size)]}
    if not quick:
        cases["InceptionV3"] = [inception(device, server, size)]
    cases["random graphs"] = [random_graph(np.random.default_rng([seed, k])) for k in range(10 if quick else 100)]
    print(f"\nGraphs, {len(rates)} rates from 0.05 to 50 Mbit/s, int8 + zstd: Neurosurgeon is slower than DADS by a")
    rows = []
    for name, graphs in cases.items():
        losses = graph_losses(graphs, rates.tolist())
        texts = [f"{100 * v.mean():.1f} / {100 * v.max():.0f} % ({np.mean(v > 1e-6):.0%})" for v in losses.values()]
        rows.append([name, *texts])
    print_table(["mean / most (share of cases)", *RIVALS], rows)
    print("theirs: latency better by 66 to 86 % on graphs; what their Neurosurgeon did there could not be read.")


def first_smaller(network: Network, graph: LayerGraph) -> tuple[str, float]:
    """The first layer from which on some cut sends less than the raw input, and the device's time spent by then.

    Cuts are those in the order of execution; the time is a share of the whole.
    """
    layers = len(network.layers)
    for cut in range(1, layers):
        split = graph.split(np.arange(layers) < cut, 8.0)  # one byte per second
        if split.transfer_s < graph.input_bytes:
            return network.names[cut - 1], split.device_s / float(graph.device_s.sum())
    return network.names[-1], 1.0


def heavy_from_bps(graph: LayerGraph, frames_per_s: float = 1.0) -> float:
    """The uplink rate at and below which the load is heavy: a stage of the light split takes longer than a frame."""
    low, high = 1e4, 1e9
    while high / low > 1.0001:
        middle = float(np.sqrt(low * high))
        heavy = lowest_latency_split(graph, middle).bottleneck_s >= 1.0 / frames_per_s
        low, high = (middle, high) if heavy else (low, middle)
    return high


def per_model(outcomes: Sequence[Outcome], value: str, base: str, split: str) -> list[float]:
    """Mean over the rates of base over split, one per network."""
    models = dict.fromkeys(o.model for o in outcomes)
    attribute = f"{value}_s"
    return [
        mean(
            [
                getattr(getattr(o, base), attribute) / getattr(getattr(o, split), attribute)
                for o in outcomes
                if o.model == m
            ]
        )
        for m in models
    ]


PUBLISHED = {
    ("latency", "light", "device"): (1.91, 6.45),
    ("latency", "light", "cloud"): (1.35, 8.08),
    ("bottleneck", "light", "device"): (3.45, 8.31),
    ("bottleneck", "light", "cloud"): (1.46, 11.13),
    ("latency", "heavy", "device"): (1.66, 5.19),
    ("latency", "heavy", "cloud"): (1.07, 6.92),
    ("bottleneck", "heavy", "device"): (4.34, 9.14),
    ("bottleneck", "heavy", "cloud"): (1.46, 14.10),
}
"""DADS' ranges over networks: quantity, mode, compared with."""


def print_encoding(label: str, bytes_per_value: float, names: Sequence[str]) -> None:
    """Everything about one way to send activations."""
    outcomes = evaluate(names, bytes_per_value)
    print(f"\n== activations sent as {label}: {bytes_per_value:.2f} bytes per value ==")
    rows = []
    for o in outcomes:
        count = f"{int(o.light.on_device.sum())}/{len(o.light.on_device)}"
        times = [f"{s.latency_s:.2f}" for s in (o.device, o.cloud, o.light)]
        gains = [f"{s.latency_s / o.light.latency_s:.2f}" for s in (o.device, o.cloud, o.neurosurgeon)]
        rows.append([f"{o.model} {o.rate}", *times, count, *gains])
    head = ["", "device s", "cloud s", "DADS s", "layers on device", "over device", "over cloud", "over Neurosurgeon"]
    print_table(head, rows)
    figures = []
    for (value, mode, base), (low, high) in PUBLISHED.items():
        ours = per_model(outcomes, value, base, mode)
        what = f"{'latency' if value == 'latency' else 'throughput'}, {mode} load, over {base} only"
        figures += [Figure(f"{what}: least", low, min(ours), "x"), Figure(f"{what}: most", high, max(ours), "x")]
    print_figures("DADS, range over the five networks of the mean over the four rates", figures)
    print_neurosurgeon(outcomes)


def print_neurosurgeon(outcomes: Sequence[Outcome]) -> None:
    """DADS against Neurosurgeon, ResNet18 by rate, and Neurosurgeon's own headline."""
    figures = []
    for name, theirs in (("tinyYOLOv2", (1.26, 0.1628)), ("VGG16", (1.27, 0.1364))):
        own = [o for o in outcomes if o.model == name]
        if own:
            gain = mean([o.neurosurgeon.bottleneck_s / o.heavy.bottleneck_s for o in own])
            longer = mean([o.heavy.latency_s / o.neurosurgeon.latency_s - 1.0 for o in own])
            figures.append(Figure(f"{name}, heavy load: throughput over Neurosurgeon", theirs[0], gain, "x"))
            figures.append(Figure(f"{name}, heavy load: latency worse by", 100 * theirs[1], 100 * longer, "%"))
    own = [o for o in outcomes if o.model == "ResNet18"]
    gain = mean([o.neurosurgeon.bottleneck_s / o.heavy.bottleneck_s for o in own])
    figures.append(Figure("ResNet18, heavy load: throughput over Neurosurgeon's scan in order", 1.76, gain, "x"))
    for o in own:
        at = list(RATES_BPS).index(o.rate)
        gain, saving = o.device.latency_s / o.light.latency_s, 1.0 - o.light.latency_s / o.cloud.latency_s
        figures.append(Figure(f"ResNet18 {o.rate}: over device only", RESNET18_EDGE_GAIN[at], gain, "x"))
        saved = 100 * RESNET18_CLOUD_SAVING[at]
        figures.append(Figure(f"ResNet18 {o.rate}: latency saved against cloud only", saved, 100 * saving, "%"))
    print_figures("DADS in detail", figures)
    worst = max(abs(o.light.latency_s / o.neurosurgeon.latency_s - 1.0) for o in outcomes if o.chain)
    print(f"chains: latency of the minimum cut against Neurosurgeon's scan differs by at most {worst:.1e}")
    over = [o.cloud.latency_s / o.neurosurgeon.latency_s for o in outcomes]
    figures = [Figure("mean", 3.1, mean(over), "x"), Figure("largest", 40.7, max(over), "x")]
    print_figures("Neurosurgeon: latency against cloud only (theirs: eight other applications, three links)", figures)


def main(argv: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, argv)
    device, cloud, misfit = implied_totals_s()
    print(
        f"ResNet18 takes {device:.2f} s on the device and {cloud:.3f} s in the cloud, as DADS' speed-ups at four rates"
    )
    print(f"over a raw image of {INPUT_BYTES} bytes imply, to within {misfit:.1%}.")
    graph = resnet18().graph(*calibrated(), 1.0)
    name, spent = first_smaller(resnet18(), graph)
    print(f"int8: the first cut that sends less than the image is after {name}, {spent:.0%} into the device's time")
    title = "DADS on ResNet18 at one frame per second, int8"
    print_figures(title, [Figure("load is heavy below, Mbit/s", 1.51, heavy_from_bps(graph) / 1e6)])
    encodings = {"int8": 1.0, "float32": 4.0, "int8 + zstd": compressed_bytes_per_value()}
    for label, size in list(encodings.items())[: 1 if chosen.quick else 3]:
        print_encoding(label, size, ["AlexNet", "ResNet18"] if chosen.quick else list(MODELS))
    print_graphs(chosen.seed, chosen.quick)


if __name__ == "__main__":
    main()
