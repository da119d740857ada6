"""Recorded and generated links (rate, round-trip time), and request arrivals.

Times are in seconds, rates in bits per second, sizes in bytes. Nothing here depends on the rest of the project.
"""

from typing import TYPE_CHECKING, Any

from .arrival_files import load_arrivals, load_arrivals_csv, load_azure_functions, load_azure_llm
from .arrivals import Arrivals, IntArray, MarkovArrivals, PoissonArrivals, RecordedArrivals
from .formats import FORMATS, guess_mode
from .generated import (
    TRACES_VARIABLE,
    ModelFile,
    TraceSet,
    default_traces,
    generated_split,
    load_link_models,
    save_link_models,
    shipped_models,
)
from .link import DIRECTIONS, FloatArray, LinkTrace, transfer_end_s
from .loading import Found, Skipped, load_link_trace, load_link_traces, save_link_trace, scan_link_traces
from .models import ArMixture, Component, LinkModel, OutageModel, PowerNormal, RttModel
from .nuwins import RttRun, load_rtt_runs
from .sources import SOURCES, Source
from .splits import Split, split_traces

if TYPE_CHECKING:
    from .fitting import fit_link_models, fit_rtt_models

__all__ = [
    "DIRECTIONS",
    "FORMATS",
    "SOURCES",
    "TRACES_VARIABLE",
    "ArMixture",
    "Arrivals",
    "Component",
    "FloatArray",
    "Found",
    "IntArray",
    "LinkModel",
    "LinkTrace",
    "MarkovArrivals",
    "ModelFile",
    "OutageModel",
    "PoissonArrivals",
    "PowerNormal",
    "RecordedArrivals",
    "RttModel",
    "RttRun",
    "Skipped",
    "Source",
    "Split",
    "TraceSet",
    "default_traces",
    "fit_link_models",
    "fit_rtt_models",
    "generated_split",
    "guess_mode",
    "load_arrivals",
    "load_arrivals_csv",
    "load_azure_functions",
    "load_azure_llm",
    "load_link_models",
    "load_link_trace",
    "load_link_traces",
    "load_rtt_runs",
    "save_link_models",
    "save_link_trace",
    "scan_link_traces",
    "shipped_models",
    "split_traces",
    "transfer_end_s",
]


def __getattr__(name: str) -> Any:
    """Load what only fitting needs when it is asked for: scipy's optimisers and statistics take a second to import."""
    if name in ("fit_link_models", "fit_rtt_models"):
        from . import fitting

        return getattr(fitting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
