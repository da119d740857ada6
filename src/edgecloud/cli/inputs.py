"""What the commands on held-out traces share: their options, and what these mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ..envs import Policy, Problem
    from ..traces import LinkTrace, TraceSet

__all__ = [
    "POLICY_FILES",
    "Against",
    "Exhaustive",
    "Part",
    "Quiet",
    "Scenario",
    "Seed",
    "Traces",
    "Weights",
    "inputs_of",
    "part_of",
]

Against = Annotated[
    str,
    typer.Option(help="Rules to compare with, separated by commas: names, module:Class, file.py:Class; 'all', 'none'."),
]
Traces = Annotated[
    str,
    typer.Option(help="Folder of link traces. Default: a named run's, else $EDGECLOUD_TRACES, else generated ones."),
]
Part = Annotated[str, typer.Option(help="Part of the split: test, validation or train.")]
Weights = Annotated[
    str, typer.Option(help="Preferences: presets separated by commas, 'all', or three numbers (0.5,0.3,0.2).")
]
Scenario = Annotated[str, typer.Option(help="Shipped name or .toml file. Default: a named run's, else camera-lte.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the worlds.")]
Exhaustive = Annotated[
    bool, typer.Option("--exhaustive", help="Search the best fixed action without discarding any constant early.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]

PARTS = ("test", "validation", "train")


def _read_exported(path: Path) -> Policy:
    from ..runtime.policy import Policy as Exported

    return Exported.load(path).as_policy()


POLICY_FILES: dict[str, Callable[[Path], Policy]] = {".edgecloud": _read_exported}
"""What reads a policy file of a suffix, besides checkpoints."""


def inputs_of(runs: Sequence[str], scenario: str, traces: str) -> tuple[Problem, TraceSet, str]:
    """The problem and the traces, by default those of the first run; and a remark if some run's traces were others."""
    from ..agents import open_run
    from ..agents.runs import traces_digest
    from ..envs import DEFAULT_SCENARIO, compile_problem
    from ..traces import default_traces

    folders = [_folder_of(spec) for spec in runs]
    opened = [open_run(folder) for folder in folders if folder is not None]
    first = opened[0].manifest if opened else None
    source = scenario or (first.scenario_source or first.scenario if first else DEFAULT_SCENARIO)
    problem = compile_problem(source)
    chosen = default_traces(traces or (first.traces_source if first else "") or None)
    others = [run for run in opened if run.manifest.traces_digest != traces_digest(chosen)]
    if not others:
        return problem, chosen, ""
    remark = (
        f"note: {others[0].path} was trained on other traces ({others[0].manifest.traces}); "
        "whether it saw some of these is not checked"
    )
    return problem, chosen, remark


def _folder_of(spec: str) -> Path | None:
    """The run folder that an argument means, if it means one."""
    from ..evaluation.resolve import named

    path = Path(named(spec)[1])
    folder = path if path.is_dir() else path.parent
    return folder if path.exists() and (folder / "run.json").is_file() else None


def part_of(traces: TraceSet, part: str) -> tuple[LinkTrace, ...]:
    """A part of the split by name."""
    if part not in PARTS:
        raise InputError("--part", "", f"must be one of {', '.join(PARTS)}", part, did_you_mean(part, PARTS))
    chosen: tuple[LinkTrace, ...] = getattr(traces.split, part)
    return chosen
