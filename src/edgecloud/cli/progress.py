"""Progress bars on the error stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress_bar", "reported_bar"]


def progress_bar(console: Console) -> Progress:
    """A bar with elapsed and remaining time."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, refresh_per_second=2)


@contextmanager
def reported_bar(console: Console, what: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal only, driven by (text, done, total)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    shown = console.is_terminal and not console.quiet
    bar = Progress(*columns, console=console, disable=not shown, transient=True, refresh_per_second=4)
    task = bar.add_task(what, total=None)

    def report(text: str, done: int, total: int) -> None:
        bar.update(task, description=text, completed=done, total=total)

    with bar:
        yield report
