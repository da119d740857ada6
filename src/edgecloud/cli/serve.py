"""``edgecloud certificates``, ``edgecloud serve edge|cloud`` and ``edgecloud device``: split serving by hand."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import InputError

if TYPE_CHECKING:
    from ..runtime.serving.observer import ServedRequest

__all__ = ["app", "certificates", "device"]

app = typer.Typer(help="Serve a tier of a split network until SIGTERM.", no_args_is_help=True)

_MODEL = typer.Option(help="Run folder of 'edgecloud profiles train', or random:small (untrained, for trying out).")
_CERTIFICATES = typer.Option("--certificates", help="Folder made by 'edgecloud certificates'.")

Model = Annotated[str, _MODEL]
Certificates = Annotated[Path, _CERTIFICATES]
Name = Annotated[str, typer.Option(help="Name in replies and logs, and of the certificate. Default: the tier.")]
Listen = Annotated[str, typer.Option(help="host:port to listen on; by default this machine only can reach it.")]
Resident = Annotated[int, typer.Option(help="Parts of the network kept loaded; 2 lets a cut move without a pause.")]
Capacity = Annotated[int, typer.Option(help="Requests inside at a time; more are refused.")]
MaxBatch = Annotated[int, typer.Option(help="Requests of one plan that may run together.")]
MaxWait = Annotated[float, typer.Option("--max-wait", help="Seconds that the first of a batch waits for more.")]
Inexact = Annotated[bool, typer.Option("--inexact", help="Batches may change an answer's last bits.")]
Slowdown = Annotated[float, typer.Option(help="Stretch service by this factor, to stand for a slower machine.")]
Times = Annotated[
    str, typer.Option("--pace", help="times.json of 'edgecloud calibrate': stand for the edge server measured there.")
]
Accept = Annotated[str, typer.Option(help="Certificate names that may call, separated by commas. Default: all signed.")]
Encoded = Annotated[str, typer.Option(help="Of activations sent: fp32, fp16, int8 or int8c, with +lz4 or +zstd.")]
Threads = Annotated[int, typer.Option(help="Threads of torch.")]
Grace = Annotated[float, typer.Option(help="Seconds that requests inside get to finish after SIGTERM.")]


def certificates(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.")],
    host: Annotated[
        list[str] | None, typer.Option(help="Name or address of a server, besides localhost; several times.")
    ] = None,
    names: Annotated[str, typer.Option(help="Who gets one, separated by commas.")] = "device,edge,cloud",
    days: Annotated[int, typer.Option(help="Validity in days.")] = 365,
) -> None:
    """Make a private certificate authority, and certificates for device, edge and cloud."""
    from ..runtime.serving.certificates import make_certificates

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for path in make_certificates(folder, host or (), wanted, days):
        typer.echo(f"{path} and {path.with_suffix('.key').name}")
    typer.echo(f"{folder / 'authority.crt'} goes to every machine; keep {folder / 'authority.key'} to yourself")


@app.command()
def edge(
    model: Model,
    certificates: Certificates,
    cloud: Annotated[str, typer.Option(help="host:port of the cloud. Without it the edge runs all of the rest.")] = "",
    listen: Listen = "127.0.0.1:7070",
    name: Name = "",
    resident: Resident = 2,
    capacity: Capacity = 64,
    max_batch: MaxBatch = 1,
    max_wait: MaxWait = 0.0,
    inexact: Inexact = False,
    slowdown: Slowdown = 1.0,
    pace: Times = "",
    encoding: Annotated[
        str, typer.Option(help="Of activations passed on: fp32, fp16, int8, int8c, +lz4, +zstd.")
    ] = "fp32",
    accept: Accept = "",
    threads: Threads = 1,
    grace: Grace = 5.0,
) -> None:
    """Serve the middle of the network, and pass on to the cloud what no head was sure of."""
    options: dict[str, object] = {"upstream": cloud, "address": listen, "capacity": capacity, "encoding": encoding}
    options |= {"max_batch": max_batch, "max_wait_s": max_wait, "exact": not inexact}
    _serve("edge", model, certificates, name, accept, resident, threads, grace, slowdown, options, pace)


@app.command()
def cloud(
    model: Model,
    certificates: Certificates,
    listen: Listen = "127.0.0.1:7071",
    name: Name = "",
    resident: Resident = 2,
    capacity: Capacity = 64,
    max_batch: MaxBatch = 1,
    max_wait: MaxWait = 0.0,
    inexact: Inexact = False,
    slowdown: Slowdown = 1.0,
    accept: Accept = "",
    threads: Threads = 1,
    grace: Grace = 5.0,
) -> None:
    """Serve the rest of the network."""
    options: dict[str, object] = {"address": listen, "capacity": capacity}
    options |= {"max_batch": max_batch, "max_wait_s": max_wait, "exact": not inexact}
    _serve("cloud", model, certificates, name, accept, resident, threads, grace, slowdown, options)


def _serve(
    tier: str,
    model: str,
    folder: Path,
    name: str,
    accept: str,
    resident: int,
    threads: int,
    grace_s: float,
    slowdown: float,
    options: dict[str, object],
    times: str = "",
) -> None:
    """Start a tier, say where it listens, and stop in order when asked to."""
    import torch

    from ..runtime.arenas import limit_arenas
    from ..runtime.pacing import measured_pace
    from ..runtime.serving.certificates import read_credentials
    from ..runtime.serving.logs import configure_logs
    from ..runtime.serving.model import load_split_model
    from ..runtime.serving.pace import Stretched
    from ..runtime.serving.server import TierSettings, start_tier, wait_for_signal

    limit_arenas()
    torch.set_num_threads(threads)
    configure_logs(server=name or tier)
    names = tuple(word.strip() for word in accept.split(",") if word.strip())
    credentials = read_credentials(folder, name or tier)
    network = load_split_model(model, resident)
    pace = measured_pace(times, tier, network) if times else Stretched(slowdown)
    settings = TierSettings(tier=tier, name=name, accept=names, pace=pace, **options)  # type: ignore[arg-type]
    with start_tier(network, settings, credentials) as server:
        typer.echo(f"{tier} listens on {server.address}")
        wait_for_signal()
        server.stop(grace_s)


def device(
    model: Model,
    certificates: Certificates,
    edge: Annotated[str, typer.Option(help="host:port of the edge server. Without it everything runs here.")] = "",
    cut: Annotated[int, typer.Option(help="Stages before it run here.")] = 0,
    cut_edge: Annotated[int, typer.Option(help="Stages from --cut to it run on the edge server; -1: all.")] = -1,
    threshold: Annotated[float, typer.Option(help="Confidence at which a head answers.")] = math.inf,
    route: Annotated[str, typer.Option(help="How the cloud serves: vm, faas or spill.")] = "vm",
    encoding: Annotated[
        str, typer.Option(help="Of activations: fp32, fp16, int8, int8c, with +lz4 or +zstd.")
    ] = "fp32",
    requests: Annotated[int, typer.Option(help="How many.")] = 50,
    rate: Annotated[float, typer.Option(help="Requests per second, evenly spaced.")] = 10.0,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request has failed.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of the random images.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the certificate NAME.crt.")] = "device",
    slowdown: Slowdown = 1.0,
    out: Annotated[Path | None, typer.Option(help="Write one JSON line per request to this new file.")] = None,
) -> None:
    """Serve random images through the split network under one fixed plan, and say what it took."""
    import torch

    from ..runtime.serving.certificates import read_credentials
    from ..runtime.serving.device import Device, DeviceSettings
    from ..runtime.serving.model import load_split_model
    from ..runtime.serving.pace import Stretched
    from ..runtime.serving.plan import Plan

    if requests < 1 or not rate > 0:
        raise InputError("device", "--requests, --rate", "must be positive", (requests, rate))
    if out is not None and out.exists():
        raise InputError(out, "", "must not exist yet", None, "remove it, or choose another name")
    torch.set_num_threads(1)
    network = load_split_model(model)
    plan = Plan(cut, network.stages if cut_edge < 0 else cut_edge, threshold, route)
    settings = DeviceSettings(name=name, timeout_s=timeout, encoding=encoding, pace=Stretched(slowdown))
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (requests, *network.shapes[0][1:]), dtype=torch.uint8, generator=generator)
    with Device(network, plan, edge, read_credentials(certificates, name), None, settings) as served:
        if edge and not served.wait_until_connected(10.0):
            typer.echo(f"the edge server at {edge} does not answer; the device works alone", err=True)
        started = time.monotonic()
        futures = []
        for number in range(requests):
            time.sleep(max(started + number / rate - time.monotonic(), 0.0))
            futures.append(served.submit(images[number : number + 1], sample=number))
        records = [future.result(timeout + 60.0) for future in futures]
    if out is not None:
        out.write_text("".join(json.dumps(_plain(record)) + "\n" for record in records), encoding="utf-8")
    _summarise(records)


def _plain(record: ServedRequest) -> dict[str, object]:
    content = asdict(record) | {"logits": list(record.logits)}
    content["plan"] = {key: None if value == math.inf else value for key, value in asdict(record.plan).items()}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in content.items()}


def _summarise(records: list[ServedRequest]) -> None:
    from rich.table import Table

    table = Table("answered by", "requests", "median ms", "worst ms", "exits")
    for tier in sorted({record.tier or "nobody" for record in records}):
        rows = [record for record in records if (record.tier or "nobody") == tier]
        latency = [1e3 * record.latency_s for record in rows]
        exits = sorted({record.exit for record in rows})
        shown = ", ".join(f"{exit}: {sum(record.exit == exit for record in rows)}" for exit in exits)
        table.add_row(tier, str(len(rows)), f"{statistics.median(latency):.1f}", f"{max(latency):.1f}", shown)
    Console(highlight=False).print(table)
    for reason in sorted({record.reason for record in records if record.failed}):
        typer.echo(f"failed: {reason}")
