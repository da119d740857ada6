"""`edgecloud profile` from end to end on small networks."""

import importlib.util
import json

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="needs the extra 'profiler'")
pytest.importorskip("zstandard", reason="needs the extra 'profiler'")

from edgecloud.cli import main
from edgecloud.cli.app import app
from edgecloud.profiles import load_profile
from edgecloud.profiles.pruning import can_win_in_any

runner = CliRunner()
CHAIN = "edgecloud.profiles.profiler.architectures:plain_chain"
GPT2 = ("n_layer=2", "n_embd=32", "n_head=2", "vocab_size=100", "bos_token_id=0", "eos_token_id=0")


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "170")


def run(*arguments: str) -> str:
    result = runner.invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_chain(tmp_path):
    output = run(
        "profile", CHAIN, "--input", "1x3x32x32", "--out", str(tmp_path), "--repeats", "7", "--set", "classes=5"
    )
    for text in ("sum over the stages", "ratio", "legal cuts", "bit for bit", "energy", "can win"):
        assert text in output
    profile = load_profile(tmp_path / "plain_chain.json")
    assert profile.input_bytes == 3 * 32 * 32
    assert profile.cut_bytes.tolist() == [3072, 16 * 16 * 16, 32 * 8 * 8, 32 * 2 * 2, 20]
    assert profile.stage_flops.tolist() == [2 * 27 * 16 * 1024, 2 * 144 * 32 * 256, 2 * 288 * 32 * 64, 2 * 128 * 5]
    assert [stage.parameters for stage in profile.stages] == [27 * 16 + 16, 144 * 32 + 32, 288 * 32 + 32, 128 * 5 + 5]
    assert profile.provenance["command"] == (f"edgecloud profile {CHAIN} --input 1x3x32x32 --set classes=5 --repeats 7")
    assert profile.provenance["weights"] == "as the factory makes them, seed 0"
    assert len(profile.layers.layers) == 11
    assert len(profile.layers.cuts) == 12
    assert sum(layer.flops for layer in profile.layers.layers) == profile.total_flops
    for number, stage in enumerate(profile.stages):
        cut = next(cut for cut in profile.layers.cuts if cut.position == stage.end)
        assert cut.sizes == stage.sizes
        assert [layer.stage for layer in profile.layers.layers].index(number) < stage.end
    shown = run("profiles", "show", str(tmp_path / "plain_chain.json"))
    assert "accuracy was not measured" in shown
    assert "nan" not in shown
    run("profiles", "plot", str(tmp_path / "plain_chain.json"), "--out", str(tmp_path / "chain.png"))


@pytest.mark.parametrize(("stages", "count"), [("all", 11), ("narrow", 4), ("winners", None)])
def test_grouping(tmp_path, stages, count):
    run("profile", CHAIN, "--input", "1x3x32x32", "--out", str(tmp_path), "--repeats", "7", "--stages", stages)
    profile = load_profile(tmp_path / "plain_chain.json")
    keep = can_win_in_any(profile.cut_sizes(), profile.result_bytes)
    assert keep.all() if count is None else profile.n_stages == count
    coarse = run(
        "profile", CHAIN, "--input", "1x3x32x32", "--out", str(tmp_path), "--repeats", "7", "--max-stages", "2"
    )
    assert "3 kept" in coarse
    assert load_profile(tmp_path / "plain_chain.json").total_flops == profile.total_flops


def test_a_text_generator(tmp_path):
    options = [part for option in GPT2 for part in ("--set", option)]
    output = run(
        "profile", "transformers:gpt2", *options, "--lengths", "12,6,24", "--out", str(tmp_path), "--repeats", "7"
    )
    assert "over the sequence length" in output
    profile = load_profile(tmp_path / "gpt2.json")
    assert [(p.phase, p.length) for p in profile.sequence] == [
        (f, n) for f in ("prefill", "decode") for n in (6, 12, 24)
    ]
    assert profile.n_stages == 6
    assert profile.result_bytes == 8
    for point in profile.sequence:
        cached = point.length + (point.phase == "decode")
        assert point.stage_cache_bytes == tuple(2 * 4 * 32 * cached if n in (1, 3) else 0 for n in range(6))
        tokens = 1 if point.phase == "decode" else point.length
        assert [sizes.int8 for sizes in point.cut_sizes[:5]] == [8 * tokens, *[32 * tokens] * 4]
        attention = 2 * 2 * 2 * 32 * tokens * cached
        linear = 2 * 2 * tokens * 12 * 32 * 32 + 2 * 32 * 100
        assert sum(point.stage_flops) == attention + linear
    whole = profile.sequence[1]
    assert whole.stage_flops == tuple(profile.stage_flops)
    run("profiles", "plot", str(tmp_path / "gpt2.json"), "--out", str(tmp_path / "gpt2.svg"))
    assert "decode" in run("profiles", "show", str(tmp_path / "gpt2.json"))


def test_stated_values(tmp_path):
    run("profile", CHAIN, "--input", "1x3x32x32", "--out", str(tmp_path), "--repeats", "7")
    source = str(tmp_path / "plain_chain.json")
    run("profiles", "assume", source, "--accuracy", "0.9", "--leakage", "0.9,0.5,0.1", "--out", str(tmp_path))
    stated = load_profile(tmp_path / "plain_chain-assumed.json")
    assert np.allclose(stated.leakage, [1, 0.9, 0.5, 0.1, 0])
    stated.check_decidable()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transformers:gpt3", "--lengths", "8"], "must be a configuration that transformers knows"),
        ([CHAIN], "--input: must be given"),
        ([CHAIN, "--input", "1x3x32x32", "--lengths", "8,eight"], "--lengths"),
        ([CHAIN, "--input", "1x3x2x2"], "plain_chain"),
        ([CHAIN, "--input", "1x3x32x32", "--name", "No Name"], "lower-case"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, capsys, arguments, words):
    assert main(["profile", *arguments, "--out", str(tmp_path), "--repeats", "7"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert list(tmp_path.iterdir()) == []


def test_the_extra_is_named_when_it_is_missing(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "zstandard" else find(name))
    assert main(["profile", CHAIN, "--input", "1x3x32x32"]) == 2
    assert "needs the library zstandard. Remedy: pip install 'edgecloud[profiler]'" in capsys.readouterr().err


def test_nothing_is_overwritten_by_a_failure(tmp_path):
    run("profile", CHAIN, "--input", "1x3x32x32", "--out", str(tmp_path), "--repeats", "7")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["profile", CHAIN, "--input", "1x4x32x32", "--out", str(tmp_path)]) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert json.loads(before["plain_chain.json"])["version"] == 2
