"""The catalogue of machines: structure, and figures recomputed from the raw data where it is at hand."""

import csv
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from edgecloud.errors import InputError
from edgecloud.profiles.catalogue import load_catalogue

CATALOGUE = load_catalogue()

HELP_COLUMNS = {
    "raspberry-pi-4-tflite": "raspi4",
    "pixel-2": "pixel2",
    "pixel-3": "pixel3",
    "galaxy-s7": "samsung_s7",
    "galaxy-a50": "samsung_a50",
    "xeon-gold-6226": "gold_6226",
    "xeon-gold-6240": "gold_6240",
    "xeon-silver-4114": "silver_4114",
    "xeon-silver-4210r": "silver_4210r",
    "gpu-titan-rtx-small": "titan_rtx_1",
}


def nas_bench_201_largest_flops() -> int:
    """FLOPs of the NAS-Bench-201 network whose six edges are all 3x3 convolutions, at 32x32 px, MAC = 2."""
    macs, channels, side = 3 * 16 * 9 * 32 * 32, 16, 32
    for stage in range(3):
        if stage:
            macs += channels * 2 * channels * 9 * (side // 2) ** 2  # residual block, first convolution, stride 2
            channels, side = 2 * channels, side // 2
            macs += channels * channels * 9 * side**2 + channels // 2 * channels * side**2
        macs += 5 * 6 * channels * channels * 9 * side**2
    return 2 * macs


def test_every_entry_is_sourced() -> None:
    assert len(CATALOGUE.computes) >= 15
    for entry in CATALOGUE.computes.values():
        assert entry.source
        assert entry.conditions
        assert entry.mark in {"verified", "second-hand", "derived", "measured"}
        assert 1e9 < entry.effective_flops < 1e14
        assert 0 <= entry.noise_sigma < 1


def test_vcpus_scale_and_whole_machines_do_not() -> None:
    one, four = CATALOGUE.compute("edge-vcpu"), CATALOGUE.compute("edge-vcpu", count=4)
    assert four.effective_flops == 4 * one.effective_flops
    assert CATALOGUE.compute("lambda-vcpu", count=3538 / 1769).effective_flops == pytest.approx(30e9)
    with pytest.raises(InputError, match="whole machine"):
        CATALOGUE.compute("raspberry-pi-5-onnx", count=2)
    with pytest.raises(InputError, match="must be positive"):
        CATALOGUE.compute("edge-vcpu", count=0)
    with pytest.raises(InputError, match="did you mean 'raspberry-pi-5-onnx'"):
        CATALOGUE.compute("raspberry-pi-5-onx")


def test_lte_power_is_the_published_line_and_is_clamped() -> None:
    radio = CATALOGUE.radio("lte-huang-2012")
    assert radio.power_w(5.85e6) == pytest.approx((438.39 * 5.85 + 1288.04) / 1000)
    assert 8e6 / 5.85e6 * radio.power_w(5.85e6) == pytest.approx(5.27, abs=0.005)  # joules per megabyte
    assert radio.power_w(1e9) == radio.power_w(radio.clamp_bps)


def test_delays() -> None:
    assert CATALOGUE.delay("vm-boot").median_s == 25.0
    assert CATALOGUE.delay("faas-init-image").sigma_ln == 0.34
    with pytest.raises(InputError, match="must name an entry"):
        CATALOGUE.delay("boot")


def test_speeds_from_the_help_table(data_dir: Path) -> None:
    flops = nas_bench_201_largest_flops()
    assert flops / 2 == pytest.approx(220.12e6, rel=1e-4)
    with (data_dir / "help_latency" / "nasbench201_latency_ms.csv").open(encoding="utf-8") as file:
        row = next(line for line in csv.DictReader(file) if line["arch_index"] == "1462")
    for name, column in HELP_COLUMNS.items():
        speed = flops / (float(row[column]) / 1000)
        assert CATALOGUE.compute(name).effective_flops == pytest.approx(speed, rel=0.01), name


def test_speed_and_power_of_the_jetson(data_dir: Path) -> None:
    folder = data_dir / "jetson_orin_layers"
    macs = 0
    with (folder / "mobilenet_v2_convolutional.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            kernel, inputs = int(line["kernel_0"]), int(line["input_size_0"])
            depthwise = kernel == 3 and inputs > 3
            outputs = int(line["output_size_0"]) * int(line["output_size_1"]) * int(line["output_size_2"])
            macs += outputs * kernel**2 * (1 if depthwise else inputs)
    time_ms: dict[str, float] = defaultdict(float)
    energy_uj = 0.0
    with (folder / "average_power_and_run_time.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            time_ms[line["cycle"]] += float(line["layer_run_time"])
            energy_uj += float(line["layer_run_time"]) * float(line["average_power"]) / 1000
    entry = CATALOGUE.compute("jetson-orin")
    assert entry.effective_flops == pytest.approx(2 * macs / (statistics.median(time_ms.values()) / 1000), rel=0.01)
    assert entry.busy_w == pytest.approx(energy_uj / 1000 / sum(time_ms.values()), rel=0.01)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("effective_flops = -1.0", ["compute.x.effective_flops", "greater than 0"]),
        ("effective_flop = 1.0", ["compute.x.effective_flop"]),
        ("effective_flops = 1.0\nbusy_w = 3.0", ["compute.x", "power_source"]),
        ("effective_flops = 1.0\nnoise = 'cpu'", ["compute.x.noise", "must name an entry"]),
    ],
)
def test_bad_catalogues(tmp_path: Path, line: str, expected: list[str]) -> None:
    path = tmp_path / "catalogue.toml"
    head = "[sources.s]\nmark = 'verified'\ntext = 't'\n[compute.x]\nkind = 'device'\nconditions = 'c'\nsource = 's'\n"
    path.write_text(head + line + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_catalogue(path)
    for part in (str(path), *expected):
        assert part in str(caught.value)
