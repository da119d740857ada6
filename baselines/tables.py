"""What a problem fixes for the expected objective: reach, work and accuracy per threshold and cut.

Every expectation is taken over the profile's per-sample table, apart for the hard and the easy half of the test set,
since the world draws from them in a drifting proportion: axis 0 of each array is (hard, easy). A stage's work counts
with the probability that a request *reaches* it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..envs.problem import Problem

__all__ = ["Tables", "exit_mix", "make_tables"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SURVIVAL_POINTS = 256


class Tables(NamedTuple):
    """Arrays and constants of a problem: K thresholds, D = M + 1 cuts, P placements; axis 0 of most: hard, easy."""

    placements: Ints  # (P, 2)
    reach: Floats  # (2, D, K) P(a request passes the cut)
    device_s: Floats  # (2, D, K) E[device work before the cut]
    device_s2: Floats  # (2, D, K) E[its square], service noise included
    device_full_s: Floats  # (D, K) device work of a request that passes the cut
    edge_s: Floats  # (2, P, K) E[edge work; passes the device cut]
    edge_s2: Floats
    vm_s: Floats  # (2, D, K) E[work after the cut; passes it]
    vm_s2: Floats
    faas_s: Floats  # (2, D, K)
    loss: Floats  # (2, K) E[correct(full network) - correct(given answer)]
    confidence: Floats  # (2,) mean at the first head
    cut_bits: Floats  # (D,)
    leakage: Floats  # (D,)
    cold_survival: Floats  # (S,) P(a cold start's delay exceeds x), x on a grid over [0, timeout]
    cold_s: float  # mean delay of a cold start
    cold_billed_s: float  # billed part of it
    interval_s: float
    timeout_s: float
    repartition_s: float
    backhaul_bps: float
    backhaul_rtt_s: float
    spill_wait_s: float
    usd_per_edge_s: float
    usd_per_edge_request: float
    usd_per_faas_s: float
    usd_per_faas_request: float
    usd_per_result: float
    usd_per_transit_bit: float
    usd_per_vm_s: float
    faas_granularity_s: float
    latency_ref_s: float
    cost_ref_usd: float
    accuracy_penalty: float
    failure_penalty: float


def exit_mix(problem: Problem) -> Floats:
    """P(exit | half of the test set) for every threshold, (2, K, E)."""
    order = np.asarray(problem.params.difficulty_order)
    exits = len(problem.params.exit_position)
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    mix = [[np.bincount(row[half], minlength=exits) / len(half) for row in problem.params.exit_of] for half in halves]
    return np.array(mix)


def make_tables(problem: Problem) -> Tables:
    """Compile a problem's tables; milliseconds for the shipped profiles."""
    p = problem.params
    q = exit_mix(problem)
    thresholds, cuts = q.shape[1], np.arange(problem.stages + 1)
    passes = (p.exit_position[:, None] > cuts).astype(np.float64)  # (E, M+1)
    reach = q @ passes
    device_s, device_s2 = _zeros(reach), _zeros(reach)
    vm_s, vm_s2, faas_s = _zeros(reach), _zeros(reach), _zeros(reach)
    edge_s = np.zeros((2, thresholds, len(p.placements)))
    edge_s2 = np.zeros_like(edge_s)
    device_full_s = np.zeros((thresholds, len(cuts)))
    cut_device, cut_edge = p.placements[:, 0], p.placements[:, 1]
    for k in range(thresholds):
        work = int(k == thresholds - 1)
        stop = np.minimum(p.exit_position[:, None], cuts)  # (E, M+1)
        device_s[:, k], device_s2[:, k] = _moments(q[:, k], p.device_work_s[work][stop], p.device_noise)
        device_full_s[k] = p.device_work_s[work]
        ends = np.minimum(p.exit_position[:, None], cut_edge)  # (E, P)
        seconds = np.maximum(p.edge_work_s[work][ends] - p.edge_work_s[work][cut_device], 0.0)
        seconds = seconds * (p.exit_position[:, None] > cut_device)
        edge_s[:, k], edge_s2[:, k] = _moments(q[:, k], seconds, p.edge_noise)
        for mean, square, tier, noise in (
            (vm_s, vm_s2, p.vm_work_s[work], p.vm_noise),
            (faas_s, None, p.faas_work_s[work], p.faas_noise),
        ):
            seconds = (tier[p.exit_position][:, None] - tier[cuts]) * passes
            first, second = _moments(q[:, k], seconds, noise)
            mean[:, k] = first
            if square is not None:
                square[:, k] = second
    order = np.asarray(p.difficulty_order)
    half = len(order) // 2
    confidence = np.array([p.first_confidence[order[:half]].mean(), p.first_confidence[order[half:]].mean()])
    cold = (p.faas_setup_s[:, None] + p.faas_init_s[None, ::8]).ravel()
    grid = np.linspace(0.0, p.timeout_s, _SURVIVAL_POINTS)
    survival = 1.0 - np.searchsorted(np.sort(cold), grid, side="right") / cold.size
    return Tables(
        placements=np.asarray(p.placements),
        reach=reach.swapaxes(1, 2).copy(),
        device_s=device_s.swapaxes(1, 2).copy(),
        device_s2=device_s2.swapaxes(1, 2).copy(),
        device_full_s=device_full_s.T.copy(),
        edge_s=edge_s.swapaxes(1, 2).copy(),
        edge_s2=edge_s2.swapaxes(1, 2).copy(),
        vm_s=vm_s.swapaxes(1, 2).copy(),
        vm_s2=vm_s2.swapaxes(1, 2).copy(),
        faas_s=faas_s.swapaxes(1, 2).copy(),
        loss=_losses(problem),
        confidence=confidence,
        cut_bits=8.0 * np.asarray(p.cut_bytes, dtype=np.float64),
        leakage=np.asarray(p.leakage),
        cold_survival=survival,
        cold_s=float(p.faas_setup_s.mean() + p.faas_init_s.mean()),
        cold_billed_s=float(p.faas_init_s.mean()) if p.faas_init_billed else 0.0,
        interval_s=p.interval_s,
        timeout_s=p.timeout_s,
        repartition_s=p.repartition_s,
        backhaul_bps=p.backhaul_bps,
        backhaul_rtt_s=p.backhaul_rtt_s,
        spill_wait_s=p.spill_wait_s,
        usd_per_edge_s=1000.0 * p.usd_per_edge_ms,
        usd_per_edge_request=p.usd_per_edge_request,
        usd_per_faas_s=1000.0 * p.usd_per_faas_ms,
        usd_per_faas_request=p.usd_per_faas_request,
        usd_per_result=p.usd_per_egress_byte * p.result_bytes,
        usd_per_transit_bit=p.usd_per_transit_byte / 8.0,
        usd_per_vm_s=p.usd_per_vm_s,
        faas_granularity_s=1e-3 * p.faas_granularity_ms,
        latency_ref_s=p.latency_ref_s,
        cost_ref_usd=p.cost_ref_usd,
        accuracy_penalty=p.accuracy_penalty,
        failure_penalty=p.failure_penalty,
    )


def _zeros(like: Floats) -> Floats:
    return np.zeros_like(like)


def _moments(q: Floats, seconds: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Mean and mean square over exits, q (2, E) and seconds (E, ...), with unit-mean noise on each service time."""
    return q @ seconds, (q @ seconds**2) * float(np.mean(noise**2))


def _losses(problem: Problem) -> Floats:
    """Accuracy given up against the full network, (2, K)."""
    p = problem.params
    order = np.asarray(p.difficulty_order)
    correct = p.correct.astype(np.float64)
    given = np.stack([correct[np.arange(len(correct)), row] for row in p.exit_of])  # (K, samples)
    lost = correct[:, -1] - given
    half = len(order) // 2
    return np.stack([lost[:, order[:half]].mean(axis=1), lost[:, order[half:]].mean(axis=1)])
