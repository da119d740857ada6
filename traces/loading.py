"""Loading link traces from a file or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, did_you_mean
from ..files import write_atomically
from .formats import FORMATS, detect_format
from .link import LinkTrace
from .tables import NotALinkError, read_text

__all__ = ["Found", "Skipped", "load_link_trace", "load_link_traces", "save_link_trace", "scan_link_traces"]

_SUFFIXES = {".csv", ".log", ".list", ".txt", ".trace", ".up", ".down", ".mahi", ".pps", ""}
_MAX_REASONS = 3


@dataclass(frozen=True)
class Skipped:
    """A file that gave no trace, and why."""

    path: Path
    reason: str
    broken: bool


@dataclass(frozen=True)
class Found:
    """What a file or a folder holds.

    Attributes:
        traces: The traces, sorted by name.
        skipped: The files that gave none.
    """

    traces: tuple[LinkTrace, ...]
    skipped: tuple[Skipped, ...]


def _read(path: Path, format: str = "auto") -> tuple[str, list[LinkTrace]]:
    file = read_text(path)
    chosen = detect_format(file) if format == "auto" else format
    if chosen not in FORMATS:
        raise InputError(
            "format", "", f"must be auto or one of {', '.join(FORMATS)}", format, did_you_mean(chosen, FORMATS)
        )
    found = FORMATS[chosen](file)
    return chosen, found if isinstance(found, list) else [found]


def load_link_trace(path: str | Path, format: str = "auto", run: int | None = None) -> LinkTrace:
    """Load one recorded link.

    Args:
        path: The file.
        format: 'belgium-log', 'belgium-csv', 'nyu-mets', 'nuwins', 'mahimahi', 'plain', or 'auto': judged by content.
        run: Which run of a file that holds several (NUWiNS), counted from 1.

    Raises:
        InputError: The file is missing, truncated, of no known format, not monotonic in time, or all zeros; the message
            names file, line, column, rule and value.
    """
    path = Path(path)
    _, traces = _read(path, format)
    if run is None:
        if len(traces) > 1:
            remedy = f"say which (run=1 to {len(traces)}) or use load_link_traces"
            raise InputError(path, "", "must hold one recording", f"{len(traces)} runs", remedy)
        return traces[0]
    if not 1 <= run <= len(traces):
        raise InputError(path, "run", f"must be from 1 to {len(traces)}", run)
    return traces[run - 1]


def scan_link_traces(path: str | Path) -> Found:
    """Load every link trace in a file or, recursively, in a folder, and tell what was left out and why.

    A file in a folder that is no link recording is skipped. So is a recording that is there a second time in another
    form (same times, rates and RTT): it counts once. A broken recording is skipped with ``broken=True``.

    Raises:
        InputError: The path does not exist, or a single file breaks a rule.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(path, "", "must be an existing file or folder")
    if path.is_file():
        return Found(tuple(_read(path)[1]), ())
    traces: dict[str, LinkTrace] = {}
    skipped: list[Skipped] = []
    for file in sorted(path.rglob("*"), key=lambda found: (found.name, str(found))):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if hidden or not file.is_file():
            continue
        skipped.extend(_add(file, traces))
    return Found(tuple(sorted(traces.values(), key=lambda trace: (trace.name, trace.fingerprint))), tuple(skipped))


def _add(file: Path, traces: dict[str, LinkTrace]) -> list[Skipped]:
    if file.suffix.lower() not in _SUFFIXES or file.name.upper().startswith(("README", "LICENSE")):
        return [Skipped(file, "not a recording by its name", False)]
    try:
        found = _read(file)[1]
    except InputError as error:
        return [Skipped(file, str(error).removeprefix(f"{file}: "), broken=not isinstance(error, NotALinkError))]
    skipped = []
    for trace in found:
        first = traces.setdefault(trace.fingerprint, trace)
        if first is not trace:
            skipped.append(Skipped(file, f"same recording as {first.source}", False))
    return skipped


def load_link_traces(path: str | Path) -> list[LinkTrace]:
    """Load every link trace in a file or a folder (recursively), sorted by name; duplicates count once.

    Files that are no link recording are left out; `scan_link_traces` tells which and why.

    Raises:
        InputError: The path does not exist, holds no link trace, or holds a broken recording (truncated, not monotonic,
            all zeros …).
    """
    found = scan_link_traces(path)
    broken = [item for item in found.skipped if item.broken]
    if broken:
        more = f" (and {len(broken) - 1} more broken files)" if len(broken) > 1 else ""
        raise InputError(
            broken[0].path, "", f"{broken[0].reason}{more}", remedy="repair it or move it out of the folder"
        )
    if not found.traces:
        reasons = "; ".join(f"{item.path.name}: {item.reason}" for item in found.skipped[:_MAX_REASONS])
        raise InputError(path, "", f"must contain at least one link trace{' (' + reasons + ')' if reasons else ''}")
    return list(found.traces)


def save_link_trace(trace: LinkTrace, path: str | Path, force: bool = False) -> None:
    """Write a trace as the project's plain CSV; reading it back gives an equal trace.

    Raises:
        InputError: The file exists and force is not set.
    """
    path = Path(path)
    if path.exists() and not force:
        raise InputError(path, "", "must not exist yet", remedy="choose another folder or overwrite with --force")
    columns = [trace.edges_s[:-1], trace.rate_bps] + ([] if trace.rtt_s is None else [trace.rtt_s])
    notes = {"name": trace.name, "mode": trace.mode, "direction": trace.direction, "source": trace.source}
    lines = [f"# {key}: {' '.join(value.split())}" for key, value in notes.items()]
    lines += [f"# end_s: {trace.duration_s!r}", "t_s,rate_bps" + ("" if trace.rtt_s is None else ",rtt_s")]
    lines += [",".join(map(repr, row)) for row in zip(*(column.tolist() for column in columns), strict=True)]
    write_atomically(path, ("\n".join(lines) + "\n").encode())
