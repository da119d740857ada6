"""A recorded run once more in the simulator: same link, arrivals and edge load; same actions, or another policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs import RECORD_FIELDS, TERMS, Policy, Problem, Simulator, Window
from ..envs.measure import column
from ..envs.world import MAX_ARRIVALS
from ..errors import InputError
from ..traces import LinkTrace
from .journal import Recording

__all__ = ["Replay", "link_of", "problem_of_run", "replay"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LOAD_TOP = 0.99  # the environment divides by 1 - load
_ARRIVED, _LATENCY = TERMS.index("arrived"), RECORD_FIELDS.index("latency_s")
_LOST, _EXIT = RECORD_FIELDS.index("failed"), RECORD_FIELDS.index("exit")


@dataclass(frozen=True, eq=False)
class Replay:
    """What the simulator says about a recorded run.

    Attributes:
        policy: Who decided: 'recorded', or the policy's name.
        terms: float64 (T, N, len(TERMS)): N draws of everything that a recording does not fix.
        actions: int64 (T, N, 4).
        latency_s: Latencies of the answered requests of all draws, float64 (R,).
        exits: Share of the answers given at each exit, float64 (E,).
        records: Records of all requests of all draws, float64 (N R, len(RECORD_FIELDS)); the latency of a failed one
            is the timeout.
        placements: Placement under which each of them was served, int64 (N R,).
    """

    policy: str
    terms: Floats
    actions: Ints
    latency_s: Floats
    exits: Floats
    records: Floats
    placements: Ints


def link_of(recording: Recording, problem: Problem, measured_rtt: bool = True) -> LinkTrace:
    """The link as measured: one rate and round-trip time per interval, at the recorder's scale.

    The simulator multiplies a trace by the scenario's `uplink.rate_scale`; the trace is divided by it. Without
    `measured_rtt` the scenario's round trip holds, which may include a system's own overhead.
    """
    rows = recording.rows[1:]
    interval_s = problem.params.interval_s
    rtt = rows[:, column("rtt_s")]
    return LinkTrace(
        name=str(recording.header.get("policy", "recorded")),
        mode="unknown",
        edges_s=np.arange(len(rows) + 1, dtype=np.float64) * interval_s,
        rate_bps=rows[:, column("rate_bps")] / problem.scenario.uplink.rate_scale,
        rtt_s=rtt if measured_rtt and (rtt > 0.0).all() else None,
        source=str(recording.source),
        direction="uplink",
    )


def problem_of_run(recording: Recording, problem: Problem) -> tuple[Problem, Ints]:
    """The served problem with the run's length, arrivals and edge loads; and the load's index in each interval, (T,).

    The scenario (and so the fingerprint) stays what it was: a policy trained on it may decide.

    Raises:
        InputError: The recording is of another problem, too short, or was made with another control interval.
    """
    recording.check(problem)
    rows = recording.rows[1:]
    if len(rows) < 2:
        raise InputError(recording.source, "intervals", "must be at least two in a row", len(rows))
    recorded_s = float(recording.header["interval_s"])
    if abs(recorded_s - problem.params.interval_s) > 1e-9:
        rule = f"must be the scenario's, {problem.params.interval_s:g} s, to be replayed"
        raise InputError(recording.source, "interval_s", rule, recorded_s)
    counts = np.minimum(np.rint(rows[:, column("arrivals")]), MAX_ARRIVALS).astype(np.int64)
    loads, index = np.unique(np.clip(rows[:, column("edge_load")], 0.0, _LOAD_TOP), return_inverse=True)
    shares, ranks = _requests(recording, problem, counts)
    params = problem.params._replace(
        episode_intervals=len(rows),
        arrival_counts=counts,
        arrival_first=np.cumsum(counts) - counts,
        arrival_share=shares,
        arrival_rank=ranks,
        edge_load=loads,
        edge_leave=np.ones(len(loads)),
    )
    return dataclasses.replace(problem, params=params), index.astype(np.int64)


def _requests(recording: Recording, problem: Problem, counts: Ints) -> tuple[Floats, Ints]:
    """Instants of the arrivals as shares of their intervals, (R,), and the ranks of their samples, (R,).

    Neither if requests and counts do not agree; no ranks if samples are not those of the profile, as the judge's
    verdicts tell.
    """
    edges = np.array([interval.begin_s for interval in recording.intervals] + [recording.intervals[-1].end_s])
    inside = [record for record in recording.requests if edges[0] <= record.arrival_s < edges[-1]]
    requests = sorted(inside, key=lambda record: record.arrival_s)
    arrival_s = np.array([record.arrival_s for record in requests])
    sample = np.array([record.sample for record in requests], dtype=np.int64)
    at = np.searchsorted(edges, arrival_s, side="right") - 1
    if not np.array_equal(np.bincount(at, minlength=len(counts)), counts):
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    shares = np.asarray((arrival_s - edges[at]) / np.diff(edges)[at], dtype=np.float64)
    order = problem.params.difficulty_order
    verdicts = [record.correct for record in requests if not record.failed]
    if not verdicts or np.isnan(verdicts).any() or sample.min() < 0 or sample.max() >= len(order):
        return shares, np.zeros(0, dtype=np.int64)
    rank_of_sample = np.empty(len(order), dtype=np.int64)
    rank_of_sample[order] = np.arange(len(order))
    return shares, rank_of_sample[sample]


def replay(
    recording: Recording,
    problem: Problem,
    policy: Policy | None = None,
    copies: int = 16,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    measured_rtt: bool | None = None,
) -> Replay:
    """Run a recorded world in the simulator.

    Link, arrivals with their samples (hence exits), edge load and preference are the recorded ones. The rest is drawn,
    `copies` times: service times, boot times and cold starts; where requests are missing from the recording, their
    instants within the interval and their samples, too.

    Args:
        recording: The run.
        problem: What was served.
        policy: Decides; None: the recorded actions are taken.
        copies: Draws, N.
        seed: Of the draws.
        progress: Called with the number of intervals done.
        measured_rtt: Take the recorded round trips, not the scenario's; None: unless that was calibrated, which has the
            system's overhead in it, as a ping has not.

    Raises:
        InputError: The recording does not fit the problem.
    """
    served, loads = problem_of_run(recording, problem)
    if measured_rtt is None:
        measured_rtt = problem.measured is None
    link, weights, rows = link_of(recording, problem, measured_rtt), recording.weights, recording.rows
    windows = [Window(0)] * copies
    simulator = Simulator(served, [link], copies, weights=weights, windows=windows, records=True)
    simulator.reset(seed)
    simulator.state.arrival_offset[:] = 0
    simulator.state.measured[:] = rows[0]
    if policy is not None:
        policy.reset(served, copies, np.tile(weights, (copies, 1)), seed)
    intervals = len(rows) - 1
    terms = np.empty((intervals, copies, len(TERMS)))
    actions = np.empty((intervals, copies, 4), dtype=np.int64)
    requests: list[Floats] = []
    placements: list[Ints] = []
    exits = np.zeros(len(problem.profile.exits))
    for t in range(intervals):
        simulator.state.edge_state[:] = loads[t]
        actions[t] = recording.actions[t] if policy is None else policy.act(simulator.measurements)
        simulator.step(actions[t])
        terms[t] = simulator.terms
        settled, placement = _settled(simulator, actions[t, :, 0])
        requests.append(settled)
        placements.append(placement)
        answered = settled[settled[:, _LOST] == 0.0]
        exits += np.bincount(answered[:, _EXIT].astype(np.int64), minlength=len(exits))
        if progress is not None:
            progress(t + 1)
    name = "recorded" if policy is None else policy.name
    records = np.concatenate(requests)
    latency_s = records[records[:, _LOST] == 0.0, _LATENCY]
    shares = exits / max(exits.sum(), 1.0)
    return Replay(name, terms, actions, latency_s, shares, records, np.concatenate(placements))


def _settled(simulator: Simulator, placements: Ints) -> tuple[Floats, Ints]:
    """Records of the last interval's requests, (R, len(RECORD_FIELDS)), and their placements, (R,)."""
    arrived = simulator.terms[:, _ARRIVED].astype(np.int64)
    valid = np.arange(simulator.records.shape[1]) < arrived[:, None]
    records: Floats = simulator.records[valid]
    return records, np.broadcast_to(placements[:, None], valid.shape)[valid]
