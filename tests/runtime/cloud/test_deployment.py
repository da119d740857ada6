"""The recipes of deploy/, as far as they can be checked without a provider."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgecloud.pricing import load_prices
from edgecloud.runtime.cloud import HandlerSpec

from .support import PATIENCE_S

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(path.relative_to(ROOT).as_posix() for path in DEPLOY.rglob("Dockerfile"))
TOKEN = "t" * 32


def lines(dockerfile: str) -> list[str]:
    text = (ROOT / dockerfile).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def environment(dockerfile: str) -> dict[str, str]:
    return dict(
        pair.split("=", 1) for line in lines(dockerfile) if line.startswith("ENV ") for pair in line[4:].split()
    )


def test_there_is_a_recipe_for_each_part() -> None:
    assert DOCKERFILES == ["deploy/aws-lambda/Dockerfile", "deploy/function/Dockerfile", "deploy/tier/Dockerfile"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_what_is_copied_exists_and_the_extra_is_declared(dockerfile: str) -> None:
    for line in lines(dockerfile):
        if line.startswith("COPY ") and "--from=" not in line:
            assert (ROOT / line.split()[1]).exists(), line
        if "/source[" in line:
            assert "[runtime]" in line
            assert "runtime = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not any("TOKEN" in line for line in lines(dockerfile)), "secrets come from the platform"


@pytest.mark.parametrize("dockerfile", DOCKERFILES[:2])
def test_the_containers_command_serves(dockerfile: str, tmp_path: Path) -> None:
    """CMD, files and variables of the image, started with the platform's PORT and secret."""
    for line in lines(dockerfile):
        if line.startswith("COPY ") and line.split()[-1].startswith("/function/"):
            shutil.copy(ROOT / line.split()[1], tmp_path / Path(line.split()[-1]).name)
    command = next(line[4:] for line in lines(dockerfile) if line.startswith("CMD "))
    shim = tmp_path / "bin" / "functions-framework"  # the console script, also where none is installed
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m functions_framework "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    port = 20000 + os.getpid() % 20000
    own = {**environment(dockerfile), "EDGECLOUD_TOKEN": TOKEN, "PORT": str(port), "HOST": "127.0.0.1"}
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=tmp_path,
        env={**os.environ, **own, "PATH": f"{shim.parent}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    try:
        state = json.loads(ask(port, "GET", b"", {})[1])
        assert state["init_s"] > 0
        assert ask(port, "POST", b"hello", {})[0] == 401
        assert ask(port, "POST", b"hello", {"X-Edgecloud-Token": TOKEN}) == (200, b"hello")
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def ask(port: int, method: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    limit_s = time.monotonic() + PATIENCE_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request(method, "/", body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (ConnectionRefusedError, ConnectionResetError, http.client.RemoteDisconnected):
            assert time.monotonic() < limit_s
            time.sleep(0.05)
        finally:
            connection.close()


def test_recipes_name_variables_that_the_function_reads() -> None:
    known = {"EDGECLOUD_HANDLER", "EDGECLOUD_TOKEN", "EDGECLOUD_LIMIT_BYTES"}
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert set(re.findall(r"EDGECLOUD_[A-Z_]+", path.read_text(encoding="utf-8"))) <= known, path
    for dockerfile in DOCKERFILES[:2]:
        assert HandlerSpec.from_json(environment(dockerfile)["EDGECLOUD_HANDLER"]).make()(b"x") == b"x"
    limit = load_prices().faas("lambda-x86").payload_limit_bytes
    assert limit is not None
    assert int(environment("deploy/aws-lambda/Dockerfile")["EDGECLOUD_LIMIT_BYTES"]) == limit * 3 // 4


def test_the_script_parses() -> None:
    script = DEPLOY / "cloud-run" / "deploy.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_terraform_parses_and_is_formatted() -> None:
    subprocess.run(["terraform", "fmt", "-check", str(DEPLOY / "cloud-run")], check=True, capture_output=True)
