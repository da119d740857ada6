"""The application object that holds every command."""

from __future__ import annotations

import typer

from . import platforms, prices, profiles, scenario, serve, traces
from .evaluate import evaluate
from .profile import profile
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
app.command()(profile)
app.command()(serve.certificates)
app.command()(serve.device)
app.add_typer(serve.app, name="serve")
app.add_typer(scenario.app, name="scenario")
app.add_typer(traces.app, name="traces")
app.add_typer(platforms.app, name="platforms")
app.add_typer(prices.app, name="prices")
app.add_typer(profiles.app, name="profiles")
