"""What a device client reports becomes a record: leakage, bills and truth are added."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecloud.envs import TERMS
from edgecloud.envs.measure import column
from edgecloud.runtime.served import record_of, threshold_index
from edgecloud.runtime.telemetry import Telemetry
from edgecloud.runtime.terms import terms_of

from .feeding import shortened

PROBLEM = shortened(60)


def served(**changes: Any) -> Any:
    plan = SimpleNamespace(cut_device=2, cut_edge=4, threshold=0.8, route="faas")
    facts = {
        "id": "ab", "plan": plan, "arrival_s": 0.1, "end_s": 0.6, "latency_s": 0.5, "failed": False, "exit": 1,
        "sample": 5, "label": 3, "confidence": 0.9, "first_confidence": 0.4, "tier": "cloud", "faas": True,
        "cold": True, "billed_ms": 0, "uplink_bytes": 1000, "transit_bytes": 500, "edge_service_s": 0.0051,
        "cloud_service_s": 0.02, "init_s": 0.3, "pause_s": 0.05, "attempts": 1, "reason": "", "server": "f0",
    }  # fmt: skip
    return SimpleNamespace(**{**facts, **changes})


def test_a_served_request_gets_what_only_the_problem_knows() -> None:
    record = record_of(PROBLEM, served(), judge=lambda sample, exit_index, label: (float(label == 3), 1.0))
    assert record.leakage == PROBLEM.profile.leakage[2]
    assert (record.threshold, record.route, record.cut_device, record.cut_edge) == (3, "faas", 2, 4)
    assert (record.faas_ms, record.faas_requests, record.edge_ms, record.edge_requests) == (320.0, 1.0, 6.0, 1.0)
    assert record.egress_bytes == PROBLEM.params.result_bytes
    assert (record.correct, record.full_correct, record.pause_s) == (1.0, 1.0, 0.05)
    assert record_of(PROBLEM, served(billed_ms=77)).faas_ms == 77.0
    assert math.isnan(record_of(PROBLEM, served()).correct)


def test_nothing_sent_leaks_nothing_and_failures_are_not_judged() -> None:
    record = record_of(PROBLEM, served(uplink_bytes=0, tier="fallback", faas=False, failed=True), lambda *_: (1.0, 1.0))
    assert (record.leakage, record.egress_bytes, record.faas_ms) == (0.0, 0.0, 0.0)
    assert math.isnan(record.correct)


def test_telemetry_takes_either_kind_and_scales_what_was_judged() -> None:
    truth = {0: (1.0, 1.0), 1: (0.0, 1.0), 2: (math.nan, math.nan)}
    telemetry = Telemetry(PROBLEM, judge=lambda sample, *_: truth[sample])
    for sample in range(3):
        telemetry.arrived(0.1)
        telemetry.answered(served(id=str(sample), sample=sample))
    interval = telemetry.close(1.0)
    assert interval.row[column("exit_fraction") + 1] == pytest.approx(0.2)
    terms, judged = terms_of(PROBLEM, [interval], telemetry.take_records(), np.array([1.0, 0.0, 0.0]))
    assert judged == 2
    assert terms[0, TERMS.index("accuracy_loss")] == pytest.approx(1.5)  # half of the judged, of three answers
    assert terms[0, TERMS.index("correct")] == pytest.approx(1.5)


@pytest.mark.parametrize("k", range(7))
def test_thresholds_keep_their_index(k: int) -> None:
    assert threshold_index(PROBLEM, float(PROBLEM.thresholds[k])) == k
