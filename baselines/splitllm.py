"""SplitLLM as a policy: as much of the network as the deadline allows stays on the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.problem import Problem
from ..errors import InputError, did_you_mean
from .layer_tiers import FORBIDDEN, LayerTiers, TierPlan, greedy_tiers, optimal_tiers, single_tier, ticks_of
from .paths import PathRule

__all__ = ["SplitLlm"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METHODS: dict[str, Callable[[LayerTiers, int], TierPlan | None]] = {
    "optimal": optimal_tiers,
    "greedy": greedy_tiers,
    "no-split": single_tier,
}
_TIERS = ("device", "edge", "faas")


class SplitLlm(PathRule):
    """SplitLLM (Mudvari et al., arXiv 2410.10759): least work on the servers within a latency limit.

    Optimises: floating-point operations kept on the device, by the constrained shortest path over (layer, tier) of
    `layer_tiers`, exact over time in ticks of `tick_s`; `method` gives its competitors, greedy and no split. Assumes:
    predicted times, the last measured bandwidth, an idle system, no exits, prices or privacy; server time counts as
    latency only. Departures: this project's requests never come back before the answer (device, edge, cloud in that
    order), so backward moves are forbidden here; the three tiers are the device, the edge server and a function; where
    nothing meets the limit the fastest placement is taken. O(M T^2 limit / tick) per decision.

    Args:
        deadline: Latency limit, in units of the scenario's latency reference.
        method: 'optimal', 'greedy' or 'no-split'.
        tick_s: Resolution of time.
        server: 'any', 'edge' or 'faas'.
        rate: Forecast of the rate.
        queues: Take the wait behind what is queued now off the limit.
    """

    name = "splitllm"

    def __init__(
        self,
        deadline: float = 1.0,
        method: str = "optimal",
        tick_s: float = 2e-3,
        server: str = "any",
        rate: str = "last",
        queues: bool = False,
    ) -> None:
        super().__init__(server, deadline, rate, queues)
        if method not in METHODS:
            raise InputError(self.name, "method", "must be a method", method, did_you_mean(method, METHODS))
        if not tick_s > 0:
            raise InputError(self.name, "tick_s", "must be positive", tick_s)
        self._solve, self._tick_s = METHODS[method], tick_s

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Compile what does not depend on measurements."""
        super().reset(problem, num_envs, weights, seed)
        position = np.asarray(problem.params.exit_position)
        seconds = [np.diff(problem.tiers[name].cumulative_s(position, heads=False)) for name in _TIERS]
        self._run_s = np.stack(seconds, axis=1)  # (M, T)
        flops = np.array([stage.flops for stage in problem.profile.stages])
        self._value = np.zeros((problem.stages, len(_TIERS)))
        self._value[:, 0] = flops
        self._index = {(int(d), int(e)): k for k, (d, e) in enumerate(problem.placements) if self.allowed[k]}

    def act(self, measurements: Measurements) -> Ints:
        """The plan of each environment, int64 (N, 4)."""
        rate = self.rate_bps(measurements)
        fastest = self.latency_s(measurements)[..., self.never].argmin(axis=1)
        wait = self._waiting_s(measurements, rate)
        placement = [
            self._placement(self._layers(rate[i], measurements.rtt_s[i], measurements.edge_load[i]), wait[i])
            for i in range(len(rate))
        ]
        chosen = np.array([fastest[i] if p is None else p for i, p in enumerate(placement)], dtype=np.int64)
        return self.actions(chosen, self.never)

    def _waiting_s(self, m: Measurements, rate: Floats) -> Floats:
        """The longest wait on any way, (N,): the limit must hold whatever the plan."""
        if not self._queues:
            return np.zeros(len(m))
        return np.asarray(self.paths.waiting_s(m, rate)[..., self.never].max(axis=1))

    def _layers(self, rate_bps: float, rtt_s: float, load: float) -> LayerTiers:
        """Layers, tiers and ways between them as they are now."""
        p, stages = self.problem.params, self.problem.stages
        run = self._run_s.copy()
        run[:, 1] /= 1.0 - load
        move = np.full((stages + 1, 3, 3), np.inf)
        move[:, range(3), range(3)] = 0.0
        bits = 8.0 * np.asarray(p.cut_bytes, dtype=np.float64)
        up, onward = bits / max(rate_bps, 1.0) + 0.5 * rtt_s, bits / p.backhaul_bps + 0.5 * p.backhaul_rtt_s
        sent = np.array([self._may_call(cut) for cut in range(stages + 1)])
        if self._server != "faas":
            move[:, 0, 1] = up
        if self._server != "edge":
            move[:, 0, 2] = np.where(sent, up + onward, np.inf)
            move[:, 1, 2] = np.where(sent, onward, np.inf)
        move[stages] = np.inf
        move[stages, 0, 0], move[stages, 1, 0] = 0.0, 0.5 * rtt_s
        move[stages, 2, 0] = 0.5 * (rtt_s + p.backhaul_rtt_s)
        return LayerTiers(ticks_of(run, self._tick_s), ticks_of(move, self._tick_s), self._value)

    def _may_call(self, cut: int) -> bool:
        """Whether a function accepts what crosses a cut."""
        e = self.problem.placements[:, 1]
        return bool((e == cut).any()) or cut == self.problem.stages

    def _placement(self, layers: LayerTiers, wait_s: float) -> int | None:
        """Index of the plan's placement; None if there is no plan."""
        budget = int((self.deadline_s - wait_s) / self._tick_s)
        plan = self._solve(layers, min(budget, FORBIDDEN - 1))
        if plan is None:
            return None
        cuts = (int((plan.tiers < 1).sum()), int((plan.tiers < 2).sum()))
        return self._index.get(cuts)
