"""`edgecloud compare`, driven as a person drives it, on a short scenario and a few short logs."""

from pathlib import Path

import numpy as np
import pytest

from edgecloud.cli import main
from edgecloud.envs.scenario import SHIPPED
from edgecloud.evaluation import load_comparison
from edgecloud.evaluation.markdown import BEGIN, END
from edgecloud.evaluation.training_runs import is_finished, train_missing

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    return folder


def run(capsys: Capture, lab: Path, *arguments: str) -> tuple[int, str, str]:
    common = ["--scenario", str(lab / "short.toml"), "--traces", str(lab / "logs"), "--jobs", "1"]
    status = main(["compare", *common, *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


RULES = ("--against", "libra,always-edge,random", "--repeats", "2", "--weights", "default,cost-heavy")


def test_from_nothing_to_the_page_and_again(
    capsys: Capture, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    out, page = tmp_path / "out", tmp_path / "results.md"
    page.write_text("# Mine\n\nBefore.\n\n## What the tables do not show\n\nThat I wrote this.\n", encoding="utf-8")
    status, text, _ = run(capsys, lab, *RULES, "--out", str(out), "--markdown", str(page))
    assert status == 0
    assert "6 pieces of work done, 0 had been done before" in text
    comparison, provenance = load_comparison(out)
    assert comparison.methods == ("libra", "always-edge", "random")
    assert provenance["repeats"] == 2
    written = page.read_text(encoding="utf-8")
    assert written.startswith("# Mine\n\nBefore.\n\n## What the tables do not show\n\nThat I wrote this.\n")
    assert BEGIN in written
    for method in comparison.methods:
        assert f"{comparison.scores(method, 'cost-heavy').mean():.3f} [" in written
    together = written[written.index("## Mean over the preferences (default, cost-heavy)") :]
    for method in comparison.methods:
        mean = np.mean([comparison.scores(method, name).mean() for name in ("default", "cost-heavy")])
        assert f"| {method} | {mean:.3f} [" in together
    assert "report.html" in text
    first = (out / "scores.json").read_bytes()

    page.write_text(written.replace(END, f"{END}\n\nAfter."), encoding="utf-8")
    status, text, _ = run(capsys, lab, *RULES, "--out", str(out), "--markdown", str(page), "--quiet")
    assert (status, text) == (0, "")
    assert (out / "scores.json").read_bytes() == first
    again = page.read_text(encoding="utf-8")
    assert again.count(BEGIN) == again.count(END) == 1
    assert again.startswith("# Mine\n\nBefore.")
    assert again.endswith("After.\n")


def test_a_new_page_has_the_paragraph(capsys: Capture, lab: Path, tmp_path: Path) -> None:
    page = tmp_path / "new.md"
    arguments = ["--against", "always-edge,libra", "--repeats", "1", "--weights", "default"]
    assert run(capsys, lab, *arguments, "--out", str(tmp_path / "o"), "--markdown", str(page), "--quiet")[0] == 0
    text = page.read_text(encoding="utf-8")
    assert text.index(END) < text.index("## What the tables do not show")
    assert "## Latency, dollars and leakage together" in text
    assert "## Mean over the preferences" not in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--against", "libra"], "--out"),
        (["--against", "lbra", "--out", "x"], "did you mean 'libra'"),
        (["--against", "none", "--out", "x"], "at least one policy"),
        (["--against", "libra", "--out", "x", "--weights", "latncy-heavy"], "did you mean 'latency-heavy'"),
        (["--against", "libra", "--out", "x", "--train", "1", "--preset", "quik"], "did you mean 'quick'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    capsys: Capture, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, lab, *arguments, "--quiet")
    assert status == 2
    assert err.count("\n") == 1
    assert part in err


def test_a_page_with_one_marker_is_left_alone(capsys: Capture, lab: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"text\n{BEGIN}\nrest\n", encoding="utf-8")
    arguments = ["--against", "always-edge", "--repeats", "1", "--weights", "default", "--out", str(tmp_path / "o")]
    status, _, err = run(capsys, lab, *arguments, "--markdown", str(page), "--quiet")
    assert status == 2
    assert "mend the markers" in err
    assert page.read_text(encoding="utf-8") == f"text\n{BEGIN}\nrest\n"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset that trains in a second."""
    from edgecloud.agents import config

    changes = ["num_envs=8", "rollout_steps=16", "minibatch=64", "hidden=[16]", "validate_every=128"]
    changes += ["validation_windows=1", "warm_start=", "total_steps=256"]
    small = config.config_with(config.preset("quick"), changes)
    monkeypatch.setitem(config.PRESETS, "tiny", small)
    return "tiny"


@pytest.mark.slow
def test_missing_agents_are_trained_once(tiny: str, lab: Path, tmp_path: Path) -> None:
    place = (tmp_path, 2, tiny, str(lab / "short.toml"), str(lab / "logs"))
    folders = train_missing(*place)
    assert [is_finished(folder, tiny, seed) for seed, folder in enumerate(folders)] == [True, True]
    before = [(folder / "best.npz").read_bytes() for folder in folders]
    (folders[1] / "last.npz").unlink()  # stopped before its first checkpoint
    assert not is_finished(folders[1], tiny, 1)
    seen: list[float] = []
    assert train_missing(*place, progress=lambda _, done, total: seen.append(done / total)) == folders
    assert seen == [0.5, 1.0]
    assert [(folder / "best.npz").read_bytes() for folder in folders] == before
