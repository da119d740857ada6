"""``edgecloud link``: replay a recorded link between two processes."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..runtime.link import Shaper

__all__ = ["app"]

app = typer.Typer(
    help="Replay recorded links between real processes.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_REPORT_S = 10.0


@app.callback()
def _group() -> None:
    """Keep `replay` a command of its own, although it is the only one so far."""


@app.command()
def replay(
    trace: Annotated[Path, typer.Argument(help="A recording, in any format that `edgecloud traces list` recognises.")],
    to: Annotated[str, typer.Option("--to", help="HOST:PORT behind the link.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT to accept on; port 0 takes a free one.")] = "127.0.0.1:0",
    rate_scale: Annotated[
        float, typer.Option(help="Factor on the rates (6/13 takes an LTE downlink for an uplink).")
    ] = 1.0,
    rtt_ms: Annotated[float, typer.Option(help="Round trip where the trace has none.", min=0.0)] = 34.0,
    origin: Annotated[
        float | None,
        typer.Option(help="Instant of the machine's monotonic clock at which the trace begins; default: now."),
    ] = None,
    cut: Annotated[
        list[str] | None, typer.Option(help="START:SECONDS of the trace: nothing is carried. May be given again.")
    ] = None,
    black_hole: Annotated[
        list[str] | None, typer.Option(help="START:SECONDS: half-open connections. May be given again.")
    ] = None,
    duration_s: Annotated[float | None, typer.Option(help="End by itself after so long.", min=0.0)] = None,
) -> None:
    """Let connections through at the recorded rate and round trip, until interrupted; TLS and gRPC pass unseen.

    Clients connect to the address that is printed. The trace starts over at its end.

    Example: `edgecloud link replay train.csv --listen 127.0.0.1:7000 --to 127.0.0.1:50051 --cut 30:10`
    """
    from ..runtime.link import Shaper
    from ..traces import load_link_trace

    orders = [(*_span("--cut", text), "cut") for text in cut or ()]
    orders += [(*_span("--black-hole", text), "black hole") for text in black_hole or ()]
    shaper = Shaper(load_link_trace(trace), to, listen, rate_scale, rtt_ms / 1e3)
    shaper.start(origin)
    typer.echo(f"link {shaper.address} -> {to}: {trace.name}")
    try:
        _watch(shaper, sorted(orders), duration_s)
    except KeyboardInterrupt:
        typer.echo("stopped")
    finally:
        typer.echo(_line(shaper))
        shaper.stop()


def _span(option: str, text: str) -> tuple[float, float]:
    from ..errors import InputError

    if not re.fullmatch(r"\d+(\.\d+)?:\d+(\.\d+)?", text):
        raise InputError("link replay", option, "must be START:SECONDS", text, "for example 30:10")
    start, _, seconds = text.partition(":")
    return float(start), float(seconds)


def _watch(shaper: Shaper, orders: list[tuple[float, float, str]], duration_s: float | None) -> None:
    """Carry out the orders when they fall due, and report every now and then."""
    ends_s = None if duration_s is None else time.monotonic() + duration_s
    report_s = time.monotonic() + _REPORT_S
    while ends_s is None or time.monotonic() < ends_s:
        if orders and shaper.clock_s() >= orders[0][0]:
            _, seconds, what = orders.pop(0)
            (shaper.cut if what == "cut" else shaper.black_hole)(seconds)
            typer.echo(f"{shaper.clock_s():9.3f} s  {what} for {seconds:g} s")
        if time.monotonic() >= report_s:
            typer.echo(_line(shaper))
            report_s += _REPORT_S
        time.sleep(0.02)


def _line(shaper: Shaper) -> str:
    stats = shaper.stats()
    carried = f"up {stats.up.bytes:,} bytes ({stats.up.waiting_bytes:,} waiting), down {stats.down.bytes:,}"
    late = f"late by {1e3 * stats.up.mean_late_s:.2f} ms on average, {1e3 * stats.up.late_s:.1f} ms at most"
    return f"{shaper.clock_s():9.3f} s  {stats.connections} connections, {carried}, {late}"
