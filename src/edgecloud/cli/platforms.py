"""`edgecloud platforms`: which machines there are, how long a layer takes on them, how far predictions are off."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from ..errors import InputError, did_you_mean
from ..files import write_atomically
from ..profiles import load_catalogue
from ..profiles.machines.layers import KINDS, format_layers, group_stages, read_layers
from ..profiles.machines.platform_model import TypeModel, list_platforms, load_platform, save_platform
from . import platform_checks

if TYPE_CHECKING:
    from torch import nn

    from ..profiles.machines.layer_data import LayerTable
    from ..profiles.machines.layers import Layer
    from ..profiles.machines.predictors import FitReport

__all__ = ["app"]

app = typer.Typer(
    help="Devices and servers: effective speeds with sources, and latency predictors per layer type.\n\n"
    "A *catalogue entry* is one number, operations per second: enough to scale a measured profile. "
    "A *platform model* is a regression per layer type (Neurosurgeon, ASPLOS 2017): it predicts any network on that "
    "machine, layer by layer, without running it there.\n\n"
    "To add your own device, run on it: `edgecloud platforms measure board.csv`; then anywhere: "
    "`edgecloud platforms fit board.csv --out board.json` and `edgecloud platforms predict board.json layers.csv`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(platform_checks.app, name="check")

Picture = Annotated[Path | None, typer.Option(help="Also draw a picture (.png, .svg or .pdf).")]
PLATFORM_HELP = "A shipped platform model's name (see `list`) or the path of a .json file that `fit` wrote."


@app.command("list")
def list_command(
    kind: Annotated[str, typer.Option(help="Only this kind: device, server, function, gpu or model.")] = "",
) -> None:
    """List the catalogue of machines (effective speed, power, source mark) and the platform models."""
    catalogue = load_catalogue()
    kinds = sorted({entry.kind for entry in catalogue.computes.values()})
    if kind and kind not in (*kinds, "model"):
        raise InputError("--kind", "", "must be a kind of machine", kind, did_you_mean(kind, [*kinds, "model"]))
    console = Console()
    if kind != "model":
        table = Table("catalogue entry", "kind", "per", "GFLOP/s", "idle W", "busy W", "mark")
        for entry in sorted(catalogue.computes.values(), key=lambda item: (item.kind, item.effective_flops)):
            if not kind or entry.kind == kind:
                watts = ["" if value is None else f"{value:g}" for value in (entry.idle_w, entry.busy_w)]
                table.add_row(
                    entry.name, entry.kind, entry.per, f"{entry.effective_flops / 1e9:,.3g}", *watts, entry.mark
                )
        console.print(table)
    if kind in ("", "model"):
        console.print(_models_table())
    console.print(
        "show NAME prints one of them with its source; check compares them with measurements", highlight=False
    )


def _models_table() -> Table:
    table = Table("platform model", "layer types", "median error", "description")
    for name in list_platforms():
        platform = load_platform(name)
        errors = [model.held_out.median_error for model in platform.models.values()]
        span = f"{min(errors):.0%} to {max(errors):.0%}"
        table.add_row(name, " ".join(platform.models), span, platform.description)
    return table


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A catalogue entry, or a platform model (name or .json file).")],
) -> None:
    """Show one machine: its speed, power, conditions and source; or a platform model's regressions and errors."""
    console = Console()
    catalogue = load_catalogue()
    if name in catalogue.computes:
        entry = catalogue.compute(name)
        console.print(f"[bold]{entry.name}[/bold] ({entry.kind}, per {entry.per})", highlight=False)
        console.print(
            f"effective speed {entry.effective_flops / 1e9:,.4g} GFLOP/s: {entry.conditions}", highlight=False
        )
        for label, watts in (("idle", entry.idle_w), ("busy", entry.busy_w)):
            console.print(f"{label} {'not known' if watts is None else f'{watts:g} W'}", highlight=False)
        console.print(f"service-time noise: sigma of ln {entry.noise_sigma:g}", highlight=False)
        console.print(f"source ({entry.mark}): {entry.source}", highlight=False)
        return
    if not name.endswith(".json") and name not in list_platforms():
        remedy = did_you_mean(name, [*catalogue.computes, *list_platforms()])
        raise InputError("platforms", "name", "must be a catalogue entry or a platform model", name, remedy)
    platform = load_platform(name)
    console.print(f"[bold]{platform.name}[/bold]: {platform.description}", highlight=False)
    console.print(_errors_table(platform.models))
    for kind, model in platform.models.items():
        console.print(f"{kind}: {_formula(model)}", highlight=False, markup=False)
    for key, value in platform.provenance.items():
        console.print(f"{key}: {value}", highlight=False, markup=False)


def _errors_table(models: Mapping[str, TypeModel]) -> Table:
    table = Table(
        "type", "form", "median error", "9 of 10 within", "bias", "R² of ln", "R²", "n fitted", "n held out",
        title="error on layers that the fit did not see",
    )  # fmt: skip
    for kind, model in models.items():
        table.add_row(kind, model.form, *_error_cells(model))
    return table


def _error_cells(model: TypeModel) -> list[str]:
    error = model.held_out
    return [
        f"{error.median_error:.1%}",
        f"{error.p90_error:.0%}",
        f"{error.bias:.2f}",
        f"{error.r2_log:.3f}",
        f"{error.r2:.3f}",
        f"{error.n_train:,}",
        f"{error.n_test:,}",
    ]


def _formula(model: TypeModel) -> str:
    parts = [(value, name) for value, name in zip(model.coefficients, model.features, strict=True) if value > 0]
    if model.form == "linear":
        terms = [f"{model.intercept * 1e6:.3g} µs", *(f"{value * 1e9:.3g} ns x {name}" for value, name in parts)]
        return " + ".join(terms)
    terms = [f"{model.intercept:.4g}", *(f"{value:.4g} ln(1 + {name})" for value, name in parts)]
    return "ln(s) = " + " + ".join(terms)


@app.command()
def measure(
    out: Annotated[Path, typer.Argument(help="CSV file to write; an interrupted run continues it.")],
    count: Annotated[int, typer.Option(min=10, help="Random layers of each type.")] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the layers.")] = 0,
    layout: Annotated[str, typer.Option(help="contiguous (NCHW) or channels_last (NHWC).")] = "contiguous",
    kinds: Annotated[str, typer.Option(help=f"Types to measure, separated by commas; of {', '.join(KINDS)}.")] = "",
    alone: Annotated[
        bool, typer.Option("--alone", help="Repeat each layer by itself: too quick, for comparison.")
    ] = False,
) -> None:
    """Measure random layers of each type on this machine: torch, one thread, warmed up, medians of processor time.

    Layers of all types are run in turn, in random order, so that each finds the caches as others left them, as in a
    network.
    150 layers of each type take one to two minutes on one x86 core. The file is CSV: copy it to where you want to fit
    it. Run the command again after an interruption, or with a larger --count, and it continues.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..profiles.machines.layer_measuring import LAYOUTS, measure_layers

    if layout not in LAYOUTS:
        raise InputError("--layout", "", "must be a layout", layout, did_you_mean(layout, LAYOUTS))
    chosen = [item.strip() for item in kinds.split(",")] if kinds else list(KINDS)
    for item in chosen:
        if item not in KINDS:
            raise InputError("--kinds", "", "must be layer types", item, did_you_mean(item, KINDS))
    console = Console()
    console.print(f"measuring {out}: seed {seed}, {count} layers of each type, {layout}", highlight=False)
    columns = (TextColumn("{task.description:>9}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, refresh_per_second=2) as progress:
        task = progress.add_task("starting", total=count * len(chosen))

        def on_layer(done: int, total: int, layer: Layer) -> None:
            progress.update(task, completed=done, total=total, description=layer.kind)

        measured = measure_layers(out, count, seed, layout, chosen, alone, on_layer)
        progress.update(task, completed=count * len(chosen), description="done")
    typer.echo(f"wrote {out}: {measured} layers measured now")


@app.command()
def fit(
    source: Annotated[Path, typer.Argument(help="CSV file of `measure`, or a folder: see below.")],
    out: Annotated[Path, typer.Option(help="Platform model to write (.json).")],
    description: Annotated[str, typer.Option(help="Machine, runtime and threads in one line.")] = "",
    features: Annotated[str, typer.Option(help="paper, work, or both and the better one is taken.")] = "both",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the held-out layers.")] = 0,
    held_out: Annotated[float, typer.Option(min=0.05, max=0.5, help="Share of the layers that is held out.")] = 0.2,
    by: Annotated[str, typer.Option(help="Also break the errors down: by kernel, stride, filter or pixels.")] = "",
    plot: Picture = None,
) -> None:
    """Fit one regression per layer type, and report its error on layers that were held out.

    SOURCE may also be a folder with the layer latencies of github.com/Tjyy-1223/Neurosurgeon (`conv_lat.csv` …) or of
    MobileNetV2 on a Jetson Orin (`mobilenet_v2_convolutional.csv`).

    Two forms are tried, linear and logarithmic, over two sets of variables: *paper* (Neurosurgeon's) and *work*
    (operations and numbers moved). Cross-validation on the training part chooses. Repeated layers are merged by their
    median before the split; outliers are kept but cannot pull the fit (soft L1 loss on the logarithm of the latency).
    """
    from ..profiles.machines.predictors import FEATURE_SETS, GROUPS, errors_by, fit_platform

    if by and by not in GROUPS:
        raise InputError("--by", "", "must be a property of layers", by, did_you_mean(by, GROUPS))
    if features != "both" and features not in FEATURE_SETS:
        raise InputError("--features", "", "must be a set of variables", features, did_you_mean(features, FEATURE_SETS))
    platform_checks.check_picture(plot)
    if out.suffix != ".json":
        raise InputError("--out", "", "must end in .json", str(out))
    console = Console()
    table = _read_measured(source)
    chosen = tuple(FEATURE_SETS) if features == "both" else (features,)
    with console.status("fitting") as status:
        report = fit_platform(
            table,
            out.stem,
            description or str(table.provenance.get("machine") or table.provenance.get("data") or source.name),
            chosen,
            seed,
            held_out,
            on_kind=lambda kind: status.update(f"fitting {kind}"),
        )
    save_platform(report.platform, out)
    console.print(_variants_table(report))
    console.print(
        f"seed {seed}; {table.merged:,} repeated rows merged; slowest / quickest of repeats: {table.repeat_ratio:.2f}",
        highlight=False,
    )
    if by:
        groups = Table("type", "group", "layers", "median error", "bias", title="all layers, those fitted included")
        for item in errors_by(report.platform, table, by):
            groups.add_row(item.kind, item.group, f"{item.layers:,}", f"{item.median_error:.0%}", f"{item.bias:.2f}")
        console.print(groups)
    for kind, number in report.skipped.items():
        console.print(f"{kind}: only {number} layers, not fitted", highlight=False)
    if plot is not None:
        from ..profiles.machines.platform_plots import draw_fit
        from ..profiles.plotting import save_plot

        save_plot(draw_fit(report.platform, table), plot)
        typer.echo(f"wrote {plot}")
    typer.echo(f"wrote {out}")


def _read_measured(source: Path) -> LayerTable:
    from ..profiles.machines.layer_data import LayerTable, read_neurosurgeon, read_orin, read_table

    if not source.is_dir():
        rows, origin = read_table(source)
        return LayerTable.merge([(layer, seconds) for layer, seconds, _ in rows], origin)
    if (source / "conv_lat.csv").is_file():
        return read_neurosurgeon(source)
    if (source / "mobilenet_v2_convolutional.csv").is_file():
        return read_orin(source)
    raise InputError(source, "", "must hold conv_lat.csv or mobilenet_v2_convolutional.csv, or be a CSV file")


def _variants_table(report: FitReport) -> Table:
    table = Table(
        "type", "variables", "form", "median error", "9 of 10 within", "bias", "R² of ln", "R²", "n fitted",
        "n held out",
        title="error on held-out layers; the first line of each type was chosen by cross-validation",
    )  # fmt: skip
    for kind, variants in report.variants.items():
        for number, variant in enumerate(variants):
            style = "bold" if number == 0 else "dim"
            cells = _error_cells(variant.model)
            table.add_row(
                kind, variant.feature_set, variant.model.form, *cells, style=style, end_section=variant is variants[-1]
            )
    return table


@app.command()
def layers(
    network: Annotated[str, typer.Argument(help="package.module:factory; the factory makes the torch module.")],
    out: Annotated[Path, typer.Argument(help="CSV file to write.")],
    shape: Annotated[str, typer.Option("--input", help="Shape of the input, batch 1 first.")] = "1x3x224x224",
    depth: Annotated[int, typer.Option(min=1, help="Levels of module names that make a stage.")] = 1,
) -> None:
    """List the layers of a PyTorch network in a CSV file, by running it once; `predict` reads that file.

    The current folder is searched for the module. The file is plain CSV and can be written by hand: a line is
    `stage,name,kind,in_channels,out_channels,in_size,out_size,kernel,stride,groups`.
    """
    import torch

    from ..profiles.machines.tracing import trace_layers

    sizes = shape.lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in sizes):
        raise InputError("--input", "", "must be whole numbers joined by x, as in 1x3x224x224", shape)
    module = _build(network)
    trace = trace_layers(module, torch.rand(*(int(part) for part in sizes)), depth=depth)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, format_layers(trace.layers).encode())
    flops = sum(item.layer.flops for item in trace.layers)
    typer.echo(
        f"wrote {out}: {len(trace.layers)} layers in {len(group_stages(trace.layers))} stages, {flops / 1e6:,.1f} MFLOP"
    )
    if trace.other:
        share = trace.other_flops / max(1.0, flops + trace.other_flops)
        names = ", ".join(f"{name} x{number}" for name, number in sorted(trace.other.items()))
        typer.echo(f"not listed, no layer type: {names}; {share:.1%} of the operations")


def _build(network: str) -> nn.Module:
    import torch

    name, _, factory = network.partition(":")
    if not name or not factory:
        raise InputError("NETWORK", "", "must be package.module:factory", network)
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise InputError("NETWORK", name, "must be a module that can be imported", str(error)) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    make = getattr(module, factory, None)
    if not callable(make):
        raise InputError("NETWORK", factory, f"must be a function or class in {name}", network)
    built = make()
    if not isinstance(built, torch.nn.Module):
        raise InputError("NETWORK", factory, "must make a torch.nn.Module", type(built).__name__)
    return built.eval()


@app.command()
def predict(
    platform: Annotated[str, typer.Argument(help=PLATFORM_HELP)],
    network: Annotated[Path, typer.Argument(help="CSV file of layers, as `layers` writes it.")],
    factor: Annotated[
        float, typer.Option(help="Multiply every layer: a similar machine that is slower or faster.")
    ] = 1.0,
    missing: Annotated[str, typer.Option(help="Types without a regression: error, or zero.")] = "error",
    out: Annotated[Path | None, typer.Option(help="Also write stage, name and seconds of each layer as CSV.")] = None,
    plot: Picture = None,
) -> None:
    """Predict a network on a platform, layer by layer and stage by stage, without running it there."""
    from ..profiles.machines.predictors import scaled

    if missing not in ("error", "zero"):
        raise InputError("--missing", "", "must be error or zero", missing)
    platform_checks.check_picture(plot)
    model = load_platform(platform)
    if factor != 1.0:
        model = scaled(model, factor, f"{model.name} x {factor:g}", "given on the command line")
    listed = read_layers(network)
    kinds = [item.layer for item in listed]
    seconds = model.predict_s(kinds, "zero" if missing == "zero" else "error")
    outside = model.extrapolates(kinds)
    console = Console()
    table = Table("stage", "layers", "MFLOP", "ms", "share", title=f"{network.name} on {model.name}")
    stages = group_stages(listed)
    names = np.array([item.stage for item in listed])
    totals = {stage: float(seconds[names == stage].sum()) for stage in stages}
    for stage, members in stages.items():
        flops = sum(layer.flops for layer in members)
        share = totals[stage] / max(float(seconds.sum()), 1e-12)
        table.add_row(stage, str(len(members)), f"{flops / 1e6:,.1f}", f"{totals[stage] * 1e3:.3f}", f"{share:.1%}")
    console.print(table)
    console.print(f"sum {seconds.sum() * 1e3:.3f} ms: {model.description}", highlight=False)
    absent = sorted({layer.kind for layer in kinds if layer.kind not in model.models})
    if absent:
        console.print(f"counted as 0 s, no regression: {', '.join(absent)}", highlight=False)
    if outside.any():
        console.print(f"{outside.sum()} of {len(kinds)} layers lie outside the measured latencies", highlight=False)
    if out is not None:
        rows = [f"{item.stage},{item.name},{value:.9g}" for item, value in zip(listed, seconds, strict=True)]
        write_atomically(out, ("\n".join(["stage,name,predicted_s", *rows]) + "\n").encode())
        typer.echo(f"wrote {out}")
    if plot is not None:
        from ..profiles.machines.platform_plots import draw_stages
        from ..profiles.plotting import save_plot

        save_plot(draw_stages(list(stages), {model.name: np.array(list(totals.values()))}, network.name), plot)
        typer.echo(f"wrote {plot}")
