"""``edgecloud demo``: a trained policy, or any rule, in charge of a really split network on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from .calibrate import SLOWDOWNS, Model, Slow, slowdowns_of

if TYPE_CHECKING:
    from rich.table import Table

    from ..envs import Policy, Problem
    from ..runtime.controller import Controller
    from ..runtime.served_run import RunPlan
    from ..runtime.system import System

__all__ = ["demo", "run_plan"]


def demo(
    policy: Annotated[str, typer.Argument(help="Run folder, exported policy, or a rule's name.")] = "dp",
    model: Model = "random:shipped",
    scenario: Annotated[str, typer.Option(help="As written by 'edgecloud calibrate', or a shipped name.")] = "demo",
    traces: Annotated[str, typer.Option(help="A link log. Default: a generated one.")] = "",
    seconds: Annotated[int, typer.Option(min=5, help="How long requests arrive.")] = 60,
    weights: Annotated[str, typer.Option(help="Preference: a name, or latency,cost,privacy.")] = "default",
    slowdowns: Slow = SLOWDOWNS,
    paced: Annotated[
        bool, typer.Option("--paced", help="Tiers take the scenario's measured times instead of slowdowns.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of arrivals, samples and boot times.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the recording. Default: a temporary one.")] = None,
    metrics_port: Annotated[int, typer.Option(help="Show Prometheus metrics on this port; 0: do not.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live table.")] = False,
) -> None:
    """Run device, shaped link, edge server and cloud on this machine, with live decisions, and record it.

    `edgecloud replay RECORDING` then runs the recorded world in the simulator.
    """
    from rich.live import Live

    from ..envs import compile_problem
    from ..evaluation.resolve import resolve_policy
    from ..runtime.metrics import Metrics
    from ..runtime.served_run import serve_run
    from ..runtime.system import Slowdowns, SystemSettings
    from .inputs import POLICY_FILES

    console = Console(highlight=False)
    problem = compile_problem(scenario)
    decider = resolve_policy(policy, POLICY_FILES)
    plan = run_plan(problem, decider, model, traces, seconds, weights, seed)
    link = plan.facts["link"]
    settings = SystemSettings(model, scenario, Slowdowns(**slowdowns_of(slowdowns)), paced, seed=seed)
    metrics = Metrics() if metrics_port else None
    if metrics is not None:
        metrics.serve(metrics_port)
    folder = out or Path(tempfile.mkdtemp(prefix="edgecloud-demo-")) / "recording"
    console.print(f"starting device, link '{link}', edge server and cloud ({len(plan.workload.sample)} requests)")
    with Live(console=console, refresh_per_second=4, transient=False, auto_refresh=not quiet) as live:

        def show(system: System, controller: Controller, now_s: float) -> None:
            if not quiet:
                live.update(_table(system, controller, now_s, seconds))

        run = serve_run(problem, settings, plan, folder, metrics=metrics, on_tick=show)
    _summary(console, run, problem)
    console.print(f"recording: {folder}", markup=False)


def run_plan(
    problem: Problem, policy: Policy, model: str, traces: str, seconds: int, weights: str, seed: int
) -> RunPlan:
    """What a served run is made of, from what a person names: the same seed gives the same requests to every policy."""
    import numpy as np

    from ..envs.preferences import preference
    from ..runtime.served_run import RunPlan
    from ..runtime.serving.model import load_split_model
    from ..runtime.workload import draw_workload, load_test_images
    from ..traces import default_traces, load_link_trace

    images = load_test_images(model, load_split_model(model), 256, seed)
    link = load_link_trace(traces) if traces else default_traces().split.test[seed % 4]
    workload = draw_workload(problem, seconds, len(images.pixels), np.random.default_rng(seed))
    return RunPlan(policy, workload, images, link, preference(weights, problem.scenario), seed, {"link": link.name})


def _table(system: System, controller: Controller, now_s: float, seconds: int) -> Table:
    from rich.table import Table

    plan, row = system.device.plan, controller.telemetry.measurements
    table = Table(title=f"{max(now_s, 0.0):.0f} of {seconds} s, policy {controller.name}", show_header=False)
    threshold = "never" if plan.threshold == float("inf") else f"{plan.threshold:g}"
    stages = system.model.stages
    table.add_row(
        "cut", f"device 0-{plan.cut_device}, edge {plan.cut_device}-{plan.cut_edge}, cloud {plan.cut_edge}-{stages}"
    )
    table.add_row("exit threshold, route", f"{threshold}, {plan.route}")
    table.add_row("uplink", f"{row.rate_bps[0, 0] / 1e6:.2f} Mbit/s, round trip {1e3 * row.rtt_s[0]:.0f} ms")
    table.add_row("arrivals", f"{row.arrivals[0, 0]:.0f} in the last interval, {system.device.in_flight} inside")
    queues = ", ".join(
        f"{name} {getattr(row, f'{name}_queue')[0]:.0f}" for name in ("device", "uplink", "edge", "cloud")
    )
    table.add_row("queues", queues)
    table.add_row("VMs", f"{row.vm_running[0]:.0f} running, {row.vm_booting[0]:.0f} booting")
    table.add_row("functions", f"{row.warm_instances[0]:.0f} warm, {row.busy_instances[0]:.0f} busy")
    exits = " ".join(f"{share:.0%}" for share in row.exit_fraction[0][: len(system.model.exits)])
    table.add_row("answers by exit", exits)
    return table


def _summary(console: Console, run: Any, problem: Any) -> None:
    """What was served, in the environment's terms."""
    import numpy as np

    from ..envs import TERMS

    terms = run.recording.terms(problem)
    total = {name: float(terms[:, TERMS.index(name)].sum()) for name in TERMS}
    latency = sorted(record.latency_s for record in run.requests if not record.failed) or [float("nan")]
    arrived = max(total["arrived"], 1.0)
    answered = max(arrived - total["failed"], 1.0)
    right = f", {total['correct'] / answered:.1%} right" if total["correct"] else ""
    console.print(
        f"{total['arrived']:.0f} requests, {total['failed']:.0f} failed{right}; latency median "
        f"{1e3 * np.median(latency):.0f} ms, p95 {1e3 * np.quantile(latency, 0.95):.0f} ms; "
        f"${1e3 * total['usd'] / arrived:.4f} per 1000; leakage {total['leakage'] / arrived:.2f}; "
        f"reward {terms[:, TERMS.index('reward')].mean():.3f} per interval"
    )
    misses = {name: count for name, count in run.failures.items() if count}
    if misses:
        console.print(f"control loop: {misses}", markup=False)
    if run.late_s > 0.05:
        console.print(f"this machine was too busy: requests were submitted up to {1e3 * run.late_s:.0f} ms late")
