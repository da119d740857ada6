"""``edgecloud prices``: the price lists, the VM-or-function break-even, and the bill of a stated usage."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..pricing import (
    DEFAULT_PRICES,
    EgressMeter,
    FaasMeter,
    PriceList,
    VmMeter,
    compare,
    list_prices,
    load_prices,
)

__all__ = ["app"]

app = typer.Typer(
    help="Price lists with their sources, the break-even of VMs and functions, and the bill of a stated usage.\n\n"
    "A list is named (see `edgecloud prices list`) or is a TOML file of your own: copy one that ships and edit it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Prices = Annotated[str, typer.Option("--prices", help="A price list that ships, or the path of your own TOML file.")]
Memory = Annotated[int, typer.Option(help="Memory of the function, MB. On AWS it also sets the CPU: 1769 MB = 1 vCPU.")]


@app.command(name="list")
def list_command() -> None:
    """List the price lists that ship, with their date and what they hold."""
    table = Table("name", "provider", "region", "date", "VMs", "functions", "edge", "egress")
    for name in list_prices():
        prices = load_prices(name)
        tables = (prices.vms, prices.functions, prices.edges, prices.egresses)
        table.add_row(
            name, prices.provider, prices.region, str(prices.date), *(str(len(entries)) for entries in tables)
        )
    Console().print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A price list that ships, or the path of a TOML file.")] = DEFAULT_PRICES,
) -> None:
    """Show every price of a list, and where each figure comes from.

    The column *mark* says how far to trust it: verified (read at the provider), second-hand (quoted by others),
    derived (computed), assumed (a parameter of ours).
    """
    prices, console = load_prices(name), Console()
    console.print(f"{prices.name}: {prices.provider}, {prices.region}, {prices.date}. {prices.notes}", highlight=False)
    for table in (_vm_table(prices), _faas_table(prices), _edge_table(prices), _egress_table(prices)):
        if table.row_count:
            console.print(table)
    sources = Table("source", "mark", "text", title="Sources")
    for key, source in prices.sources.items():
        sources.add_row(key, source.mark, source.text)
    console.print(sources)


@app.command(name="compare")
def compare_command(
    duration_ms: Annotated[
        float, typer.Option(help="Run time of one warm request as a function, milliseconds.")
    ] = 100.0,
    memory_mb: Memory = 1769,
    vm: Annotated[
        str, typer.Option(help="VM types to compare, separated by commas.")
    ] = "c6i.large,c7g.large,t3.medium",
    faas: Annotated[str, typer.Option(help="Function service.")] = "lambda-x86",
    vm_duration_ms: Annotated[
        float | None,
        typer.Option(
            help="Run time on one VM worker, milliseconds. Default: equal speed per vCPU, one vCPU a request."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Requests a VM serves side by side. Default: its vCPUs.")] = None,
    prices: Prices = DEFAULT_PRICES,
) -> None:
    """Find the request rate above which a VM is cheaper than functions.

    The indifference point is r* = VM price per hour / price of one request. Below it functions are cheaper; above it
    the VM is, until its capacity is reached. A VM whose utilisation at r* exceeds 100 % never pays.

    Example: `edgecloud prices compare --duration-ms 80 --memory-mb 2048 --vm c7g.large --faas lambda-arm`
    """
    price_list = load_prices(prices)
    table = Table("VM", "$/h", "function", "$ per million", "r* (req/h)", "capacity (req/h)", "utilisation at r*")
    for name in vm.split(","):
        point = compare(
            price_list,
            vm=name.strip(),
            faas=faas,
            memory_mb=memory_mb,
            duration_s=duration_ms / 1000,
            vm_duration_s=None if vm_duration_ms is None else vm_duration_ms / 1000,
            workers=workers,
        )
        table.add_row(
            point.vm,
            f"{point.vm_usd_per_hour}",
            f"{point.faas}, {memory_mb} MB, {duration_ms:g} ms",
            f"{point.faas_usd_per_request * 1_000_000:.4f}",
            f"{point.indifference_rph:,.2f}",
            f"{point.capacity_rph:,.0f}",
            f"{point.utilisation:.1%}" + ("" if point.vm_ever_cheaper else " (never pays)"),
        )
    Console().print(table)


@app.command()
def cost(
    vm: Annotated[
        list[str] | None,
        typer.Option(help="A VM run as NAME=SECONDS, for example c6i.large=3600. May be repeated: each is one start."),
    ] = None,
    requests: Annotated[int, typer.Option(help="Function requests.")] = 0,
    duration_ms: Annotated[float, typer.Option(help="Run time of one request, milliseconds.")] = 100.0,
    memory_mb: Memory = 1769,
    cold: Annotated[int, typer.Option(help="How many of the requests start a cold instance.")] = 0,
    init_ms: Annotated[float, typer.Option(help="Initialisation of a cold start, milliseconds.")] = 200.0,
    faas: Annotated[str, typer.Option(help="Function service.")] = "lambda-x86",
    egress_gb: Annotated[
        float, typer.Option(help="Data that leaves the provider, GB as the provider counts them.")
    ] = 0.0,
    egress: Annotated[str, typer.Option(help="Egress price.")] = "internet",
    prices: Prices = DEFAULT_PRICES,
) -> None:
    """Work out the bill of a stated usage, exactly, by the provider's rounding rules.

    Example: `edgecloud prices cost --vm c6i.large=3600 --requests 1000000 --duration-ms 80 --egress-gb 2`
    """
    price_list = load_prices(prices)
    table, total = Table("item", "billed", "$"), Decimal(0)
    for run in vm or []:
        name, seconds = _vm_run(run)
        machine = VmMeter(price_list.vm(name))
        machine.add_run(seconds)
        total += _add_line(table, name, f"{machine.billed_s:,} s", machine.usd)
    if requests:
        function = FaasMeter(price_list.faas(faas))
        if not 0 <= cold <= requests:
            raise InputError("prices cost", "--cold", f"must be 0 to {requests}", cold)
        function.add_request(memory_mb, duration_ms / 1000, count=requests - cold)
        function.add_request(memory_mb, duration_ms / 1000, init_s=init_ms / 1000, count=cold)
        billed = f"{function.requests:,} requests, {function.billed_ms:,} ms, {float(function.gb_s):,.3f} GB-s"
        total += _add_line(table, faas, billed, function.usd)
    if egress_gb:
        data = EgressMeter(price_list.egress(egress))
        data.add(round(Decimal(str(egress_gb)) * data.price.gb_bytes))
        total += _add_line(table, f"egress {egress}", f"{data.bytes:,} bytes", data.usd)
    table.add_section()
    table.add_row("total", "", f"{total}")
    Console().print(table)


def _add_line(table: Table, item: str, billed: str, usd: Decimal) -> Decimal:
    table.add_row(item, billed, f"{usd}")
    return usd


def _vm_run(run: str) -> tuple[str, float]:
    name, separator, seconds = run.partition("=")
    try:
        uptime_s = float(seconds)
    except ValueError:
        uptime_s = -1.0
    if not separator or not name or not 0 <= uptime_s < float("inf"):
        raise InputError("prices cost", "--vm", "must be NAME=SECONDS", run, "for example --vm c6i.large=3600")
    return name, uptime_s


def _vm_table(prices: PriceList) -> Table:
    table = Table("VM", "vCPU", "GiB", "accelerator", "$/h", "min s", "source", "mark", title="Virtual machines")
    for vm in prices.vms.values():
        sizes = (str(vm.vcpu), str(vm.memory_gib), vm.accelerator, str(vm.usd_per_hour), str(vm.min_billed_s))
        table.add_row(vm.name, *sizes, vm.source, prices.source_of(vm).mark)
    return table


def _faas_table(prices: PriceList) -> Table:
    columns = ("function", "$ per GB-s", "$ per vCPU-s + GiB-s", "$ per million", "step ms", "min ms", "init billed")
    table = Table(*columns, "memory MB", "source", "mark", title="Functions")
    for item in prices.functions.values():
        parts = "" if item.usd_per_vcpu_s is None else f"{item.usd_per_vcpu_s:f} + {item.usd_per_gib_s:f}"
        table.add_row(
            item.name,
            "" if item.usd_per_gb_s is None else f"{item.usd_per_gb_s:f}",
            parts,
            f"{(item.usd_per_request * 1_000_000).normalize():f}",
            str(item.granularity_ms),
            str(item.min_billed_ms),
            "yes" if item.init_billed else "no",
            f"{item.memory_mb.min}-{item.memory_mb.max}",
            item.source,
            prices.source_of(item).mark,
        )
    return table


def _edge_table(prices: PriceList) -> Table:
    table = Table("edge", "base", "premium", "$ per vCPU-h", "source", "mark", title="Edge capacity")
    for item in prices.edges.values():
        hourly = float(item.usd_per_vcpu_s * 3600)
        table.add_row(
            item.name, item.base, str(item.premium), f"{hourly:.6f}", item.source, prices.source_of(item).mark
        )
    return table


def _egress_table(prices: PriceList) -> Table:
    table = Table("egress", "$ per GB", "GB is", "beyond", "source", "mark", title="Data leaving the provider")
    for item in prices.egresses.values():
        beyond = ", ".join(f"{tier.above_gb:,} GB: {tier.usd_per_gb}" for tier in item.tiers)
        size = f"{item.gb_bytes:,} B"
        table.add_row(item.name, str(item.usd_per_gb), size, beyond, item.source, prices.source_of(item).mark)
    return table
