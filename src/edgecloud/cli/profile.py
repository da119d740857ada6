"""`edgecloud profile`: measure any network on this machine and write its profile."""

from __future__ import annotations

import importlib.util
import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import InputError
from ..profiles import Profile, save_profile
from .profiles import sequence_table, stage_table
from .progress import progress_bar

if TYPE_CHECKING:
    from ..profiles.profiler.costs import StageCosts

__all__ = ["profile"]

TOLERANCE = 0.10
"""How far the sum over the stages may lie from the whole model."""


class Stages(StrEnum):
    """How operators are grouped into stages."""

    narrow = "narrow"
    winners = "winners"
    all = "all"


def profile(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            help="package.module:factory (a callable that returns a torch module, or a pair of module and example "
            "inputs), or transformers:NAME (a configuration class such as ResNetConfig, a model type such as gpt2, or "
            "a configuration file)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder that receives NAME.json and NAME.layers.json.")] = Path("."),
    name: Annotated[str, typer.Option(help="Name of the profile; default: from the target.")] = "",
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", help="Shape of an input: 1x3x224x224, 1x128:int64:30522. Once per input."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value argument of the factory or setting of the configuration."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="File of weights (.safetensors, .pt); random without it.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Picture for image models; a photograph without it.")] = None,
    lengths: Annotated[
        str, typer.Option(help="Sequence lengths of text models, the profile's own first; default 128,32,64,256,512.")
    ] = "",
    stages: Annotated[
        Stages,
        typer.Option(
            help="narrow: cuts that one tensor crosses; winners: those of them that can be optimal; all: every one."
        ),
    ] = Stages.narrow,
    max_stages: Annotated[
        int, typer.Option(min=0, help="Join light neighbours until there are so few; 0: do not.")
    ] = 0,
    result_bytes: Annotated[
        int, typer.Option(min=0, help="Bytes of the answer as sent; 0: the outputs in float32.")
    ] = 0,
    repeats: Annotated[int, typer.Option(min=7, help="Timed runs per stage, after three for warming up.")] = 31,
    seconds: Annotated[float, typer.Option(min=1, help="Fewer runs (at least 7) where they would take longer.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Seed of random weights and inputs.")] = 0,
) -> None:
    """Measure a network on this machine: layer graph, legal cuts, what crosses them, latency, operations, memory.

    The model is exported (torch.export), cut after every stage, checked (the parts must give the whole's output bit
    for bit), and timed on one thread by processor time. Nothing is written unless all of it works.

    For example: `edgecloud profile transformers:ResNetConfig --set num_labels=1000`, or
    `edgecloud profile transformers:gpt2 --lengths 128,512`, or
    `edgecloud profile my_package.models:net --input 1x3x96x96 --weights net.safetensors`.
    """
    _check_extra()
    from ..profiles.profiler.run import ProfileSettings, profile_target
    from ..profiles.profiler.targets import find_target

    console = Console()
    name = name or _default_name(target)
    settings = ProfileSettings(
        name=name,
        grouping=stages.value,
        max_stages=max_stages,
        lengths=_lengths(lengths),
        runs=repeats,
        seconds=seconds,
        result_bytes=result_bytes,
        command=_command(context),
        seed=seed,
    )
    console.print(f"profiling {target} as {name}: seed {seed}, one thread", highlight=False)
    found = find_target(target, input_ or (), set_ or (), weights, image, seed)
    with progress_bar(console) as progress:
        task = progress.add_task("starting", total=None)
        made, measured = profile_target(
            found,
            settings,
            lambda text, done, total: progress.update(task, description=text, completed=done, total=total),
        )
    console.print(stage_table(made))
    for line in _summary(made, measured.costs):
        console.print(line, highlight=False)
    if made.sequence:
        console.print(sequence_table(made))
    path = save_profile(made, out)
    typer.echo(f"wrote {path}")


def _default_name(target: str) -> str:
    text = target.partition(":")[2].rpartition("/")[2].removesuffix(".json").removesuffix("Config")
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.") or "model"


def _lengths(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts) or len(set(parts)) < len(parts):
        raise InputError("--lengths", "", "must be different positive numbers with commas between them", text)
    return tuple(int(part) for part in parts)


def _command(context: typer.Context) -> str:
    """The command to record: what was given, files by their names alone, without the output folder."""
    parts = ["edgecloud", "profile", str(context.params["target"])]
    for option in context.command.params:
        key = option.name or ""
        given = context.get_parameter_source(key)
        if key in ("target", "out") or given is None or given.name != "COMMANDLINE":
            continue
        value = context.params[key]
        for item in value if isinstance(value, (list, tuple)) else [value]:
            text = item.name if isinstance(item, Path) else item.value if isinstance(item, StrEnum) else f"{item}"
            parts += [option.opts[0], text]
    return shlex.join(parts)


def _check_extra() -> None:
    """Say in one line what is missing, instead of a traceback of an import."""
    for name in ("networkx", "zstandard"):
        if importlib.util.find_spec(name) is None:
            remedy = "pip install 'edgecloud[profiler]'"
            raise InputError("edgecloud profile", "", f"needs the library {name}", None, remedy)


def _summary(made: Profile, costs: StageCosts) -> list[str]:
    """What was checked, in lines."""
    from ..profiles.pruning import can_win_in_any

    total, whole = costs.sum_s * 1e3, costs.whole.median_s * 1e3
    ratio = total / whole
    lines = [
        f"sum over the stages {total:.3f} ms, whole network {whole:.3f} ms: ratio {ratio:.3f}"
        f" (spread of the whole {costs.whole.spread:.0%}, {costs.runs} runs)"
    ]
    if abs(ratio - 1) > TOLERANCE:
        lines.append(
            f"warning: the sum over the stages is {abs(ratio - 1):.0%} off the whole, more than {TOLERANCE:.0%}: "
            "profile again on a calm machine, or with fewer stages (--max-stages)"
        )
    if costs.original is not None:
        lines.append(f"the model as given, not exported: {costs.original.median_s * 1e3:.3f} ms")
    sizes = made.cut_sizes()
    if sizes and made.layers:
        kept = int(can_win_in_any(sizes, made.result_bytes).sum())
        lines.append(
            f"{len(made.layers.cuts)} legal cuts, {made.n_stages + 1} kept, of which {kept} can be optimal when "
            "latency, energy and money count (docs/profiling.md has the proof)"
        )
    lines.append("the parts give the whole's output bit for bit at every stage")
    energy = made.reference.energy_j
    lines.append(f"energy: {energy:.3f} J per inference" if energy else "energy: no meter that may be read")
    return lines
