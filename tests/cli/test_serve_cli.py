"""The commands as a person runs them: three processes."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgecloud.cli.app import app
from edgecloud.errors import InputError

RUNNER = CliRunner()
MODEL = ["--model", "random:small"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "certs"
    result = RUNNER.invoke(app, ["certificates", str(folder), "--host", "edge.example"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in folder.iterdir()} >= {"authority.crt", "device.key", "edge.crt", "cloud.crt"}
    return folder


class Tier:
    """A server process."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "edgecloud", "serve", *arguments, *MODEL, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"listens on (\S+)", self.process.stdout.readline())
        assert found, self.process.communicate()[1]
        self.address = found[1]

    def end(self) -> list[dict[str, object]]:
        """Ask it to stop; its log."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return [json.loads(line) for line in errors.splitlines() if line.startswith("{")]


@pytest.fixture
def tiers(certificates: Path) -> Iterator[tuple[Tier, Tier]]:
    cloud = Tier("cloud", "--certificates", str(certificates), "--accept", "edge")
    edge = Tier("edge", "--certificates", str(certificates), "--cloud", cloud.address)
    yield edge, cloud
    for tier in (edge, cloud):
        tier.process.kill()
        tier.process.wait()


@pytest.mark.slow
def test_three_processes_serve_and_stop_in_order(tiers: tuple[Tier, Tier], certificates: Path, tmp_path: Path) -> None:
    edge, cloud = tiers
    out = tmp_path / "records.jsonl"
    arguments = ["device", *MODEL, "--certificates", str(certificates), "--edge", edge.address, "--out", str(out)]
    arguments += ["--cut", "2", "--cut-edge", "4", "--requests", "5", "--timeout", "30"]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(record["tier"], record["failed"], record["exit"]) for record in records] == [("cloud", False, 3)] * 5
    log = edge.end()
    assert [entry["event"] for entry in log] == ["serving", "stopped"]
    assert all(entry["server"] == "edge" and entry["level"] == "info" for entry in log)
    cloud.end()
    host, port = edge.address.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 5)


def test_the_device_works_alone(certificates: Path) -> None:
    arguments = ["device", *MODEL, "--certificates", str(certificates), "--cut", "6", "--requests", "2"]
    result = RUNNER.invoke(app, [*arguments, "--timeout", "30"])
    assert result.exit_code == 0, result.output
    assert "device" in result.output


def test_mistakes_are_named(certificates: Path, tmp_path: Path) -> None:
    common = ["device", *MODEL, "--certificates"]
    for arguments, word in (
        ([*common, str(tmp_path)], "edgecloud certificates"),
        ([*common, str(certificates), "--cut", "9", "--cut-edge", "9"], "cut_edge"),
        ([*common, str(certificates), "--encoding", "fp8"], "fp16"),
        (["certificates", str(certificates)], "already"),
    ):
        result = RUNNER.invoke(app, arguments)
        assert isinstance(result.exception, InputError)
        assert word in str(result.exception)
