"""How busy the device, the link and the edge are under a policy, and whether the queues drain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..envs import Episodes, Measurements, Problem

__all__ = ["QUEUES", "Load", "load_of"]

Floats = NDArray[np.float64]

QUEUES = ("device", "uplink", "edge", "cloud")


@dataclass(frozen=True)
class Load:
    """Utilisation and queues of a method's episodes.

    Attributes:
        device_busy: Share of the time that the device computes.
        uplink_used: Share of what the link could have carried that was sent.
        edge_busy: Share of the time that the edge server works on these requests.
        queue_mean: Requests per place (device, uplink, edge, cloud) at the end of an interval, on average.
        in_flight_max: Most requests inside the system at the end of an interval.
        in_flight_end: Requests inside the system at the end of an episode, on average.
        clear_share: Share of the intervals at whose end no place holds more than one request.
        longest_s: Longest time during which that was never so.
    """

    device_busy: float
    uplink_used: float
    edge_busy: float
    queue_mean: dict[str, float]
    in_flight_max: int
    in_flight_end: float
    clear_share: float
    longest_s: float

    @property
    def bottleneck(self) -> str:
        """The place with the longest queue on average."""
        return max(self.queue_mean, key=lambda place: self.queue_mean[place])


def load_of(episodes: Episodes, problem: Problem) -> Load:
    """Load of episodes that kept their measured rows.

    Args:
        episodes: From `rollout(..., keep_rows=True)`.
        problem: The problem that was run.
    """
    params = problem.params
    intervals, count = episodes.term("arrived").shape
    elapsed_s = intervals * count * params.interval_s
    watts = params.device_busy_w - params.device_idle_w
    busy_j = episodes.term("device_j").sum() - params.device_idle_w * elapsed_s
    measured = Measurements(episodes.rows.reshape(intervals * count, -1))
    queues = {place: getattr(measured, f"{place}_queue").reshape(intervals, count) for place in QUEUES}
    capacity = float(measured.rate_bps[:, 0].sum()) * params.interval_s
    clear = np.all([queue <= 1 for queue in queues.values()], axis=0)
    return Load(
        device_busy=float(busy_j / watts / elapsed_s) if watts > 0 else float("nan"),
        uplink_used=8.0 * float(episodes.term("uplink_bytes").sum()) / capacity if capacity > 0 else float("nan"),
        edge_busy=float(episodes.term("edge_ms").sum()) / 1e3 / elapsed_s,
        queue_mean={place: float(queue.mean()) for place, queue in queues.items()},
        in_flight_max=int(episodes.term("in_flight").max()),
        in_flight_end=float(episodes.term("in_flight")[-1].mean()),
        clear_share=float(clear.mean()),
        longest_s=_longest_run(~clear) * params.interval_s,
    )


def _longest_run(flags: NDArray[np.bool_]) -> int:
    """Longest run of true values along the first axis, over all columns.

    >>> _longest_run(np.array([[True], [True], [False], [True]]))
    2
    """
    run = np.zeros(flags.shape[1], dtype=np.int64)
    longest = 0
    for row in flags:
        run = np.where(row, run + 1, 0)
        longest = max(longest, int(run.max()))
    return longest
