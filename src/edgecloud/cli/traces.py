"""``edgecloud traces``: look at recorded links, convert them, fit and run the generator."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..traces import Found, LinkTrace

__all__ = ["app"]

app = typer.Typer(
    help="Recorded and generated links: list, show, plot, import, fit a generator, generate, find public sets.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_WIDTH = 118

_PathArgument = Annotated[
    Path | None,
    typer.Argument(help="A recording or a folder of them (searched recursively); default: $EDGECLOUD_TRACES."),
]
_ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]


def _console() -> Console:
    """A console that is wide enough for the tables; a narrower terminal wraps their lines."""
    from rich.console import Console

    console = Console()
    return console if console.width >= _WIDTH else Console(width=_WIDTH)


def _folder(path: Path | None) -> Path:
    from ..errors import InputError
    from ..traces import TRACES_VARIABLE

    named = os.environ.get(TRACES_VARIABLE)
    if path is None and not named:
        remedy = f"give one, set {TRACES_VARIABLE}, or see 'edgecloud traces sources' and 'edgecloud traces generate'"
        raise InputError("traces", "path", "must be a recording or a folder of recordings", remedy=remedy)
    return path if path is not None else Path(str(named))


def _found(path: Path | None) -> Found:
    from ..errors import InputError
    from ..traces import scan_link_traces

    folder = _folder(path)
    found = scan_link_traces(folder)
    if not found.traces:
        reasons = "; ".join(f"{item.path.name}: {item.reason}" for item in found.skipped[:3])
        raise InputError(folder, "", "must contain at least one link trace", remedy=reasons)
    return found


@app.command("list")
def list_traces(
    path: _PathArgument = None,
    skipped: Annotated[bool, typer.Option("--skipped", help="Also name every file that was skipped, and why.")] = False,
) -> None:
    """List what is found in a folder: rates in Mbit/s (weighted by time), share of zeros, direction, RTT.

    Formats are recognised by content: Belgium 4G/LTE (.log and .csv), NYU-METS, NUWiNS lists, mahimahi packet-delivery
    files, and plain CSV with the columns `t_s,rate_mbps` or `t_s,rate_mbps,rtt_ms`. A recording that is there twice, in
    two forms, is listed once. Broken files are always named.

    Example: `edgecloud traces list ~/belgium4g`
    """
    from rich.table import Table

    found = _found(path)
    table = Table(title=f"{len(found.traces)} recordings in {_folder(path)}")
    for column in ("name", "mode"):
        table.add_column(column, overflow="fold")
    for column in ("length s", "mean", "p5", "median", "p95", "zeros %", "RTT ms"):
        table.add_column(column, justify="right")
    table.add_column("direction")
    for trace in found.traces:
        table.add_row(*_row(trace))
    console = _console()
    console.print(table)
    named = [item for item in found.skipped if skipped or item.broken]
    for item in named:
        kind = "broken" if item.broken else "skipped"
        console.print(f"{kind}: {item.path}: {item.reason}", markup=False, highlight=False, soft_wrap=True)
    rest = len(found.skipped) - len(named)
    if rest:
        console.print(f"{rest} files skipped (--skipped names them)")


def _row(trace: LinkTrace) -> list[str]:
    import numpy as np

    low, median, high = trace.quantile_bps([0.05, 0.5, 0.95]) / 1e6
    rtt = "" if trace.rtt_s is None else f"{1e3 * float(np.median(trace.rtt_s)):.1f}"
    rates = [f"{value:.1f}" for value in (trace.mean_bps / 1e6, low, median, high)]
    zeros = f"{100 * trace.zero_fraction:.1f}"
    return [trace.name, trace.mode, f"{trace.duration_s:.0f}", *rates, zeros, rtt, trace.direction]


@app.command("show")
@app.command("summarise", hidden=True)
def show(path: _PathArgument = None) -> None:
    """Summarise a recording, or each transport mode of a folder: quantiles, autocorrelation, outages.

    Rates in Mbit/s, from one-second bins that begin with the first full row; r is the autocorrelation (median over
    logs of each log's own).

    Example: `edgecloud traces show ~/belgium4g`
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ..traces.fitting import seconds_mbps
    from ..traces.report import LAGS_S, QUANTILES, statistics

    found = _found(path)
    groups: dict[str, list[LinkTrace]] = {}
    for trace in found.traces:
        groups.setdefault(trace.mode if len(found.traces) > 1 else trace.name, []).append(trace)
    if len(groups) > 1:
        groups["all"] = list(found.traces)
    table = Table(title=str(_folder(path)), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for column in ("logs", "hours", "mean", *(f"p{100 * q:.0f}" for q in QUANTILES)):
        table.add_column(column, justify="right")
    for column in (*(f"r {lag} s" for lag in LAGS_S), "zero %", "outages/h", "mean s", "p90 s"):
        table.add_column(column, justify="right")
    for name, traces in groups.items():
        stats = statistics([seconds_mbps(trace) for trace in traces])
        outages = (stats.outages_per_hour, stats.outage_mean_s, stats.outage_p90_s)
        hours = sum(trace.duration_s for trace in traces) / 3600.0
        table.add_row(
            name,
            str(len(traces)),
            f"{hours:.2f}",
            *(f"{value:.1f}" for value in (stats.mean_mbps, *stats.quantiles_mbps)),
            *(f"{value:.2f}" for value in (*stats.correlation, 100 * stats.zero_share)),
            *("–" if value != value else f"{value:.1f}" for value in outages),
        )
    _console().print(table)


@app.command()
def plot(
    path: _PathArgument = None,
    out: Annotated[Path, typer.Option("--out", help="Picture to write (.png, .svg or .pdf).")] = Path("traces.png"),
    limit: Annotated[int, typer.Option(help="At most so many recordings.", min=1, max=60)] = 12,
    force: _ForceOption = False,
) -> None:
    """Plot rates over time, one panel per recording.

    Example: `edgecloud traces plot ~/belgium4g/report_train_0002.csv --out train.png`
    """
    import matplotlib

    from ..errors import InputError

    if out.exists() and not force:
        raise InputError(out, "--out", "must not exist yet", remedy="choose another name or add --force")
    traces = _found(path).traces[:limit]
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(traces), 1, figsize=(9.0, 1.0 + 1.6 * len(traces)), squeeze=False, layout="constrained"
    )
    for axis, trace in zip(axes[:, 0], traces, strict=True):
        axis.stairs(trace.rate_bps / 1e6, trace.edges_s, fill=True, alpha=0.7)
        axis.set_title(f"{trace.name} ({trace.mode}, {trace.direction})", fontsize=9, loc="left")
        axis.set_ylabel("Mbit/s", fontsize=8)
        axis.margins(x=0.0)
    axes[-1, 0].set_xlabel("s")
    figure.savefig(out, dpi=120)
    pyplot.close(figure)
    typer.echo(f"wrote {out} ({len(traces)} recordings)")


@app.command("import")
def import_traces(
    source: Annotated[Path, typer.Argument(help="A recording or a folder of them, in any format that is recognised.")],
    folder: Annotated[Path, typer.Argument(help="Where the CSV files go; made if missing.")],
    force: _ForceOption = False,
) -> None:
    """Convert recordings into plain CSV files (`t_s,rate_bps[,rtt_s]`) that `--traces FOLDER` accepts.

    Nothing is lost: reading a file back gives an equal trace. Nothing is written if any file exists already, unless
    `--force` is given. A broken recording is an error.

    Example: `edgecloud traces import ~/Downloads/logs ~/traces`
    """
    from ..traces import load_link_traces

    written = _write(load_link_traces(source), folder, force)
    typer.echo(f"wrote {written} recordings to {folder}")


def _write(traces: list[LinkTrace], folder: Path, force: bool) -> int:
    from ..errors import InputError
    from ..traces import save_link_trace

    targets: dict[Path, LinkTrace] = {}
    for trace in traces:
        stem = re.sub(r"[^\w.-]+", "_", trace.name).strip(".") or "trace"
        target, number = folder / f"{stem}.csv", 2
        while target in targets:
            target, number = folder / f"{stem}-{number}.csv", number + 1
        targets[target] = trace
    existing = [target for target in targets if target.exists()]
    if existing and not force:
        rule = f"must not exist yet ({len(existing)} of {len(targets)} files do)"
        raise InputError(existing[0], "", rule, remedy="choose another folder or add --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target, trace in targets.items():
            save_link_trace(trace, target, force=True)
    except OSError as error:
        raise InputError(folder, "", f"must be a folder that can be written to ({error.strerror})") from error
    return len(targets)


@app.command()
def generate(
    folder: Annotated[Path, typer.Argument(help="Where DIR/train, DIR/validation and DIR/test go.", metavar="DIR")],
    logs: Annotated[tuple[int, int, int], typer.Option(help="Logs per mode in train, validation and test.", min=1)] = (
        8,
        3,
        4,
    ),
    duration_s: Annotated[float, typer.Option(help="Length of each log in seconds.", min=1.0)] = 600.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same logs.", min=0)] = 0,
    models: Annotated[
        Path | None, typer.Option(help="Models written by 'edgecloud traces fit'; default: those shipped.")
    ] = None,
    force: _ForceOption = False,
) -> None:
    """Write generated logs as plain CSV: what the project trains on when no recordings are given.

    Example: `edgecloud traces generate /tmp/logs --logs 2 1 1 --duration-s 120 --seed 7`
    """
    from ..traces import generated_split, load_link_models

    chosen = None if models is None else load_link_models(models).models
    split = generated_split(seed, logs, duration_s, chosen)
    for part in ("train", "validation", "test"):
        written = _write(list(getattr(split, part)), folder / part, force)
        typer.echo(f"wrote {written} generated logs to {folder / part}")
    typer.echo(f"modes: {', '.join(split.modes)}; seed {seed}")


@app.command()
def fit(
    folder: Annotated[
        Path, typer.Argument(help="Folder of logs to fit to (for the shipped models: the Belgium logs).")
    ],
    out: Annotated[Path, typer.Option("--out", help="Where the parameters go (JSON; they hold no recorded sample).")],
    pings: Annotated[
        Path | None, typer.Option(help="Folder with NUWiNS ping lists, for the round-trip times; none without it.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where the report goes (Markdown); the terminal if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split: only its train part is fitted to.", min=0)] = 0,
    repeats: Annotated[
        int, typer.Option(help="Also fit and compare on so many other splits (a few seconds each).", min=0, max=100)
    ] = 0,
    force: _ForceOption = False,
) -> None:
    """Fit the link generator to logs, and compare it with logs that the fit did not see.

    The logs are split by log into train, validation and test; the models see the train part only. The report sets
    quantiles, Kolmogorov-Smirnov distance, autocorrelation at 1, 5, 10 and 30 s and outage lengths of generated logs
    beside those of the held-out logs, and beside what recorded logs differ by among themselves.

    Example: `edgecloud traces fit ~/belgium4g --pings ~/nuwins_uplink --out models.json --report fit.md`
    """
    from ..errors import InputError
    from ..traces import (
        fit_link_models,
        fit_rtt_models,
        load_link_traces,
        load_rtt_runs,
        save_link_models,
        split_traces,
    )
    from ..traces.report import compare, repeat_fit
    from ..traces.report_text import fit_report

    for target in (out, report):
        if target is not None and target.exists() and not force:
            raise InputError(target, "", "must not exist yet", remedy="choose another name or add --force")
    traces = load_link_traces(folder)
    runs = [] if pings is None else load_rtt_runs(pings)
    rtt = fit_rtt_models(runs)
    split = split_traces(traces, seed)
    models = fit_link_models(split.train, rtt)
    provenance = {
        "command": f"edgecloud traces fit {folder.name} --seed {seed}" + (f" --pings {pings.name}" if pings else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "logs": f"{len(split.train)} of {len(traces)}: " + ", ".join(trace.name for trace in split.train),
        "pings": f"{len(runs)} runs",
    }
    text = fit_report(
        compare(models, split.train, (*split.validation, *split.test), seed),
        repeat_fit(traces, range(1, repeats + 1)) if repeats else (),
        rtt,
        runs,
    )
    save_link_models(out, models, rtt, provenance)
    if report is None:
        typer.echo(text)
    else:
        report.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {report}")
    typer.echo(
        f"wrote {out}: {len(models)} modes fitted to {provenance['logs'].split(':')[0]} logs, {len(rtt)} RTT models"
    )


@app.command()
def sources() -> None:
    """Tell where public recordings can be had, under which licence, what to cite, and in which format they load."""
    from rich.console import Console

    from ..traces import SOURCES

    console = Console(soft_wrap=True)
    for source in SOURCES:
        console.print(source.name, style="bold", markup=False)
        for label in ("what", "form", "where", "licence", "cite", "note"):
            if getattr(source, label):
                console.print(f"  {label + ':':9}{getattr(source, label)}", markup=False, highlight=False)
