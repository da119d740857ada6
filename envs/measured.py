"""Service times and message sizes that a running system has measured, in place of a profile's scaled ones."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError
from .rng import TABLE_SIZE
from .state import Params

__all__ = ["TIERS", "MeasuredTier", "MeasuredTimes", "load_measured"]

TIERS = ("device", "edge", "vm", "faas")

Floats = NDArray[np.float64]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredTier(_Part):
    """One tier's mean service times, per stage and per exit head, and how single requests spread around them."""

    stage_s: tuple[Seconds, ...]
    """Mean seconds of each stage, M of them."""
    head_s: tuple[Seconds, ...]
    """Mean seconds of each exit head, E of them."""
    factors: Annotated[tuple[Factor, ...], Field(min_length=1)] = (1.0,)
    """Evenly spaced quantiles of measured over mean service time; scaled to mean one."""

    def table(self) -> Floats:
        """Unit-mean factors for the kernel's draws, shape (2048,)."""
        given = np.sort(np.asarray(self.factors, dtype=np.float64))
        at = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
        table = np.interp(at, (np.arange(len(given)) + 0.5) / len(given), given)
        return np.asarray(table / table.mean())


class MeasuredTimes(_Part):
    """What a file of measured times holds; `edgecloud calibrate` writes one."""

    format: Literal[1] = 1
    model: str
    """Fingerprint of the split model that was measured."""
    source: str
    """Command, machine, date."""
    tiers: dict[str, MeasuredTier]
    cut_bytes: tuple[Annotated[int, Field(ge=0)], ...]
    """Bytes on the wire at each cut, 0..M, framing included."""
    uplink_overhead_s: Seconds = 0.0
    """What the system itself adds to a round trip between device and edge; part of the scenario's `uplink.rtt_s`."""

    def digest(self) -> str:
        """Of everything that changes the problem (the round trip is the scenario's, whoever adds to it)."""
        content = self.model_dump_json(exclude={"source", "uplink_overhead_s"})
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def check(self, stages: int, exits: int, source: object) -> None:
        """Refuse what does not fit a profile.

        Raises:
            InputError: A tier is missing, or a list has another length than the profile's.
        """
        for name in sorted(self.tiers.keys() - set(TIERS)):
            raise InputError(source, f"tiers.{name}", f"must be one of {', '.join(TIERS)}")
        for name in TIERS:
            if name not in self.tiers:
                raise InputError(source, f"tiers.{name}", "is required")
            for part, length in (("stage_s", stages), ("head_s", exits)):
                if len(getattr(self.tiers[name], part)) != length:
                    found = len(getattr(self.tiers[name], part))
                    raise InputError(source, f"tiers.{name}.{part}", f"must have {length} entries", found)
        if len(self.cut_bytes) != stages + 1:
            raise InputError(source, "cut_bytes", f"must have {stages + 1} entries", len(self.cut_bytes))

    def apply(self, params: Params) -> Params:
        """A problem's constants with these times and sizes."""
        changed: dict[str, Any] = {"cut_bytes": np.array(self.cut_bytes, dtype=np.int64)}
        for name, tier in self.tiers.items():
            changed[f"{name}_work_s"] = np.stack([_cumulative(tier, params, heads) for heads in (True, False)])
            changed[f"{name}_noise"] = tier.table()
        return params._replace(**changed)


def _cumulative(tier: MeasuredTier, params: Params, heads: bool) -> Floats:
    """Seconds of everything before each cut, shape (M+1,)."""
    total = np.concatenate([[0.0], np.cumsum(tier.stage_s)])
    for position, seconds in zip(params.exit_position, tier.head_s, strict=True):
        if heads or position == len(total) - 1:
            total[position:] += seconds
    return total


def load_measured(path: str | Path) -> MeasuredTimes:
    """Read measured times.

    Raises:
        InputError: The file is missing, no JSON, or breaks a rule.
    """
    try:
        return MeasuredTimes.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise InputError(path, "", f"must be a readable file of measured times ({error.strerror})") from error
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise InputError(path, field, problem["msg"], remedy="write one with 'edgecloud calibrate'") from error
