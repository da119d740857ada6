"""One served run: a system, a workload, a policy that decides every interval; recorded in the environment's units."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..envs import Policy, Problem
from ..traces import LinkTrace
from .controller import Controller, Exported
from .journal import Recording, read_recording
from .metrics import Metrics
from .recording import Recorder
from .serving.observer import ServedRequest
from .system import System, SystemSettings
from .telemetry import Telemetry
from .workload import Driver, Images, Workload, judge_of

__all__ = ["RunPlan", "ServedRun", "serve_run"]

_GRACE_S = 1.0
_BILLS_S = 10.0
_POLLED_S = 0.3  # the gateway's meters are read four times a second


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What a run is made of."""

    policy: Policy | Exported
    """Decides."""
    workload: Workload
    """What is asked."""
    images: Images
    """What the samples are."""
    trace: LinkTrace | None = None
    """Uplink; None: the loopback interface as it is."""
    weights: ArrayLike | None = None
    """Preference (3,); None: the scenario's."""
    seed: int = 0
    """For policies that draw."""
    facts: dict[str, object] = field(default_factory=dict)
    """More for the recording's header, JSON values."""


@dataclass(frozen=True, eq=False)
class ServedRun:
    """What came of it."""

    recording: Recording
    requests: tuple[ServedRequest, ...]
    """Every request submitted, in order."""
    late_s: float
    """95th percentile of how much later than planned requests were submitted: whether the machine kept up."""
    failures: dict[str, int]
    """Of the control loop, see `Controller.failures`."""


def serve_run(
    problem: Problem,
    settings: SystemSettings,
    plan: RunPlan,
    out: Path,
    *,
    metrics: Metrics | None = None,
    on_start: Callable[[System, Controller], None] | None = None,
    on_tick: Callable[[System, Controller, float], None] | None = None,
) -> ServedRun:
    """Start a system, serve a workload under a policy, record it, and end the system.

    Args:
        problem: The compiled scenario.
        settings: The system.
        plan: Policy, link, workload.
        out: Folder of the recording; must hold none yet.
        metrics: Shown to Prometheus; None: not.
        on_start: Called when all is up, before the first request.
        on_tick: Called several times a second with the seconds served.

    Raises:
        InputError: The policy or the model does not fit the scenario, or something cannot be started.
    """
    telemetry = Telemetry(problem, plan.weights, judge=judge_of(problem, plan.images))
    name = getattr(plan.policy, "name", type(plan.policy).__name__)
    facts = {"scenario_source": settings.scenario, "model": settings.model, **plan.facts}
    recorder = Recorder(out, problem, telemetry.weights, name, facts)
    try:
        with System(problem, settings, plan.trace, telemetry) as system:
            controller = Controller(
                plan.policy,
                problem,
                telemetry,
                system.apply,
                seed=plan.seed,
                recorder=recorder,
                metrics=metrics,
                clock=system.clock_s,
            )
            if on_start is not None:
                on_start(system, controller)
            driver = _serve(system, controller, plan, on_tick)
            requests = tuple(driver.records(problem.params.timeout_s + 60.0))
    finally:
        recorder.close()
    late_s = float(np.quantile(driver.late_s, 0.95)) if driver.late_s else 0.0
    return ServedRun(read_recording(out), requests, late_s, dict(controller.failures))


def _serve(
    system: System,
    controller: Controller,
    plan: RunPlan,
    on_tick: Callable[[System, Controller, float], None] | None,
) -> Driver:
    """The workload from its first to its last answer; the link's clock and the controller's begin with it."""
    begin_s = time.monotonic() + 0.05
    if system.shaper is not None:
        system.shaper.restart(begin_s)
    until_s = begin_s + plan.workload.seconds + controller.interval_s
    time.sleep(max(begin_s - time.monotonic(), 0.0))  # a log of whole seconds then changes where intervals do
    with controller:
        driver = Driver(system.device, plan.images, plan.workload, begin_s).start()
        while (now := time.monotonic()) < until_s or (system.device.in_flight and now < until_s + _grace_s(system)):
            if on_tick is not None:
                on_tick(system, controller, now - begin_s)
            time.sleep(0.1)
        driver.join(10.0)
        _wait_for_functions(system, _BILLS_S)
        time.sleep(controller.interval_s + _POLLED_S)  # the last answers and bills belong to an interval that is closed
    return driver


def _wait_for_functions(system: System, seconds: float) -> None:
    """Until none is at work: one whose request has timed out is billed at its end."""
    until_s = time.monotonic() + seconds
    while system.bills().get("busy_instances", 0.0) > 0.0 and time.monotonic() < until_s:
        time.sleep(0.2)


def _grace_s(system: System) -> float:
    return system.problem.params.timeout_s + _GRACE_S
