"""The Gymnasium environment: the kernel on a batch of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import ArrayLike, NDArray

from ..traces import LinkTrace
from .history import History
from .measure import Measurements
from .problem import Problem, compile_problem
from .scenario import DEFAULT_SCENARIO, Scenario
from .simulator import Simulator, Window
from .spaces import check_options, fresh_seed, spaces_of
from .state import TERMS, State
from .vector import resolve_traces

__all__ = ["EdgeCloudEnv"]


class EdgeCloudEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.int64]]):
    """Where to cut a network between device, edge and cloud, how early to exit, and who pays for the rest.

    ## Description

    Requests (real test samples of a measured early-exit network) arrive at a slow device. Every control interval an
    agent fixes the two cuts of the network (device | edge | cloud), the confidence that an early exit must reach, how
    the cloud part is served (VM pool, functions, or VMs with overflow to functions) and the size of the VM pool.
    Requests then queue in order of arrival for the device, an uplink that follows a bandwidth trace, an edge server
    with background load, and the cloud, where VMs take tens of seconds to boot and functions start cold. The kernel
    simulates each of them.

    ## Action Space

    `MultiDiscrete([P, K, 3, V + 1])`

    | Num | Action | Values |
    |-----|--------|--------|
    | 0 | placement | index into `problem.placements`: all legal (cut_device, cut_edge) with cut_device <= cut_edge |
    | 1 | threshold | index into `problem.thresholds`; the last one never exits early |
    | 2 | route | 0 VM pool, 1 function, 2 spill: VMs first, overflow to functions |
    | 3 | vm_target | VMs to aim at, 0 … V |

    Every combination is legal: impossible placements are not in the list.

    ## Observation Space

    `Box(-1, 1, (L,), float32)`: what a real controller can measure (table in `edgecloud.envs.measure.SCHEMA`, with
    units), scaled by fixed constants; `problem.encoder.names` names every component. Never the future, never the true
    difficulty.

    ## Rewards

    Over the requests that arrived in the interval (a failed one counts the timeout as its latency):
    `- (w_L mean latency / L_ref + w_C dollars / C_ref + w_P mean leakage) - lambda_acc * accuracy lost - lambda_fail *
    failure rate`, where accuracy lost is the mean of correct(full network) - correct(given answer) over answered
    requests.
    `info` carries each part.

    ## Starting State

    An idle system at a random place in a random link trace, the initial VM pool running, no function instance, arrival
    and background-load states drawn from their stationary distributions, weights drawn uniformly from the simplex
    unless given.

    ## Episode End

    Truncated after `control.episode_intervals` intervals; never terminated.

    ## Arguments

    * `scenario`: a `Scenario`, a shipped scenario's name, a file's path, or a compiled `Problem`.
    * `traces`: link traces, a folder of logs, or None for the default source.
    * `part`: 'train', 'validation' or 'test', where `traces` is not a sequence.
    * `weights`: fixed preference (latency, cost, privacy); None: drawn for every episode.
    * `records`: put every request of the interval into `info["records"]` (columns: `RECORD_FIELDS`).
    * `render_mode`: 'rgb_array' keeps the episode's history; `render()` draws it.

    ## Info

    Every name of `edgecloud.envs.state.TERMS`, in SI units.

    ## References

    The formulation follows the multi-objective placement survey (arXiv 2510.22909), SERFLOW (arXiv 2510.27182) and
    SplitLLM; departures are listed in the project's `docs/formulation.md`.

    ## Version History

    * v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 1}  # type: ignore[misc]

    def __init__(
        self,
        scenario: Scenario | Problem | str | Path = DEFAULT_SCENARIO,
        traces: str | Path | Sequence[LinkTrace] | None = None,
        part: str = "train",
        weights: ArrayLike | None = None,
        records: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self.problem = scenario if isinstance(scenario, Problem) else compile_problem(scenario)
        links = resolve_traces(traces, part)
        self.simulator = Simulator(self.problem, links, 1, weights=weights, records=records)
        self.observation_space, self.action_space = spaces_of(self.problem)
        self.render_mode = render_mode
        self._records = records
        self._seeded = False
        self._history = History() if render_mode else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start a new episode.

        Args:
            seed: Which sequence of worlds; None continues the running one (drawing a seed the first time).
            options: 'weights' (3,) and 'window' (a `Window`) hold from here on.
        """
        super().reset(seed=seed)
        options = check_options(options, ("weights", "window"))
        if "weights" in options:
            self.simulator.set_weights(options["weights"])
        if "window" in options:
            window = options["window"]
            self.simulator.set_windows([Window(*window) if isinstance(window, tuple) else window])
        if seed is None and not self._seeded:
            seed = fresh_seed()
        self._seeded = True
        measured = self.simulator.reset(seed)
        if self._history is not None:
            self._history.clear()
        return self.problem.encoder(measured.rows)[0], {}

    def step(self, action: NDArray[np.int64]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Advance by one control interval."""
        if not self._seeded:
            raise ResetNeeded("call reset() before the first step()")
        measured = self.simulator.step(np.asarray(action)[None])
        terms = self.simulator.terms[0]
        info: dict[str, Any] = dict(zip(TERMS, terms.tolist(), strict=True))
        if self._records:
            info["records"] = self.simulator.records[0, : int(terms[0])].copy()
        if self._history is not None:
            self._history.append(terms, measured.rows[0])
        return self.problem.encoder(measured.rows)[0], info["reward"], False, bool(self.simulator.done[0]), info

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the running episode: bandwidth, cuts, threshold, route, VMs, latency, cost; uint8 (height, width, 3)."""
        if self._history is None:
            return None
        from .render import draw_episode, to_image

        return to_image(draw_episode(self.problem, self._history.terms, self._history.rows))

    @property
    def measurements(self) -> Measurements:
        """What a controller can measure now, in SI units: a batch of one."""
        return self.simulator.measurements

    def get_state(self) -> State:
        """A deep copy of the simulation's state."""
        return self.simulator.get_state()

    def set_state(self, state: State) -> None:
        """Restore a copied state."""
        self.simulator.set_state(state)
