"""What is asked of a running system: when requests arrive and which test sample each is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..envs import Problem
from ..errors import InputError
from .serving.device import Device
from .serving.model import SplitModel
from .serving.observer import ServedRequest
from .serving.transport_errors import UnreachableError

__all__ = ["Driver", "Images", "Workload", "draw_workload", "load_test_images", "random_images"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests of a run: `arrival_s` since its start, ascending, and `sample`, both shape (R,)."""

    arrival_s: Floats
    sample: Ints

    @property
    def seconds(self) -> float:
        """Until the last arrival."""
        return float(self.arrival_s[-1]) if len(self.arrival_s) else 0.0


@dataclass(frozen=True, eq=False)
class Images:
    """Test images, uint8 (n, c, h, w), and their labels, int64 (n,); no labels: nobody knows what is right."""

    pixels: NDArray[np.uint8]
    labels: Ints | None = None

    def tensor(self, sample: int) -> torch.Tensor:
        """One image, uint8 (1, c, h, w)."""
        return torch.from_numpy(self.pixels[sample : sample + 1])


def draw_workload(problem: Problem, intervals: int, samples: int, rng: np.random.Generator) -> Workload:
    """Arrivals as the environment draws them, and uniformly drawn samples.

    The number of requests of an interval is Poisson with the rate of a Markov chain's state (or as recorded); within
    the interval they are uniform. The difficulty regime is left out: over time it is the uniform mixture.

    Args:
        problem: The arrival process.
        intervals: Control intervals.
        samples: Test samples to choose from.
        rng: Draws.
    """
    p = problem.params
    counts = _counts(problem, intervals, rng)
    begins = np.repeat(np.arange(intervals), counts)
    arrival_s = np.sort((begins + rng.random(len(begins))) * p.interval_s)
    return Workload(arrival_s, rng.integers(0, samples, len(arrival_s)))


def _counts(problem: Problem, intervals: int, rng: np.random.Generator) -> Ints:
    p = problem.params
    if len(p.arrival_counts):
        start = int(rng.integers(len(p.arrival_counts)))
        return np.take(p.arrival_counts, np.arange(start, start + intervals), mode="wrap")
    states = len(p.arrival_rps)
    state = int(rng.choice(states, p=_stationary(p.arrival_leave)))
    counts = np.empty(intervals, dtype=np.int64)
    for t in range(intervals):
        counts[t] = rng.poisson(p.arrival_rps[state] * p.interval_s)
        if states > 1 and rng.random() < p.arrival_leave[state]:
            state = (state + int(rng.integers(1, states))) % states
    return counts


def _stationary(leave: Floats) -> Floats:
    """Of a chain that leaves each state for any other with the same probability."""
    if len(leave) == 1:
        return np.ones(1)
    weight = 1.0 / np.maximum(leave, 1e-12)
    return np.asarray(weight / weight.sum())


def random_images(model: SplitModel, count: int, seed: int) -> Images:
    """Images of noise, for networks without a data set."""
    rng = np.random.default_rng(seed)
    return Images(rng.integers(0, 256, (count, *model.shapes[0][1:]), dtype=np.uint8))


def load_test_images(model: str, loaded: SplitModel, count: int, seed: int = 0) -> Images:
    """The test set that a run folder's network was made for, in order; noise for an untrained network.

    Args:
        model: As `load_split_model` takes it.
        loaded: The same, loaded.
        count: Images of noise.
        seed: Of the noise.

    Raises:
        InputError: The data set is not there, or does not fit the network.
    """
    from pathlib import Path

    from ..profiles.images.datasets import load_images
    from ..profiles.networks.runs import run_dataset

    if model.startswith("random:"):
        return random_images(loaded, count, seed)
    data = load_images(run_dataset(Path(model)))
    pixels = np.ascontiguousarray(data.test_images, dtype=np.uint8)
    if tuple(pixels.shape[1:]) != loaded.shapes[0][1:]:
        raise InputError(model, "test images", f"must have shape {loaded.shapes[0][1:]}", pixels.shape[1:])
    return Images(pixels, np.asarray(data.test_labels, dtype=np.int64))


class Driver:
    """Submits a workload to a device at its times, from a thread of its own.

    Args:
        device: Serves.
        images: What the samples are.
        workload: When, and which.
        begin_s: Instant of `time.monotonic` at which the workload begins.
    """

    def __init__(self, device: Device, images: Images, workload: Workload, begin_s: float) -> None:
        self._device, self._images, self._workload, self._begin_s = device, images, workload, begin_s
        self.answers: list[Future[ServedRequest]] = []
        self.late_s: list[float] = []
        """How much later than planned each request was submitted, because the machine was busy."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workload", daemon=True)

    def start(self) -> Driver:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Submit no more."""
        self._stop.set()
        self._thread.join()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until everything has been submitted."""
        self._thread.join(timeout_s)

    def records(self, timeout_s: float) -> list[ServedRequest]:
        """The outcome of every request submitted, each waited for."""
        return [answer.result(timeout_s) for answer in self.answers]

    def _run(self) -> None:
        for at_s, sample in zip(self._workload.arrival_s, self._workload.sample, strict=True):
            due = self._begin_s + float(at_s)
            if self._stop.wait(max(due - time.monotonic(), 0.0)):
                return
            try:
                self.answers.append(self._device.submit(self._images.tensor(int(sample)), int(sample)))
            except UnreachableError:
                return
            self.late_s.append(time.monotonic() - due)


def judge_of(problem: Problem, images: Images) -> Callable[[int, int, int], tuple[float, float]] | None:
    """Says of an answer whether it is right, and whether the whole network's would be; None without labels."""
    labels, correct = images.labels, problem.profile.correct
    if labels is None or len(labels) != len(correct):
        return None
    final: Sequence[bool] = correct[:, -1].tolist()

    def judge(sample: int, exit_index: int, label: int) -> tuple[float, float]:
        return float(label == int(labels[sample])), float(final[sample])

    return judge
