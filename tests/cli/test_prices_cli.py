"""The command line of the price lists, driven as a person drives it."""

from pathlib import Path

import pytest

from edgecloud.cli import main


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["prices", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list")
    assert status == 0
    assert "google-cloud-run" in out
    status, out, _ = run(capsys, "show", "aws-us-east-1")
    assert status == 0
    assert "c7i.large" in out
    assert "0.0000166667" in out
    assert "second-hand" in out


def test_compare_shows_the_indifference_point(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "compare", "--vm", "c6i.large", "--duration-ms", "100", "--memory-mb", "1769")
    assert status == 0
    assert "27,603" in out or "27,604" in out


def test_cost_of_a_stated_usage(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cost", "--vm", "c6i.large=3600", "--requests", "1000000", "--memory-mb", "1024", "--egress-gb", "2"]
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert "2.13167" in out  # 0.085 + 1e6 * (0.1 * 0.0000166667 + 0.0000002) + 2 * 0.09
    assert "1,000,000 requests" in out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["show", "awss-us-east-1"], "did you mean 'aws-us-east-1'"),
        (["cost", "--vm", "c6i.large"], "NAME=SECONDS"),
        (["cost", "--requests", "10", "--cold", "11"], "--cold"),
        (["cost", "--requests", "10", "--memory-mb", "64"], "128 to 10240 MB"),
        (["compare", "--duration-ms", "-5"], "must be positive"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert part in err


def test_a_users_own_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text('name = "lab"\nprovider = 3\n', encoding="utf-8")
    status, _, err = run(capsys, "show", str(path))
    assert status == 2
    assert "lab.toml: provider" in err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["compare", "--help"], ["cost", "--help"], ["show", "--help"]):
        status, out, _ = run(capsys, *arguments)
        assert status == 0
        assert "price" in out.lower()
