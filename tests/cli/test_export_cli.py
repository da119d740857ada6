"""`edgecloud export`, driven as a person drives it, and the artifact in a comparison beside its checkpoint."""

import zipfile
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
from edgecloud.runtime import Policy

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scenario of 20 intervals, three logs and a checkpoint of random weights."""
    folder = tmp_path_factory.mktemp("lab")
    text = (SHIPPED / "camera-lte.toml").read_text(encoding="utf-8")
    (folder / "short.toml").write_text(text.replace("intervals = 300", "intervals = 20"), encoding="utf-8")
    (folder / "logs").mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        rows = "\n".join(f"{t},{rng.uniform(1, 40):.3f}" for t in range(41))
        (folder / "logs" / f"bus_{k}.csv").write_text(f"t_s,rate_mbps\n{rows}\n", encoding="utf-8")
    problem = compile_problem(folder / "short.toml")
    nvec, size = problem.nvec.tolist(), problem.encoder.size
    named = {f"policy/{name}": shape for name, shape in network_shapes(size, (16, 8), sum(nvec[:3])).items()}
    named |= {f"pool/{name}": shape for name, shape in PoolNetwork.shapes(size, 4, nvec[3]).items()}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in named.items()}
    meta = {"kind": "ppo", "fingerprint": problem.fingerprint(), "scenario": "camera-lte", "steps": 0}
    meta |= {"hidden": [16, 8], "pool_review": 10, "pool_hidden": 4, "pool_margin": 0.0, "activation": "tanh"}
    write_checkpoint(
        folder / "agent.npz", {**meta, "nvec": nvec, "observation_size": size, "private": 0, "seed": 3}, arrays
    )
    return folder


def test_export_and_evaluate_beside_the_checkpoint(lab: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.chdir(lab)
    assert main(["export", "agent.npz", "--scenario", "short.toml"]) == 0
    shown = capsys.readouterr().out
    policy = Policy.load(lab / "agent.edgecloud")
    assert f"sha256 {policy.sha256}" in shown
    assert "28 placements, 7 thresholds, 3 routes, up to 3 VMs" in shown
    assert policy.manifest["provenance"]["seed"] == 3
    runs = ["agent.npz", "agent.edgecloud", "--against", "none", "--scenario", "short.toml", "--traces", "logs"]
    assert main(["evaluate", *runs, "--out", "report", "--quiet"]) == 0
    comparison, _ = load_comparison(lab / "report")
    scores = {run.method: run.scores for run in comparison.runs}
    assert set(scores) == {"ppo", "exported"}
    np.testing.assert_array_equal(scores["ppo"], scores["exported"])


def test_mistakes_are_one_line(lab: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)
    for arguments, message in (
        (["none"], "must be a run folder or a checkpoint"),
        (["agent.npz"], "must be trained on the scenario in use"),
        (["agent.npz", "--scenario", "short.toml", "--which", "bst"], "did you mean 'best'"),
        (["agent.npz", "--scenario", "short.toml", "--out", "logs"], "must be a file, not a folder"),
        (
            ["agent.npz", "--scenario", "short.toml", "--out", "no/where.edgecloud"],
            "must be a file that can be written",
        ),
    ):
        assert main(["export", *arguments]) == 2
        assert message in capsys.readouterr().err
    with zipfile.ZipFile("bad.edgecloud", "w") as archive:
        archive.writestr("manifest.json", "{}")
    assert main(["evaluate", "bad.edgecloud", "--against", "none"]) == 2
    assert "members: must be" in capsys.readouterr().err
