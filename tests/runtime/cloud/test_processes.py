"""Processes of the pools do not outlive whoever started them, and the waiting line keeps its order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from edgecloud.errors import InputError
from edgecloud.runtime.cloud import HandlerSpec
from edgecloud.runtime.cloud.line import WaitingLine

from .support import PATIENCE_S

PROGRAM = """
import time
from edgecloud.runtime.cloud import VmPool, FunctionPool
from edgecloud.pricing import load_prices
from edgecloud.runtime.cloud import FunctionSettings, HandlerSpec, VmSettings
echo = HandlerSpec("edgecloud.runtime.cloud.echo:make_handler")
vms = VmPool(VmSettings(echo, load_prices().vm("c6i.large"), boot_s=0.0))
vms.set_target(1)
functions = FunctionPool(FunctionSettings(echo, load_prices().faas("lambda-x86"), 1024))
functions.invoke(b"x", 60.0)
vms.invoke(b"x", 60.0)
print(vms.machines()[0].pid, functions.instances()[0].pid, flush=True)
time.sleep(600)
"""


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:  # one that nobody has collected yet is dead all the same
        return stat.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks into /proc")
def test_no_orphans_after_kill_9_of_the_gateway(eventually: Callable[[Callable[[], bool]], None]) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        pids = [int(word) for word in gateway.stdout.readline().split()]
        assert len(pids) == 2
        assert all(exists(pid) for pid in pids)
        gateway.send_signal(signal.SIGKILL)
        gateway.wait(PATIENCE_S)
    eventually(lambda: not any(exists(pid) for pid in pids))


def test_line_is_first_come_first_served() -> None:
    line, free, order = WaitingLine(), [], []

    def wait(name: int) -> None:
        if line.get(lambda _: free.pop() if free else None, time.monotonic() + PATIENCE_S) is not None:
            order.append(name)
            with line.lock:
                free.append(True)
                line.changed()

    threads = []
    for name in range(8):
        threads.append(threading.Thread(target=wait, args=(name,)))
        threads[-1].start()
        while len(line.waiting) <= name:
            time.sleep(0.001)
    with line.lock:
        free.append(True)
        line.changed()
    for thread in threads:
        thread.join()
    assert order == list(range(8))
    free.clear()
    assert line.get(lambda _: None, time.monotonic() + 0.01) is None
    assert line.waiting == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ('{"path": 3}', "module:function"),
        ('{"path": "a:b", "more": 1}', "module:function"),
        ("no_such_module:f", "must be module:function"),
        ("edgecloud.runtime.cloud.echo:nothing", "must be module:function"),
        ('{"path": "edgecloud.runtime.cloud.echo:make_handler", "arguments": {"no": 1}}', "must fit"),
    ],
)
def test_a_wrong_handler_is_an_input_error(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        HandlerSpec.from_json(text).make()


def test_a_bare_path_is_a_handler() -> None:
    assert HandlerSpec.from_json("edgecloud.runtime.cloud.echo:make_handler").make()(b"x") == b"x"
