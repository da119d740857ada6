"""How much the cuts in the model's own order lose against all cuts of its graph, whatever the order of the branches.

    python benchmarks/dag_cuts.py resnet50-224 vit-b16-224

Each cut costs work on the device, bytes on the link and work on the server; the sweep goes over bandwidths and over
how much faster the server is. The graph comes from the profile's table of layers. All cuts are the ideals of the graph.
"""

from __future__ import annotations

import argparse

import networkx as nx
import numpy as np

from edgecloud.profiles import Profile, list_profiles, load_profile

RATES_BPS = np.logspace(5, 9.5, 46)
SPEEDUPS = (1.5, 3.0, 10.0, 100.0)
DEVICE_FLOPS = 5e9


def all_cuts(profile: Profile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operations before, bytes across (int8), and whether the cut is one of the model's own order."""
    table = profile.layers
    assert table is not None
    sizes = {}
    for layer in table.layers:
        count = int(np.prod(layer.shape)) if layer.shape else 0
        sizes[layer.name] = count if (layer.dtype or "").startswith("float") else 8 * count
    readers: dict[str, set[str]] = {}
    for layer in table.layers:
        for name in layer.inputs:
            readers.setdefault(name, set()).add(layer.name)
    flops = {layer.name: layer.flops for layer in table.layers}
    tensors = {layer.name for layer in table.layers if layer.shape is not None}
    outputs = set(table.cuts[-1].tensors)
    graph = nx.DiGraph([(a, layer.name) for layer in table.layers for a in layer.inputs])
    graph.remove_nodes_from(table.inputs)
    graph.add_nodes_from(flops)
    before = {name: nx.ancestors(graph, name) | {name} for name in graph}
    names = [layer.name for layer in table.layers]
    in_order = {frozenset(names[: cut.position]) for cut in table.cuts}
    rows = []
    for antichain in nx.antichains(graph):
        inside = frozenset().union(*(before[name] for name in antichain))
        crossing = {name for name in inside if name in outputs or readers.get(name, set()) - inside}
        if not crossing <= tensors:
            continue
        crosses = sum(sizes[name] for name in crossing)
        raw = any(readers.get(name, set()) - inside for name in table.inputs)
        size = profile.result_bytes if len(inside) == len(names) else crosses + raw * profile.input_bytes
        rows.append((sum(flops[name] for name in inside), size, inside in in_order))
    work, size, own = (np.array(column) for column in zip(*rows, strict=True))
    return work, size, own.astype(bool)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profiles", nargs="*", help="profiles with a table of layers; default: all that are shipped")
    names = parser.parse_args().profiles or list_profiles()
    print(f"{'profile':<18}{'in order':>9}{'all cuts':>9}{'points':>8}{'not best':>9}{'largest loss':>14}")
    for name in names:
        profile = load_profile(name)
        if profile.layers is None:
            continue
        work, size, own = all_cuts(profile)
        losses = []
        for rate in RATES_BPS:
            for speedup in SPEEDUPS:
                cost = (work + (work.max() - work) / speedup) / DEVICE_FLOPS + 8 * size / rate
                losses.append(cost[own].min() / cost.min() - 1)
        worse = sum(loss > 1e-12 for loss in losses)
        print(f"{name:<18}{own.sum():>9}{len(own):>9}{len(losses):>8}{worse:>9}{max(losses):>13.2%}", flush=True)


if __name__ == "__main__":
    main()
