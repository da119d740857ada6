"""Raw scores on disk: one JSON that everything is recomputed from, and the same as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..envs.rollout import latency_edges_s
from ..errors import InputError
from ..files import write_atomically as replace_file
from .metrics import METRICS
from .scores import ActionCounts, Comparison, EpisodeLabel, Run

__all__ = ["load_comparison", "save_comparison", "write_atomically"]

FORMAT = 1
SCORES = "scores.json"
TABLE = "scores.csv"
MACHINE = "machine.json"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, so that it is either the old one or the new one.

    Raises:
        InputError: The folder cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise InputError(path, "", f"must be a file that can be written ({error.strerror})") from error


def save_comparison(
    comparison: Comparison,
    folder: Path,
    provenance: dict[str, Any] | None = None,
    *,
    machine: dict[str, Any] | None = None,
) -> Path:
    """Write `scores.json` and `scores.csv` into a folder, atomically, and return the JSON's path.

    Args:
        comparison: Raw scores.
        folder: Made if need be.
        provenance: What a reader needs to make the same scores again.
        machine: The part of the provenance that belongs to a machine and a moment. If it is given, it goes to
            `machine.json` together with the decision times, and the other files hold nothing but what another run of
            the same comparison gives again, byte for byte.
    """
    apart = machine is not None
    if machine is not None:
        times = [run.decision_s for run in comparison.runs]
        extra = {"provenance": machine, "decision_one_s": comparison.decision_one_s, "decision_s": times}
        write_atomically(folder / MACHINE, (json.dumps(extra, indent=1) + "\n").encode())
    else:
        (folder / MACHINE).unlink(missing_ok=True)
    content = {
        "format": FORMAT,
        "provenance": provenance or {},
        "facts": comparison.facts,
        "seed": comparison.seed,
        "presets": {name: list(weights) for name, weights in comparison.presets.items()},
        "methods": list(comparison.methods),
        "learned": list(comparison.learned),
        "notes": list(comparison.notes),
        "decision_one_s": {} if apart else comparison.decision_one_s,
        "metrics": [entry.name for entry in METRICS],
        "episodes": [[label.trace, label.mode, label.start_s, label.repeat] for label in comparison.episodes],
        "runs": [_run_content(run, apart) for run in comparison.runs],
    }
    write_atomically(folder / TABLE, _csv(comparison).encode())
    path = folder / SCORES
    write_atomically(path, json.dumps(content, allow_nan=False, separators=(",", ":")).encode())
    return path


def load_comparison(path: str | Path) -> tuple[Comparison, dict[str, Any]]:
    """Read a comparison (a folder or its `scores.json`) and its provenance.

    Raises:
        InputError: It is missing, damaged, or of another format.
    """
    file = Path(path)
    file = file / SCORES if file.is_dir() else file
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(file, "", f"must be readable raw scores ({error.strerror})") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(file, "", f"must be valid JSON ({error})") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise InputError(file, "format", f"must be {FORMAT}", found)
    names = [entry.name for entry in METRICS]
    if content.get("metrics") != names:
        raise InputError(file, "metrics", f"must be {names}", content.get("metrics"), "evaluate again")
    try:
        return _with_machine(_comparison(content), dict(content["provenance"]), file.with_name(MACHINE))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        rule = f"must be complete raw scores ({type(error).__name__}: {error})"
        raise InputError(file, "", rule, remedy="evaluate again") from error


def _with_machine(comparison: Comparison, provenance: dict[str, Any], file: Path) -> tuple[Comparison, dict[str, Any]]:
    """Put decision times and the rest of the provenance back where they stand apart; without them, times are NaN."""
    if comparison.decision_one_s or not comparison.runs:
        return comparison, provenance
    nothing = dict.fromkeys(comparison.methods, math.nan)
    if not file.is_file():
        return replace(comparison, decision_one_s=nothing), provenance
    extra = json.loads(file.read_text(encoding="utf-8"))
    times = zip(comparison.runs, extra["decision_s"], strict=True)
    runs = tuple(replace(run, decision_s=float(seconds)) for run, seconds in times)
    one = {name: float(extra["decision_one_s"][name]) for name in comparison.methods}
    return replace(comparison, runs=runs, decision_one_s=one), {**provenance, **extra["provenance"]}


def _comparison(content: dict[str, Any]) -> Comparison:
    episodes = tuple(EpisodeLabel(str(t), str(m), float(s), int(r)) for t, m, s, r in content["episodes"])
    bins = len(latency_edges_s(float(content["facts"]["timeout_s"]))) - 1
    return Comparison(
        methods=tuple(content["methods"]),
        learned=tuple(content["learned"]),
        presets={name: (float(w[0]), float(w[1]), float(w[2])) for name, w in content["presets"].items()},
        episodes=episodes,
        runs=tuple(_run(run, len(episodes), bins) for run in content["runs"]),
        decision_one_s={name: float(value) for name, value in content["decision_one_s"].items()},
        seed=int(content["seed"]),
        facts=dict(content["facts"]),
        notes=tuple(content["notes"]),
    )


def _run_content(run: Run, apart: bool) -> dict[str, Any]:
    return {
        "method": run.method,
        "member": run.member,
        "weights": run.weights_name,
        "decision_s": None if apart else run.decision_s,
        "scores": [[_finite(float(x)) for x in row] for row in run.scores],
        "latencies": [_pack(counts) for counts in run.latency_counts],
        "actions": [
            [[*action, count] for action, count in zip(taken.actions.tolist(), taken.counts.tolist(), strict=True)]
            for taken in run.actions
        ],
    }


def _run(content: dict[str, Any], episodes: int, bins: int) -> Run:
    scores = np.array([[math.nan if x is None else x for x in row] for row in content["scores"]], dtype=np.float64)
    if scores.shape != (episodes, len(METRICS)):
        raise ValueError(f"scores of shape {scores.shape} for {episodes} episodes")
    actions = []
    for rows in content["actions"]:
        table = np.array(rows, dtype=np.int64).reshape(-1, 5)
        actions.append(ActionCounts(table[:, :4], table[:, 4]))
    return Run(
        method=str(content["method"]),
        member=str(content["member"]),
        weights_name=str(content["weights"]),
        scores=scores,
        latency_counts=np.stack([_unpack(packed, bins) for packed in content["latencies"]]),
        actions=tuple(actions),
        decision_s=math.nan if content["decision_s"] is None else float(content["decision_s"]),
    )


def _pack(counts: NDArray[np.int64]) -> list[int]:
    """A histogram without its empty ends: the first bin's index, then the counts; the last bin's stands apart, second.

    >>> _pack(np.array([0, 0, 3, 1, 0, 0, 7]))
    [2, 7, 3, 1]
    """
    inner = np.flatnonzero(counts[:-1])
    if not len(inner):
        return [0, int(counts[-1])]
    first, end = int(inner[0]), int(inner[-1]) + 1
    return [first, int(counts[-1]), *counts[first:end].tolist()]


def _unpack(packed: list[int], bins: int) -> NDArray[np.int64]:
    counts = np.zeros(bins, dtype=np.int64)
    first, last, *inner = packed
    counts[first : first + len(inner)] = inner
    counts[-1] = last
    return counts


def _csv(comparison: Comparison) -> str:
    """One row per method, training run, preference and episode."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["method", "member", "weights", "trace", "mode", "start_s", "repeat"]
    writer.writerow(head + [entry.name for entry in METRICS])
    for run in comparison.runs:
        for label, row in zip(comparison.episodes, run.scores, strict=True):
            place = [label.trace, label.mode, f"{label.start_s:g}", label.repeat]
            writer.writerow([run.method, run.member, run.weights_name, *place, *(repr(float(x)) for x in row)])
    return buffer.getvalue()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
