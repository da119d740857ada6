"""Kernel shaping in network namespaces, where the machine allows it."""

import subprocess
import sys

import pytest

from edgecloud.errors import InputError
from edgecloud.runtime.link import netns
from edgecloud.traces import transfer_end_s

from .support import trace

RECEIVE = """
import socket, sys, time
with socket.create_server((sys.argv[1], 7000)) as listener:
    print("ready", flush=True)
    peer, _ = listener.accept()
    left = int(sys.argv[2])
    while left:
        left -= len(peer.recv(65536))
    print(time.monotonic(), flush=True)
"""
SEND = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 7000)) as link:
    print(time.monotonic(), flush=True)
    link.sendall(bytes(int(sys.argv[2])))
    link.shutdown(socket.SHUT_WR)
    link.recv(1)
"""
REASON = netns.why_not()


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_the_kernel_carries_the_trace() -> None:
    link, size = trace(8e6, 2e6, 16e6, 8e6, 8e6, 8e6), 1_500_000
    with netns.NamespaceLink(link) as cable:
        command = [sys.executable, "-c"]
        arguments = [cable.far_address, str(size)]
        far = subprocess.Popen(
            cable.command(cable.far, [*command, RECEIVE, *arguments]), stdout=subprocess.PIPE, text=True
        )
        with far:
            assert far.stdout is not None
            assert far.stdout.readline() == "ready\n"
            near = subprocess.run(
                cable.command(cable.near, [*command, SEND, *arguments]), capture_output=True, text=True, check=True
            )
            ended_s = float(far.stdout.readline()) - cable._origin_s
            begun_s = float(near.stdout) - cable._origin_s
    exact_s = transfer_end_s(link, begun_s % link.duration_s, size) - begun_s % link.duration_s
    assert 0.95 * exact_s < ended_s - begun_s < 1.15 * exact_s + 0.2  # headers are 4 % on top
    cable.stop()
    assert cable.near not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def test_without_privileges_the_message_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns.os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match=r"it needs root.*use the user-space Shaper"):
        netns.NamespaceLink(trace(8e6))
    monkeypatch.setattr(netns.os, "geteuid", lambda: 0)
    monkeypatch.setattr(netns.shutil, "which", lambda _: None)
    assert netns.why_not() == "the program ip is not installed"
