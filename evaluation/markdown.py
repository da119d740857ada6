"""A page in Markdown with a part that a command writes and a part that people write, which is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .storage import write_atomically

__all__ = ["BEGIN", "END", "table", "write_section"]

BEGIN = "<!-- generated: edgecloud compare -->"
END = "<!-- end of what is generated -->"

_NEW = """# Results

{section}

## What the tables do not show

Other links, loads, devices or networks than those of the scenario and the logs. Logs of one city and operator are few:
the intervals say how few, not how other cities differ. Decision times belong to the machine that measured them. The
rules are given the scenario's profile and prices exactly; a real operator's are estimates.
"""


def write_section(path: Path, text: str) -> None:
    """Put a text between the markers of a page; what stands before and after them stays as it is.

    A page without markers gets them at its end. A page that does not exist is made, with a paragraph for people to
    complete.

    Args:
        path: The page.
        text: Markdown.

    Raises:
        InputError: The page cannot be read or written, or has only one marker, or several.
    """
    section = f"{BEGIN}\n\n{text.strip()}\n\n{END}"
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "", "must be a page that can be read") from error
    if old is None:
        page = _NEW.format(section=section)
    elif BEGIN not in old and END not in old:
        page = f"{old.rstrip()}\n\n{section}\n"
    else:
        if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
            rule = f"must hold '{BEGIN}' once and '{END}' once after it, or neither"
            raise InputError(path, "", rule, remedy="mend the markers; nothing was written")
        before, rest = old.split(BEGIN)
        page = before + section + rest.split(END)[1]
    write_atomically(path, page.encode())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A table; bars inside cells are escaped.

    >>> print(table(["policy", "reward"], [["dp|x", "1"]]))
    | policy | reward |
    |---|---|
    | dp\|x | 1 |
    """
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
