"""A simulator that starts from what has been measured and runs in an imagined future: the model of a receding horizon.

The physics are those of the project's kernel, which every rule may know; the state is rebuilt from the measured row
(queues as work, VMs and instances as counted), and what the world will do is drawn here: link, arrivals, difficulty,
background load and noise come from forecasts and this policy's own random numbers. Nothing of the simulator that is
being controlled is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..envs.compiled import entry_point
from ..envs.kernel import step
from ..envs.measure import width
from ..envs.problem import Problem
from ..envs.state import TERMS, Bank, State, new_state
from ..envs.world import MAX_ARRIVALS

__all__ = ["Belief", "Shadow"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_REWARD, _ACCURACY = TERMS.index("reward"), TERMS.index("reward_accuracy")
_START = 1  # intervals that have passed: the first placement of an episode would be loaded for free
_LONG_S = 3600.0


class Belief(NamedTuple):
    """What is believed of N environments, and S imagined futures of each."""

    rate_bps: Floats  # (N, S, bins), see `Shadow.normals`
    rtt_s: Floats  # (N,)
    arrival_rps: Floats  # (N, S) in the first interval; with a modelled chain the nearest state's
    edge_state: Ints  # (N, S) see `Shadow.edge_states`
    regime: Floats  # (N, S) see `Shadow.regimes`
    key: NDArray[np.uint64]  # (N, S) see `Shadow.keys`
    device_s: Floats  # (N,) work waiting
    uplink_bits: Floats  # (N,)
    uplink_after_s: Floats  # (N,)
    edge_s: Floats  # (N,)
    vm_s: Floats  # (N,) work waiting for the pool
    vms: Ints  # (N,) running
    booting: Ints  # (N,)
    boot_left_s: Floats  # (N,)
    warm: Ints  # (N,) idle instances
    busy: Ints  # (N,)
    action: Ints  # (N, 4) in force
    resident: NDArray[np.bool_]  # (N, P)
    battery: Floats  # (N,) share left
    weights: Floats  # (N, 3)
    first: bool  # the first decision of the episode


class Shadow:
    """Runs plans from a belief and adds up the rewards that they would bring.

    Args:
        problem: The compiled problem.
        samples: Imagined futures per environment, S.
        intervals: Length of a plan, H.
        regime_sigma: Uncertainty of the difficulty regime around its estimate, in standard deviations.
        seed: Of the futures.
    """

    def __init__(self, problem: Problem, samples: int, intervals: int, regime_sigma: float, seed: int) -> None:
        p, scenario = problem.params, problem.scenario
        self.samples, self.intervals = samples, intervals
        self.bins = _START + intervals + math.ceil(p.timeout_s / p.interval_s) + 1
        self._rng = np.random.default_rng(np.random.SeedSequence([seed % 2**63, 0x5AD0]))
        self._regime_sigma = regime_sigma
        self._modelled = not len(p.arrival_counts)
        if not self._modelled:  # recorded arrivals would show the future: a grid of constant rates takes their place
            grid = np.concatenate([[0.0], np.geomspace(0.02, MAX_ARRIVALS / p.interval_s, 64)])
            p = p._replace(
                arrival_counts=np.zeros(0, dtype=np.int64), arrival_rps=grid, arrival_leave=np.full(len(grid), 1e-12)
            )
        self.params = p._replace(episode_intervals=2**31)
        self._sizes = {
            "resident": scenario.control.resident_placements,
            "vms": scenario.vm.max_vms,
            "instances": scenario.faas.max_instances,
        }
        self._state: State | None = None
        self._scratch = np.empty(MAX_ARRIVALS)
        self._room = self._flight_room()

    def _flight_room(self) -> int:
        mean = float(self.params.arrival_rps.max()) * self.params.interval_s if self._modelled else MAX_ARRIVALS
        most = min(math.ceil(mean + 12.0 * math.sqrt(mean) + 16.0), MAX_ARRIVALS)
        return most * (math.ceil(self.params.timeout_s / self.params.interval_s) + 1)

    def normals(self, environments: int) -> Floats:
        """Standard normal numbers for the link's paths, (N, S, bins); antithetic in pairs of samples."""
        half = (self.samples + 1) // 2
        drawn = self._rng.standard_normal((environments, half, self.bins - _START))
        return np.concatenate([drawn, -drawn], axis=1)[:, : self.samples]

    def keys(self, environments: int) -> NDArray[np.uint64]:
        """What the kernel's random numbers are made from, (N, S)."""
        return self._rng.integers(0, 2**63, (environments, self.samples), dtype=np.uint64)

    def regimes(self, easy: Floats) -> Floats:
        """Difficulty regimes around an estimated share of easy requests, (N, S)."""
        hard = np.log((1.0 - easy) / easy) / 1.7
        return np.asarray(hard[:, None] + self._regime_sigma * self._rng.standard_normal((len(easy), self.samples)))

    def edge_states(self, load: Floats) -> Ints:
        """States behind the last reported load (N,), moved on by one interval at random, (N, S)."""
        levels, leave = np.asarray(self.params.edge_load), np.asarray(self.params.edge_leave)
        now = np.repeat(np.abs(load[:, None] - levels).argmin(axis=1)[:, None], self.samples, axis=1)
        if len(levels) == 1:
            return now
        step = 1 + self._rng.integers(0, len(levels) - 1, now.shape)
        leaves = self._rng.random(now.shape) < leave[now]
        return np.where(leaves, (now + step) % len(levels), now)

    def rewards(self, belief: Belief, plans: Ints, relief: Ints) -> Floats:
        """Mean reward per interval of every plan in every future, (N, C, S), without its accuracy term.

        Whether an answer is right is drawn per request, and so rare a difference between thresholds that some hundred
        requests say little of it; its expectation is known in closed form. Futures are the same for all plans.

        Plans are left where a controller would leave them: once the work that waits for the device, or for the link,
        exceeds half the timeout, `relief` is in force until the end. Without that recourse every plan that may be
        overloaded by a burst would look worse than it is.

        Args:
            belief: Of N environments.
            plans: Actions, int64 (N, C, H, 4).
            relief: Actions that spare the device and the link, int64 (N, 2, 4).
        """
        n, candidates, intervals = plans.shape[:3]
        rows = n * candidates * self.samples
        if self._state is None or len(self._state.t) != rows:
            self._state = new_state(rows, flights=self._room, measured=width(), **self._sizes)
            self._out, self._records = np.zeros((rows, len(TERMS))), np.zeros((rows, 0, 0))
            self._entry = None
        self._fill(self._state, belief, candidates)
        bank = self._bank(belief)
        total, left = np.zeros(rows), np.full(rows, -1, dtype=np.int64)
        environment = np.arange(rows) // (candidates * self.samples)
        for h in range(intervals):
            actions = np.ascontiguousarray(np.repeat(plans[:, :, h], self.samples, axis=1).reshape(rows, 4))
            if h > 0:
                self._leave(left)
                gone = np.flatnonzero(left >= 0)
                actions[gone] = relief[environment[gone], left[gone]]
            arguments = (self.params, bank, self._state, actions, self._out, self._records, self._scratch)
            if self._entry is None:
                self._entry = entry_point(step, arguments)
            self._entry(*arguments)
            total += self._out[:, _REWARD] - self._out[:, _ACCURACY]
        return np.asarray((total / intervals).reshape(n, candidates, self.samples))

    def _leave(self, left: Ints) -> None:
        """Note the rows whose device (0) or link (1) has too much to do; those noted before stay as they are."""
        s, p = self._state, self.params
        assert s is not None
        now, limit = s.t * p.interval_s, 0.5 * p.timeout_s
        fresh = left < 0
        left[fresh & (s.uplink_free_s - now > limit)] = 1
        left[fresh & (s.device_free_s - now > limit)] = 0

    def _bank(self, b: Belief) -> Bank:
        """The imagined links, one trace per environment and sample; the bins before the start do not matter."""
        n = len(b.rtt_s)
        rate = np.concatenate([np.repeat(b.rate_bps[..., :1], _START, axis=-1), b.rate_bps], axis=-1)
        start = np.arange(n * self.samples, dtype=np.int64) * self.bins
        length = np.full(n * self.samples, self.bins, dtype=np.int64)
        rtt = np.repeat(b.rtt_s, self.samples * self.bins)
        return Bank(np.ascontiguousarray(rate.reshape(-1)), rtt, start, length)

    def _fill(self, s: State, b: Belief, candidates: int) -> None:
        """Write the belief into every row: environment-major, then plan, then sample."""
        p, n, samples = self.params, len(b.rtt_s), self.samples
        begin = 0.0 if b.first else _START * p.interval_s

        def every(value: Any) -> Any:
            return np.repeat(value, candidates * samples, axis=0)

        def futures(value: Any) -> Any:
            return np.broadcast_to(value[:, None], (n, candidates, samples)).reshape(-1)

        s.key[:] = futures(b.key)
        s.t[:] = 0 if b.first else _START
        s.trace[:] = futures(np.arange(n * samples, dtype=np.int64).reshape(n, samples))
        s.offset[:] = _START if b.first else 0
        nearest = np.abs(b.arrival_rps[..., None] - np.asarray(p.arrival_rps)).argmin(axis=-1)
        s.arrival_state[:] = futures(nearest)
        s.edge_state[:] = futures(b.edge_state)
        s.regime[:] = futures(b.regime)
        s.weights[:] = every(b.weights)
        s.action[:] = every(b.action)
        s.resident[:] = every(self._resident(b))
        first_rate = np.maximum(b.rate_bps[:, :, 0], 1e3)
        sending = np.maximum(b.uplink_bits[:, None] / first_rate, b.uplink_after_s[:, None])
        s.device_free_s[:] = every(begin + np.minimum(b.device_s, p.timeout_s))
        s.uplink_free_s[:] = futures(begin + np.minimum(sending, p.timeout_s))
        s.edge_free_s[:] = every(begin + np.minimum(b.edge_s, p.timeout_s))
        self._fill_cloud(s, b, begin, every)
        s.battery_j[:] = every(b.battery * p.battery_j)
        s.flights[:] = 0
        s.measured[:] = 0.0

    def _resident(self, b: Belief) -> Ints:
        """Loaded placements, that in force first, (N, R)."""
        slots = self._sizes["resident"]
        rank = b.resident.astype(np.float64)
        rank[np.arange(len(rank)), b.action[:, 0]] = 2.0
        order = np.argsort(-rank, axis=1, kind="stable")[:, :slots]
        loaded = np.where(np.take_along_axis(rank, order, axis=1) > 0.0, order, -1)
        full = np.full((len(rank), slots), -1, dtype=np.int64)
        full[:, : loaded.shape[1]] = loaded
        return full

    def _fill_cloud(self, s: State, b: Belief, begin: float, every: Callable[[Any], Any]) -> None:
        """VMs and function instances."""
        p, n = self.params, len(b.vms)
        slot = np.arange(s.vm_launch_s.shape[1])[None]
        running, booting = slot < b.vms[:, None], (slot >= b.vms[:, None]) & (slot < (b.vms + b.booting)[:, None])
        boot = float(np.median(p.vm_boot_s))
        left = b.boot_left_s[:, None]
        age = np.where(running, math.ceil(_LONG_S), np.maximum(boot - left, 0.0).round())
        ready = np.where(booting, begin + left, begin)
        free = ready + np.where(running, (b.vm_s / np.maximum(b.vms, 1))[:, None], 0.0)
        s.vm_launch_s[:] = every(np.where(running | booting, begin - age, np.nan))
        s.vm_ready_s[:] = every(ready)
        s.vm_free_s[:] = every(free)
        s.vm_stop_s[:] = np.inf
        s.vm_billed_s[:] = every(np.where(running | booting, age, 0.0).astype(np.int64))
        slot = np.arange(s.faas_free_s.shape[1])[None]
        work = 0.5 * float(p.faas_work_s[1, -1])
        at = np.where(slot < b.busy[:, None], begin + work, begin - 1.0)
        at = np.where(slot < (b.busy + b.warm)[:, None], at, -np.inf)
        s.faas_free_s[:] = every(at)
        s.faas_seen_s[:] = every(at)
        s.faas_order[:] = np.repeat(slot, n * self.samples * (len(s.t) // (n * self.samples)), axis=0)
