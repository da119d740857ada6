"""`edgecloud link replay` as a process."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgecloud.cli import main


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "lab.csv"
    path.write_text("t_s,rate_mbps\n0,80\n1,80\n2,80\n", encoding="utf-8")
    return path


def test_replay_lets_a_connection_through_and_cuts_it(trace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "edgecloud", "link", "replay", str(trace), "--to", to]
        options = ["--rtt-ms", "10", "--cut", "0.5:0.5", "--duration-s", "3"]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as link:
            assert link.stdout is not None
            match = re.match(r"link (127\.0\.0\.1):(\d+) -> ", link.stdout.readline())
            assert match is not None
            with socket.create_connection((match[1], int(match[2])), timeout=20) as client:
                client.sendall(b"hello")
                server.settimeout(20)
                peer, _ = server.accept()
                with peer:
                    assert peer.recv(5, socket.MSG_WAITALL) == b"hello"
                    peer.sendall(b"you")
                assert client.recv(3, socket.MSG_WAITALL) == b"you"
            rest = link.stdout.read()
        assert link.returncode == 0
    assert "cut for 0.5 s" in rest
    assert "up 5 bytes (0 waiting), down 3" in rest


def test_wrong_options_are_one_line(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", "replay", str(trace), "--to", "nowhere"]) == 2
    assert "must be HOST:PORT" in capsys.readouterr().err
    assert main(["link", "replay", str(trace), "--to", "127.0.0.1:1", "--cut", "soon"]) == 2
    assert "must be START:SECONDS" in capsys.readouterr().err
