"""Redrawn requests against the kernel's own draws: the same distribution, less noise in the mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from edgecloud.envs import Problem, Simulator, compile_problem
from edgecloud.envs.path import _MASK, _S10, _S21, _draw_rank
from edgecloud.envs.redraws import ARRIVAL, DEVICE, RANK, ROW, redraw
from edgecloud.envs.rng import TABLE_SIZE, mix, stream
from edgecloud.envs.world import MAX_ARRIVALS, REQUEST, arrival_count, arrival_times, easy_share

from .support import constant_link, with_params

_MIXER = np.uint64(0x632BE59BD9B4E019)
_COUNT = 4000


@njit(error_model="numpy", _nrt=False)
def _kernel_draws(p, s, count, begins, requests, times):  # type: ignore[no-untyped-def]
    begins[0] = 0
    for k in range(count):
        base = stream(stream(s.key[0], 1 << 30), k)
        n = arrival_count(p, s.arrival_offset[0], s.arrival_state[0], s.t[0], base)
        arrival_times(p, s.arrival_offset[0], s.t[0], n, base, times)
        begins[k + 1] = begins[k] + n
        for j in range(n):
            h0 = stream(base, REQUEST + j)
            h1 = mix(h0 + _MIXER)
            row = requests[begins[k] + j]
            row[0], row[1] = times[j], _draw_rank(p, h1, easy_share(s.regime[0]))
            row[2], row[3], row[4] = (h1 >> _S21) & _MASK, (h1 >> _S10) & _MASK, h0 & _MASK


@njit(error_model="numpy", _nrt=False)
def _redraws(p, s, key, count, begins, requests, order, times):  # type: ignore[no-untyped-def]
    redraw(p, s, 0, stream(s.key[0], key), count, begins, requests, order, times)


def simulator(problem: Problem, regime: float) -> Simulator:
    made = Simulator(problem, [constant_link(1e7)], 1, weights=(0.4, 0.3, 0.3))
    made.reset(3)
    made.state.t[0], made.state.regime[0] = 2, regime
    return made


def draws(made: Simulator, key: int | None, count: int = _COUNT) -> tuple[np.ndarray, np.ndarray]:
    """Requests per draw, and their rows; the kernel's for key None."""
    p, s = made.problem.params, made.state
    begins, times = np.zeros(count + 1, dtype=np.int64), np.zeros(MAX_ARRIVALS)
    requests = np.zeros((count * 40, ROW))
    if key is None:
        _kernel_draws(p, s, count, begins, requests, times)
    else:
        _redraws(p, s, key, count, begins, requests, np.zeros(count, dtype=np.int64), times)
    return np.diff(begins), requests[: begins[-1]].copy()


def moments(counts: np.ndarray, rows: np.ndarray) -> dict[str, tuple[float, float]]:
    """Means and standard errors of what a distribution is told by."""
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
    two = begins[counts >= 2]
    first, second = rows[two], rows[two + 1]
    values: dict[str, Any] = {"count": counts, "count 2": counts**2, "gap": second[:, ARRIVAL] - first[:, ARRIVAL]}
    values |= {"arrival": rows[:, ARRIVAL], "arrival 2": rows[:, ARRIVAL] ** 2, "first": first[:, ARRIVAL]}
    for column in range(RANK, ROW):
        values |= {f"{column}": rows[:, column], f"{column} 2": rows[:, column] ** 2}
        values[f"{column} pair"] = first[:, column] * second[:, column]
        values[f"{column} by count"] = rows[:, column] * np.repeat(counts, counts)
    values["rank and device"] = rows[:, RANK] * rows[:, RANK + 1]
    return {name: (float(x.mean()), float(x.std() / np.sqrt(len(x)))) for name, x in values.items()}


@pytest.mark.parametrize("regime", [-1.5, 0.0, 2.0])
def test_same_distribution_as_the_kernel_s(regime: float) -> None:
    made = simulator(compile_problem("camera-lte"), regime)
    kernel, drawn = moments(*draws(made, None)), moments(*draws(made, 0))
    for name, (mean, error) in kernel.items():
        other, noise = drawn[name]
        assert abs(mean - other) <= 4.5 * np.hypot(error, noise), name


def test_few_redraws_are_right_on_average_and_less_noisy() -> None:
    made = simulator(compile_problem("camera-lte"), 0.5)
    few = [draws(made, key, 8) for key in range(1500)]
    counts = np.array([counts.mean() for counts, _ in few])
    assert abs(counts.mean() - 3.0) <= 5.0 * counts.std() / np.sqrt(len(few))
    assert counts.std() < 0.5 * np.sqrt(3.0 / 8)  # independent ones: the root of Poisson's variance over eight
    factors = np.array([rows[:, DEVICE].mean() for _, rows in few])
    assert factors.std() < 0.7 * TABLE_SIZE / np.sqrt(12 * 8 * 3)


def test_recorded_counts_stay() -> None:
    problem = with_params(compile_problem("camera-lte"), arrival_counts=[4, 0, 7, 2])
    made = simulator(problem, 0.0)
    counts, _ = draws(made, 0, 16)
    assert (counts == [4, 0, 7, 2][(int(made.state.arrival_offset[0]) + 2) % 4]).all()
