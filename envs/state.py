"""The arrays that the kernel works on: a problem's constants, recorded inputs, the state of a batch, what comes out.

All are tuples of NumPy arrays, so that numba reads them without boxing and a state is copied array by array. `N` is the
batch, `M` stages, `E` exits, `K` thresholds, `P` placements, `V` VM slots, `F` function instances, `Q` quantile-table
entries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLIGHT", "RECORD_FIELDS", "TERMS", "Bank", "Params", "State", "copy_state", "new_state"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TERMS = (
    "arrived",  # requests that arrived in the interval
    "failed",  # of those: missed the hard timeout (or the device's battery was empty)
    "latency_s",  # sum over arrived requests; a failed one counts the timeout
    "leakage",  # sum over arrived requests of the most revealing tensor that left the device
    "correct",  # answered requests whose answer was right
    "accuracy_loss",  # sum over answered requests of correct(full network) - correct(given answer)
    "finished",  # requests answered during the interval, whenever they arrived
    "expired",  # requests that failed during the interval, whenever they arrived
    "in_flight",  # requests inside the system at the end of the interval
    "vm_s",  # VM seconds billed (integer)
    "faas_ms",  # function milliseconds billed (integer)
    "faas_requests",  # function invocations
    "cold_starts",  # of those: on a new instance
    "edge_ms",  # edge milliseconds billed (integer)
    "edge_requests",  # requests that the edge server worked on
    "egress_bytes",  # bytes that left the cloud provider
    "transit_bytes",  # bytes that crossed from the edge to the cloud
    "uplink_bytes",  # bytes offered to the uplink
    "device_j",  # device compute energy
    "radio_j",  # device radio energy
    "repartitions",  # pauses paid for moving a cut
    "usd",  # dollars of the interval
    "reward",  # the weighted sum of the next five
    "reward_latency",
    "reward_cost",
    "reward_privacy",
    "reward_accuracy",
    "reward_failure",
)
"""Names of the columns of the kernel's output, one row per environment and interval."""

RECORD_FIELDS = (
    "arrival_s",
    "sample",
    "exit",
    "device_end_s",
    "uplink_end_s",
    "edge_end_s",
    "end_s",
    "latency_s",
    "failed",
    "leakage",
    "correct",
    "faas",
    "cold",
)
"""Columns of a per-request record; times are seconds since the start of the episode."""


class Params(NamedTuple):
    """Constants of a problem, compiled from a scenario, a profile, prices and the catalogue."""

    interval_s: float
    timeout_s: float
    episode_intervals: int
    exit_position: Ints  # (E,) cut number at which the head sits
    exit_of: NDArray[np.uint8]  # (K, samples) first exit whose confidence reaches the threshold
    first_confidence: NDArray[np.float32]  # (samples,) confidence at the first head
    mean_confidence: float  # its mean
    correct: NDArray[np.uint8]  # (samples, E)
    difficulty_order: NDArray[np.int32]  # (samples,) hardest first
    exit_by_rank: NDArray[np.uint8]  # the three tables again in that order, which is how the kernel reads them
    confidence_by_rank: NDArray[np.float32]
    correct_by_rank: NDArray[np.uint8]
    placements: Ints  # (P, 2)
    device_work_s: Floats  # (2, M+1) cumulative mean service; row 0 with exit heads, row 1 without
    edge_work_s: Floats
    vm_work_s: Floats
    faas_work_s: Floats
    device_noise: Floats  # (Q,) unit-mean service-time factors
    edge_noise: Floats
    vm_noise: Floats
    faas_noise: Floats
    cut_bytes: Ints  # (M+1,)
    result_bytes: int
    leakage: Floats  # (M+1,)
    rtt_s: float  # device to edge, where the trace has none
    backhaul_bps: float
    backhaul_rtt_s: float
    vm_boot_s: Floats  # (Q,) quantiles
    vm_initial: int
    spill_wait_s: float
    keep_alive_s: float
    faas_setup_s: Floats  # (Q,) unbilled part of a cold start
    faas_init_s: Floats  # (Q,) billed part
    faas_granularity_ms: int
    faas_minimum_ms: int  # billed for any invocation
    faas_init_billed: int
    vm_minimum_s: int
    repartition_s: float
    arrival_rps: Floats  # (A,) of each Markov state
    arrival_leave: Floats  # (A,) probability of leaving the state per interval
    arrival_counts: Ints  # (L,) recorded counts; empty: Markov
    arrival_first: Ints  # (L,) where the recorded requests of each count begin; unused if there are none
    arrival_share: Floats  # (R,) recorded instants, as shares of their intervals, ascending in each; empty: drawn
    arrival_rank: Ints  # (R,) ranks of the recorded requests' samples by difficulty; empty: drawn
    edge_load: Floats  # (B,) background utilisation of each Markov state
    edge_leave: Floats
    regime_keep: float  # lag-one autocorrelation of the difficulty regime
    device_busy_w: float
    device_idle_w: float
    radio_base_w: float
    radio_w_per_bps: float
    radio_limit_w: float
    battery_j: float  # 0: mains
    usd_per_vm_s: float
    usd_per_faas_ms: float
    usd_per_faas_request: float
    usd_per_edge_ms: float
    usd_per_edge_request: float
    usd_per_egress_byte: float
    usd_per_transit_byte: float
    latency_ref_s: float
    cost_ref_usd: float
    accuracy_penalty: float
    failure_penalty: float


class Bank(NamedTuple):
    """Link traces on the control grid, end to end."""

    rate_bps: Floats  # (total,)
    rtt_s: Floats  # (total,), NaN where not recorded
    start: Ints  # (traces,)
    length: Ints  # (traces,)


class State(NamedTuple):
    """Everything that changes, first axis the environment."""

    key: NDArray[np.uint64]  # (N,) of the running episode
    seed: NDArray[np.uint64]  # (N,)
    stream: Ints  # (N,) index that separates environments of one seed
    episode: Ints  # (N,)
    t: Ints  # (N,) interval
    trace: Ints  # (N,)
    offset: Ints  # (N,) first bin of the window
    arrival_offset: Ints  # (N,)
    arrival_state: Ints  # (N,)
    edge_state: Ints  # (N,)
    regime: Floats  # (N,) standard normal
    weights: Floats  # (N, 3)
    action: Ints  # (N, 4) last action
    resident: Ints  # (N, R) placements kept loaded, most recent first
    device_free_s: Floats  # (N,)
    uplink_free_s: Floats
    edge_free_s: Floats
    vm_launch_s: Floats  # (N, V), NaN: no VM
    vm_ready_s: Floats
    vm_free_s: Floats
    vm_stop_s: Floats  # inf: not asked to stop
    vm_billed_s: Ints
    faas_free_s: Floats  # (N, F) end of the last invocation assigned; -inf: no instance
    faas_order: Ints  # (N, F) instances, the one that is free last first
    faas_seen_s: Floats  # (N, F) end of the last invocation begun: what a control plane knows
    flight: Floats  # (N, C, len(FLIGHT)) requests inside the system
    flights: Ints  # (N,)
    battery_j: Floats  # (N,)
    measured: Floats  # (N, D) what a controller can measure, see envs.measure


FLIGHT = (
    "device_end",
    "uplink_start",
    "uplink_end",
    "edge_end",
    "end",
    "bits",  # to be sent
    "exit",
    "confidence",  # at the first head; NaN: not computed
    "failed",
    "joules",  # spent by the device, to be taken from the battery when the request has left it
    "instance",  # function instance, -1: none or noted
    "begin",  # of the invocation
    "free",  # end of the invocation
)
"""Columns of a request inside the system; times are seconds since the start of the episode."""


def new_state(num_envs: int, resident: int, vms: int, instances: int, flights: int, measured: int) -> State:
    """An all-zero state; `kernel.reset` fills it."""
    n = num_envs

    def floats(*shape: int) -> Floats:
        return np.zeros((n, *shape))

    def ints(*shape: int) -> Ints:
        return np.zeros((n, *shape), dtype=np.int64)

    return State(
        key=np.zeros(n, dtype=np.uint64),
        seed=np.zeros(n, dtype=np.uint64),
        stream=np.arange(n, dtype=np.int64),
        episode=ints(),
        t=ints(),
        trace=ints(),
        offset=ints(),
        arrival_offset=ints(),
        arrival_state=ints(),
        edge_state=ints(),
        regime=floats(),
        weights=floats(3),
        action=ints(4),
        resident=ints(resident),
        device_free_s=floats(),
        uplink_free_s=floats(),
        edge_free_s=floats(),
        vm_launch_s=floats(vms),
        vm_ready_s=floats(vms),
        vm_free_s=floats(vms),
        vm_stop_s=floats(vms),
        vm_billed_s=ints(vms),
        faas_free_s=floats(instances),
        faas_order=ints(instances),
        faas_seen_s=floats(instances),
        flight=floats(flights, len(FLIGHT)),
        flights=ints(),
        battery_j=floats(),
        measured=floats(measured),
    )


def copy_state(source: State, target: State | None = None) -> State:
    """A deep copy, into `target`'s arrays where given."""
    if target is None:
        return State._make(array.copy() for array in source)
    for old, new in zip(target, source, strict=True):
        np.copyto(old, new)
    return target
