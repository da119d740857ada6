"""`edgecloud bounds`, driven as a person drives it, on a short scenario and a few short logs."""

from pathlib import Path

import numpy as np
import pytest

from edgecloud.cli import main
from edgecloud.envs.scenario import SHIPPED
from edgecloud.evaluation import load_bracket

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "220")
    text = (SHIPPED / "camera-lte.toml").read_text(encoding="utf-8")
    short = "\n".join("episode_intervals = 30" if x.startswith("episode_intervals") else x for x in text.splitlines())
    (tmp_path / "short.toml").write_text(short, encoding="utf-8")
    (tmp_path / "logs").mkdir()
    rng = np.random.default_rng(0)
    for mode in ("bus", "car"):
        for k in range(3):
            rows = "\n".join(f"{t},{rng.uniform(1, 40):.3f}" for t in range(61))
            (tmp_path / "logs" / f"{mode}_{k}.csv").write_text(f"t_s,rate_mbps\n{rows}\n", encoding="utf-8")
    return tmp_path


def test_table_and_stored_brackets(capsys: Capture, lab: Path) -> None:
    arguments = ["bounds", "--scenario", str(lab / "short.toml"), "--traces", str(lab / "logs"), "--quiet"]
    arguments += ["--policies", "dp,always-edge", "--weights", "default,cost-heavy", "--episodes", "2"]
    assert main([*arguments, "--budget", "20000", "--out", str(lab / "out")]) == 0
    text = capsys.readouterr().out
    for name in ("default", "cost-heavy"):
        found = load_bracket(lab / "out" / f"bracket-{name}.npz")
        assert len(found.windows) == 2
        assert (found.relaxed >= found.reward).all()
        assert f"{found.relaxed.mean():.4f}" in text
        assert f"{found.reward.mean():.4f}" in text
    lines = [line for line in text.splitlines() if line.startswith("│")]
    assert [line.split()[1] for line in lines[:4]] == ["relaxation", "clairvoyant", "dp", "always-edge"]
    assert len(list((lab / "out" / "episodes").iterdir())) == 4


def test_causal_bound_stands_between_plan_and_policies(capsys: Capture, lab: Path) -> None:
    arguments = ["bounds", "--scenario", str(lab / "short.toml"), "--traces", str(lab / "logs"), "--quiet"]
    arguments += ["--policies", "dp", "--episodes", "2", "--budget", "20000", "--out", str(lab / "out")]
    arguments += ["--causal", "--redraws", "8"]
    texts = []
    for _ in range(2):
        assert main(arguments) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    kept = list((lab / "out" / "causal").iterdir())
    assert len(kept) == 2
    mean = np.mean([float(np.load(file)["causal"]) for file in kept])
    lines = [line for line in texts[0].splitlines() if line.startswith("│")]
    assert [line.split()[1] for line in lines] == ["relaxation", "clairvoyant", "causal", "dp"]
    assert f"{mean:.4f}" in lines[2]
    assert mean < load_bracket(lab / "out" / "bracket-default.npz").relaxed.mean()


def test_bad_input_is_one_line_and_status_2(capsys: Capture, lab: Path) -> None:
    for arguments, part in (
        (["--policies", "dq"], "known policy"),
        (["--part", "tset", "--scenario", str(lab / "short.toml")], "did you mean 'test'"),
        (["--out", str(lab / "short.toml")], "must be a folder"),
    ):
        assert main(["bounds", *arguments]) == 2
        error = capsys.readouterr().err
        assert part in error
        assert error.count("\n") == 1
