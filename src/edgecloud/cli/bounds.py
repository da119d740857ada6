"""`edgecloud bounds`: what hindsight attains, what nobody can, and what policies lack of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import InputError
from .inputs import Part, Quiet, Seed, Weights, part_of
from .progress import reported_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from ..envs import Episodes, Problem, Window
    from ..evaluation import Bracket

__all__ = ["bounds"]


def bounds(
    policies: Annotated[
        str,
        typer.Option(help="Policies that the plan starts from and whose regret is shown, separated by commas."),
    ] = "dp,dp-held,dp-warm,mpc",
    traces: Annotated[
        str, typer.Option(help="Folder of link traces. Default: $EDGECLOUD_TRACES, else generated ones.")
    ] = "",
    part: Part = "test",
    weights: Weights = "default",
    scenario: Annotated[str, typer.Option(help="Shipped name or .toml file. Default: camera-lte.")] = "",
    seed: Seed = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Episodes per window of a trace.")] = 1,
    episodes: Annotated[int, typer.Option(min=0, help="Only so many episodes, spread evenly; 0: all.")] = 0,
    budget: Annotated[
        int, typer.Option(min=0, help="Intervals that the planner simulates per episode; 0: the default.")
    ] = 0,
    causal: Annotated[
        bool, typer.Option("--causal", help="Also bound controllers that do not know the requests to come.")
    ] = False,
    redraws: Annotated[
        int, typer.Option(min=0, help="Redraws of each interval's requests in that bound; 0: the default.")
    ] = 0,
    out: Annotated[str, typer.Option(help="Folder for the brackets; a run that was stopped goes on from there.")] = "",
    quiet: Quiet = False,
) -> None:
    """Bracket the optimum on held-out traces, and show the regret of policies against it."""
    from ..baselines.causal_bound import REDRAWS
    from ..baselines.clairvoyant import BUDGET
    from ..envs import DEFAULT_SCENARIO, compile_problem, evaluation_windows, rollout
    from ..evaluation import bracket, causal_bounds, resolve_policy, resolve_weights, save_bracket
    from ..evaluation.resolve import split_specs
    from ..traces import default_traces

    console = Console(highlight=False)
    if out and Path(out).exists() and not Path(out).is_dir():
        raise InputError("--out", "", "must be a folder", out)
    problem = compile_problem(scenario or DEFAULT_SCENARIO)
    chosen = default_traces(traces or None)
    links = part_of(chosen, part)
    presets = resolve_weights(weights, problem.scenario)
    methods = [resolve_policy(spec) for spec in split_specs(policies)]
    windows = _spread(evaluation_windows(links, problem, repeats), episodes)
    console.print(f"traces: {chosen.origin}; part: {part}; {len(windows)} episodes", markup=False)
    with reported_bar(Console(stderr=True, quiet=quiet), "bounds") as report:
        pieces = len(presets) * (len(methods) + 1 + causal) * len(windows)
        done = 0
        for name, preference in presets.items():
            runs = []
            for policy in methods:
                runs.append(rollout(policy, problem, links, windows, preference, seed))
                done += len(windows)
                report(f"{policy.name} {name}", done, pieces)
            found = bracket(
                problem,
                links,
                windows,
                preference,
                seed,
                [run.actions for run in runs],
                budget=budget or BUDGET,
                checkpoint=Path(out) / "episodes" if out else None,
                progress=_counting(report, f"bounds {name}", done, pieces),
            )
            done += len(windows)
            if out:
                save_bracket(found, Path(out) / f"bracket-{name}.npz")
            limit = None
            if causal:
                limit = causal_bounds(
                    problem,
                    links,
                    windows,
                    preference,
                    seed,
                    redraws=redraws or REDRAWS,
                    checkpoint=Path(out) / "causal" if out else None,
                    progress=_counting(report, f"causal bound {name}", done, pieces),
                )
                done += len(windows)
            console.print(_table(name, found, runs, problem, limit))


def _counting(report: Callable[[str, int, int], None], text: str, begun: int, total: int) -> Callable[[int, int], None]:
    """Progress of a part as progress of the whole."""
    return lambda done, _: report(text, begun + done, total)


def _spread(windows: Sequence[Window], count: int) -> tuple[Window, ...]:
    """So many windows, evenly over all of them; all for 0."""
    if not count or count >= len(windows):
        return tuple(windows)
    return tuple(windows[round(k * len(windows) / count)] for k in range(count))


def _table(
    name: str, found: Bracket, runs: Sequence[Episodes], problem: Problem, causal: NDArray[np.float64] | None
) -> Table:
    """One preference: the bounds first, then the policies by their regret."""
    from rich.table import Table

    from ..evaluation import regret_of
    from ..evaluation.regret import units_of

    table = Table(title=f"{name}: mean reward per interval, and what is lacking of the bounds")
    table.add_column("")
    for head in (
        "reward",
        "regret to plan",
        "of it accuracy",
        "to relaxation",
        "ms",
        "$/1000",
        "leakage",
        "as ms",
        "as $/1000",
    ):
        table.add_column(head, justify="right")
    plan, least = found.units.mean(axis=0), found.least.mean(axis=0)

    def cells(values: Sequence[float]) -> list[str]:
        return [f"{1e3 * values[0]:.0f}", f"{values[1]:.4f}", f"{values[2]:.3f}"]

    table.add_row("relaxation", f"{found.relaxed.mean():.4f}", "", "", "", *(f"≥ {x}" for x in cells(least)), "", "")
    gap = (found.relaxed - found.reward).mean()
    table.add_row("clairvoyant", f"{found.reward.mean():.4f}", "0", "0", f"{gap:.4f}", *cells(plan), "", "")
    if causal is not None:
        behind, below = (found.reward - causal).mean(), (found.relaxed - causal).mean()
        table.add_row("causal bound", f"{causal.mean():.4f}", f"{behind:.4f}", "", f"{below:.4f}", *[""] * 5)
    for run in sorted(runs, key=lambda run: -run.mean_reward().mean()):
        regret = regret_of(run, found, problem)
        worth = regret.worth.mean(axis=0)
        accuracy = found.episodes.term("reward_accuracy").mean() - run.term("reward_accuracy").mean()
        lacks = [f"{regret.to_plan.mean():.4f}", f"{accuracy:.4f}", f"{regret.to_relaxed.mean():.4f}"]
        exchanged = [f"{1e3 * worth[0]:.0f}", f"{worth[1]:.4f}"]
        own = cells(units_of(run.terms).mean(axis=0))
        table.add_row(run.policy, f"{run.mean_reward().mean():.4f}", *lacks, *own, *exchanged)
    return table
