"""`edgecloud scenario`, driven as a person drives it."""

import json
from pathlib import Path

import pytest

from edgecloud.cli import main
from edgecloud.envs import list_scenarios, load_scenario
from edgecloud.envs.scenario import SHIPPED
from edgecloud.traces import LinkTrace, generated_split, save_link_trace

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenario")
    text = (SHIPPED / "camera-lte.toml").read_text(encoding="utf-8")
    short = "\n".join("episode_intervals = 30" if x.startswith("episode_intervals") else x for x in text.splitlines())
    (folder / "short.toml").write_text(short, encoding="utf-8")
    (folder / "logs").mkdir()
    split = generated_split(0, (1, 1, 1), 60.0)
    for k, trace in enumerate((*split.train, *split.validation, *split.test)):
        one: LinkTrace = trace
        if one.mode in ("bus", "tram"):
            save_link_trace(one, folder / "logs" / f"{one.mode}_{k}.csv")
    return folder


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    status = main(["scenario", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_list_names_every_shipped_scenario(capsys: Capture) -> None:
    status, out, _ = run(capsys, "list")
    assert status == 0
    assert all(name in out for name in list_scenarios())


def test_show_gives_every_value_and_its_source(capsys: Capture) -> None:
    status, out, _ = run(capsys, "show", "camera-lte")
    assert status == 0
    scenario = load_scenario("camera-lte")
    for field in scenario.numeric_fields():
        assert field in out
    for source in scenario.sources.values():
        assert source.split()[0] in out
    for tier in ("device", "edge", "vm", "faas"):
        assert tier in out


def test_analyse_prints_and_writes_what_it_found(capsys: Capture, lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "found.json"
    arguments = ["analyse", str(lab / "short.toml"), "--traces", str(lab / "logs"), "--points", "20", "--hold", "1,2"]
    arguments += ["--against", "always-device,always-edge,random", "--policy", "dp", "--quiet", "--out", str(out)]
    status, text, _ = run(capsys, *arguments)
    assert status == 0
    content = json.loads(out.read_text(encoding="utf-8"))
    assert {entry["name"] for entry in content["policies"]} == {
        "always-device",
        "always-edge",
        "random",
        "dp",
        "best-fixed",
    }
    assert [entry["hold"] for entry in content["intervals"]] == [1, 2]
    assert len(content["findings"]) == 5
    for entry in content["policies"]:
        assert f"{entry['reward']['mean']:.4f} ±" in text
    assert "reasons" in text
    assert "load" in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["show", "camera-lt"], "did you mean 'camera-lte'"),
        (["analyse", "camera-lte", "--hold", "0"], "--hold"),
        (["analyse", "camera-lte", "--hold", "x"], "--hold"),
        (["analyse", "camera-lte", "--weights", "all"], "one preference"),
        (["analyse", "camera-lte", "--against", "none"], "--against"),
        (["analyse", "camera-lte", "--policy", "dpp"], "did you mean 'dp"),
        (["analyse", "camera-lte", "--part", "tst"], "did you mean 'test'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys: Capture, arguments: list[str], part: str) -> None:
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert part in err
