"""``edgecloud calibrate``: measure the running system, and write a scenario with what was measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .progress import progress_bar

if TYPE_CHECKING:
    from ..runtime.calibration import Calibration

__all__ = ["calibrate", "slowdowns_of"]

SLOWDOWNS = "device=50,edge=15,vm=8,faas=10"

Model = Annotated[str, typer.Option(help="Run folder of 'edgecloud profiles train', or random:shipped (untrained).")]
Slow = Annotated[
    str,
    typer.Option("--slowdowns", help="How much slower than this machine each tier is to be, at least 1."),
]


def slowdowns_of(text: str) -> dict[str, float]:
    """Factors by tier.

    Raises:
        InputError: One is misnamed or no number.

    >>> slowdowns_of("device=50,edge=2")
    {'device': 50.0, 'edge': 2.0}
    """
    from ..envs.measured import TIERS
    from ..errors import InputError, did_you_mean

    found = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        if name not in TIERS:
            raise InputError("--slowdowns", name, "must be a tier", None, did_you_mean(name, TIERS))
        try:
            found[name] = float(value)
        except ValueError:
            raise InputError("--slowdowns", name, "must be a number", value) from None
    return found


def calibrate(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder that receives scenario.toml and times.json.")],
    scenario: Annotated[str, typer.Option(help="The scenario to start from.")] = "demo",
    profile: Annotated[str, typer.Option(help="The network's profile, instead of the scenario's.")] = "",
    slowdowns: Slow = SLOWDOWNS,
    repeats: Annotated[int, typer.Option(min=5, help="Answers per tier and cut.")] = 20,
    cold_starts: Annotated[
        int, typer.Option(min=2, help="How often to see functions start, as many at a time as there may be.")
    ] = 4,
    encoding: Annotated[str, typer.Option(help="Of activations: fp32, fp16, int8, with +lz4 or +zstd.")] = "int8",
    seed: Annotated[int, typer.Option(help="Of the images of an untrained network.")] = 0,
) -> None:
    """Measure a real, idle system on this machine: service times of every tier, bytes, overheads, cold starts.

    Then `edgecloud train --scenario OUT/scenario.toml` learns in a simulation of this system, `edgecloud demo` runs
    it, and `edgecloud sim-to-real` compares the two.
    """
    import numpy as np

    from ..envs import compile_problem, load_scenario
    from ..files import write_atomically
    from ..profiles.provenance import machine_name, today
    from ..runtime.calibration import calibrate as measure
    from ..runtime.calibration import calibrated_scenario
    from ..runtime.system import Slowdowns, System, SystemSettings
    from ..runtime.workload import load_test_images
    from ..settings import toml_text
    from ..traces import LinkTrace

    console = Console(stderr=True, highlight=False)
    base = load_scenario(scenario)
    if profile:
        base = base.model_copy(update={"profile": profile})
    out.mkdir(parents=True, exist_ok=True)
    # A short keep-alive shows cold starts, a fast link the overheads.
    quick = base.model_copy(update={"faas": base.faas.model_copy(update={"keep_alive_s": 1.5})})
    patient = quick.model_copy(update={"limits": base.limits.model_copy(update={"timeout_s": 60.0})})
    trial = out / "calibration.toml"
    write_atomically(trial, toml_text(patient).encode())
    problem = compile_problem(str(trial))
    slow = Slowdowns(**slowdowns_of(slowdowns))
    settings = SystemSettings(model, str(trial), slow, encoding=encoding, fallback=False, real_boot=True, seed=seed)
    fast = LinkTrace("fast", "static", np.array([0.0, 3600.0]), np.array([1e9 / base.uplink.rate_scale]))
    source = f"{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}; {machine_name()}; {today()}"
    console.print("starting device, link, edge server and cloud")
    with System(problem, settings, fast) as system, progress_bar(console) as bar:
        images = load_test_images(model, system.model, 64, seed)
        task = bar.add_task("measuring", total=1)
        found = measure(
            system,
            images,
            repeats,
            cold_starts,
            source,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    times = out / "times.json"
    write_atomically(times, found.times.model_dump_json(indent=1).encode())
    result = calibrated_scenario(base, found, str(times), f"{base.name}-calibrated")
    target = out / "scenario.toml"
    write_atomically(target, toml_text(result).encode())
    trial.unlink()
    _show(found)
    typer.echo(f"wrote {target} and {times} ({found.requests} answers)")


def _show(found: Calibration) -> None:
    from rich.table import Table

    table = Table("tier", "whole network, ms", "with every head, ms", "p95 / mean")
    for name, tier in found.times.tiers.items():
        whole = sum(tier.stage_s)
        spread = tier.table()[int(0.95 * len(tier.table()))]
        table.add_row(name, f"{1e3 * whole:.1f}", f"{1e3 * (whole + sum(tier.head_s)):.1f}", f"{spread:.2f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"bytes at each cut: {', '.join(map(str, found.times.cut_bytes))}")
    cold = ", ".join(f"{setup:.2f} + {init:.2f}" for setup, init in zip(found.setup_s, found.init_s, strict=True))
    console.print(
        f"round trips: device-edge {1e3 * found.uplink_rtt_s:.1f} ms, edge-cloud {1e3 * found.backhaul_rtt_s:.1f} ms; "
        f"cold starts (set-up + initialisation) {cold} s"
    )
