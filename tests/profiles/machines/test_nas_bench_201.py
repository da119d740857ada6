"""The index of NAS-Bench-201 and what its networks consist of."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from edgecloud.errors import InputError
from edgecloud.profiles.machines.nas_bench_201 import (
    CELLS,
    EDGES,
    OPERATIONS,
    cell,
    cell_text,
    count_table,
    flops,
    live_edges,
    network_layers,
)
from edgecloud.profiles.machines.platform_checks import read_help


@pytest.mark.parametrize(
    ("index", "text"),
    [  # the benchmark's own script asserts the first three
        (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        (9, "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"),
        (123, "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"),
        (1462, "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"),
    ],
)
def test_known_cells(index: int, text: str) -> None:
    assert cell_text(cell(index)) == text


def test_every_cell_has_one_index() -> None:
    assert {cell(index) for index in range(CELLS)} == set(itertools.product(OPERATIONS, repeat=6))
    with pytest.raises(InputError, match="0 to 15624"):
        cell(CELLS)


def test_operations_of_published_networks() -> None:
    assert flops(cell(0)) / 2 == pytest.approx(15.64737e6, rel=1e-5)  # the benchmark's own table gives 15.64737 M
    assert flops(cell(1462)) / 2 == pytest.approx(220.12e6, rel=1e-4)
    assert flops(("none",) * 6) == flops(("skip_connect",) * 6)  # the skeleton alone


def by_paths(operations: tuple[str, ...]) -> list[str]:
    """Edges on some path from node 0 to node 3, by enumerating the paths."""
    used: set[int] = set()
    for size in range(1, 4):
        for path in itertools.permutations(range(6), size):
            ends = [EDGES[number] for number in path]
            joined = all(a[1] == b[0] for a, b in itertools.pairwise(ends))
            if ends[0][0] == 0 and ends[-1][1] == 3 and joined and all(operations[n] != "none" for n in path):
                used |= set(path)
    return [operations[number] for number in sorted(used)]


def test_live_edges_are_those_on_a_path() -> None:
    rng = np.random.default_rng(1)
    for index in rng.integers(0, CELLS, 300):
        operations = cell(int(index))
        assert list(live_edges(operations)) == by_paths(operations)


def test_the_count_table_has_every_network() -> None:
    for live in (False, True):
        layers, counts = count_table(live)
        assert counts.shape == (CELLS, len(layers))
        for index in (0, 9, 123, 1462, 7777):
            row = {layer: int(n) for layer, n in zip(layers, counts[index], strict=True) if n}
            assert row == dict(network_layers(cell(index), live))


def test_layers_of_the_heaviest_network() -> None:
    counted = dict(network_layers(cell(1462)))
    assert sum(n for layer, n in counted.items() if layer.kind == "conv" and layer.kernel == (3, 3)) == 90 + 1 + 4
    assert sum(n for layer, n in counted.items() if layer.kind == "add") == 3 * 5 * 3 + 2  # nodes 2 and 3, residuals
    assert sum(n for layer, n in counted.items() if layer.kind == "linear") == 1


def test_the_order_is_that_of_the_help_table(data_dir: Path) -> None:
    """A wrong order would leave no correlation; TFLite columns leave unused edges out, PyTorch columns do not."""
    table = read_help(data_dir / "help_latency" / "nasbench201_latency_ms.csv")
    work = {live: np.array([flops(cell(index), live) for index in range(CELLS)]) for live in (False, True)}
    rank = {name: [spearmanr(work[live], table[name]).statistic for live in (False, True)] for name in table}
    assert rank["silver_4210r"][0] > 0.97
    assert rank["titan_rtx_256"][0] > 0.96
    assert rank["raspi4"][1] > rank["raspi4"][0] > 0.8
    assert rank["pixel3"][1] > rank["pixel3"][0] > 0.8
    unconnected = np.array([not live_edges(cell(index)) for index in range(CELLS)])
    quick = table["raspi4"] < 2e-3  # a constant: cells without a path from input to output, and only those
    assert quick.sum() > 250
    assert unconnected[quick].all()
    assert all(every > live for name, (every, live) in rank.items() if name not in ("raspi4", "pixel3"))
