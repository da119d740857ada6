"""`edgecloud evaluate`: agents and rules on the same held-out worlds; a table, raw scores and an HTML report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import InputError
from .inputs import (
    POLICY_FILES,
    Against,
    Exhaustive,
    Part,
    Quiet,
    Scenario,
    Seed,
    Traces,
    Weights,
    inputs_of,
    part_of,
)
from .progress import reported_bar

if TYPE_CHECKING:
    from ..traces import TraceSet

__all__ = ["evaluate"]


def evaluate(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN…",
            help="Run folders, checkpoints, exported policies, rules. Several runs are one method; NAME=PATH names it.",
        ),
    ] = None,
    against: Against = "all",
    traces: Traces = "",
    part: Part = "test",
    weights: Weights = "default",
    scenario: Scenario = "",
    seed: Seed = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Episodes per window of a trace.")] = 1,
    exhaustive: Exhaustive = False,
    out: Annotated[str, typer.Option(help="Folder for scores.json, scores.csv and report.html.")] = "",
    from_scores: Annotated[str, typer.Option(help="Make table and report again from a folder's raw scores.")] = "",
    quiet: Quiet = False,
) -> None:
    """Compare trained policies with rules on traces that training never saw; all of them in the same worlds."""
    from ..evaluation import (
        compare,
        draw_episodes,
        print_table,
        resolve_methods,
        resolve_weights,
        save_comparison,
        save_episodes,
        write_report,
    )

    console = Console(highlight=False)
    if from_scores:
        _again(from_scores, runs or [], out, scenario, console)
        return
    if out and Path(out).exists() and not Path(out).is_dir():
        raise InputError("--out", "", "must be a folder", out)
    problem, chosen, remark = inputs_of(runs or [], scenario, traces)
    links = part_of(chosen, part)
    presets = resolve_weights(weights, problem.scenario)
    methods, fixed = resolve_methods(runs or [], against, POLICY_FILES)
    with reported_bar(Console(stderr=True, quiet=quiet), "evaluate") as report:
        comparison = compare(
            methods,
            problem,
            links,
            presets,
            seed,
            repeats,
            best_fixed=fixed,
            exhaustive=exhaustive,
            progress=report,
        )
    console.print(f"traces: {chosen.origin}; part: {part}", markup=False)
    if remark:
        console.print(remark, markup=False, style="yellow")
    print_table(comparison, console)
    if out:
        provenance = _provenance(chosen, part, seed, repeats, runs or [], remark)
        save_comparison(comparison, Path(out), provenance)
        save_episodes(draw_episodes(comparison, methods, problem, links), Path(out))
        console.print(f"wrote {write_report(Path(out), problem)} and the raw scores beside it", markup=False)


def _provenance(
    traces: TraceSet, part: str, seed: int, repeats: int, runs: Sequence[str], remark: str
) -> dict[str, Any]:
    from ..evaluation.provenance import provenance_of, run_provenance

    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    found = provenance_of(command, traces.origin, part, seed, repeats)
    return {**found, "runs": run_provenance(runs), **({"remark": remark} if remark else {})}


def _again(source: str, runs: Sequence[str], out: str, scenario: str, console: Console) -> None:
    """Table and report from stored scores."""
    from ..envs import compile_problem
    from ..evaluation import load_comparison, load_episodes, print_table, save_comparison, save_episodes, write_report

    if runs:
        raise InputError("--from-scores", "", "excludes runs: the scores are there already", list(runs))
    comparison, provenance = load_comparison(source)
    print_table(comparison, console)
    home = Path(source) if Path(source).is_dir() else Path(source).parent
    folder = Path(out) if out else home
    problem = None
    try:
        problem = compile_problem(scenario or str(comparison.facts["scenario"]))
    except InputError:
        console.print("note: the scenario is not at hand; episodes are not drawn (--scenario names its file)")
    if folder.resolve() != home.resolve():
        save_comparison(comparison, folder, provenance)
        save_episodes(load_episodes(home), folder)
    console.print(f"wrote {write_report(folder, problem)}", markup=False)
