"""``edgecloud sim-to-real``: the same link and arrivals through the running system and through the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from .calibrate import SLOWDOWNS, Model, Slow, slowdowns_of
from .demo import run_plan

if TYPE_CHECKING:
    from ..envs import Policy, Problem
    from ..runtime.journal import Recording
    from ..runtime.replay import Replay
    from ..runtime.replay_table import Line
    from ..runtime.sim_to_real import Ranked
    from ..runtime.system import Slowdowns

__all__ = ["sim_to_real"]

_HELD = "held-cuts"
_SHOWN = (
    "requests",
    "mean latency, ms",
    "50 % of answers within, ms",
    "95 % of answers within, ms",
    "failed, %",
    "micro-dollars",
    "cold_starts",
    "mean reward",
)


def sim_to_real(
    scenario: Annotated[str, typer.Option(help="scenario.toml of 'edgecloud calibrate'.")],
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder of the recordings; those that are there are not made again.")],
    policies: Annotated[
        str,
        typer.Option(
            help="Run folders, exported policies, rules, separated by commas; held-cuts goes through the cuts."
        ),
    ] = "held-cuts,always-device,always-cloud-vm,neurosurgeon,dp",
    traces: Annotated[
        str, typer.Option(help="Link logs, separated by commas; each is served. Default: a generated one.")
    ] = "",
    seconds: Annotated[int, typer.Option(min=20, help="Length of each run.")] = 120,
    cuts: Annotated[
        str, typer.Option(help="Of held-cuts: device-edge pairs; the cloud does the rest.")
    ] = "6-6,4-4,2-6,1-3,0-6,0-0",
    hold: Annotated[int, typer.Option(min=1, help="Intervals that held-cuts holds a cut.")] = 10,
    weights: Annotated[str, typer.Option(help="Preference: a name, or latency,cost,privacy.")] = "default",
    slowdowns: Slow = SLOWDOWNS,
    paced: Annotated[
        bool,
        typer.Option(help="Tiers take the calibrated times, by sleeping after the real computation; else slowdowns."),
    ] = True,
    copies: Annotated[int, typer.Option(min=8, max=1024, help="Draws of what a recording does not fix.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the first log's arrivals and samples; the same for every policy.")] = 0,
) -> None:
    """Serve the same requests over the same link under each policy, predict each run, and compare.

    Predicted is what the simulator says of the recorded decisions, given link and arrivals per interval; service times,
    sizes and cold starts are those of the calibration.
    """
    import numpy as np

    from ..envs import compile_problem
    from ..runtime.journal import read_recording
    from ..runtime.replay import replay
    from ..runtime.replay_table import compare_terms
    from ..runtime.sim_to_real import ranking

    console = Console(highlight=False)
    problem = compile_problem(scenario)
    links = _links(traces)
    serve = _Server(problem, scenario, model, seconds, weights, _speeds(slowdowns), paced, console)
    measured, predicted = {}, {}
    for spec in (part.strip() for part in policies.split(",")):
        runs = []
        for number, link in enumerate(links):
            folder = out / spec.replace("/", "_") / _stem(link)
            if not (folder / "recording.npz").exists():
                serve(spec, _policy(spec, cuts, hold), link, folder, seed + number)
            run = read_recording(folder)
            runs.append((run, replay(run, problem, copies=copies, seed=seed, measured_rtt=False)))
        _print_run(console, spec, compare_terms(runs, problem))
        if spec == _HELD:
            _print_cuts(console, runs, problem)
        else:
            measured[spec] = np.concatenate([run.terms(problem) for run, _ in runs])
            predicted[spec] = np.concatenate([replayed.terms for _, replayed in runs])
    if len(measured) > 1:
        _print_ranking(console, ranking(measured, predicted))


def _links(traces: str) -> list[str]:
    """Files of links; each one's name is that of a folder."""
    from ..errors import InputError

    links = [part.strip() for part in traces.split(",")]
    if len({_stem(link) for link in links}) < len(links):
        raise InputError("--traces", "", "must be files of different names", traces)
    return links


def _stem(link: str) -> str:
    return Path(link).stem or "generated"


def _policy(spec: str, cuts: str, hold: int) -> Policy:
    from ..errors import InputError
    from ..evaluation.resolve import resolve_policy
    from ..runtime.sim_to_real import HeldCuts
    from .inputs import POLICY_FILES

    if spec != _HELD:
        return resolve_policy(spec, POLICY_FILES)
    try:
        pairs = [(int(device), int(edge)) for device, edge in (pair.split("-") for pair in cuts.split(","))]
    except ValueError:
        raise InputError("--cuts", "", "must be pairs such as 0-6,2-4", cuts) from None
    return HeldCuts(pairs, hold)


@dataclass(frozen=True)
class _Server:
    """Serves one run after the other, with everything but policy and link the same."""

    problem: Problem
    scenario: str
    model: str
    seconds: int
    weights: str
    slowdowns: Slowdowns
    paced: bool
    console: Console

    def __call__(self, name: str, policy: Policy, trace: str, folder: Path, seed: int) -> None:
        """Serve; what an interrupted run has left in `folder` is removed."""
        import shutil

        from ..runtime.served_run import serve_run
        from ..runtime.system import SystemSettings

        self.console.print(f"serving under {name} for {self.seconds} s, link {_stem(trace)}")
        plan = run_plan(self.problem, policy, self.model, trace, self.seconds, self.weights, seed)
        settings = SystemSettings(self.model, self.scenario, self.slowdowns, self.paced, fallback=False, seed=seed)
        if folder.exists():
            shutil.rmtree(folder)
        run = serve_run(self.problem, settings, plan, folder)
        if run.late_s > 0.05:
            self.console.print(f"this machine was too busy: requests were submitted {1e3 * run.late_s:.0f} ms late")


def _speeds(text: str) -> Slowdowns:
    from ..runtime.system import Slowdowns

    return Slowdowns(**slowdowns_of(text))


def _print_run(console: Console, spec: str, lines: Sequence[Line]) -> None:
    table = Table("", "measured", "predicted", "95 % of draws", "difference", title=spec)
    for line in lines:
        if line.name in _SHOWN or line.name.startswith("answered"):
            span = "" if line.low != line.low else f"{line.low:.4g} - {line.high:.4g}"
            table.add_row(line.name, f"{line.measured:.4g}", f"{line.simulated:.4g}", span, f"{line.difference:+.1%}")
    console.print(table)


def _print_cuts(console: Console, runs: Sequence[tuple[Recording, Replay]], problem: Problem) -> None:
    from ..runtime.sim_to_real import compare_cuts, compare_parts, cut_name

    table = Table(
        "cut", "requests", "failed", "predicted", "median ms", "predicted", "error", "p95 ms", "predicted", "error"
    )
    for row in compare_cuts(runs, problem):
        table.add_row(
            cut_name(problem, row.placement),
            str(row.measured),
            str(row.failed),
            f"{row.predicted_failed:.1f}",
            *_pair(row.median_s, row.predicted_median_s, row.median_error),
            *_pair(row.p95_s, row.predicted_p95_s, row.p95_error),
        )
    console.print(table)
    parts = Table("cut", "part", "mean ms", "predicted")
    for part in compare_parts(runs, problem):
        if max(part.measured_s, part.predicted_s) >= 5e-4:
            seconds = (f"{1e3 * part.measured_s:.1f}", f"{1e3 * part.predicted_s:.1f}")
            parts.add_row(cut_name(problem, part.placement), part.part, *seconds)
    console.print(parts)


def _pair(measured: float, predicted: float, error: float) -> tuple[str, str, str]:
    return f"{1e3 * measured:.1f}", f"{1e3 * predicted:.1f}", f"{error:+.1%}"


def _print_ranking(console: Console, rows: Sequence[Ranked]) -> None:
    table = Table(
        "policy", "measured reward", "predicted", "95 % of draws", "predicted place", title="ranking, as measured"
    )
    order = sorted(rows, key=lambda row: -row.predicted)
    for row in rows:
        span, place = f"{row.low:.3f} - {row.high:.3f}", str(order.index(row) + 1)
        table.add_row(row.policy, f"{row.measured:.3f}", f"{row.predicted:.3f}", span, place)
    console.print(table)
