"""The control loop: decides as in the environment, and nothing that goes wrong stops it."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecloud.baselines import load_policy
from edgecloud.envs import Action, Measurements, Policy, Problem, Rule, Window, rollout
from edgecloud.errors import InputError
from edgecloud.runtime import Controller, Metrics, Recorder, open_log, read_recording
from edgecloud.runtime import Policy as Exported
from edgecloud.runtime.logs import LogFile
from edgecloud.runtime.telemetry import Telemetry
from edgecloud.traces import LinkTrace, generated_split

from .feeding import plant, shortened

WEIGHTS = (0.5, 0.3, 0.2)


def link(seed: int = 0) -> LinkTrace:
    return generated_split(seed, duration_s=200.0).test[seed]


def drive(policy: Any, problem: Problem, **options: Any) -> tuple[Controller, list[Action], list[np.ndarray]]:
    """An episode under the controller, by a virtual clock; actions applied and rows seen."""
    _, world, telemetry = plant(problem, link(), WEIGHTS, 4)
    applied: list[Action] = []
    controller = Controller(policy, problem, telemetry, applied.append, clock=lambda: 0.0, **options)
    rows = []
    for t in range(problem.params.episode_intervals):
        controller.tick(float(t))
        rows.append(telemetry.measurements.rows[0])
        world.step(list(controller.action))
        world.report()
    return controller, applied, rows


@pytest.mark.parametrize("name", ["artifact", "neurosurgeon", "dp", "edgent"])
def test_decisions_are_those_of_the_environment(name: str, artifact: Path, problem: Problem) -> None:
    policy: Any = Exported.load(artifact) if name == "artifact" else load_policy(name)
    controller, applied, _ = drive(policy, problem)
    twin: Policy = policy.as_policy() if name == "artifact" else load_policy(name)
    expected = rollout(twin, problem, [link()], [Window(0)], WEIGHTS, seed=4).actions[:, 0]
    words = [controller.action_of(tuple(row)) for row in expected.tolist()]
    assert applied == words
    assert len(set(words)) > 1 or name != "dp"
    assert not any(controller.failures.values())
    controller.stop()


class Scripted(Policy):
    """Does what its script says: an action, an exception, or seconds to think."""

    name = "scripted"

    def __init__(self, *script: Any) -> None:
        self.script, self.at, self.go = script, 0, threading.Event()

    def act(self, measurements: Measurements) -> Any:
        step = self.script[min(self.at, len(self.script) - 1)]
        self.at += 1
        if isinstance(step, Exception):
            raise step
        if isinstance(step, str) and step == "wait":
            self.go.wait(20)
            return np.array([[7, 0, 0, 0]])
        return np.asarray(step)


GOOD, OTHER = np.array([[3, 1, 2, 1]]), np.array([[4, 1, 2, 1]])


def ticks(policy: Policy, count: int, **options: Any) -> tuple[Controller, list[Action]]:
    problem = shortened(60)
    applied: list[Action] = []
    options = {"apply": applied.append, "budget_s": 5.0, **options}
    controller = Controller(policy, problem, Telemetry(problem), clock=lambda: 0.0, **options)
    for t in range(count):
        controller.tick(float(t))
    return controller, applied


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        (ValueError("no"), "failed"),
        (np.array([[99, 0, 0, 0]]), "invalid"),
        (np.array([[-1, 0, 0, 0]]), "invalid"),
        (np.array([[1.5, 0, 0, 0]]), "invalid"),
        (np.zeros((2, 4), dtype=int), "invalid"),
        ("nonsense", "invalid"),
        (None, "invalid"),
    ],
)
def test_a_wrong_answer_keeps_the_last_action(wrong: Any, outcome: str) -> None:
    controller, applied = ticks(Scripted(GOOD, wrong, OTHER), 3)
    assert [controller.problem.placement(a.cut_device, a.cut_edge) for a in applied] == [3, 3, 4]
    assert controller.failures == {**dict.fromkeys(controller.failures, 0), outcome: 1}
    assert controller.action == (4, 1, 2, 1)


def test_a_policy_that_fails_at_first_leaves_the_start_action() -> None:
    controller, applied = ticks(Scripted(RuntimeError("not yet"), GOOD), 1)
    assert controller.action == tuple(controller.problem.start_action.tolist())
    assert applied == [controller.action_of(controller.action)]


def test_a_slow_policy_is_not_waited_for() -> None:
    policy = Scripted(GOOD, "wait", OTHER, "wait")
    before = time.monotonic()
    controller, applied = ticks(policy, 4, budget_s=0.1)
    assert time.monotonic() - before < 3.0
    assert len(applied) == 4
    assert controller.failures["late"] == 3
    assert controller.action == (3, 1, 2, 1)
    policy.go.set()
    time.sleep(0.2)
    controller.tick(4.0)  # the fresh answer goes before the stale one
    assert controller.action == (4, 1, 2, 1)
    controller.stop()


def test_a_late_answer_is_better_than_none() -> None:
    policy = Scripted(GOOD, "wait", "wait")
    controller, _ = ticks(policy, 2, budget_s=0.1)
    policy.go.set()
    time.sleep(0.2)
    policy.go.clear()
    controller.tick(2.0)
    assert controller.action == (7, 0, 0, 0)
    assert controller.failures["stale"] == 1
    policy.go.set()


def test_an_action_that_cannot_be_applied_is_not_in_force() -> None:
    refused: list[Action] = []

    def apply(action: Action) -> None:
        if action.vm_target == 1:
            refused.append(action)
            raise OSError("no server")

    controller, _ = ticks(Scripted(GOOD), 3, apply=apply)
    assert controller.failures["unapplied"] == 3
    assert len(refused) == 3
    assert controller.action == tuple(controller.problem.start_action.tolist())
    shown = controller.telemetry.measurements
    assert (int(shown.placement[0]), int(shown.vm_target[0])) == (controller.action[0], controller.action[3])


def test_the_loop_survives_its_own_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    controller, applied = ticks(Scripted(GOOD), 1)
    monkeypatch.setattr(controller.telemetry, "close", lambda _: 1 / 0)
    controller.tick(1.0)
    assert controller.failures["internal"] == 1
    assert len(applied) == 2


def test_the_link_is_probed_when_nothing_shows_its_rate() -> None:
    probes: list[int] = []
    ticks(Scripted(GOOD), 8, probe=lambda: probes.append(1), probe_every=5)
    assert len(probes) == 3


class OnDevice(Rule):
    name = "on-device"

    def decide(self, measured: Measurements) -> Action:
        return Action(self.problem.stages, self.problem.stages, 0, "faas", 0)


def test_it_runs_in_time_and_records(tmp_path: Path) -> None:
    problem = shortened(60)
    telemetry = Telemetry(problem, rate_bps=5e6)
    log = LogFile(tmp_path / "log.jsonl")
    metrics = Metrics()
    recorder = Recorder(tmp_path / "run", problem, telemetry.weights, "on-device", {"interval_s": 0.05})
    applied: list[Action] = []
    shown = {"recorder": recorder, "metrics": metrics, "log": open_log(log, run="x")}
    controller = Controller(OnDevice(), problem, telemetry, applied.append, 0.05, **shown)
    with controller:
        time.sleep(0.6)
    count = controller.t
    recorder.close()
    assert 4 <= count <= 13
    assert controller.failures["missed"] + count >= 11
    recording = read_recording(tmp_path / "run")
    assert len(recording.intervals) == count
    assert recording.lost == 0
    ends = np.array([interval.end_s for interval in recording.intervals])
    assert (np.diff(ends) > 0.0).all()
    entry = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert (entry["run"], entry["level"]) == ("x", "info")
    assert "edgecloud_decisions_total" in _exposed(metrics)


def _exposed(metrics: Metrics) -> str:
    import urllib.request

    port = metrics.serve(0)
    try:
        with pytest.raises(InputError, match="port: must be free"):
            Metrics().serve(port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            return str(reply.read().decode())
    finally:
        metrics.close()


def test_metrics_show_the_row_the_requests_and_the_action(problem: Problem, artifact: Path) -> None:
    metrics = Metrics()
    controller, _, _ = drive(Exported.load(artifact), problem, metrics=metrics)

    def value(name: str, **labels: str) -> float:
        found = metrics.registry.get_sample_value(name, labels)
        assert found is not None, name
        return found

    row = controller.telemetry.measurements
    assert value("edgecloud_rate_bps", slot="1") == row.rate_bps[0, 1]
    assert value("edgecloud_action", part="placement") == controller.action[0]
    assert value("edgecloud_decisions_total", outcome="decided") == 60
    exposed = metrics.registry.collect()
    settled = sum(s.value for m in exposed for s in m.samples if s.name == "edgecloud_requests_total")
    assert settled > 50
    assert value("edgecloud_latency_seconds_count") <= settled


def test_a_full_disk_does_not_stop_the_log(tmp_path: Path) -> None:
    log = LogFile("/dev/full") if Path("/dev/full").exists() else LogFile(tmp_path)
    logger = open_log(log)
    logger.info("one")
    logger.error("two", why="x")
    assert log.lost == 2
    log.close()


def test_a_policy_of_another_problem_is_refused_at_once(artifact: Path) -> None:
    other = shortened(61)
    with pytest.raises(InputError, match="must be trained on the scenario in use"):
        Controller(Exported.load(artifact), other, Telemetry(other), lambda _: None)
    with pytest.raises(InputError, match="interval_s: must be positive"):
        Controller(OnDevice(), other, Telemetry(other), lambda _: None, 0.0)
