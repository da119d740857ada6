"""Resident memory over ten million environment steps, with episodes that end and start anew.

python benchmarks/memory.py [steps]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgecloud.envs import EdgeCloudVecEnv
from edgecloud.traces import generated_split


def resident_mib() -> float:
    """Resident set of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def main(steps: int = 10_000_000, num_envs: int = 256) -> None:
    envs = EdgeCloudVecEnv(num_envs, "camera-lte", generated_split(0).train)
    envs.reset(seed=0)
    nvec = envs.single_action_space.nvec
    actions = np.random.default_rng(0).integers(0, nvec, size=(100, num_envs, 4))
    calls = steps // num_envs
    seen = []
    for t in range(calls):
        envs.step(actions[t % 100])
        if t == calls // 50 or t == calls - 1 or (t and t % (calls // 10) == 0):
            seen.append(resident_mib())
            print(f"{t * num_envs:12,d} steps  {seen[-1]:7.1f} MiB", flush=True)
    growth = seen[-1] - seen[0]
    print(f"growth after the first 2 %: {growth:+.1f} MiB ({growth / seen[0]:+.1%})")
    if growth > 0.02 * seen[0]:
        sys.exit("memory grows")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
