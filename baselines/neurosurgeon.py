"""Neurosurgeon: one cut between the device and one server, from latency predictors and the last measured bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.policy import Policy
from ..envs.problem import ROUTES, Problem
from ..errors import InputError, did_you_mean

__all__ = ["Neurosurgeon", "NeurosurgeonEnergy", "StagePredictor", "split_energy_j", "split_latency_s"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SERVERS = ("edge", "faas", "vm")


@dataclass(frozen=True, eq=False)
class StagePredictor:
    """Predicted seconds of each stage on each tier: the role of the paper's per-layer regressions.

    Here the prediction is the profile's measured stage time, scaled by the ratio of the tiers' effective speeds; a
    regression over layer features gives the same arrays.

    Attributes:
        seconds: Tier name to seconds per stage, (M,); the final classifier counts with the last stage.
    """

    seconds: dict[str, Floats]

    @classmethod
    def from_problem(cls, problem: Problem) -> StagePredictor:
        """From the compiled service times, without early exits."""
        position = np.asarray(problem.params.exit_position)
        return cls({name: np.diff(tier.cumulative_s(position, heads=False)) for name, tier in problem.tiers.items()})

    def before_s(self, tier: str) -> Floats:
        """Seconds of the stages before each cut, (M+1,)."""
        return np.concatenate([[0.0], np.cumsum(self.seconds[tier])])

    def after_s(self, tier: str) -> Floats:
        """Seconds of the stages after each cut, (M+1,)."""
        return np.concatenate([np.cumsum(self.seconds[tier][::-1])[::-1], [0.0]])


def split_latency_s(device_s: Floats, server_s: Floats, cut_bytes: Floats, rate_bps: Floats, load: Floats) -> Floats:
    """Neurosurgeon's predicted latency of every cut: sum of TM before it, D_j / B, sum of TC after it at load level K.

    Args:
        device_s: Seconds on the device before each cut, (M+1,).
        server_s: Seconds on the unloaded server after each cut, (M+1,).
        cut_bytes: Bytes sent at each cut, (M+1,), zero where nothing is.
        rate_bps: Measured uplink bandwidth, (N,).
        load: The server's background utilisation, (N,): service slows by K = 1 / (1 - load).

    Returns:
        Seconds, (N, M+1); infinite where something must be sent over a link at rest.
    """
    slow = 1.0 / (1.0 - np.asarray(load, dtype=np.float64)[:, None])
    return device_s + server_s * slow + _upload_s(cut_bytes, rate_bps)


def split_energy_j(device_s: Floats, cut_bytes: Floats, rate_bps: Floats, compute_w: float, radio_w: Floats) -> Floats:
    """Neurosurgeon's predicted energy of every cut, (N, M+1): sum of TM * PM before it plus D_j / B * PU."""
    return device_s * compute_w + _upload_s(cut_bytes, rate_bps) * np.asarray(radio_w)[:, None]


def _upload_s(cut_bytes: Floats, rate_bps: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        seconds = 8.0 * np.asarray(cut_bytes, dtype=np.float64) / np.asarray(rate_bps, dtype=np.float64)[:, None]
    return np.where(np.asarray(cut_bytes) > 0, seconds, 0.0)


class Neurosurgeon(Policy):
    """The latency form of Neurosurgeon (Kang et al., ASPLOS 2017): argmin over cuts of predicted end-to-end latency.

    Optimises: latency of one request. Assumes: a chain, one cut between the device and one server, the last measured
    bandwidth, the server's load level; no exits, no queues, no prices, no privacy, no cost of moving the cut, upload
    counted as bytes over bandwidth and download ignored. All of that is the paper's rule and is kept. Candidate
    points lie after every stage and before the first; the choice is a linear scan, O(M) per decision. Where it
    departs: the paper's load level K comes from profiling the server at each level; here the edge server reports its
    background utilisation, which slows it by 1 / (1 - load). `margin` (0: the paper) keeps the cut in force unless
    another is better by that share.

    Args:
        server: 'edge', 'faas' or 'vm' (a pool of up to `vms`, functions until it has booted); the paper has one server.
        vms: Pool size where the server is 'vm'.
        margin: Relative gain below which the cut stays.
    """

    name = "neurosurgeon"

    def __init__(self, server: str = "edge", vms: int = 1, margin: float = 0.0) -> None:
        if server not in SERVERS:
            raise InputError(self.name, "server", "must be a server", server, did_you_mean(server, SERVERS))
        self._server, self._vms, self._margin = server, vms, margin

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Predict what does not depend on measurements."""
        self._pool = min(self._vms, int(problem.nvec[3]) - 1)
        predictor = StagePredictor.from_problem(problem)
        stages = problem.stages
        self._params = problem.params
        self._device_s, self._server_s = predictor.before_s("device"), predictor.after_s(self._server)
        self._cut_bytes = problem.params.cut_bytes.astype(np.float64)
        self._cut_bytes[stages] = 0.0  # the result is already where it is wanted
        ends = [(d, stages if self._server == "edge" else d) for d in range(stages + 1)]
        legal = {tuple(pair) for pair in problem.placements.tolist()}
        self._legal = np.array([pair in legal for pair in ends])
        self._placement = np.array([problem.placement(*pair) if pair in legal else -1 for pair in ends])
        self._cut_of = {p: d for d, p in enumerate(self._placement.tolist()) if p >= 0}
        self._never = len(problem.thresholds) - 1

    def scores(self, measurements: Measurements) -> Floats:
        """Predicted latency of every cut in seconds, (N, M+1)."""
        load = measurements.edge_load if self._server == "edge" else np.zeros(len(measurements))
        rate = measurements.rate_bps[:, 0]
        return split_latency_s(self._device_s, self._server_s, self._cut_bytes, rate, load)

    def act(self, measurements: Measurements) -> Ints:
        """The best cut now, int64 (N, 4)."""
        n = len(measurements)
        score = np.where(self._legal, self.scores(measurements), np.inf)
        cut = np.argmin(score, axis=1)
        if self._margin > 0.0:
            old = np.array([self._cut_of.get(int(p), -1) for p in measurements.placement])
            rows = np.arange(n)
            stay = (old >= 0) & (score[rows, old] * (1.0 - self._margin) <= score[rows, cut])
            cut = np.where(stay, old, cut)
        actions = np.zeros((n, 4), dtype=np.int64)
        actions[:, 0] = self._placement[cut]
        actions[:, 1] = self._never
        actions[:, 2] = ROUTES.index("faas")
        if self._server == "vm":
            actions[:, 2] = np.where(measurements.vm_running > 0, ROUTES.index("vm"), ROUTES.index("spill"))
            actions[:, 3] = self._pool
        return actions


class NeurosurgeonEnergy(Neurosurgeon):
    """The energy form of Neurosurgeon: argmin over cuts of the device's predicted energy.

    Energy of the device is compute power times the stages before the cut plus radio power times upload time. Compute
    power is what the device draws above idle (the idle power is paid whatever the cut); radio power follows the
    scenario's radio model at the measured bandwidth. Everything else as in `Neurosurgeon`.
    """

    name = "neurosurgeon-energy"

    def scores(self, measurements: Measurements) -> Floats:
        """Predicted energy of the device for every cut in joules, (N, M+1)."""
        p, rate = self._params, measurements.rate_bps[:, 0]
        radio_w = np.minimum(p.radio_base_w + p.radio_w_per_bps * rate, p.radio_limit_w)
        compute_w = p.device_busy_w - p.device_idle_w
        return split_energy_j(self._device_s, self._cut_bytes, rate, compute_w, radio_w)
