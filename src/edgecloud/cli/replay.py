"""`edgecloud replay`: a recorded run of the runtime once more in the simulator, measured beside simulated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .inputs import POLICY_FILES
from .progress import reported_bar

if TYPE_CHECKING:
    from ..runtime.journal import Recording
    from ..runtime.replay_table import Line

__all__ = ["replay"]


def replay(
    recording: Annotated[str, typer.Argument(metavar="RECORDING", help="Folder of a recorded run, or its journal.")],
    policy: Annotated[
        str,
        typer.Option(
            help="Who decides instead: run folder, checkpoint, exported policy or rule. Default: as recorded."
        ),
    ] = "",
    scenario: Annotated[str, typer.Option(help="Shipped name or .toml file. Default: the recording's.")] = "",
    copies: Annotated[int, typer.Option(min=1, max=1024, help="Draws of what a recording does not fix.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Run recorded link, arrivals, edge load and actions in the simulator and compare with what was measured."""
    from ..envs import compile_problem
    from ..evaluation.resolve import resolve_policy
    from ..runtime.journal import read_recording
    from ..runtime.replay import replay as simulate
    from ..runtime.replay_table import compare_terms

    run = read_recording(recording)
    problem = compile_problem(scenario or str(run.header.get("scenario_source") or run.header["scenario"]))
    decider = resolve_policy(policy, POLICY_FILES) if policy else None
    with reported_bar(Console(stderr=True, quiet=quiet), "replay") as report:
        total = len(run.intervals)
        replayed = simulate(run, problem, decider, copies, seed, lambda done: report("intervals", done, total))
    console = Console(highlight=False)
    for remark in _remarks(run):
        console.print(remark, markup=False, style="yellow")
    title = f"{run.source}: {total} intervals by '{run.header['policy']}'"
    _print(console, title, f"simulated, {replayed.policy} ({copies} draws)", compare_terms([(run, replayed)], problem))


def _remarks(run: Recording) -> list[str]:
    """What is missing from a recording."""
    remarks = []
    if run.left_out:
        remarks.append(f"note: {run.left_out} intervals outside the longest unbroken stretch are left out")
    if run.skipped:
        remarks.append(f"note: {run.skipped} lines could not be read")
    if run.lost is None:
        remarks.append("note: the recording has no end: the run was cut off, or goes on")
    elif run.lost:
        remarks.append(f"note: {run.lost} lines could not be written during the run")
    return remarks


def _print(console: Console, title: str, simulated: str, lines: list[Line]) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("measured", simulated, "95 % of the draws", "difference"):
        table.add_column(name, justify="right")
    for line in lines:
        between = "" if math.isnan(line.low) else f"{_shown(line.low)} … {_shown(line.high)}"
        difference = "" if math.isnan(line.difference) else f"{100 * line.difference:+.1f} %"
        table.add_row(line.name, _shown(line.measured), _shown(line.simulated), between, difference)
    console.print(table)


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
