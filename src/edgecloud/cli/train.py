"""``edgecloud train``: train a policy and compare it with the rules on traces that training never saw."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..agents.config import DEFAULT_PRESET, PRESETS, TrainConfig, config_with, load_config, preset
from ..errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ..agents.loop import Report, TrainResult
    from ..envs import Policy, Problem
    from ..traces import TraceSet

__all__ = ["train"]

_AGAINST = (
    "random,always-device,always-edge,always-cloud-vm,always-faas,best-fixed,neurosurgeon,neurosurgeon-energy,"
    "dp,dp-held"
)
"""What a training ends by comparing with; `edgecloud evaluate` knows more."""


def train(
    env: Annotated[str, typer.Option(help="Registered environment id; it names the scenario.")] = "edgecloud-v0",
    scenario: Annotated[
        str, typer.Option(help="Scenario instead of the id's: a shipped name, or the path of a .toml file.")
    ] = "",
    traces: Annotated[
        str,
        typer.Option(help="Folder of recorded link traces. Without it: $EDGECLOUD_TRACES, else generated ones."),
    ] = "",
    preset_name: Annotated[str, typer.Option("--preset", help=f"Settings to start from: {', '.join(PRESETS)}.")] = "",
    config: Annotated[str, typer.Option(help="TOML file of settings, instead of a preset.")] = "",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting: name=value. May be given several times.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Transitions to train on (setting total_steps).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything (setting seed).")] = None,
    warm_start: Annotated[
        str | None, typer.Option(help="Rule or run to imitate first, for example 'dp' (setting warm_start).")
    ] = None,
    device: Annotated[str | None, typer.Option(help="'cpu', 'cuda' or 'auto' (setting device).")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch (setting threads).")] = None,
    run: Annotated[
        str, typer.Option("--run", "--out", help="New folder of the run. Default: a dated one below runs/.")
    ] = "",
    resume: Annotated[str, typer.Option(help="Run folder to continue; it brings its own settings.")] = "",
    against: Annotated[
        str,
        typer.Option(
            help="Rules to compare with at the end, separated by commas: names, module:Class, 'all'; 'none': no table."
        ),
    ] = _AGAINST,
    weights: Annotated[
        str, typer.Option(help="Preferences of that comparison: names separated by commas, 'all', or three numbers.")
    ] = "all",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the settings and every validation.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the final comparison.")] = False,
) -> None:
    """Train a policy with PPO, then compare it with the rules on traces that training never saw."""
    console = Console(quiet=quiet, highlight=False, soft_wrap=True)
    if resume:
        fixed: dict[str, object] = {"--run": run, "--preset": preset_name, "--config": config, "--scenario": scenario}
        fixed |= {"--set": setting, "--steps": steps, "--seed": seed, "--warm-start": warm_start}
        fixed |= {"--device": device, "--threads": threads}
        _refuse(fixed)
        result, problem, chosen = _resume(Path(resume), traces, console, verbose)
    else:
        base = _base(preset_name, config)
        settings = config_with(
            base, setting or (), total_steps=steps, seed=seed, warm_start=warm_start, device=device, threads=threads
        )
        if against != "none":
            _check_comparison(against, weights)
        label = Path(config).stem if config else preset_name or DEFAULT_PRESET
        source = str(Path(scenario).resolve()) if scenario.endswith(".toml") else scenario or _scenario_of(env)
        result, problem, chosen = _start(source, traces, settings, label, run, console, verbose)
    _say_result(result, console)
    if against != "none":
        _compare(result.folder, problem, chosen, against, weights, quiet)


def _settings_help() -> str:
    """The settings as a list for the help text."""
    rows = [f"* `{name}` = {default}: {meaning}" for name, default, meaning in TrainConfig.help()]
    return (
        "\n\n**Settings** (`--set name=value`, or a TOML file for `--config`; defaults of the 'default' preset):\n\n"
        + "\n".join(rows)
    )


train.__doc__ = (train.__doc__ or "") + _settings_help()


def _refuse(options: dict[str, object]) -> None:
    """A resumed run brings its own settings."""
    for name, value in options.items():
        if value not in (None, "", []):
            rule = "cannot be changed when a run is resumed"
            raise InputError("train", name, rule, value, "leave it out, or start a new run")


def _base(preset_name: str, config: str) -> TrainConfig:
    if config and preset_name:
        raise InputError("train", "--config", "excludes --preset", config)
    return load_config(config) if config else preset(preset_name or DEFAULT_PRESET)


def _scenario_of(env: str) -> str:
    """The scenario of a registered environment id."""
    from .. import ENV_IDS

    if env not in ENV_IDS:
        raise InputError("train", "--env", "must be a registered id", env, did_you_mean(env, ENV_IDS))
    return ENV_IDS[env]


def _start(
    scenario: str, traces: str, settings: TrainConfig, label: str, folder: str, console: Console, verbose: bool
) -> tuple[TrainResult, Problem, TraceSet]:
    """Train in a new folder."""
    from ..agents import run_name
    from ..envs import compile_problem
    from ..traces import default_traces

    problem, chosen = compile_problem(scenario), default_traces(traces or None)
    path = Path(folder) if folder else Path("runs") / run_name(problem.scenario.name, label, settings.seed)
    teacher = _teacher(settings.warm_start)
    console.print(f"scenario  {problem.scenario.name} ({problem.fingerprint()})", markup=False)
    console.print(f"traces    {chosen.origin}", markup=False)
    console.print(f"run       {path}, seed {settings.seed}, {settings.total_steps:,} transitions", markup=False)
    if verbose:
        console.print(settings.to_toml(), markup=False)
    if teacher is not None:
        console.print(f"imitating {teacher.name} first ({settings.warm_start_steps:,} transitions)", markup=False)
    from ..agents import train as train_policy

    with _progress(console, settings.total_steps, verbose, path) as report:
        result = train_policy(
            problem,
            chosen,
            settings,
            path,
            teacher=teacher,
            command=[Path(sys.argv[0]).name, *sys.argv[1:]],
            scenario_source=scenario,
            traces_source=str(Path(traces).resolve()) if traces else "",
            report=report,
        )
    return result, problem, chosen


def _resume(folder: Path, traces: str, console: Console, verbose: bool) -> tuple[TrainResult, Problem, TraceSet]:
    """Continue a run; the scenario and the traces are those that it names, unless the traces have moved."""
    from ..agents import open_run
    from ..agents import resume as resume_policy
    from ..envs import compile_problem
    from ..traces import default_traces

    opened = open_run(folder)
    problem = compile_problem(opened.manifest.scenario_source or opened.manifest.scenario)
    chosen = default_traces(traces or opened.manifest.traces_source or None)
    console.print(f"scenario  {problem.scenario.name} ({problem.fingerprint()})", markup=False)
    console.print(f"traces    {chosen.origin}", markup=False)
    console.print(
        f"resuming  {folder}, seed {opened.config.seed}, {opened.config.total_steps:,} transitions", markup=False
    )
    with _progress(console, opened.config.total_steps, verbose, folder) as report:
        result = resume_policy(folder, problem, chosen, report=report)
    return result, problem, chosen


def _teacher(name: str) -> Policy | None:
    """The policy to imitate."""
    if not name:
        return None
    from ..evaluation.resolve import resolve_policy
    from .inputs import POLICY_FILES

    return resolve_policy(name, POLICY_FILES)


@contextmanager
def _progress(console: Console, total: int, verbose: bool, folder: Path) -> Iterator[Report]:
    """A progress bar; an interrupt says how to go on."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[scores]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=console.quiet)
    task = bar.add_task("train", total=total, speed="", scores="")
    last: list[float] = []

    def report(now: object) -> None:
        from ..agents.loop import Progress as TrainProgress

        assert isinstance(now, TrainProgress)
        scores = f"reward {now.reward:.3f}, validation {now.score:.3f} (best {now.best:.3f})"
        bar.update(task, completed=min(now.steps, total), speed=f"{now.steps_per_s:,.0f}/s", scores=scores)
        if verbose and last[-1:] != [now.score]:
            last.append(now.score)
            bar.console.print(f"step {now.steps:>11,}  validation {now.score:.4f}  best {now.best:.4f}")

    try:
        with bar:
            yield report
    except KeyboardInterrupt:
        if (folder / "last.npz").is_file():
            console.print(f"stopped; go on with: edgecloud train --resume {shlex.quote(str(folder))}", markup=False)
        raise typer.Exit(130) from None


def _say_result(result: TrainResult, console: Console) -> None:
    if result.cloned is not None:
        shares = ", ".join(f"{share:.0%}" for share in result.cloned.agreement)
        console.print(
            f"imitated {result.cloned.teacher} (training reward {result.cloned.teacher_score:.3f}); "
            f"agreement on placement, threshold, route: {shares}"
        )
    console.print(
        f"{result.steps:,} transitions in {result.seconds:.0f} s ({result.steps_per_s:,.0f}/s, "
        f"{result.env_share:.0%} of it in the environment); validation {result.first_score:.3f} -> "
        f"{result.best_score:.3f} at step {result.best_steps:,}"
    )
    console.print(f"best policy: {result.folder / 'best.npz'}", markup=False)


def _check_comparison(against: str, weights: str) -> None:
    """Find out about a misspelt rule or preference before hours of training, not after."""
    from ..envs import load_scenario
    from ..evaluation import resolve_methods, resolve_weights

    resolve_methods([], against)
    resolve_weights(weights, load_scenario())


def _compare(folder: Path, problem: Problem, traces: TraceSet, against: str, weights: str, quiet: bool) -> None:
    """The best checkpoint and the rules on the held-out traces."""
    from ..evaluation import compare, print_table, resolve_methods, resolve_weights
    from .progress import reported_bar

    preferences = resolve_weights(weights, problem.scenario)
    methods, best_fixed = resolve_methods([str(folder)], against)
    with reported_bar(Console(stderr=True, quiet=quiet), "comparing") as report:
        result = compare(methods, problem, traces.split.test, preferences, best_fixed=best_fixed, progress=report)
    console = Console(highlight=False)
    console.print(f"held-out part of {traces.origin}", markup=False)
    print_table(result, console)
    console.print(f"a report with plots: edgecloud evaluate {shlex.quote(str(folder))} --out report", markup=False)
