import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgecloud.cli import main
from edgecloud.cli.platforms import app
from edgecloud.errors import InputError
from edgecloud.profiles import load_catalogue
from edgecloud.profiles.machines.platform_model import list_platforms, load_platform

runner = CliRunner()


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")


def run(*arguments: object) -> str:
    result = runner.invoke(app, [str(item) for item in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list():
    output = run("list")
    for name in (*load_catalogue().computes, *list_platforms()):
        assert name in output
    assert "gpu-t4" not in run("list", "--kind", "device")
    assert "raspberry-pi-4-tflite" not in run("list", "--kind", "model")
    with pytest.raises(InputError, match="did you mean 'device'"):
        run("list", "--kind", "devices")


def test_show():
    output = run("show", "raspberry-pi-4-tflite")
    assert "4.45 GFLOP/s" in output
    assert "HELP latency table" in output
    output = run("show", "neurosurgeon-cloud")
    model = load_platform("neurosurgeon-cloud").models["conv"]
    assert f"{model.held_out.median_error:.1%}" in output
    assert "ns x flops" in output
    with pytest.raises(InputError, match="did you mean 'raspberry-pi-5-onnx'"):
        run("show", "raspberry-pi-5-onx")


def test_measure_fit_and_predict(tmp_path):
    """A new device in three commands, at the smallest size."""
    table, model, layers = tmp_path / "board.csv", tmp_path / "board.json", tmp_path / "layers.csv"
    assert "80 layers measured now" not in run("measure", table, "--count", "10", "--kinds", "relu,linear")
    assert "wrote" in run("fit", table, "--out", model, "--description", "the board", "--plot", tmp_path / "fit.svg")
    assert (tmp_path / "fit.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
    layers.write_text(
        "stage,kind,in_channels,out_channels,in_size\nbody,relu,16,,32\nhead,linear,64,10,\n", encoding="utf-8"
    )
    output = run("predict", model, layers, "--out", tmp_path / "out.csv", "--plot", tmp_path / "stages.png")
    assert "the board" in output
    assert "body" in output
    rows = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "stage,name,predicted_s"
    assert len(rows) == 3
    twice = run("predict", model, layers, "--factor", "2", "--out", tmp_path / "twice.csv")
    assert "x 2" in twice
    seconds = [float((tmp_path / name).read_text().splitlines()[1].split(",")[2]) for name in ("out.csv", "twice.csv")]
    assert seconds[1] == pytest.approx(2 * seconds[0], rel=1e-6)
    assert json.loads(model.read_text(encoding="utf-8"))["provenance"]["threads"] == 1


def test_layers_of_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny_network_for_platforms.py").write_text(
        "from torch import nn\n\n"
        "def make():\n"
        "    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2), nn.Softmax(-1)]\n"
        "    return nn.Sequential(*layers)\n",
        encoding="utf-8",
    )
    output = run("layers", "tiny_network_for_platforms:make", "layers.csv", "--input", "1x3x8x8")
    assert "3 layers in 3 stages" in output
    assert "_softmax x1" in output
    assert "conv,3,4,8,6,3,1,1" in Path("layers.csv").read_text(encoding="utf-8")
    assert "sum" in run("predict", "xeon-torch-channels-last", "layers.csv")
    with pytest.raises(InputError, match="relu: must have a regression"):
        run("predict", "neurosurgeon-edge", "layers.csv")
    assert "counted as 0 s, no regression: relu" in run(
        "predict", "neurosurgeon-edge", "layers.csv", "--missing", "zero"
    )
    for bad, message in (
        (("layers", "json:nothing", "x.csv"), "must be a function or class"),
        (("layers", "no_such_module:f", "x.csv"), "can be imported"),
        (("layers", "json", "x.csv"), "package.module:factory"),
        (("layers", "json:JSONDecoder", "x.csv"), "torch.nn.Module"),
        (("layers", "tiny_network_for_platforms:make", "x.csv", "--input", "1x3xa"), "joined by x"),
    ):
        with pytest.raises(InputError, match=message):
            run(*bad)
    assert not Path("x.csv").exists()


def test_fit_of_public_sets(data_dir, tmp_path):
    output = run("fit", data_dir / "jetson_orin_layers", "--out", tmp_path / "orin.json")
    assert "dw_conv" in output
    assert "repeated rows merged" in output
    with pytest.raises(InputError, match="must hold conv_lat"):
        run("fit", tmp_path, "--out", tmp_path / "x.json")


def test_bad_options_write_nothing(tmp_path):
    for arguments, message in (
        (("fit", "x.csv", "--out", "x.toml"), "must end in .json"),
        (("fit", "x.csv", "--out", "x.json", "--features", "papers"), "did you mean 'paper'"),
        (("fit", "x.csv", "--out", "x.json", "--plot", "x.doc"), "must end in .png"),
        (("measure", str(tmp_path / "x.csv"), "--kinds", "conf"), "did you mean 'conv'"),
        (("measure", str(tmp_path / "x.csv"), "--layout", "nhwc"), "must be a layout"),
        (("predict", "neurosurgeon-edge", "x.csv", "--missing", "skip"), "error or zero"),
    ):
        with pytest.raises(InputError, match=message):
            run(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_line_and_status_two(tmp_path, capsys):
    path = tmp_path / "layers.csv"
    path.write_text("kind,in_channels,in_size\nconv,three,8\n", encoding="utf-8")
    assert main(["platforms", "predict", "neurosurgeon-edge", str(path)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for part in (str(path), "line 2: in_channels", "whole number", "three"):
        assert part in message


def test_check_sebs(data_dir):
    output = run("check", "sebs", data_dir / "sebs_stats.csv")
    assert "largest factor 1.0" in output
    assert "3008" in output


def test_check_help(data_dir, tmp_path):
    table = data_dir / "help_latency" / "nasbench201_latency_ms.csv"
    output = run("check", "help", table, "--plot", tmp_path / "help.png")
    assert "galaxy-s7" in output
    assert "15,615 compared" in output
    assert (tmp_path / "help.png").read_bytes().startswith(b"\x89PNG")


def test_check_stages(tmp_path):
    output = run("check", "stages", "--profile", "cifar10-ee-32", "--here", "--runs", "7", "--plot", tmp_path / "s.png")
    for text in ("this machine: median error", "whole", "exit1", "AMD EPYC"):
        assert text in output
    assert (tmp_path / "s.png").exists()


def test_help_teaches():
    output = run("--help")
    assert "platforms measure board.csv" in output
    assert "held out" in run("fit", "--help")
