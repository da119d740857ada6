"""``edgecloud serve gateway``: the cloud's door, with VM workers and functions behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["gateway"]


def gateway(
    model: Annotated[str, typer.Option(help="Run folder of 'edgecloud profiles train', or random:small.")],
    certificates: Annotated[Path, typer.Option(help="Folder made by 'edgecloud certificates'.")],
    scenario: Annotated[
        str, typer.Option(help="Shipped name or .toml file: prices, pool, boot times, keep-alive.")
    ] = "camera-lte",
    listen: Annotated[str, typer.Option(help="host:port; by default this machine only can reach it.")] = "127.0.0.1:0",
    name: Annotated[str, typer.Option(help="Name in replies and logs, and of the certificate NAME.crt.")] = "cloud",
    vm_slowdown: Annotated[float, typer.Option(help="Stretches service on VMs, to stand for slower ones.")] = 1.0,
    faas_slowdown: Annotated[float, typer.Option(help="The same for functions.")] = 1.0,
    paced: Annotated[
        bool, typer.Option("--paced", help="Take the times that the scenario names ('edgecloud calibrate' wrote them).")
    ] = False,
    real_boot: Annotated[bool, typer.Option("--real-boot", help="VMs are ready as soon as their workers are.")] = False,
    seed: Annotated[int, typer.Option(help="Of the boot times.")] = 0,
    grace: Annotated[float, typer.Option(help="Seconds that requests inside get to finish after SIGTERM.")] = 2.0,
) -> None:
    """Serve the cloud's part by VM workers and functions on this machine, billed by the scenario's price list."""
    import torch

    from ..envs import compile_problem
    from ..runtime.arenas import limit_arenas
    from ..runtime.cloud import Dispatcher
    from ..runtime.gateway import Gateway, GatewaySettings, pools_of
    from ..runtime.serving.certificates import read_credentials
    from ..runtime.serving.logs import configure_logs
    from ..runtime.serving.model import load_split_model
    from ..runtime.serving.server import wait_for_signal

    limit_arenas()
    torch.set_num_threads(1)
    configure_logs(server=name)
    problem = compile_problem(scenario)
    settings = GatewaySettings(model, listen, vm_slowdown, faas_slowdown, paced, real_boot, seed)
    credentials = read_credentials(certificates, name)
    loaded = load_split_model(model)
    vms, functions = pools_of(problem, settings)
    dispatcher = Dispatcher(vms, functions, problem.scenario.vm.spill_wait_s)
    with Gateway(loaded, dispatcher, credentials, settings, name) as server:
        typer.echo(f"gateway listens on {server.address}")
        wait_for_signal()
        server.stop(grace)
