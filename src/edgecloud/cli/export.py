"""`edgecloud export`: a trained policy as one file that numpy and onnxruntime can run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import InputError, did_you_mean

__all__ = ["export"]

CHECKPOINTS = ("best", "last")


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder or checkpoint.")],
    out: Annotated[str, typer.Option(help="File to write. Default: the run's name with '.edgecloud'.")] = "",
    which: Annotated[str, typer.Option(help="Checkpoint of a run folder: best or last.")] = "best",
    scenario: Annotated[str, typer.Option(help="Shipped name or .toml file. Default: the run's.")] = "",
) -> None:
    """Write a trained policy to one file: graph, encoder, actions, provenance; nothing in it can run code."""
    from ..agents.export import export_policy, problem_of
    from ..runtime.artifact import SUFFIX, write_artifact
    from ..runtime.policy import Policy

    if which not in CHECKPOINTS:
        rule = f"must be one of {', '.join(CHECKPOINTS)}"
        raise InputError("--which", "", rule, which, did_you_mean(which, CHECKPOINTS))
    exported = export_policy(run, problem_of(run, scenario), which)
    path = Path(out) if out else Path(f"{Path(run).resolve().stem if Path(run).is_file() else _name(run)}{SUFFIX}")
    if path.is_dir():
        raise InputError("--out", "", "must be a file, not a folder", str(path))
    digest = write_artifact(path, exported.facts, exported.graph)
    policy = Policy.load(path, digest)
    facts = policy.facts
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)", markup=False)
    console.print(f"sha256 {digest}", markup=False)
    console.print(
        f"scenario {facts.scenario} ({facts.fingerprint}); {len(facts.placements)} placements, "
        f"{len(facts.thresholds)} thresholds, {len(facts.routes)} routes, up to {facts.vm_targets - 1} VMs",
        markup=False,
    )


def _name(run: str) -> str:
    """Last part of a run folder's path; its dots are no suffix."""
    return Path(run).resolve().name
