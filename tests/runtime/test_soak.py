"""The hour-long run, for seconds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads memory from /proc")
def test_soak_for_a_third_of_a_minute() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--minutes", "0.33", "--rate", "5"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = re.findall(
        r"^(device|edge|gateway|VM worker|function)\b.* (\d+) MiB +(\d+) MiB +(\d+) MiB", run.stdout, re.M
    )
    assert {"device", "edge", "gateway"} <= {name for name, *_ in rows}
    for name, start, end, _ in rows:
        if name == "function":  # more of them may start meanwhile
            continue
        assert int(start) > 50, name
        assert int(end) - int(start) < 100, name  # a leak of a megabyte per request would show
    submitted, lost = re.search(r"(\d+) submitted, \d+ failed, (\d+) lost", run.stdout).groups()
    assert int(submitted) > 20
    assert lost == "0"
