"""The application object that holds every command."""

from __future__ import annotations

import typer

from . import link, platforms, prices, profiles, scenario, serve, traces
from .bounds import bounds
from .calibrate import calibrate
from .compare import compare
from .demo import demo
from .evaluate import evaluate
from .export import export
from .gateway import gateway
from .profile import profile
from .replay import replay
from .sim_to_real import sim_to_real
from .train import train

__all__ = ["app"]

app = typer.Typer(
    name="edgecloud",
    help="Decide where to cut a neural network between device, edge and cloud: train, compare, inspect.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(evaluate)
app.command()(compare)
app.command()(bounds)
app.command()(export)
app.command()(replay)
app.command()(profile)
app.command()(serve.certificates)
app.command()(calibrate)
app.command()(demo)
app.command()(sim_to_real)
app.command()(serve.device)
serve.app.command()(gateway)
app.add_typer(serve.app, name="serve")
app.add_typer(scenario.app, name="scenario")
app.add_typer(link.app, name="link")
app.add_typer(traces.app, name="traces")
app.add_typer(platforms.app, name="platforms")
app.add_typer(prices.app, name="prices")
app.add_typer(profiles.app, name="profiles")
