from pathlib import Path

import pytest

from edgecloud.errors import InputError
from edgecloud.profiles.machines.layer_data import LayerTable, format_table, read_neurosurgeon, read_orin, read_table
from edgecloud.profiles.machines.layers import Layer

ROWS = [
    (Layer("conv", 3, 8, (16, 16), (16, 16), (3, 3)), 0.001234567, 0.05),
    (Layer("linear", 64, 10), 4.2e-06, 0.01),
    (Layer("conv", 3, 8, (16, 16), (16, 16), (3, 3)), 0.0013, 0.0),
]


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    path.write_text(format_table(ROWS, {"machine": "lab", "seed": 3}), encoding="utf-8")
    rows, origin = read_table(path)
    assert [(layer, seconds) for layer, seconds, _ in rows] == [(layer, seconds) for layer, seconds, _ in ROWS]
    assert origin == {"machine": "lab", "seed": 3}


def test_repeats_are_merged_by_their_median() -> None:
    layer = ROWS[0][0]
    table = LayerTable.merge([(layer, 1.0), (layer, 9.0), (layer, 2.0), (ROWS[1][0], 5.0)], {})
    assert dict(zip(table.layers, table.seconds, strict=True)) == {layer: 2.0, ROWS[1][0]: 5.0}
    assert (table.merged, table.repeat_ratio) == (2, 9.0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("conv,3,8,16,16,3,1,1,0,0.1", ["line 3: latency_s", "positive"]),
        ("conv,3,8,16,16,3,1,1,fast,0.1", ["line 3: latency_s", "number"]),
        ("conv,3,8,16,16,3,1,1,0.1,wide", ["line 3: spread", "number"]),
        ("conv,3,8,16,16,3,1,1,nan,0.1", ["line 3: latency_s", "finite"]),
    ],
)
def test_bad_latencies(tmp_path: Path, line: str, expected: list[str]) -> None:
    path = tmp_path / "measured.csv"
    head = format_table([], {})
    path.write_text(head + line + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_table(path)
    for part in (str(path), *expected):
        assert part in str(caught.value)


def write_set(folder: Path) -> None:
    folder.mkdir()
    texts = {
        "conv": "HW,kernel,stride,Cin,Cout,FLOPs,latency\n224,7,2,3,64,1.18E+11,12.5\n",
        "dw_conv": "HW,kernel,stride,Cin,FLOPs,latency\n28,3,1,16,303750.5,2.0\n",
        "linear": "in_features,out_features,FLOPs,latency\n10,160,3040,0.005\n",
        "maxpool": "HW,kernel,stride,Cin,latency\n112,3,2,8,1.0\n",
        "avgpool": "HW,output,Cin,latency\n224,56,3,0.1\n",
        "batchnorm": "HW,Cin,latency\n7,1018,0.4\n",
    }
    for name, text in texts.items():
        (folder / f"{name}_lat.csv").write_text(text, encoding="utf-8")


def test_the_neurosurgeon_format(tmp_path: Path) -> None:
    write_set(tmp_path / "edge")
    table = read_neurosurgeon(tmp_path / "edge")
    assert list(table.layers) == [
        Layer("conv", 3, 64, (224, 224), (112, 112), (7, 7), 2),
        Layer("dw_conv", 16, 16, (28, 28), (28, 28), (3, 3), 1, 16),
        Layer("linear", 10, 160),
        Layer("maxpool", 8, 8, (112, 112), (56, 56), (3, 3), 2),
        Layer("avgpool", 3, 3, (224, 224), (56, 56), (4, 4), 4),
        Layer("batchnorm", 1018, 1018, (7, 7), (7, 7)),
    ]
    assert list(table.seconds) == [0.0125, 0.002, 5e-06, 0.001, 0.0001, 0.0004]
    assert table.provenance["set"] == "edge"


def test_a_broken_neurosurgeon_set(tmp_path: Path) -> None:
    write_set(tmp_path / "edge")
    bad = tmp_path / "edge" / "linear_lat.csv"
    bad.write_text("in_features,latency\n10,0.005\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"linear_lat.csv: line 2"):
        read_neurosurgeon(tmp_path / "edge")
    bad.unlink()
    with pytest.raises(InputError, match="must be a readable CSV file"):
        read_neurosurgeon(tmp_path / "edge")


def test_our_operations_are_the_sets_own_for_convolutions(data_dir: Path) -> None:
    """The set's FLOPs of `conv` count a multiply-add as two; those of `dw_conv` are not those of a depthwise layer."""
    folder = data_dir / "neurosurgeon_layers" / "dataset" / "edge"
    lines = (folder / "conv_lat.csv").read_text(encoding="utf-8").splitlines()[1:]
    theirs = {}
    for line in lines:
        *shape, flops, _ = line.split(",")
        theirs[tuple(int(value) for value in shape)] = float(flops)
    found = 0
    for layer in read_neurosurgeon(folder).layers:
        if layer.kind == "conv":
            key = (layer.in_size[0], layer.kernel[0], layer.stride, layer.in_channels, layer.out_channels)
            assert layer.flops == pytest.approx(theirs[key], rel=2e-5), key  # large ones are rounded in the file
            found += 1
    assert found > 11_000


def test_the_orin_set(data_dir: Path) -> None:
    table = read_orin(data_dir / "jetson_orin_layers")
    assert len(table.layers) + table.merged == 52  # 53 rows, the classifier left out
    assert sum(layer.kind == "dw_conv" for layer in table.layers) == 10
    assert 1e-5 < min(table.seconds) < max(table.seconds) < 1e-4
