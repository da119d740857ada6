"""`edgecloud evaluate`, driven as a person drives it, on a short scenario and a few short logs."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgecloud.agents import write_checkpoint
from edgecloud.agents.pool import PoolNetwork
from edgecloud.agents.ppo_policy import network_shapes
from edgecloud.cli import main
from edgecloud.envs import compile_problem
from edgecloud.envs.scenario import SHIPPED
from edgecloud.evaluation import load_comparison

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scenario of 30 intervals, six logs and an agent that was never trained."""
    folder = tmp_path_factory.mktemp("lab")
    text = (SHIPPED / "camera-lte.toml").read_text(encoding="utf-8")
    short = "\n".join("episode_intervals = 30" if x.startswith("episode_intervals") else x for x in text.splitlines())
    (folder / "short.toml").write_text(short, encoding="utf-8")
    (folder / "logs").mkdir()
    rng = np.random.default_rng(0)
    for mode in ("bus", "car"):
        for k in range(3):
            rows = "\n".join(f"{t},{rng.uniform(1, 40):.3f}" for t in range(61))
            (folder / "logs" / f"{mode}_{k}.csv").write_text(f"t_s,rate_mbps\n{rows}\n", encoding="utf-8")
    problem = compile_problem(folder / "short.toml")
    nvec, size = problem.nvec.tolist(), problem.encoder.size
    named = {f"policy/{name}": shape for name, shape in network_shapes(size, (8,), sum(nvec[:3])).items()}
    named |= {f"pool/{name}": shape for name, shape in PoolNetwork.shapes(size, 4, nvec[3]).items()}
    for seed in (0, 1):
        draw = np.random.default_rng(seed)
        arrays = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in named.items()}
        meta = {
            "kind": "ppo",
            "fingerprint": problem.fingerprint(),
            "scenario": "camera-lte",
            "steps": 0,
            "hidden": [8],
            "pool_review": 10,
            "pool_hidden": 4,
            "pool_margin": 0.0,
        }
        meta |= {"activation": "tanh", "nvec": nvec, "observation_size": size, "private": 0, "seed": seed}
        write_checkpoint(folder / f"agent{seed}.npz", meta, arrays)
    return folder


def run(capsys: Capture, lab: Path, *arguments: str) -> tuple[int, str, str]:
    common = ["--scenario", str(lab / "short.toml"), "--traces", str(lab / "logs"), "--quiet"]
    status = main(["evaluate", *common, *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_from_checkpoints_to_report_and_back(capsys: Capture, lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    agents = [str(lab / "agent0.npz"), str(lab / "agent1.npz")]
    status, text, _ = run(
        capsys,
        lab,
        *agents,
        *("--against", "always-device,always-edge,best-fixed", "--weights", "cost-heavy", "--out", str(out)),
    )
    assert status == 0
    assert "6 recorded logs" in text
    assert "ppo ×2" in text
    assert "best fixed action in hindsight" in text
    assert sorted(path.name for path in out.iterdir()) == ["episodes.npz", "report.html", "scores.csv", "scores.json"]
    comparison, provenance = load_comparison(out)
    assert comparison.methods == ("ppo", "always-device", "always-edge", "best-fixed")
    assert list(comparison.presets) == ["cost-heavy"]
    for method in comparison.methods:
        assert f"{comparison.scores(method, 'cost-heavy').mean():.4f} ±" in text
    assert provenance["runs"] == agents
    assert "recorded logs" in provenance["traces"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "agent0.npz" in page

    again = tmp_path / "again"
    arguments = ["evaluate", "--from-scores", str(out), "--out", str(again), "--scenario", str(lab / "short.toml")]
    assert main(arguments) == 0
    assert (again / "scores.json").read_bytes() == (out / "scores.json").read_bytes()
    assert (again / "report.html").read_text(encoding="utf-8") == page


def test_three_numbers_are_a_preference(capsys: Capture, lab: Path) -> None:
    status, text, _ = run(
        capsys, lab, "always-edge", "--against", "none", "--weights", "0.5,0.3,0.2", "--part", "train"
    )
    assert status == 0
    assert "0.5,0.3,0.2" in text
    assert "part: train" in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--against", "always-device,neurosurgoen"], "did you mean 'neurosurgeon'"),
        (["--against", "always-edge", "--weights", "latncy-heavy"], "did you mean 'latency-heavy'"),
        (["--against", "always-edge", "--part", "tset"], "did you mean 'test'"),
        (["--against", "none"], "at least one policy"),
        (["runs/absent", "--against", "none"], "runs/absent"),
        (["--from-scores", "/nowhere/at/all"], "readable raw scores"),
        (["always-edge", "--from-scores", "x"], "excludes runs"),
        (["--scenario", "camera-lt"], "did you mean 'camera-lte'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys: Capture, lab: Path, arguments: list[str], part: str) -> None:
    status, _, err = run(capsys, lab, *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert part in err


def test_folders_without_traces_are_refused(capsys: Capture, lab: Path, tmp_path: Path) -> None:
    status, _, err = run(capsys, lab, "always-edge", "--traces", str(tmp_path))
    assert status == 2
    assert err.count("\n") == 1
    assert str(tmp_path) in err


def test_a_checkpoint_of_another_scenario_is_refused(capsys: Capture, lab: Path, tmp_path: Path) -> None:
    arguments = [
        str(lab / "agent0.npz"),
        "--against",
        "none",
        "--scenario",
        "camera-lte",
        "--out",
        str(tmp_path / "out"),
    ]
    status, _, err = run(capsys, lab, *arguments)
    assert status == 2
    assert "agent0.npz: fingerprint" in err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused_and_kept(capsys: Capture, lab: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    status, _, err = run(capsys, lab, "always-edge", "--against", "none", "--out", str(tmp_path / "taken"))
    assert status == 2
    assert "must be a folder" in err
    assert (tmp_path / "taken").read_text() == "mine"


def test_scores_are_machine_readable(capsys: Capture, lab: Path, tmp_path: Path) -> None:
    status, _, _ = run(capsys, lab, "always-edge", "--against", "none", "--out", str(tmp_path), "--repeats", "2")
    assert status == 0
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["provenance"]["repeats"] == 2
    assert len(content["runs"][0]["scores"]) == len(content["episodes"])
