"""`edgecloud scenario`: list and show scenarios, and analyse whether one is a real decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from ..errors import InputError

if TYPE_CHECKING:
    from ..envs import Problem, Scenario
    from ..evaluation.analysis import Analysis
    from ..evaluation.branching import BestActions

__all__ = ["app"]

app = typer.Typer(help="Scenarios: what a decision problem consists of, and whether it is one.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A shipped scenario's name or the path of a .toml file.")]
_REFERENCES = "always-device,always-edge,always-cloud-vm,always-faas,random,neurosurgeon,dp,dp-held"


@app.command("list")
def list_command() -> None:
    """List the shipped scenarios."""
    from ..envs import list_scenarios, load_scenario

    table = Table("name", "device", "profile", "VM", "function", "description")
    for name in list_scenarios():
        found = load_scenario(name)
        table.add_row(name, found.device.compute, found.profile, found.vm.type, found.faas.platform, found.description)
    Console().print(table)


@app.command()
def show(name: Name) -> None:
    """Show every value of a scenario with its source, and what they amount to."""
    from ..envs import compile_problem, load_scenario

    scenario = load_scenario(name)
    console = Console(highlight=False)
    console.print(f"[bold]{scenario.name}[/bold]: {scenario.description}")
    console.print(_values_table(scenario))
    problem = compile_problem(scenario)
    console.print(_service_table(problem))
    console.print(_action_line(problem), markup=False)
    missing = [field for field in scenario.numeric_fields() if _source(scenario, field) == ""]
    if missing:
        console.print(f"without a source: {', '.join(missing)}", style="yellow", markup=False)


def _values_table(scenario: Scenario) -> Table:
    table = Table("field", "value", "source", title="values", show_lines=False)
    for section, content in scenario:
        if section in ("sources", "name", "description", "format"):
            continue
        if not hasattr(content, "model_dump"):
            table.add_row(section, str(content), _source(scenario, section))
            continue
        for field, value in content:
            shown = ", ".join(f"{x:g}" for x in value) if isinstance(value, tuple) else _plain(value)
            table.add_row(f"{section}.{field}", shown, _source(scenario, f"{section}.{field}"))
    return table


def _source(scenario: Scenario, field: str) -> str:
    """A field's source, or its section's."""
    return scenario.sources.get(field) or scenario.sources.get(field.partition(".")[0], "")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _service_table(problem: Problem) -> Table:
    """What each tier needs for the whole network and what it costs."""
    table = Table("tier", "GFLOP/s", "whole network ms", "noise sigma", "$ per 1000 whole networks", title="tiers")
    money = problem.unit_prices
    for name, tier in problem.tiers.items():
        seconds = float(tier.cumulative_s(problem.params.exit_position, True)[-1])
        price = {
            "device": 0.0,
            "edge": 1e3 * seconds * problem.params.usd_per_edge_ms + problem.params.usd_per_edge_request,
            "vm": seconds * money.usd_per_vm_s,
            "faas": 1e3 * seconds * money.usd_per_faas_ms + money.usd_per_faas_request,
        }[name]
        noise = f"{tier.noise_sigma:g}"
        table.add_row(name, f"{tier.speed_flops / 1e9:.2f}", f"{1e3 * seconds:.1f}", noise, f"{1e3 * price:.5f}")
    table.caption = "VM: of its busy seconds alone; an idle VM costs the same"
    return table


def _action_line(problem: Problem) -> str:
    sizes = " × ".join(str(int(n)) for n in problem.nvec)
    return (
        f"actions: placements × thresholds × routes × VM targets = {sizes} = {int(problem.nvec.prod()):,}; "
        f"raw input {problem.profile.input_bytes:,} bytes; problem {problem.fingerprint()}"
    )


@app.command()
def analyse(
    name: Name = "camera-lte",
    traces: Annotated[
        str, typer.Option(help="Folder of link traces. Default: $EDGECLOUD_TRACES, else generated ones.")
    ] = "",
    part: Annotated[str, typer.Option(help="Part of the split: test, validation or train.")] = "test",
    policy: Annotated[
        list[str] | None, typer.Option(help="Run folder, checkpoint or rule to look at besides the references.")
    ] = None,
    against: Annotated[str, typer.Option(help="Reference policies, separated by commas.")] = _REFERENCES,
    weights: Annotated[str, typer.Option(help="One preference: a preset or three numbers.")] = "default",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the worlds.")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Episodes per window of a trace.")] = 1,
    hold: Annotated[str, typer.Option(help="Intervals for which every action is tried, separated by commas.")] = "1,5",
    points: Annotated[int, typer.Option(min=1, help="Moments at which every action is tried.")] = 300,
    continuations: Annotated[
        int, typer.Option(min=1, help="Worlds (arrivals, samples, noise) that each is tried in at every moment.")
    ] = 8,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Search the best fixed action without discarding any constant early.")
    ] = False,
    out: Annotated[str, typer.Option(help="JSON file for everything that was found.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Say how simple policies fare and why, how far the best constant is behind, and which actions are best when."""
    from ..envs import compile_problem
    from ..evaluation import resolve_methods, resolve_weights
    from ..evaluation.analysis import analyse as analyse_scenario
    from ..traces import default_traces
    from .inputs import part_of
    from .progress import reported_bar

    problem = compile_problem(name)
    presets = resolve_weights(weights, problem.scenario)
    if len(presets) != 1:
        raise InputError("--weights", "", "must be one preference", weights)
    holds = _holds(hold, problem)
    methods, _ = resolve_methods(policy or [], against)
    if not methods:
        raise InputError("--against", "", "must name at least one policy", against)
    chosen = default_traces(traces or None)
    links = part_of(chosen, part)
    ((weights_name, preference),) = presets.items()
    with reported_bar(Console(stderr=True, quiet=quiet), "analyse") as report:
        result = analyse_scenario(
            problem,
            links,
            methods,
            preference,
            weights_name,
            seed,
            repeats,
            holds=holds,
            points=points,
            continuations=continuations,
            exhaustive=exhaustive,
            progress=report,
        )
    console = Console(highlight=False)
    console.print(f"{problem.scenario.name}; traces: {chosen.origin}; part: {part}; seed {seed}", markup=False)
    _print(result, problem, console)
    if out:
        from ..evaluation.storage import write_atomically

        content = {"traces": chosen.origin, "part": part, **result.to_json()}
        write_atomically(Path(out), (json.dumps(content, indent=1) + "\n").encode())
        console.print(f"wrote {out}", markup=False)


def _holds(text: str, problem: Problem) -> list[int]:
    """Holding times in intervals."""
    limit = problem.params.episode_intervals
    rule = f"must be whole numbers of intervals from 1 to {limit}, separated by commas"
    try:
        holds = [int(piece) for piece in text.split(",")]
    except ValueError:
        raise InputError("--hold", "", rule, text) from None
    if not holds or min(holds) < 1 or max(holds) > limit:
        raise InputError("--hold", "", rule, text)
    return holds


def _print(result: Analysis, problem: Problem, console: Console) -> None:
    from ..evaluation import summary_table

    console.print(summary_table(result.comparison, result.weights_name, width=console.width, rows=result.rows))
    console.print(_load_table(result))
    why = Table("policy", f"why it is behind {result.best} (reward lost)", title="reasons", title_justify="left")
    for method, reason in result.reasons.items():
        why.add_row(method, reason)
    console.print(why)
    for branches in result.branches:
        console.print(_kinds_table(branches, result.best))
    for note in result.comparison.notes:
        console.print(note, markup=False)
    for text, holds in result.findings():
        console.print(f"{'yes' if holds else 'NO ':3}  {text}", style="green" if holds else "red", markup=False)


def _load_table(result: Analysis) -> Table:
    from ..evaluation.load import QUEUES

    table = Table(title="load", title_justify="left")
    table.add_column("policy", no_wrap=True)
    heads = ["device busy", "link used", "edge busy", *(f"at {place}" for place in QUEUES)]
    for head in (*heads, "most in flight", "at the end", "clear", "longest s"):
        table.add_column(head, justify="right")
    for row in result.rows:
        load = result.loads[row.method]
        table.add_row(
            row.method,
            *(f"{share:.0%}" for share in (load.device_busy, load.uplink_used, load.edge_busy)),
            *(f"{load.queue_mean[place]:.2f}" for place in QUEUES),
            str(load.in_flight_max),
            f"{load.in_flight_end:.2f}",
            f"{load.clear_share:.0%}",
            f"{load.longest_s:g}",
        )
    table.caption = "mean requests per place at the end of an interval; clear: no place holds more than one"
    return table


def _kinds_table(result: BestActions, best: str) -> Table:
    from ..evaluation.analysis import KIND_SHARE, kind_text

    problem = result.problem
    where = f"{len(result.actions)} moments, {result.continuations} worlds each"
    title = f"best actions along the way of {best}, each held for {result.hold} ({where})"
    table = Table("placement and route", "best in", "among the best in", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    inclusive, rest = result.inclusive_shares(), 0.0
    for number, (kind, share) in enumerate(result.shares().items()):
        if number >= 10 or share < 0.02:
            rest += share
            continue
        style = "bold" if share >= KIND_SHARE else None
        table.add_row(kind_text(kind, problem.stages), f"{share:.0%}", f"{inclusive[kind]:.0%}", style=style)
    if rest > 0:
        table.add_row("others", f"{rest:.0%}", "")
    near = [share for share in result.shares(0.02).values() if share >= KIND_SHARE]
    thresholds = result.part_shares(1, len(problem.thresholds))
    names = ["never" if x > 1 else f"{x:g}" for x in problem.thresholds]
    spread = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, thresholds, strict=True))
    regret = float(np.mean([rewards.max() for rewards in result.rewards]) - result.own.mean())
    table.caption = (
        f"best in: equally good ones are counted for the most frequent. {len(near)} kinds in at least {KIND_SHARE:.0%} "
        f"if within 2 % of the best is equally good. Thresholds of the best: {spread}. "
        f"{best}'s own action is {regret:.4f} behind on average"
    )
    return table
