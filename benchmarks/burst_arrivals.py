"""Arrivals for the reproductions: requests of two recorded LLM services where they are at hand, else drawn.

'code' comes in bursts (three quarters of the seconds are nearly empty), 'conv' is nearly Poisson, 'both' is their sum:
a steady part with bursts on top.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecloud.traces import MarkovArrivals, PoissonArrivals, load_arrivals

ROOT = Path(__file__).parents[1]
FILES = {
    "code": "azure_llm2023/AzureLLMInferenceTrace_code.csv",
    "conv": "azure_llm2023/AzureLLMInferenceTrace_conv.csv",
}
DRAWN = {"code": MarkovArrivals((0.0, 6.8, 22.3), (21.9, 4.6, 2.8)), "conv": PoissonArrivals(5.5)}
"""Stand-ins: the three-state fit that the scenario `camera-burst` is made of (before its thinning), the mean rate."""


@dataclass(frozen=True)
class Bursts:
    """Requests in each second, int64 (n,), and where they come from."""

    name: str
    counts: np.ndarray

    @property
    def mean_rps(self) -> float:
        """Requests per second."""
        return float(self.counts.mean())

    @property
    def dispersion(self) -> float:
        """Variance over mean of the counts: 1 for Poisson arrivals."""
        return float(self.counts.var() / self.counts.mean())


def recorded_folder() -> Path | None:
    """Where the recorded traces are, if anywhere: `EDGECLOUD_DATA`, or `../shared/data` beside the project."""
    folder = Path(os.environ.get("EDGECLOUD_DATA", ROOT.parent / "shared" / "data"))
    return folder if all((folder / file).is_file() for file in FILES.values()) else None


def load_bursts(kind: str, seed: int, quick: bool = False) -> Bursts:
    """Requests per second of 'code', 'conv' or 'both': about an hour recorded, or an hour (quick: 10 min) drawn."""
    folder = None if quick else recorded_folder()
    counts = []
    for number, name in enumerate(FILES if kind == "both" else [kind]):
        if folder is not None:
            counts.append(np.asarray(load_arrivals(folder / FILES[name], dt_s=1.0).counts))
        else:
            rng = np.random.default_rng([seed, number])
            counts.append(DRAWN[name].sample_counts(600 if quick else 3600, 1.0, rng))
    length = min(len(part) for part in counts)
    origin = "drawn" if folder is None else "recorded"
    total = np.sum([part[:length] for part in counts], axis=0)
    return Bursts(f"Azure LLM 2023 '{kind}', {length / 60:.0f} min {origin}", total)
