"""`edgecloud compare`: every policy, preference, held-out log and world; in parallel, resumable, with tables."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import InputError
from .inputs import Against, Exhaustive, Part, Scenario, Seed, Traces, Weights, inputs_of, part_of
from .progress import reported_bar

if TYPE_CHECKING:
    from ..envs import Problem
    from ..evaluation import Sweep

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN…",
            help="Run folders, checkpoints, rules. Several runs are training runs of one method; NAME=PATH names it.",
        ),
    ] = None,
    against: Against = "all",
    traces: Traces = "",
    part: Part = "test",
    weights: Weights = "all",
    scenario: Scenario = "",
    seed: Seed = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Worlds per piece of a log.")] = 5,
    exhaustive: Exhaustive = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    out: Annotated[
        str, typer.Option(help="Folder for raw scores, report.html and the results of pieces of work.")
    ] = "",
    markdown: Annotated[
        str, typer.Option(help="Page for the tables; what people wrote around the generated part is kept.")
    ] = "",
    train: Annotated[
        int, typer.Option(min=0, help="Train agents with seeds 0 to N-1 first, those that are missing or unfinished.")
    ] = 0,
    preset: Annotated[str, typer.Option(help="Settings of that training.")] = "default",
    bounds: Annotated[
        bool, typer.Option("--bounds", help="Bracket what is possible, and show every policy's regret; takes longer.")
    ] = False,
    budget: Annotated[
        int, typer.Option(min=0, help="Intervals that the clairvoyant planner simulates per episode; 0: the default.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no table.")] = False,
) -> None:
    """Compare every policy at every preference on held-out traces; started again, it goes on where it was stopped."""
    from ..baselines.clairvoyant import BUDGET
    from ..evaluation import plan_sweep, print_table, resolve_weights, run_sweep
    from ..evaluation.sweep_bounds import brackets_of

    if not out:
        raise InputError("compare", "--out", "must name a folder for the results", remedy="for example --out report")
    folder, wanted = Path(out), list(runs or [])
    if folder.exists() and not folder.is_dir():
        raise InputError("--out", "", "must be a folder", out)
    console = Console(highlight=False, quiet=quiet, soft_wrap=True)
    with _interruptible():
        if train:
            wanted += _trained(train, preset, scenario, traces, folder, jobs, console, quiet)
        problem, chosen, remark = inputs_of(wanted, scenario, traces)
        plan = plan_sweep(
            wanted,
            against,
            problem,
            part_of(chosen, part),
            resolve_weights(weights, problem.scenario),
            seed,
            repeats,
            exhaustive=exhaustive,
        )
        with _bar(Console(stderr=True, quiet=quiet)) as report:
            sweep = run_sweep(plan, folder / "pieces", jobs=jobs, progress=report)
            if bounds:
                brackets_of(sweep, folder / "bounds", budget=budget or BUDGET, jobs=jobs, progress=report)
    console.print(f"traces: {chosen.origin}; part: {part}", markup=False)
    if remark:
        console.print(remark, markup=False, style="yellow")
    console.print(f"{sweep.computed} pieces of work done, {sweep.reused} had been done before", markup=False)
    if not quiet:
        print_table(sweep.comparison, Console(highlight=False))
    known = {"traces": chosen.origin, "part": part, "seed": seed, "repeats": repeats}
    for path in _write(sweep, folder, markdown, known | ({"remark": remark} if remark else {}), wanted, problem):
        console.print(f"wrote {path}", markup=False)


def _write(
    sweep: Sweep, folder: Path, markdown: str, known: dict[str, Any], runs: Sequence[str], problem: Problem
) -> list[Path]:
    """Raw scores, the report and the page, the latter two from the raw scores on disk."""
    from ..evaluation import load_comparison, results_text, save_comparison, write_report, write_section
    from ..evaluation.provenance import provenance_of, run_provenance
    from ..evaluation.sweep_bounds import load_brackets, regret_text

    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    machine = provenance_of([command], known["traces"], known["part"], known["seed"], known["repeats"])
    machine = {name: value for name, value in machine.items() if name not in known}
    scores = save_comparison(sweep.comparison, folder, {**known, "runs": run_provenance(runs)}, machine=machine)
    written = [scores, write_report(folder, problem)]
    if markdown:
        comparison, provenance = load_comparison(folder)
        regret = regret_text(comparison, load_brackets(comparison, folder / "bounds"))
        write_section(Path(markdown), results_text(comparison, provenance, regret))
        written.append(Path(markdown))
    return written


def _trained(
    count: int, preset: str, scenario: str, traces: str, folder: Path, jobs: int, console: Console, quiet: bool
) -> list[str]:
    """Folders of the trained agents, after training those that are missing."""
    from ..evaluation.training_runs import train_missing

    with _bar(Console(stderr=True, quiet=quiet)) as report:
        paths = train_missing(folder / "agents", count, preset, scenario, traces, jobs=jobs, progress=report)
    console.print(f"agents: {', '.join(str(path) for path in paths)}", markup=False)
    return [str(path) for path in paths]


@contextmanager
def _interruptible() -> Iterator[None]:
    """An interrupt says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        text = "stopped; what is done is kept, the same command goes on from there"
        Console(stderr=True, soft_wrap=True).print(text, markup=False)
        raise typer.Exit(130) from None


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[str, float, float], None]]:
    """The progress bar in thousandths."""
    with reported_bar(console, "compare") as report:
        yield lambda text, done, total: report(text, round(1000 * done / max(total, 1e-9)), 1000)
