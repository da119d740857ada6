"""Model-predictive control: plans over the next seconds, judged by simulating imagined futures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.problem import Problem
from ..errors import InputError
from .dp import DynamicProgramme
from .objective import Outlook, expected_costs
from .ratepaths import RatePaths
from .shadow import Belief, Shadow

__all__ = ["ModelPredictive"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK = 80_000  # elements of the largest array, as in `dp`


class ModelPredictive(DynamicProgramme):
    """Receding horizon over the project's own model, with causal forecasts of link, arrivals, load and difficulty.

    Every interval: the expected objective of `dp-held` ranks all placements, thresholds and routes; the best
    `candidates` of them, with the action in force, become plans for `horizon` intervals. Each plan is run through the
    kernel from the measured state in `samples` imagined futures (`Shadow`, `RatePaths`), the same for all plans; it is
    left for an action that spares the device or the link once too much waits there. The best plan is begun, and thrown
    away after one interval.

    Optimises: the mean reward of the next `horizon` intervals. Its estimate for a plan is the simulated mean, with the
    expected instead of the drawn loss of accuracy, and with weight 1 - `trust` the expected objective, whose errors are
    others: the few failures in a handful of futures are a poor estimate of a small probability. A plan replaces the one
    that ranks first only if it is better by `caution` standard errors of the paired difference. Assumes: the scenario's
    physics and the statistics of its world, nothing of what the world will do; that a function instance, once started,
    serves for much longer than a plan lasts (where `faas.keep_alive_s` says so), so that its cold start is no cost of
    the plan; nothing about later decisions besides the recourse. The pool of VMs is priced as in `DynamicProgramme`: no
    horizon of seconds repays a boot. Running time per decision and environment: that of `dp-held` and (candidates + 1)
    x samples x horizon intervals of the kernel.

    Receding-horizon control with sampled scenarios is textbook; no paper of this field is followed.

    Args:
        horizon: Intervals of a plan.
        candidates: Plans besides the action in force.
        samples: Imagined futures.
        caution: Standard errors by which a plan must be better.
        trust: Weight of the simulated against the expected reward.
        rate: 'revert', 'harmonic' or 'last', see `RatePaths`.
        rate_sigma: Its errors, as a standard deviation of the logarithm.
        regime_sigma: Uncertainty of the difficulty, in standard deviations of its regime.
        warm: As for `DynamicProgramme`.
        vms: Fixed pool; -1 prices it.
    """

    name = "mpc"

    def __init__(
        self,
        horizon: int = 6,
        candidates: int = 12,
        samples: int = 32,
        caution: float = 1.0,
        trust: float = 0.7,
        rate: str = "revert",
        rate_sigma: float = 0.5,
        regime_sigma: float = 0.4,
        warm: int = 4,
        vms: int = -1,
    ) -> None:
        super().__init__(horizon=6, margin=0.0, arrival_margin=0.1, vms=vms, warm=warm)
        if min(horizon, candidates, samples) < 1:
            rule = "must be at least 1"
            raise InputError(self.name, "horizon, candidates, samples", rule, (horizon, candidates, samples))
        self._plan, self._candidates = horizon, candidates
        self._samples, self._caution, self._regime_sigma = samples, caution, regime_sigma
        self._trust = min(max(trust, 0.0), 1.0)
        self._paths = RatePaths(rate, rate_sigma)

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Compile the tables, forget the past, and seed the imagined futures."""
        super().reset(problem, num_envs, weights, seed)
        self._shadow = Shadow(problem, self._samples, self._plan, self._regime_sigma, seed)
        self._rng = np.random.default_rng(np.random.SeedSequence([seed % 2**63, 0x3CF]))
        self._boot_s = float(np.median(problem.params.vm_boot_s))
        self._launched = np.zeros(num_envs)
        self._first = True

    def act(self, measurements: Measurements) -> Ints:
        """The first action of the best plan, int64 (N, 4)."""
        m, n = measurements, len(measurements)
        o = self.outlook(m)
        self._review_pool(m, o)
        holds, expected, relief = self._best_holds(m, o, np.minimum(o.vms, self._target))  # (N, C, 4), (N, C)
        belief = self._belief(m, o)
        plans = np.repeat(holds[:, :, None], self._plan, axis=2)  # (N, C, H, 4)
        rewards = self._rewards(belief, o, plans, relief)
        doubt = (1.0 - self._trust) * (-expected - rewards.mean(axis=-1))  # (N, C)
        rewards = rewards + doubt[..., None]
        self._first = False
        return np.asarray(holds[np.arange(n), self._choose(rewards)], dtype=np.int64)

    def _rewards(self, belief: Belief, o: Outlook, plans: Ints, relief: Ints) -> Floats:
        """Simulated rewards with the expected loss of accuracy, (N, C, S)."""
        t = self._tables
        lost = t.loss[0] + o.easy[:, None] * (t.loss[1] - t.loss[0])  # (N, K)
        some = -np.expm1(-o.arrivals_rps * t.interval_s)
        threshold = plans[..., 1]  # (N, C, H)
        share = np.take_along_axis(lost[:, None], threshold.reshape(len(lost), 1, -1), axis=2).reshape(threshold.shape)
        penalty = t.accuracy_penalty * some[:, None] * share.mean(axis=-1)
        return np.asarray(self._shadow.rewards(belief, plans, relief) - penalty[..., None])

    def _choose(self, rewards: Floats) -> Ints:
        """The plan that is better than the first one by the most, after caution, (N,)."""
        gain = rewards - rewards[:, :1]
        error = gain.std(axis=-1) / math.sqrt(max(self._samples - 1, 1))
        return np.asarray((gain.mean(axis=-1) - self._caution * error).argmax(axis=1), dtype=np.int64)

    def _best_holds(self, m: Measurements, o: Outlook, running: Ints) -> tuple[Ints, Floats, Ints]:
        """The most promising actions, best first, and that in force, (N, C, 4); their expected costs, (N, C).

        And the best actions that spare the device, or the link, (N, 2, 4).
        """
        t = self._tables
        chunk = max(1, _CHUNK // (t.edge_s[0].size * o.nodes * o.rate_bps.shape[1]))
        now = np.column_stack([m.placement, m.threshold, m.route]).astype(np.int64)
        d = t.placements[:, 0]
        found, costs, spared = [], [], []
        for k in range(0, len(running), chunk):
            part = slice(k, k + chunk)
            near, cloud = expected_costs(t, o.rows(part), running[part, None])
            route, onward = cloud[:, :, :, 0].argmin(axis=-1), cloud[:, :, :, 0].min(axis=-1)
            total = near + onward[:, t.placements[:, 1]]  # (n, P, K)
            n, _, thresholds = total.shape
            count = min(self._candidates, total[0].size)
            order = np.argsort(total.reshape(n, -1), axis=1, kind="stable")[:, :count]
            placement, threshold = np.divmod(order, thresholds)
            served = route[np.arange(n)[:, None], t.placements[placement, 1], threshold]
            found.append(np.stack([placement, threshold, served], axis=-1))
            for spare in (d == 0, d == d.max()):
                choice = np.where(spare[:, None], total, np.inf).reshape(n, -1).argmin(axis=1)
                p, k_best = np.divmod(choice, thresholds)
                spared.append(np.column_stack([p, k_best, route[np.arange(n), t.placements[p, 1], k_best]]))
            p, s, r = now[part].T
            in_force = near[np.arange(n), p, s] + cloud[np.arange(n), t.placements[p, 1], s, 0, r]
            best = np.take_along_axis(total.reshape(n, -1), order, axis=1)
            costs.append(np.concatenate([best, in_force[:, None]], axis=1))
        holds = np.concatenate([np.concatenate(found), now[:, None]], axis=1)
        relief = np.stack([np.concatenate(spared[0::2]), np.concatenate(spared[1::2])], axis=1)
        return self._with_target(holds), np.concatenate(costs), self._with_target(relief)

    def _with_target(self, actions: Ints) -> Ints:
        """Append the pool's size, (N, C, 3) to (N, C, 4)."""
        target = np.repeat(self._target[:, None, None], actions.shape[1], axis=1)
        return np.concatenate([actions, target], axis=2)

    def _belief(self, m: Measurements, o: Outlook) -> Belief:
        """What is known of the state, and futures drawn around the forecasts."""
        n, interval_s = len(m), self._params.interval_s
        self._launched = np.where(m.vm_booting > 0, self._launched + interval_s, 0.0)
        normal = self._shadow.normals(n)
        uniform = (self._rng.random((n, self._samples)) + np.arange(self._samples)) / self._samples
        arrivals = self._arrivals.draw_rps(self._rng.permuted(uniform, axis=1), o.arrivals_rps)
        return Belief(
            rate_bps=self._paths.sample_bps(m, normal),
            rtt_s=m.rtt_s.copy(),
            arrival_rps=arrivals,
            edge_state=self._shadow.edge_states(m.edge_load),
            regime=self._shadow.regimes(o.easy),
            key=self._shadow.keys(n),
            device_s=o.device_backlog_s,
            uplink_bits=o.uplink_backlog_bits,
            uplink_after_s=o.uplink_after_s,
            edge_s=o.edge_backlog_s,
            vm_s=o.vm_backlog_s,
            vms=o.vms,
            booting=m.vm_booting.astype(np.int64),
            boot_left_s=np.maximum(self._boot_s - self._launched, interval_s),
            warm=np.maximum(m.warm_instances, self._lasting - m.busy_instances).astype(np.int64),
            busy=m.busy_instances.astype(np.int64),
            action=np.column_stack([m.placement, m.threshold, m.route, m.vm_target]).astype(np.int64),
            resident=o.resident,
            battery=m.battery.copy(),
            weights=m.weights.copy(),
            first=self._first,
        )
