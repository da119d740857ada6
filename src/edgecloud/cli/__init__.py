"""The command line: one module per command, assembled here."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: Arguments without the program's name; those of the process when None.

    Returns:
        0 when all went well, 2 when the input was at fault (the reason is one line on standard error).
    """
    from rich.console import Console

    from ..errors import InputError
    from .app import app

    try:
        status = app(args=list(sys.argv[1:] if argv is None else argv), standalone_mode=False)
    except InputError as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    except Exception as error:
        return _report_usage(error)
    return status if isinstance(status, int) else 0


def _report_usage(error: Exception) -> int:
    """Show what click-style exceptions want shown; anything else is a bug of ours and keeps its traceback."""
    show = getattr(error, "show", None)
    exit_code = getattr(error, "exit_code", None)
    if exit_code is None:
        raise error
    if show is not None:
        show()
    return int(exit_code)
