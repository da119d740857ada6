"""Recordings: complete, append-only, readable after a full disk or a crash, and replayed in the simulator."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecloud.baselines import load_policy
from edgecloud.cli import main
from edgecloud.envs import RECORD_FIELDS, TERMS, Problem
from edgecloud.envs.measure import column
from edgecloud.errors import InputError
from edgecloud.runtime import Controller, Recorder, read_recording
from edgecloud.runtime import Policy as Exported
from edgecloud.runtime.recording import ARRAYS, JOURNAL
from edgecloud.runtime.replay import link_of, replay
from edgecloud.runtime.replay_table import compare_terms
from edgecloud.traces import generated_split

from .feeding import plant, shortened

WEIGHTS = (0.5, 0.3, 0.2)


def record(folder: Path, problem: Problem, policy: Any, intervals: int, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Let the plant run under a controller and record it; the kernel's rows and terms of the same run."""
    link = generated_split(seed, duration_s=400.0).test[seed % 4]
    simulator, world, telemetry = plant(problem, link, WEIGHTS, seed)
    facts = {"scenario_source": "camera-lte"}
    recorder = Recorder(folder, problem, telemetry.weights, "tested", facts)
    controller = Controller(policy, problem, telemetry, lambda _: None, recorder=recorder, clock=lambda: 0.0)
    rows, terms = [], []
    for t in range(intervals):
        controller.tick(float(t))
        rows.append(simulator.step(np.array([controller.action])).rows[0].copy())
        terms.append(simulator.terms[0].copy())
        world.step(list(controller.action))
        world.report()
    controller._clock = lambda: float(intervals)
    controller.stop()
    for _, open_one in world.waiting:
        recorder.request(open_one)
    recorder.close()
    return np.array(rows), np.array(terms)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Problem, np.ndarray, np.ndarray]:
    folder = tmp_path_factory.mktemp("recorded") / "run"
    problem = shortened(240)
    return (folder, problem, *record(folder, problem, load_policy("dp"), 240))


def test_a_recording_is_the_run(run: tuple[Path, Problem, np.ndarray, np.ndarray]) -> None:
    folder, problem, rows, terms = run
    recording = read_recording(folder)
    np.testing.assert_allclose(recording.rows[1:], rows, rtol=1e-7, atol=1e-3)
    np.testing.assert_array_equal(recording.actions[:, 0], rows[:, column("placement")])
    np.testing.assert_allclose(recording.terms(problem), terms, rtol=1e-9, atol=1e-9)
    assert (recording.left_out, recording.skipped, recording.lost) == (0, 0, 0)
    assert recording.header["fingerprint"] == problem.fingerprint()
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["terms"], recording.terms(problem))
        assert tuple(arrays["term_names"]) == TERMS
        assert arrays["requests"].shape[0] == terms[:, TERMS.index("arrived")].sum()
        assert tuple(arrays["request_names"][: len(RECORD_FIELDS)]) == RECORD_FIELDS


def test_a_replay_agrees_with_what_was_recorded(run: tuple[Path, Problem, np.ndarray, np.ndarray]) -> None:
    folder, problem, rows, _ = run
    recording = read_recording(folder)
    trace = link_of(recording, problem)
    np.testing.assert_allclose(trace.rate_bps * problem.scenario.uplink.rate_scale, rows[:, column("rate_bps")])
    replayed = replay(recording, problem, copies=24, seed=1)
    lines = {line.name: line for line in compare_terms([(recording, replayed)], problem)}
    arrived = TERMS.index("arrived")
    assert (replayed.terms[:, :, arrived] == rows[:, column("arrivals")][:, None]).all()
    assert (replayed.actions == recording.actions[:, None]).all()
    begins = np.array([interval.begin_s for interval in recording.intervals])
    by_arrival = sorted(recording.requests, key=lambda request: request.arrival_s)
    at = np.searchsorted(begins, [request.arrival_s for request in by_arrival], side="right") - 1
    samples = np.array([request.sample for request in by_arrival])
    expected = np.concatenate([np.tile(samples[at == t], 24) for t in range(len(begins))])
    np.testing.assert_array_equal(replayed.records[:, RECORD_FIELDS.index("sample")], expected)
    for name in ("mean latency, ms", "edge_ms", "uplink_bytes", "device_j", "mean reward", "mean leakage"):
        line = lines[name]
        spread = max(line.high - line.low, 0.02 * abs(line.measured))
        assert line.low - spread <= line.measured <= line.high + spread, f"{name}: {line}"
    assert lines["requests"].difference == 0.0
    assert lines["50 % of answers within, ms"].difference == pytest.approx(0.0, abs=0.15)
    other = replay(recording, problem, load_policy("always-device"), copies=2)
    assert other.terms[:, :, TERMS.index("uplink_bytes")].sum() == 0.0


def test_an_exported_policy_decides_in_a_replay(artifact: Path, problem: Problem, tmp_path: Path) -> None:
    record(tmp_path / "run", problem, Exported.load(artifact), 60)
    recording = read_recording(tmp_path / "run")
    replayed = replay(recording, problem, Exported.load(artifact).as_policy(), copies=2)
    assert replayed.policy == "exported"
    np.testing.assert_array_equal(replayed.actions[0], np.tile(recording.actions[0], (2, 1)))  # the same first row


def test_a_recording_of_something_else_is_refused(run: tuple[Path, Problem, np.ndarray, np.ndarray]) -> None:
    folder, problem, _, _ = run
    recording = read_recording(folder)
    with pytest.raises(InputError, match="fingerprint: must be that of the scenario in use"):
        replay(recording, shortened(241))
    recording.header["interval_s"] = 0.5
    with pytest.raises(InputError, match="interval_s: must be the scenario's, 1 s"):
        replay(recording, problem)


def test_recordings_are_never_overwritten(run: tuple[Path, Problem, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    folder, problem, _, _ = run
    with pytest.raises(InputError, match="never overwritten"):
        Recorder(folder, problem, np.array(WEIGHTS), "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be a folder that can be made"):
        Recorder(tmp_path / "file" / "run", problem, np.array(WEIGHTS), "x")


class FullFor:
    """A disk that has no room for some of the writes, and once takes half a line."""

    def __init__(self, recorder: Recorder, full: range) -> None:
        self.write, self.full, self.count = recorder._send, full, 0

    def __call__(self, file: Any, content: bytes) -> None:
        self.count += 1
        if self.count in self.full:
            if self.count == self.full.start:
                file.write(content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        self.write(file, content)


def test_a_full_disk_costs_lines_and_nothing_else(
    tmp_path: Path, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecloud.runtime.recording._RETRY_S", 0.0)
    full: dict[str, FullFor] = {}
    original = Recorder._open

    def opened(self: Recorder) -> Any:
        full["disk"] = FullFor(self, range(40, 60))
        monkeypatch.setattr(self, "_send", full["disk"], raising=False)
        return original(self)

    monkeypatch.setattr(Recorder, "_open", opened)
    record(tmp_path / "run", problem, load_policy("dp"), 60)
    recording = read_recording(tmp_path / "run")
    assert (recording.skipped, recording.lost) == (1, 20)
    assert recording.left_out > 0
    assert len(recording.intervals) + recording.left_out == 60
    replay(recording, problem, copies=2)


def test_a_disk_without_any_room_is_reported(tmp_path: Path, problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Recorder, "_open", full)
    recorder = Recorder(tmp_path / "run", problem, np.array(WEIGHTS), "x")
    before = time.monotonic()
    for _ in range(2000):
        recorder.event("noise")
    assert time.monotonic() - before < 2.0
    recorder.close()
    assert (recorder.written, recorder.lost) == (0, 2002)
    assert "must be a readable recording" in recorder.last_error


def test_a_crash_leaves_what_was_written(run: tuple[Path, Problem, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    content = (run[0] / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content[: len(content) * 2 // 3])
    recording = read_recording(tmp_path)
    assert recording.lost is None
    assert recording.skipped <= 1
    assert 100 < len(recording.intervals) < 240


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"kind":"decision","t":0}', "line 2: decision: must be a line of a recording"),
        ('{"kind":"interval","t":0,"row":[1]}', "line 2: interval: must be a line of a recording"),
        ('{"kind":"request","id":"a"}', "line 2: arrival_s: is missing"),
    ],
)
def test_damaged_lines_are_named(
    line: str, message: str, run: tuple[Path, Problem, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    header = (run[0] / JOURNAL).read_text().splitlines()[0]
    (tmp_path / JOURNAL).write_text(f"{header}\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_recording(tmp_path)


def test_headers_are_checked(run: tuple[Path, Problem, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    header = json.loads((run[0] / JOURNAL).read_text().splitlines()[0])
    with pytest.raises(InputError, match="must be a readable recording"):
        read_recording(tmp_path)
    for change, message in (
        ({"format": 3}, "update edgecloud"),
        ({"schema": []}, "schema"),
        ({"kind": "x"}, "no header"),
    ):
        (tmp_path / JOURNAL).write_text(json.dumps({**header, **change}))
        with pytest.raises(InputError, match=message):
            read_recording(tmp_path)


def test_replay_command(
    run: tuple[Path, Problem, np.ndarray, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = (Path(__file__).parents[2] / "envs" / "scenarios" / "camera-lte.toml").read_text(encoding="utf-8")
    scenario = tmp_path / "short.toml"
    scenario.write_text(text.replace("episode_intervals = 300", "episode_intervals = 240"), encoding="utf-8")
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    assert main(["replay", str(folder), "--scenario", str(scenario), "--copies", "4", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "240 intervals by 'tested'" in shown
    assert "mean latency, ms" in shown
    assert "note:" not in shown
    assert main(["replay", str(folder), "--copies", "4", "--quiet"]) == 2
    assert "fingerprint" in capsys.readouterr().err
