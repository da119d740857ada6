"""`edgecloud profiles attack` and `edgecloud profiles curves`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..files import write_atomically
from .progress import progress_bar

if TYPE_CHECKING:
    from ..profiles.privacy.attack_results import AttackResult, Attacks

__all__ = ["attack", "curves"]

DEFENCES = ("int8", "gaussian:0.1", "laplace:0.1", "dropout:0.5", "bottleneck:0.125")


def attack(
    run: Annotated[Path, typer.Argument(help="The folder of a finished training run.")] = Path("runs/cifar10-ee"),
    report: Annotated[Path | None, typer.Option(help="Self-contained HTML page to write.")] = None,
    attacker: Annotated[
        list[str] | None, typer.Option(help="same-set, same-distribution or other-set; repeat for more. Default: all.")
    ] = None,
    protect: Annotated[
        list[str] | None,
        typer.Option(
            help="Defence to attack, too: int8, gaussian:SCALE, laplace:SCALE, dropout:SHARE, bottleneck:SHARE; repeat "
            f"for more. Default: {' '.join(DEFENCES)}. 'none' for no defence."
        ),
    ] = None,
    cut: Annotated[list[int] | None, typer.Option(help="Cut to attack; repeat for more. Default: all.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Public images that each attacker owns.")] = 10_000,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them per decoder.")] = 4,
    accuracy_images: Annotated[
        int, typer.Option(min=1, help="Test images over which the accuracy behind a defence is taken.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of who owns which image, and of every decoder.")] = 0,
    precision: Annotated[str, typer.Option(help="Of the decoders' training: bfloat16 or float32.")] = "bfloat16",
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves it to torch.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder with the run's own images.")] = None,
    other_data: Annotated[Path | None, typer.Option(help="Folder with the other data set's images.")] = None,
) -> None:
    """Reconstruct unseen images from what crosses each cut (model inversion), and try defences. Continues.

    An observer who knows the device's part of the network trains one decoder per cut on public images: the network's
    own training images (same-set), other images of the same kind (same-distribution), or another data set (other-set:
    Fashion-MNIST against CIFAR-10 and the reverse). Results are kept after every decoder; 'measure' puts them into the
    profile.
    """
    import torch

    from ..profiles.images.datasets import DATASETS, load_images
    from ..profiles.networks.runs import read_run, run_dataset
    from ..profiles.privacy.attack import AttackPlan, attack_network
    from ..profiles.privacy.attack_report import attack_report
    from ..profiles.privacy.attack_results import ATTACKERS
    from ..profiles.privacy.inversion import DecoderSettings
    from ..profiles.privacy.protections import parse_protection

    if threads:
        torch.set_num_threads(threads)
    plan = AttackPlan(
        cuts=tuple(cut or ()),
        attackers=tuple(attacker or ATTACKERS),
        protections=tuple(parse_protection(text) for text in protect or DEFENCES),
        decoder=DecoderSettings(images=images, epochs=epochs, seed=seed, precision=precision),
        accuracy_images=accuracy_images,
    )
    dataset = run_dataset(run)
    finished = read_run(run)
    own = load_images(dataset, data)
    other_name = next(name for name in DATASETS if name != dataset)
    other = load_images(other_name, other_data) if "other-set" in plan.attackers else None
    console = Console()
    with progress_bar(console) as progress:
        task = progress.add_task("attacking", total=None)

        def on_step(text: str, done: int, total: int) -> None:
            progress.update(task, total=total, completed=done, description=text)

        def on_result(row: AttackResult) -> None:
            progress.console.print(
                f"cut {row.cut}, {row.attacker}, {row.protection}: MSE {row.mse:.5f}, PSNR {row.psnr_db:.2f} dB, "
                f"SSIM {row.ssim:.3f}, accuracy {row.accuracy:.4f}, {row.seconds:.0f} s",
                highlight=False,
            )

        attacks = attack_network(run, finished.network, own, finished.settings, other, plan, on_step, on_result)
    console.print(_table(attacks, len(finished.network.stages)))
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(report, attack_report(run).encode())
        typer.echo(f"wrote {report}")


def _table(attacks: Attacks, stages: int) -> Table:
    """Leakage per cut, one column per defence that was attacked at every cut."""
    names = list(dict.fromkeys(row.protection for row in attacks.results))
    found = {name: attacks.leakage(stages, name) for name in names}
    complete = {name: values for name, values in found.items() if values is not None}
    table = Table("cut", *complete, title=f"leakage (1 - MSE / {attacks.mean_image_mse:.4f})")
    for number in range(stages + 1):
        table.add_row(str(number), *(f"{values[number]:.4f}" for values in complete.values()))
    return table


def curves(
    profile: Annotated[str, typer.Argument(help="A shipped profile's name or the path of a profile's .json file.")],
    out: Annotated[Path, typer.Option(help="CSV file to write: exit rates, accuracy, mean cost per threshold.")],
    plot: Annotated[Path | None, typer.Option(help="Picture of the same (png, svg, pdf).")] = None,
) -> None:
    """Write exit rates, accuracy and expected cost over the threshold as a table, and draw them."""
    from ..profiles import load_profile
    from ..profiles.curves import cheapest_within, threshold_curve
    from ..profiles.plotting import draw_curve, save_plot

    if plot is not None and plot.suffix not in (".png", ".svg", ".pdf"):
        raise InputError("--plot", "", "must end in .png, .svg or .pdf", str(plot))
    loaded = load_profile(profile)
    curve = threshold_curve(loaded)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, curve.as_csv().encode())
    for lost in (0.0, 0.005, 0.01):
        row = cheapest_within(curve, lost)
        threshold = "never" if curve.threshold[row] > 1 else f"{curve.threshold[row]:g}"
        saved = 1 - curve.flops[row] / curve.flops[-1]
        typer.echo(
            f"at most {100 * lost:g} points lost: threshold {threshold}, accuracy {curve.accuracy[row]:.4f}, "
            f"{saved:.1%} of the operations saved"
        )
    if plot is not None:
        save_plot(draw_curve(loaded.name, curve), plot)
    typer.echo(f"wrote {out}")
