"""Energy of a call, where the machine has a meter that may be read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Meter", "find_meter", "joules_per_call"]

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """A counter of the processor package's energy (Intel RAPL, also on AMD).

    Attributes:
        name: What measures, in words.
        counters: Files with microjoules, one per package.
        limits: At which value each starts again from 0.
    """

    name: str
    counters: tuple[Path, ...]
    limits: tuple[int, ...]

    def read_uj(self) -> tuple[int, ...]:
        """The counters, microjoules."""
        return tuple(int(path.read_text()) for path in self.counters)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Energy between two readings, less than one turn of the counter apart."""
        rows = zip(before, after, self.limits, strict=True)
        return sum((end - start) % (limit + 1) for start, end, limit in rows) * 1e-6


def find_meter(folder: Path = POWERCAP) -> Meter | None:
    """The machine's energy meter; None if there is none or it may not be read."""
    counters, limits = [], []
    for package in sorted(folder.glob("intel-rapl:*")):
        if package.name.count(":") != 1:
            continue
        try:
            int((package / "energy_uj").read_text())
            limit = int((package / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            return None
        counters.append(package / "energy_uj")
        limits.append(limit)
    if not counters:
        return None
    return Meter(
        "processor package counters (RAPL); other work on the machine is included", tuple(counters), tuple(limits)
    )


def joules_per_call(meter: Meter, call: Callable[[], Any], seconds: float = 2.0) -> float:
    """Mean joules of a call over at least `seconds` and three calls."""
    count, started, before = 0, time.monotonic(), meter.read_uj()
    while count < 3 or time.monotonic() - started < seconds:
        call()
        count += 1
    return meter.joules(before, meter.read_uj()) / count
