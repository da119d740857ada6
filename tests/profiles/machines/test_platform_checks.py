import csv
from pathlib import Path

import numpy as np
import pytest

from edgecloud.errors import InputError
from edgecloud.profiles import load_catalogue
from edgecloud.profiles.machines.nas_bench_201 import CELLS, cell, count_table, live_edges
from edgecloud.profiles.machines.platform_checks import (
    HELP_COLUMNS,
    RESNET50_FLOPS,
    check_help,
    check_sebs,
    computes,
    network_flops,
    read_help,
    worst,
)
from edgecloud.profiles.machines.platform_model import load_platform

CATALOGUE = load_catalogue()


def made_up(scale: float, power: float = 1.0) -> dict[str, np.ndarray]:
    """A table in which every device needs `scale` x operations^power."""
    table = {}
    for column, live, batch in HELP_COLUMNS.values():
        flops = network_flops(live)
        table[column] = batch * scale * flops.max() ** (1 - power) * flops**power
    return table


def test_a_device_of_one_speed_is_predicted_exactly() -> None:
    for check in check_help(made_up(1e-10), CATALOGUE):
        speed = CATALOGUE.compute(check.name).effective_flops
        assert check.speed.median == pytest.approx(1 / (speed * 1e-10), rel=1e-9)
        assert check.speed_fitted.error == pytest.approx(0, abs=1e-9)
        assert check.speed.rank == pytest.approx(1)
        assert check.slope == pytest.approx(1, abs=1e-6)
        assert check.layers is None


def test_the_layers_of_a_platform_carry_over_up_to_a_factor() -> None:
    platform = load_platform("neurosurgeon-cloud")
    layers, counts = count_table(False)
    seconds = counts @ platform.predict_s(layers, "zero")
    table = made_up(1e-10) | {"gold_6226": 7.0 * seconds}
    check = next(c for c in check_help(table, CATALOGUE, platform) if c.name == "xeon-gold-6226")
    assert check.layers is not None
    assert check.layers.error == pytest.approx(0, abs=1e-9)
    assert check.speed_fitted.error > 0.05
    assert check.networks == CELLS - 10


def test_networks_that_compile_to_a_constant_are_left_out() -> None:
    assert computes(False).all()
    kept = computes(True)
    assert not kept[[index for index in range(CELLS) if cell(index) == ("none",) * 6]].any()
    assert kept[9]  # one skip connection from input to output
    paths = sum(bool(live_edges(cell(index))) for index in range(0, CELLS, 7))
    assert kept[::7].sum() == paths < len(kept[::7])


def test_calibration_must_leave_something_to_compare() -> None:
    with pytest.raises(InputError, match="calibration"):
        check_help(made_up(1e-10), CATALOGUE, calibration=CELLS)
    with pytest.raises(InputError, match="must be a column"):
        check_help({"raspi4": np.linspace(1, 2, CELLS)}, CATALOGUE)


def test_bad_help_tables(tmp_path: Path) -> None:
    path = tmp_path / "help.csv"
    path.write_text("arch_index,raspi4\n0,1.0\n", encoding="utf-8")
    with pytest.raises(InputError, match="must be 15625"):
        read_help(path)
    rows = "\n".join(f"{index},{0 if index == 7 else 1.5}" for index in reversed(range(CELLS)))
    path.write_text(f"arch_index,raspi4\n{rows}\n", encoding="utf-8")
    with pytest.raises(InputError, match="raspi4: must be positive"):
        read_help(path)
    path.write_text(f"arch_index,raspi4\n{rows.replace(',0', ',2.0')}\n", encoding="utf-8")
    table = read_help(path)
    assert table["raspi4"][7] == 0.002
    assert table["raspi4"][8] == 0.0015
    with pytest.raises(InputError, match="readable"):
        read_help(tmp_path / "none.csv")


def test_the_catalogue_against_the_help_table(data_dir: Path) -> None:
    """One speed from the slowest network is off by a factor on light networks, and the layers do better on all CPUs."""
    table = read_help(data_dir / "help_latency" / "nasbench201_latency_ms.csv")
    checks = {c.name: c for c in check_help(table, CATALOGUE, load_platform("xeon-torch-channels-last"))}
    assert set(checks) == set(HELP_COLUMNS)
    for name, check in checks.items():
        assert check.slope < 1, name  # light networks run at fewer operations per second
        assert check.speed.median < 1, name
        slowest = table[check.column][1462]
        batch = HELP_COLUMNS[name][2]
        flops = network_flops(False)[1462]
        assert batch * flops / CATALOGUE.compute(name).effective_flops == pytest.approx(slowest, rel=0.01)
    for name in ("xeon-gold-6226", "xeon-gold-6240", "xeon-silver-4114", "xeon-silver-4210r"):
        layers = checks[name].layers
        assert layers is not None
        assert layers.error < checks[name].speed_fitted.error


def sebs_file(path: Path, rows: list[tuple[str, str, int, str, float]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cloud", "bench", "mem", "type", "c50", "p50", "p95"])
        writer.writerows([cloud, bench, mem, kind, 2 * p, p, 1.1 * p] for cloud, bench, mem, kind, p in rows)
    return path


def test_sebs_by_hand(tmp_path: Path) -> None:
    path = sebs_file(
        tmp_path / "sebs.csv",
        [("aws", "411", 1769, "warm", 500.0), ("aws", "411", 512, "cold", 9.0), ("aws", "120", 512, "warm", 9.0)],
    )
    (check,) = check_sebs(path, CATALOGUE)
    assert check.predicted_s == pytest.approx(RESNET50_FLOPS / 15e9)
    assert check.measured_s == 0.5
    assert check.ratio == pytest.approx(8.2 / 15 / 0.5)
    assert check.predicted_p95_s / check.predicted_s == pytest.approx(np.exp(1.645 * 0.13))
    assert worst([check]) == check.ratio
    with pytest.raises(InputError, match="must hold warm requests"):
        check_sebs(sebs_file(tmp_path / "none.csv", []), CATALOGUE)


def test_sebs_figures(data_dir: Path) -> None:
    checks = check_sebs(data_dir / "sebs_stats.csv", CATALOGUE)
    assert [(c.provider, c.memory_mb) for c in checks] == [
        *(("aws", size) for size in (512, 1024, 1536, 2048, 3008)),
        *(("gcp", size) for size in (512, 1024, 2048)),
    ]
    assert worst(checks) < 1.07
