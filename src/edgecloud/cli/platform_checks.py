"""`edgecloud platforms check`: predictions against what others, and this machine, measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..profiles import load_catalogue, load_profile
from ..profiles.machines.platform_model import load_platform

if TYPE_CHECKING:
    from ..profiles.machines.platform_checks import HelpCheck

__all__ = ["app", "check_picture"]

app = typer.Typer(
    help="Compare the catalogue and platform models with measured networks: prints predicted, measured and the ratio.",
    no_args_is_help=True,
)

Picture = Annotated[Path | None, typer.Option(help="Also draw a picture (.png, .svg or .pdf).")]


@app.command("help")
def check_help_command(
    table: Annotated[
        Path, typer.Argument(help="HELP's table, nasbench201_latency_ms.csv (github.com/HayeonLee/HELP).")
    ],
    platform: Annotated[
        str, typer.Option(help="Platform model of another machine, to see whether its layers carry over.")
    ] = "xeon-torch-channels-last",
    calibration: Annotated[int, typer.Option(min=1, help="Random networks that fix one factor per device.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of their choice.")] = 0,
    plot: Picture = None,
) -> None:
    """15,625 networks of NAS-Bench-201 on 18 devices: operations over effective speed, against their measured latency.

    Three predictions: the catalogue's speed (from the slowest network alone); one speed fitted to ten random networks;
    the platform model's sum over the layers, times one factor fitted to the same ten. Errors are those of all others.
    """
    from ..profiles.machines.platform_checks import HELP_COLUMNS, check_help, computes, network_flops, read_help

    check_picture(plot)
    measured, catalogue = read_help(table), load_catalogue()
    checks = check_help(measured, catalogue, load_platform(platform) if platform else None, calibration, seed)
    console = Console()
    console.print(_help_table(checks))
    console.print(
        f"seed {seed}, {calibration} calibration networks, {max(check.networks for check in checks):,} compared "
        f"({min(check.networks for check in checks):,} where the runtime leaves unused edges out); error: median of "
        "abs(predicted / measured - 1); slope: of ln(measured) over ln(operations), 1 if one speed served all networks",
        highlight=False,
    )
    if plot is not None:
        from ..profiles.machines.platform_plots import draw_networks
        from ..profiles.plotting import save_plot

        shown, speeds = {}, {}
        for name, (column, live, batch) in HELP_COLUMNS.items():
            if batch == 1:
                kept = computes(live)
                shown[name] = (network_flops(live)[kept], measured[column][kept])
                speeds[name] = catalogue.compute(name).effective_flops
        save_plot(draw_networks(shown, speeds), plot)
        typer.echo(f"wrote {plot}")


def _help_table(checks: list[HelpCheck]) -> Table:
    result = Table(
        "catalogue entry", "predicted / measured: median", "5 % to 95 %", "error", "one fitted speed: error",
        "layers x factor: error", "rank: operations", "rank: layers", "slope",
    )  # fmt: skip
    for check in checks:
        layers = check.layers
        result.add_row(
            check.name,
            f"{check.speed.median:.2f}",
            f"{check.speed.p5:.2f} to {check.speed.p95:.2f}",
            f"{check.speed.error:.0%}",
            f"{check.speed_fitted.error:.0%}",
            "" if layers is None else f"{layers.error:.0%}",
            f"{check.speed.rank:.3f}",
            "" if layers is None else f"{layers.rank:.3f}",
            f"{check.slope:.2f}",
        )
    return result


@app.command()
def sebs(
    table: Annotated[Path, typer.Argument(help="CSV with columns cloud, bench, mem, type, c50, p50, p95 (ms).")],
) -> None:
    """ResNet-50 as a function (SeBS): memory size over 1769 MB times the speed of one vCPU, against the billed time."""
    from ..profiles.machines.platform_checks import check_sebs, worst

    checks = check_sebs(table, load_catalogue())
    result = Table(
        "provider", "memory MB", "predicted ms", "measured ms", "ratio", "predicted p95 ms", "measured p95 ms",
        "client sees ms",
        title="warm requests, median of the provider's time",
    )  # fmt: skip
    for check in checks:
        times = (check.predicted_p95_s, check.measured_p95_s, check.client_s)
        result.add_row(
            check.provider,
            str(check.memory_mb),
            f"{check.predicted_s * 1e3:.0f}",
            f"{check.measured_s * 1e3:.0f}",
            f"{check.ratio:.3f}",
            *(f"{value * 1e3:.0f}" for value in times),
        )
    console = Console()
    console.print(result)
    console.print(
        f"largest factor {worst(checks):.3f}. AWS is one speed for five sizes; Google's sizes are catalogue entries of "
        "their own, from these figures: their ratio says nothing",
        highlight=False,
    )


@app.command()
def stages(
    platform: Annotated[str, typer.Argument(help="A platform model: name or .json file.")] = "xeon-torch-channels-last",
    profile: Annotated[str, typer.Option(help="A profile that `edgecloud profiles measure` wrote.")] = "cifar10-ee-224",
    here: Annotated[bool, typer.Option(help="Also measure the network on this machine, now.")] = False,
    runs: Annotated[int, typer.Option(min=7, help="Timed runs per stage with --here.")] = 31,
    plot: Picture = None,
) -> None:
    """An independent network: predicted stage latencies against a profile's measured ones.

    A platform model is fitted to random layers, not to this network's. A profile's figures belong to the machine that
    it was measured on; --here measures the same network on this one.
    """
    from ..profiles.machines.stage_check import measure_here, network_of

    check_picture(plot)
    model, loaded = load_platform(platform), load_profile(profile)
    found = network_of(loaded)
    predicted = np.concatenate([model.predict_stages_s(found.stages), model.predict_stages_s(found.heads)])
    names = [*(stage.name for stage in loaded.stages), *(head.name for head in loaded.exits)]
    columns = {loaded.reference.machine: np.concatenate([loaded.stage_latency_s, loaded.exit_latency_s])}
    if here:
        costs = measure_here(found, runs)
        parts = [*(stage.latency_s for stage in costs.stages), *(head.latency_s for head in costs.exits)]
        columns["this machine"] = np.array(parts)
    console = Console()
    table = Table("part", f"predicted ms ({model.name})", title=f"{loaded.name}: stages, then heads")
    for name in columns:
        table.add_column(f"measured ms ({name})")
        table.add_column("predicted / measured")
    for row, name in enumerate(names):
        table.add_row(
            name, f"{predicted[row] * 1e3:.3f}", *_compared(predicted[row], [c[row] for c in columns.values()])
        )
    whole = [*range(loaded.n_stages), len(names) - 1]
    total = predicted[whole].sum()
    table.add_row("whole", f"{total * 1e3:.3f}", *_compared(total, [c[whole].sum() for c in columns.values()]))
    console.print(table)
    for name, values in columns.items():
        stage = slice(0, loaded.n_stages)
        error = np.median(np.abs(predicted[stage] / values[stage] - 1))
        shares = np.abs(predicted[stage] / predicted[stage].sum() - values[stage] / values[stage].sum()).max()
        console.print(
            f"{name}: median error over the stages {error:.1%}; "
            f"largest error of a stage's share of the total {shares:.1%}",
            highlight=False,
        )
    if plot is not None:
        from ..profiles.machines.platform_plots import draw_stages
        from ..profiles.plotting import save_plot

        save_plot(draw_stages(names, {f"predicted: {model.name}": predicted, **columns}, loaded.name), plot)
        typer.echo(f"wrote {plot}")


def _compared(predicted: float, measured: list[float]) -> list[str]:
    return [text for value in measured for text in (f"{value * 1e3:.3f}", f"{predicted / value:.2f}")]


def check_picture(path: Path | None) -> None:
    """Refuse a picture whose suffix names no format, before anything is computed."""
    if path is not None and path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError("--plot", "", "must end in .png, .svg or .pdf", str(path))
