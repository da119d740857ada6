import os
import subprocess
import sys

import pytest

PROGRAM = """
import threading
from pathlib import Path
from edgecloud.runtime.arenas import limit_arenas

limited = limit_arenas(2)
gate, done = threading.Barrier(13), threading.Event()
def work():
    kept = [bytes(20_000) for _ in range(50)]  # beyond Python's own allocator: malloc in this thread
    gate.wait()
    done.wait()
for _ in range(12):
    threading.Thread(target=work, daemon=True).start()
gate.wait()
begins = [line.split("-")[0] for line in Path("/proc/self/maps").read_text().splitlines() if " rw-p " in line]
print(limited, sum(int(begin, 16) % (64 << 20) == 0 for begin in begins))
done.set()
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.confstr("CS_GNU_LIBC_VERSION") is None, reason="a setting of glibc"
)
@pytest.mark.parametrize("told", ["", "8"])
def test_threads_share_few_heaps(told: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MALLOC_ARENA_MAX"}
    environment |= {"MALLOC_ARENA_MAX": told} if told else {}
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True)
    limited, heaps = run.stdout.split()
    assert limited == str(not told)  # what the operator says goes first
    assert (int(heaps) <= 2) is not bool(told)
