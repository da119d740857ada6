"""Faults of a whole system in real processes: every request ends once, by its deadline, and the system recovers."""

import errno
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecloud.envs import compile_problem
from edgecloud.runtime.journal import read_recording
from edgecloud.runtime.processes import ServerProcess
from edgecloud.runtime.recording import Recorder
from edgecloud.runtime.serving.observer import ServedRequest

from .whole_system import (
    EDGE,
    FUNCTION,
    HASTY_S,
    MACHINE,
    PATIENT_S,
    RECOVERY_S,
    SLACK_S,
    Rig,
    processes_of,
    running_rig,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="finds processes in /proc"),
]


SHORTEST_BYTES = 64
"""A log cannot be longer; Python looks for a directory for temporary files by writing four bytes to one."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("faults")) as running:
        yield running


def tiers(records: list[ServedRequest]) -> Counter[str]:
    """How many ended where, or how; shown with ``pytest -s``."""
    found = Counter(record.tier or record.status for record in records)
    print(dict(found), f"slowest {max(record.latency_s for record in records):.2f} s")
    return found


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + RECOVERY_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def test_kill_9_of_the_edge_server(rig: Rig) -> None:
    edge = rig.system.edge
    address = edge.address

    def crash() -> None:
        edge.kill()
        time.sleep(1.0)

    patient, hasty = rig.under_load(crash)
    assert {"edge", "fallback"} <= set(tiers(patient)), tiers(patient)
    assert "failed" in tiers(hasty)
    assert not any(record.failed for record in patient)
    edge.start()
    assert edge.address == address
    rig.recovers()


def test_kill_9_of_the_gateway(rig: Rig) -> None:
    """Its workers and functions die with it; the edge says so, and the pool gets its size back from the new one."""
    gateway = rig.system.gateway
    children = processes_of(gateway.pid, "vm_worker") + processes_of(gateway.pid, "functions_framework")
    assert len(children) >= 2

    def crash() -> None:
        gateway.kill()
        time.sleep(1.0)

    patient, hasty = rig.under_load(crash)
    assert {"edge", "fallback"} <= set(tiers(patient)), tiers(patient)
    assert "failed" in tiers(hasty)
    assert not any(record.failed for record in patient)
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "orphans")
    gateway.start()
    rig.recovers()
    assert rig.gauge("vm_running") == 1


@pytest.mark.parametrize("word", ["vm_worker", "functions_framework"])
def test_kill_9_of_a_worker_or_a_function(rig: Rig, word: str) -> None:
    """It has a request at that moment; the gateway starts another, and gives it the request if time is left."""
    plan = MACHINE if word == "vm_worker" else FUNCTION
    wait_for(lambda: processes_of(rig.system.gateway.pid, word), "nobody to kill")
    victims = processes_of(rig.system.gateway.pid, word)

    def crash() -> None:
        burst = [rig.system.device.submit(rig.image, -1, plan) for _ in range(4)]
        time.sleep(0.3)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        ended = tiers([answer.result(PATIENT_S + SLACK_S) for answer in burst])
        assert set(ended) <= {"cloud", "fallback", "late", "failed"}

    patient, _ = rig.under_load(crash)
    assert "cloud" in tiers(patient)
    assert not any(record.failed for record in patient if record.plan == EDGE)  # others wait for a process to start
    rig.recovers((plan, EDGE))
    assert not set(victims) & set(processes_of(rig.system.gateway.pid, word))
    assert processes_of(rig.system.gateway.pid, word)


def test_a_link_that_is_cut_for_ten_seconds(rig: Rig) -> None:
    assert rig.system.shaper is not None
    shaper = rig.system.shaper

    def cut() -> None:
        shaper.cut(10.0)
        time.sleep(10.0)

    patient, hasty = rig.under_load(cut)
    assert {"edge", "fallback"} <= set(tiers(patient)), tiers(patient)
    assert set(tiers(hasty)) & {"failed", "late"}
    assert not any(record.failed for record in patient)
    assert max(record.latency_s for record in patient) < 10.0, "waited for the link although the device could finish"
    rig.recovers()


def test_half_open_connections(rig: Rig) -> None:
    assert rig.system.shaper is not None
    shaper = rig.system.shaper

    def swallow() -> None:
        shaper.black_hole(1.0)
        time.sleep(3.0)

    before = shaper.stats().swallowed
    patient, hasty = rig.under_load(swallow)
    assert shaper.stats().swallowed > before
    assert {"edge", "fallback"} <= set(tiers(patient)), tiers(patient)
    assert set(tiers(hasty)) & {"failed", "late"}
    assert not any(record.failed for record in patient)
    rig.recovers()


@pytest.mark.parametrize("name", ["edge", "gateway"])
def test_a_server_that_stands_still(rig: Rig, name: str) -> None:
    """Stopped and continued, as a machine that swaps or a VM that migrates: alive, and as slow as can be."""
    server: ServerProcess = getattr(rig.system, name)

    def freeze() -> None:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            time.sleep(HASTY_S + 1.0)
        finally:
            os.kill(server.pid, signal.SIGCONT)

    patient, hasty = rig.under_load(freeze)
    assert "edge" in tiers(patient)
    assert set(tiers(hasty)) & {"failed", "late"}  # it waited in vain
    assert not any(record.failed for record in patient if name == "edge" or record.plan == EDGE)
    rig.recovers()


def test_a_full_disk_for_logs(rig: Rig) -> None:
    """No process of the system can lengthen a file; a function that starts then starts all the same."""
    gateway = rig.system.gateway.pid
    pids = [rig.system.edge.pid, gateway]
    for word in ("vm_worker", "functions_framework"):
        pids += processes_of(gateway, word)
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (SHORTEST_BYTES, hard))
    try:
        colds = rig.gauge("cold_starts")

        def crash() -> None:
            for pid in processes_of(gateway, "functions_framework"):
                os.kill(pid, signal.SIGKILL)

        patient, _ = rig.under_load(crash)
        assert {"edge", "cloud"} <= set(tiers(patient)), tiers(patient)
        assert not any(record.failed for record in patient if record.plan == EDGE)
        rig.recovers()
        assert rig.gauge("cold_starts") > colds
    finally:
        for pid, limit in limits.items():
            if os.path.exists(f"/proc/{pid}"):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    rig.recovers()


def test_servers_start_and_serve_with_a_full_disk_behind_their_log(rig: Rig) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    edge = rig.system.edge
    edge.stop()
    log, edge._log = edge._log, Path("/dev/full")
    try:
        edge.start()
        rig.recovers()
        edge.stop()
    finally:
        edge._log = log
        if not edge.alive:
            edge.start()
    rig.recovers()


def test_a_recording_outlives_a_full_disk(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first line on: what is recorded once there is room can be read."""
    problem = rig.system.problem
    monkeypatch.setattr("edgecloud.runtime.recording._RETRY_S", 0.0)
    full, send = [True], Recorder._send

    def write(file: Any, content: bytes) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        send(file, content)

    monkeypatch.setattr(Recorder, "_send", staticmethod(write))
    recorder = Recorder(tmp_path / "run", problem, compile_problem("demo").scenario.objective.weights, "test")
    patient, _ = rig.under_load(lambda: recorder.event("while full"))
    assert "edge" in tiers(patient)
    wait_for(lambda: recorder.lost >= 2, "nothing was lost")
    full[0] = False
    recorder.event("room again")
    recorder.close()
    assert [event["name"] for event in read_recording(tmp_path / "run").events] == ["room again"]
