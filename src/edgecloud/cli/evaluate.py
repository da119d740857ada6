"""`edgecloud evaluate`: agents and rules on the same held-out worlds; a table, raw scores and an HTML report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ..envs import Policy, Problem
    from ..traces import LinkTrace, TraceSet

__all__ = ["POLICY_FILES", "evaluate", "inputs_of", "part_of", "progress_bar"]

PARTS = ("test", "validation", "train")


def _read_exported(path: Path) -> Policy:
    from ..runtime.policy import Policy as Exported

    return Exported.load(path).as_policy()


POLICY_FILES: dict[str, Callable[[Path], Policy]] = {".edgecloud": _read_exported}
"""What reads a policy file of a suffix, besides checkpoints."""


def evaluate(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN…",
            help="Run folders, checkpoints, exported policies, rules. Several runs are one method; NAME=PATH names it.",
        ),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            help="Rules to compare with, separated by commas: names, module:Class, file.py:Class; 'all', 'none'."
        ),
    ] = "all",
    traces: Annotated[
        str,
        typer.Option(help="Folder of link traces. Default: the run's, else $EDGECLOUD_TRACES, else generated ones."),
    ] = "",
    part: Annotated[str, typer.Option(help="Part of the split: test, validation or train.")] = "test",
    weights: Annotated[
        str, typer.Option(help="Preferences: presets separated by commas, 'all', or three numbers (0.5,0.3,0.2).")
    ] = "default",
    scenario: Annotated[
        str, typer.Option(help="Shipped name or .toml file. Default: the run's, else the default.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the worlds.")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Episodes per window of a trace.")] = 1,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Search the best fixed action without discarding any constant early.")
    ] = False,
    out: Annotated[str, typer.Option(help="Folder for scores.json, scores.csv and report.html.")] = "",
    from_scores: Annotated[str, typer.Option(help="Make table and report again from a folder's raw scores.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
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
    with progress_bar(Console(stderr=True, quiet=quiet), "evaluate") as report:
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
    name, equals, rest = spec.partition("=")
    path = Path(rest if equals and "/" not in name and ":" not in name else spec)
    folder = path if path.is_dir() else path.parent
    return folder if path.exists() and (folder / "run.json").is_file() else None


def part_of(traces: TraceSet, part: str) -> tuple[LinkTrace, ...]:
    """A part of the split by name."""
    if part not in PARTS:
        raise InputError("--part", "", f"must be one of {', '.join(PARTS)}", part, did_you_mean(part, PARTS))
    chosen: tuple[LinkTrace, ...] = getattr(traces.split, part)
    return chosen


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on the error stream, driven by (text, done, total)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    shown = console.is_terminal and not console.quiet
    bar = Progress(*columns, console=console, disable=not shown, transient=True, refresh_per_second=4)
    task = bar.add_task(what, total=None)

    def report(text: str, done: int, total: int) -> None:
        bar.update(task, description=text, completed=done, total=total)

    with bar:
        yield report


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
