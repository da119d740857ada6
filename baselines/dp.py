"""The exact dynamic programme: optimum of the expected objective over cuts, thresholds and routes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..envs.measure import Measurements
from ..envs.policy import Policy
from ..envs.problem import ROUTES, Problem
from ..errors import InputError, did_you_mean
from .autoscaler import PoolPricer
from .forecast import RATE_FORECASTS, ArrivalForecast, DifficultyEstimate, Residents, rate_nodes_bps
from .objective import Outlook, expected_costs
from .tables import Tables, make_tables

__all__ = ["DynamicProgramme", "Solution", "solve"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK = 80_000  # elements of the largest array, so that it stays in the cache


class Solution(NamedTuple):
    """Optima of a batch; costs are minus the expected reward, without the pool's dollars."""

    cost: Floats  # (N, S)
    choice: Ints  # (N, S, 3) placement, threshold, route
    held_cost: Floats  # (N,) of the actions asked about, with the first pool size


def solve(t: Tables, o: Outlook, sizes: Ints, held: Ints | None = None) -> Solution:
    """The optimum for every environment and pool size, by backward induction over the tiers.

    Last tier first: the best route for what is left at each edge cut; then the best pair of cuts with that cost to go;
    then the best threshold. Whether a placement must be loaded first is known per placement, so that the pause stands
    in the cost of the pair. Running time per environment: O(K (M^2 + M R S)) for K thresholds, M stages, R routes and
    S pool sizes, against O(K M^2 R S) by enumeration.

    Args:
        t: The problem's tables.
        o: The outlook.
        sizes: int64 (N, S) numbers of running VMs to solve for.
        held: int64 (N, 3) placement, threshold and route whose cost is wanted besides; None: the first of each.
    """
    held = np.zeros((len(sizes), 3), dtype=np.int64) if held is None else held
    chunk = max(1, _CHUNK // (t.edge_s[0].size * o.nodes * o.rate_bps.shape[1]))
    parts = [slice(k, k + chunk) for k in range(0, len(sizes), chunk)]
    solved = [_solve(t, o.rows(part), sizes[part], held[part]) for part in parts]
    return Solution(*(np.concatenate(column) for column in zip(*solved, strict=True)))


def _solve(t: Tables, o: Outlook, sizes: Ints, held: Ints) -> Solution:
    near, cloud = expected_costs(t, o, sizes)
    route = cloud.argmin(axis=-1)  # (N, D, K, S)
    onward = cloud.min(axis=-1)
    total = near[..., None] + onward[:, t.placements[:, 1]]  # (N, P, K, S)
    n, thresholds, pools = len(sizes), near.shape[2], sizes.shape[1]
    flat = total.reshape(n, -1, pools)
    best = flat.argmin(axis=1)  # (N, S)
    placement, threshold = np.divmod(best, thresholds)
    rows, columns = np.arange(n), np.arange(pools)
    served = route[rows[:, None], t.placements[placement, 1], threshold, columns]
    choice = np.stack([placement, threshold, served], axis=-1)
    p, k, r = held.T
    held_cost = near[rows, p, k] + cloud[rows, t.placements[p, 1], k, 0, r]
    return Solution(flat[rows[:, None], best, columns], choice, held_cost)


class DynamicProgramme(Policy):
    """The optimum of the expected one-interval objective over cuts, thresholds and routes, by dynamic programming.

    Optimises: the reward's expectation given the measurements, `edgecloud.baselines.objective`, exactly (equal to
    enumeration). Assumes: that the forecasts hold, that queues are fluid plus stationary waiting, and nothing about
    later decisions. The idea of a shortest path over (tier, layer) is that of the placement literature (for example
    SplitLLM's programme over layers and locations); here with exits, thresholds, routes, queues, dollars and leakage
    in the path's cost. The pool of VMs is left to `PoolPricer`, since no single interval repays a boot. Running time:
    see `solve`.

    Args:
        horizon: Intervals over which keeping the action is judged; 1 is the next interval alone. margin: Share of its
        cost that the action in force must be beaten by. vms: Fixed pool; -1 prices the pool. rate: Forecast of the
        uplink rate, see `rate_nodes_bps`. rate_sigma: Standard deviation of the rate's logarithm around it. rate_blend:
        Weight of the last rate where `rate` is 'blend'. arrivals: Forecast of arrivals, see `ArrivalForecast`.
        arrival_margin: Relative addition to it. spread: Share of a request's elapsed time that is uncertain besides
        waiting. pool_gain: See `PoolPricer`. pool_margin: See `PoolPricer`. review: Intervals between reviews of the
        pool. warm: Function instances taken as warm in any case, if instances live for ten horizons or more: one that
        has been
            started serves for minutes, so its cold start is no cost of an action that is judged over seconds.
    """

    name = "dp"

    def __init__(
        self,
        horizon: int = 1,
        margin: float = 0.0,
        vms: int = -1,
        rate: str = "blend",
        rate_sigma: float = 0.4,
        rate_blend: float = 0.7,
        arrivals: str = "filter",
        arrival_margin: float = 0.0,
        spread: float = 0.05,
        pool_gain: float = 0.02,
        pool_margin: float = 0.1,
        review: int = 10,
        warm: int = 0,
    ) -> None:
        if rate not in RATE_FORECASTS:
            raise InputError("dp", "rate", "must be a known forecast", rate, did_you_mean(rate, RATE_FORECASTS))
        self._horizon, self._margin, self._vms = max(1, horizon), margin, vms
        self._nodes, self._warm = (2, 3), max(0, warm)
        self._rate = (rate, rate_sigma, rate_blend)
        self._arrival_margin, self._spread, self._review = arrival_margin, spread, max(1, review)
        self._arrivals = ArrivalForecast(arrivals)
        self._difficulty, self._residents = DifficultyEstimate(), Residents()
        self._pool = PoolPricer(pool_gain, pool_margin)

    def reset(self, problem: Problem, num_envs: int, weights: Floats, seed: int) -> None:
        """Compile the problem's tables and forget the past."""
        self._tables: Tables = make_tables(problem)
        self._params, self._faas_room = problem.params, float(problem.scenario.faas.max_instances)
        lives = problem.params.keep_alive_s >= 10.0 * self._horizon * problem.params.interval_s
        self._lasting = min(float(self._warm), self._faas_room) if lives else 0.0
        self._arrivals.reset(problem, num_envs)
        self._difficulty.reset(problem, num_envs, self._tables.confidence)
        self._residents.reset(problem, num_envs)
        self._pool.reset(problem, num_envs, np.asarray(weights))
        most = int(problem.nvec[3]) - 1
        self._target = np.full(num_envs, min(max(self._vms, 0), most), dtype=np.int64)
        self._t = 0

    def act(self, measurements: Measurements) -> Ints:
        """The optimal actions, int64 (N, 4)."""
        o = self.outlook(measurements)
        self._review_pool(measurements, o)
        running = np.minimum(o.vms, self._target)
        held = np.column_stack([measurements.placement, measurements.threshold, measurements.route]).astype(np.int64)
        solved = solve(self._tables, o, running[:, None], held)
        best, choice = solved.cost[:, 0], solved.choice[:, 0]
        stay = (self._margin > 0.0) & (solved.held_cost <= best + self._margin * np.abs(best))
        return np.column_stack([np.where(stay[:, None], held, choice), self._target])

    def _review_pool(self, m: Measurements, o: Outlook) -> None:
        """Renew the pool's target from time to time."""
        if self._vms < 0 and self._t % self._review == 0:
            self._target = self._pool.update(self._pool_costs(m, o), self._review if self._t else 1)
        self._t += 1

    def _pool_costs(self, m: Measurements, o: Outlook) -> Floats:
        """Optimal cost with each number of VMs: the present averages, idle queues, everything loaded and warm."""
        n, zero = len(m), np.zeros(len(m))
        _, sigma, blend = self._rate
        steady = o._replace(
            rate_bps=rate_nodes_bps(m, "average", sigma, o.rate_bps.shape[1], blend),
            arrivals_rps=np.maximum(m.arrivals_average, 1e-3) / self._params.interval_s,
            device_backlog_s=zero,
            uplink_backlog_bits=zero,
            uplink_after_s=zero,
            edge_backlog_s=zero,
            vm_backlog_s=zero,
            instances=np.full(n, min(self._faas_room, 64.0)),
            resident=np.ones_like(o.resident),
        )
        return solve(self._tables, steady, np.repeat(self._pool.sizes[None], n, axis=0)).cost

    def outlook(self, m: Measurements) -> Outlook:
        """What the next intervals are expected to bring."""
        t, p = self._tables, self._params
        kind, sigma, blend = self._rate
        easy = self._difficulty(m)
        rate = self._arrivals(m) * (1.0 + self._arrival_margin)
        slow = 1.0 / (1.0 - m.edge_load)
        placement, k = m.placement.astype(np.int64), m.threshold.astype(np.int64)
        d, e = p.placements[placement, 0], p.placements[placement, 1]
        device_s = _mean(t.device_s[:, d, k], easy)
        reach = _mean(t.reach[:, d, k], easy)
        edge_s = _mean(t.edge_s[:, placement, k], easy) / np.maximum(reach, 1e-6) * slow
        onward = np.maximum(_mean(t.reach[:, e, k], easy), 1e-6)
        vm_s = _mean(t.vm_s[:, e, k], easy) / onward
        nodes = rate_nodes_bps(m, kind, sigma, 1 if sigma == 0.0 else self._nodes[1], blend)
        device_backlog = _work(m.device_queue, device_s)
        sending = (m.device_queue > 0) & (reach > 0.05)
        after = np.where(sending, device_backlog + t.cut_bits[d] / nodes.mean(axis=1), 0.0)
        on_the_way = np.minimum(m.edge_queue, rate * reach * m.rtt_s)  # to and from the edge, both counted there
        at_pool = np.where(m.route == ROUTES.index("faas"), 0.0, np.maximum(m.cloud_queue - m.busy_instances, 0.0))
        travelling = np.minimum(at_pool, rate * onward * p.backhaul_rtt_s)
        return Outlook(
            rate_bps=nodes,
            rtt_s=m.rtt_s.copy(),
            arrivals_rps=rate,
            easy=easy,
            edge_slow=slow,
            device_backlog_s=device_backlog,
            uplink_backlog_bits=8.0 * m.uplink_queue_bytes,
            uplink_after_s=np.minimum(after, p.timeout_s),
            edge_backlog_s=_work(m.edge_queue - on_the_way, edge_s),
            vm_backlog_s=_work(at_pool - travelling, vm_s),
            vms=m.vm_running.astype(np.int64),
            instances=np.maximum(m.warm_instances + m.busy_instances, self._lasting),
            resident=self._residents(m),
            weights=m.weights.copy(),
            span_s=self._horizon * p.interval_s,
            nodes=self._nodes[0],
            spread=self._spread,
        )


def _mean(pair: Floats, easy: Floats) -> Floats:
    """Mixture of hard and easy, (2, N) and (N,)."""
    return np.asarray(pair[0] + easy * (pair[1] - pair[0]))


def _work(requests: Floats, service_s: Floats) -> Floats:
    """Seconds of work in a queue whose first request is half done on average."""
    return np.maximum(requests - 0.5 * (requests > 0), 0.0) * service_s
