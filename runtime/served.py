"""From what a device client knows of a request to its record: leakage, bytes, bills and truth are added."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..envs import Problem
from .records import COMPONENTS, RequestRecord, completed

__all__ = ["Judge", "PlanLike", "ServedLike", "record_of"]

Judge = Callable[[int, int, int], tuple[float, float]]
"""(sample, exit, label) -> whether the answer is right and whether the whole network's is, as 1, 0 or NaN."""


class PlanLike(Protocol):
    """The plan of a request: cuts, threshold as a confidence, route."""

    @property
    def cut_device(self) -> int: ...  # noqa: D102
    @property
    def cut_edge(self) -> int: ...  # noqa: D102
    @property
    def threshold(self) -> float: ...  # noqa: D102
    @property
    def route(self) -> str: ...  # noqa: D102


class ServedLike(Protocol):
    """What a device client reports; see `edgecloud.runtime.serving` for its fields."""

    @property
    def plan(self) -> PlanLike: ...  # noqa: D102
    @property
    def id(self) -> str: ...  # noqa: D102


_COPIED = (
    "id",
    "arrival_s",
    "end_s",
    "latency_s",
    "failed",
    "exit",
    "sample",
    "device_end_s",
    "uplink_end_s",
    "edge_end_s",
    "faas",
    "cold",
    "first_confidence",
    "confidence",
    "label",
    "server",
    "reason",
    "attempts",
    *COMPONENTS,
)


def record_of(problem: Problem, served: ServedLike, judge: Judge | None = None) -> RequestRecord:
    """The record of a served request.

    Leakage is the profile's for the device's cut once a transfer has begun. A result from the cloud is egress. A
    function is billed as its provider says; the rest follows from the seconds, as in the environment.

    Args:
        problem: The compiled problem.
        served: From the device client.
        judge: Knows the truth; None: nobody does.
    """
    values: dict[str, Any] = {name: getattr(served, name) for name in _COPIED if hasattr(served, name)}
    plan = served.plan
    sent = float(getattr(served, "uplink_bytes", 0))
    faas, billed_ms = bool(values["faas"]), float(getattr(served, "billed_ms", 0))
    from_cloud = getattr(served, "tier", "") == "cloud"
    correct, full = judge(values["sample"], values["exit"], values["label"]) if judge else (math.nan, math.nan)
    record = RequestRecord(
        **values,
        leakage=float(problem.params.leakage[plan.cut_device]) if sent > 0.0 else 0.0,
        correct=math.nan if values["failed"] else correct,
        full_correct=math.nan if values["failed"] else full,
        cut_device=plan.cut_device,
        cut_edge=plan.cut_edge,
        threshold=threshold_index(problem, plan.threshold),
        route=plan.route,
        uplink_bytes=sent,
        transit_bytes=float(getattr(served, "transit_bytes", 0)),
        egress_bytes=float(problem.params.result_bytes) if from_cloud else 0.0,
        faas_ms=billed_ms if faas and billed_ms > 0.0 else math.nan,
    )
    return completed(problem, record)


def threshold_index(problem: Problem, threshold: float) -> int:
    """Index of a confidence threshold in the problem's grid (the nearest one; infinite: the last).

    >>> from edgecloud.envs import compile_problem
    >>> threshold_index(compile_problem("camera-lte"), 0.7), threshold_index(compile_problem("camera-lte"), math.inf)
    (2, 6)
    """
    if math.isinf(threshold):
        return len(problem.thresholds) - 1
    finite = problem.thresholds[:-1]
    return int(np.abs(finite - threshold).argmin()) if len(finite) else 0
