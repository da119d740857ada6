"""`edgecloud train` through the real command line."""

import json
from pathlib import Path

import pytest

from edgecloud.agents import read_checkpoint
from edgecloud.cli import main
from edgecloud.envs.scenario import SHIPPED

SMALL = ["--set", "num_envs=8", "--set", "rollout_steps=16", "--set", "minibatch=64", "--set", "hidden=[16]"]
SMALL += ["--set", "validate_every=128", "--set", "validation_windows=1", "--steps", "256", "--seed", "3"]
SMALL += ["--set", "warm_start_steps=64", "--set", "warm_start_epochs=1"]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default scenario with short episodes."""
    text = (SHIPPED / "camera-lte.toml").read_text(encoding="utf-8")
    assert "episode_intervals = 300" in text
    path = tmp_path_factory.mktemp("scenario") / "short.toml"
    path.write_text(text.replace("episode_intervals = 300", "episode_intervals = 30", 1), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def generated_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGECLOUD_TRACES", raising=False)


def call(*arguments: str) -> int:
    return main(["train", *arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    assert call("--env", "edgecloud-v0", *SMALL, "--run", str(folder), "--against", "none", "--quiet") == 0
    return folder


def test_trains_and_compares(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    options = ["--against", "always-edge,neurosurgeon", "--weights", "default"]
    assert call("--scenario", str(scenario), "--preset", "quick", *SMALL, "--run", str(folder), *options) == 0
    shown = capsys.readouterr().out
    assert "generated logs" in shown
    assert "best policy" in shown
    for name in ("ppo", "always-edge", "neurosurgeon"):
        assert name in shown
    assert json.loads((folder / "run.json").read_text())["scenario_source"] == str(scenario)


def test_run_folder_has_what_it_takes(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    expected = {"config.toml", "run.json", "progress.csv", "validation.json", "best.npz", "last.npz", "tensorboard"}
    assert names == expected | {"warm_start.json"}
    assert json.loads((trained / "run.json").read_text())["seed"] == 3
    assert read_checkpoint(trained / "last.npz").meta["steps"] == 256


def test_resume_of_a_finished_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "last.npz").read_bytes()
    assert call("--resume", str(trained), "--against", "none") == 0
    assert "resuming" in capsys.readouterr().out
    assert (trained / "last.npz").read_bytes() == before


def test_a_run_can_be_imitated(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    options = ["--warm-start", str(trained), "--run", str(folder), "--against", "none", "--quiet"]
    assert call("--env", "edgecloud-v0", *SMALL, *options) == 0
    assert json.loads((folder / "warm_start.json").read_text())["teacher"] == "ppo"


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "edgecloud-v9"], "--env: must be a registered id"),
        (["--preset", "quik"], "did you mean 'quick'?"),
        (["--set", "gama=0.9"], "did you mean 'gamma'"),
        (["--scenario", "camera-lt"], "camera-lte"),
        (["--traces", "/no/such/folder"], "/no/such/folder"),
        (["--warm-start", "dpp"], "dp"),
        (["--against", "dpp"], "must be a known policy"),
        (["--weights", "fast"], "weights"),
        (["--resume", "/no/such/run"], "/no/such/run: must be the folder of a run"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    run = [] if "--resume" in arguments else ["--run", str(folder), *SMALL]
    assert call(*arguments, *run) == 2
    assert message in error_of(capsys)
    assert not folder.exists()


def test_an_existing_run_is_not_overwritten(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in trained.iterdir()}
    assert call(*SMALL, "--run", str(trained), "--quiet") == 2
    assert "runs are never overwritten" in error_of(capsys)
    assert {path.name: path.stat().st_mtime_ns for path in trained.iterdir()} == before


def test_resume_brings_its_own_settings(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--resume", str(trained), "--steps", "512") == 2
    assert "--steps: cannot be changed when a run is resumed" in error_of(capsys)


def test_resume_of_a_damaged_run(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    folder = tmp_path / "damaged"
    shutil.copytree(trained, folder)
    (folder / "last.npz").write_bytes((trained / "last.npz").read_bytes()[:1000])
    assert call("--resume", str(folder), "--quiet") == 2
    assert "last.npz: must be a checkpoint" in error_of(capsys)
    assert (folder / "progress.csv").read_bytes() == (trained / "progress.csv").read_bytes()


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    shown = capsys.readouterr().out
    for name in ("learning_rate", "gamma", "warm_start_smoothing", "--resume"):
        assert name in shown
