"""From measurements in SI units to the network's observation, by fixed constants.

The encoder is pure NumPy and holds no learned statistics: the environment, an exported policy and a serving system use
the same one, so training and serving cannot drift apart, and no second file has to travel with a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .measure import EXIT_SLOTS, HISTORY, SCHEMA, column, width

__all__ = ["Encoder"]

Floats = NDArray[np.float64]

_RATE_REF_BPS, _RATE_TOP_BPS = 0.5e6, 100e6
_QUEUE_TOP = 64.0


@dataclass(frozen=True, eq=False)
class Encoder:
    """Scales a measured row to [-1, 1]: (log1p(x / scale) or x / scale) * gain + shift, clipped; then one-hot parts.

    Attributes:
        source: Measured column of each output, int64 (L,).
        scale: Unit of each, float64 (L,).
        logarithmic: Whether log1p is taken, bool (L,).
        gain: Factor after that, float64 (L,).
        shift: Summand, float64 (L,).
        tables: For each categorical column, the vectors that its index selects: (column, float64 (choices, width)).
        names: A name per output.
    """

    source: NDArray[np.int64]
    scale: Floats
    logarithmic: NDArray[np.bool_]
    gain: Floats
    shift: Floats
    tables: tuple[tuple[int, Floats], ...]
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Length of an observation."""
        return len(self.names)

    def __call__(self, rows: Floats) -> NDArray[np.float32]:
        """Encode measured rows, float64 (N, D), to observations, float32 (N, size), all within [-1, 1]."""
        x = rows[:, self.source] / self.scale
        # log1p only where asked: the rest may be anything, so it is kept out of the logarithm's domain.
        x = np.where(self.logarithmic, np.log1p(np.where(self.logarithmic, np.maximum(x, 0.0), 0.0)), x)
        parts = [np.clip(x * self.gain + self.shift, -1.0, 1.0)]
        for at, table in self.tables:
            index = np.clip(rows[:, at].astype(np.int64), 0, len(table) - 1)
            parts.append(table[index])
        return np.concatenate(parts, axis=1).astype(np.float32)

    @classmethod
    def for_problem(
        cls,
        placements: NDArray[np.int64],
        nvec: NDArray[np.int64],
        stages: int,
        exits: int,
        instances: int,
        raw_bytes: int,
        interval_s: float,
    ) -> Encoder:
        """The encoder of a problem; every constant follows from the scenario's limits, none from data."""
        rows: list[tuple[str, int, float, bool, float, float]] = []

        def add(name: str, scale: float, log_top: float | None = None, centre: bool = True, count: int = 0) -> None:
            """`log_top`: value that maps to 1 on a logarithmic scale."""
            size = count or next(f.size for f in SCHEMA if f.name == name)
            gain = 1.0 if log_top is None else 1.0 / float(np.log1p(log_top / scale))
            for k in range(size):
                label = name if size == 1 else f"{name}_{k}"
                shift = -1.0 if centre else 0.0
                rows.append((label, column(name) + k, scale, log_top is not None, gain * (1 - shift), shift))

        add("rate_bps", _RATE_REF_BPS, _RATE_TOP_BPS, count=HISTORY)
        add("rate_average_bps", _RATE_REF_BPS, _RATE_TOP_BPS)
        add("rtt_s", 0.02, 0.5)
        add("arrivals", 2.0 * interval_s, 128.0 * interval_s)
        add("arrivals_average", 2.0 * interval_s, 128.0 * interval_s)
        for name in ("device_queue", "uplink_queue", "edge_queue", "cloud_queue"):
            add(name, 1.0, _QUEUE_TOP, centre=False)
        add("uplink_queue_bytes", raw_bytes / 2, raw_bytes * _QUEUE_TOP, centre=False)
        add("edge_load", 1.0)
        pool = float(max(nvec[3] - 1, 1))
        add("vm_running", pool, centre=False)
        add("vm_booting", pool, centre=False)
        add("warm_instances", 1.0, float(instances), centre=False)
        add("busy_instances", 1.0, float(instances), centre=False)
        add("confidence", 1.0)
        add("exit_fraction", 1.0, centre=False, count=min(exits, EXIT_SLOTS))
        add("vm_target", pool, centre=False)
        add("placement_age", 2.0, 30.0, centre=False)
        add("battery", 1.0, centre=False)
        add("weights", 1.0)
        labels, source, scale, logarithmic, gain, shift = zip(*rows, strict=True)
        tables, names = _tables(placements, nvec, stages)
        return cls(
            source=np.array(source, dtype=np.int64),
            scale=np.array(scale),
            logarithmic=np.array(logarithmic),
            gain=np.array(gain),
            shift=np.array(shift),
            tables=tables,
            names=(*labels, *names),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for an exported policy."""
        return {
            "width": width(),
            "source": self.source.tolist(),
            "scale": self.scale.tolist(),
            "logarithmic": self.logarithmic.tolist(),
            "gain": self.gain.tolist(),
            "shift": self.shift.tolist(),
            "tables": [[at, table.tolist()] for at, table in self.tables],
            "names": list(self.names),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Encoder:
        """The inverse of `to_dict`."""
        return cls(
            source=np.array(content["source"], dtype=np.int64),
            scale=np.array(content["scale"], dtype=np.float64),
            logarithmic=np.array(content["logarithmic"], dtype=bool),
            gain=np.array(content["gain"], dtype=np.float64),
            shift=np.array(content["shift"], dtype=np.float64),
            tables=tuple((int(at), np.array(table, dtype=np.float64)) for at, table in content["tables"]),
            names=tuple(content["names"]),
        )


def _tables(
    placements: NDArray[np.int64], nvec: NDArray[np.int64], stages: int
) -> tuple[tuple[tuple[int, Floats], ...], list[str]]:
    """One-hot cuts and route, and the threshold's place in its grid, of the action in force."""
    cuts = np.eye(stages + 1)
    placement = np.concatenate([cuts[placements[:, 0]], cuts[placements[:, 1]]], axis=1)
    threshold = np.linspace(-1.0, 1.0, int(nvec[1]))[:, None] if nvec[1] > 1 else np.zeros((1, 1))
    sides = ("device", "edge", "other_device", "other_edge")
    names = [f"{side}_cut_{k}" for side in sides for k in range(stages + 1)]
    names += ["threshold", "route_vm", "route_faas", "route_spill"]
    return (
        (column("placement"), placement),
        (column("other_placement"), placement),
        (column("threshold"), threshold),
        (column("route"), np.eye(int(nvec[2]))),
    ), names
