"""Training end to end on a small problem: files, resuming, learning, warm start, and what is refused."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edgecloud import InputError
from edgecloud.agents import (
    PPOPolicy,
    Progress,
    TrainConfig,
    Validation,
    config_with,
    load_config,
    load_sb3_policy,
    read_checkpoint,
    resume,
    train,
)
from edgecloud.envs import Measurements, Policy, Problem, compile_problem, evaluation_windows, load_scenario, rollout
from edgecloud.traces import TraceSet, generated_split


class Uniform(Policy):
    name = "uniform"

    def reset(self, problem: Problem, num_envs: int, weights: np.ndarray, seed: int) -> None:
        self.nvec, self.rng = problem.nvec, np.random.default_rng(seed)

    def act(self, measurements: Measurements) -> np.ndarray:
        return self.rng.integers(self.nvec, size=(len(measurements), 4))


class Fixed(Policy):
    """Something that can be imitated exactly: the threshold follows the preference."""

    name = "fixed"

    def reset(self, problem: Problem, num_envs: int, weights: np.ndarray, seed: int) -> None:
        self.action = problem.action(problem.stages, problem.stages, 0, "vm", 0)

    def act(self, measurements: Measurements) -> np.ndarray:
        actions = np.tile(self.action, (len(measurements), 1))
        actions[:, 1] = np.where(measurements.weights[:, 0] > 0.5, 3, 0)
        return actions


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, problem: Problem, traces: TraceSet, tiny: TrainConfig) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(problem, traces, tiny, folder, command=["train.py", "--env", "edgecloud-v0"], scenario_source="camera-lte")
    return folder


def arrays_of(folder: Path, name: str = "last") -> dict[str, np.ndarray]:
    return read_checkpoint(folder / f"{name}.npz").arrays


def interrupted(folder: Path, problem: Problem, traces: TraceSet, config: TrainConfig, at: int) -> None:
    def stop(progress: Progress) -> None:
        if progress.steps >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(problem, traces, config, folder, report=stop)


def test_run_folder(finished: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig) -> None:
    manifest = json.loads((finished / "run.json").read_text())
    assert manifest["command"] == ["train.py", "--env", "edgecloud-v0"]
    assert manifest["fingerprint"] == problem.fingerprint()
    assert manifest["traces"] == traces.origin
    assert {"python", "torch", "stable-baselines3", "numpy"} <= manifest["versions"].keys()
    assert load_config(finished / "config.toml") == tiny
    history = json.loads((finished / "validation.json").read_text())
    assert [entry["steps"] for entry in history] == [0, 256, 512, 768]
    assert all(len(scores) == 2 for entry in history for scores in entry["episodes"].values())
    best = read_checkpoint(finished / "best.npz").meta
    assert best["score"] == max(entry["mean"] for entry in history)
    assert not list(finished.glob(".*"))


def test_progress_and_events(finished: Path) -> None:
    rows = list(csv.DictReader((finished / "progress.csv").open()))
    assert [int(row["steps"]) for row in rows] == [128, 256, 384, 512, 640, 768, 768]
    first = rows[0]
    parts = sum(float(first[f"reward/{name}"]) for name in ("latency", "cost", "privacy", "accuracy", "failure"))
    assert float(first["reward/total"]) == pytest.approx(parts, rel=1e-4)
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    tags = events.Tags()["scalars"]
    for head in ("cut_device", "cut_edge", "threshold", "route", "vm_target"):
        shares = [events.Scalars(tag)[0].value for tag in tags if tag.startswith(f"action/{head}_")]
        assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert {"request/latency_s", "money/usd_per_1000_requests", "entropy/placement", "validation/score"} <= set(tags)


def test_stored_score_is_recomputed_from_the_stored_policy(
    finished: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig
) -> None:
    validation = Validation(problem, traces.split.validation, tiny.validation_windows, tiny.validation_preferences)
    policy = PPOPolicy.load(finished)
    assert validation.score(policy).mean == policy.meta["score"]


def test_policy_acts_like_stable_baselines3(finished: Path, problem: Problem, traces: TraceSet) -> None:
    policy, network = PPOPolicy.load(finished, "last"), load_sb3_policy(finished, "last")
    links = traces.split.test
    windows = evaluation_windows(links, problem)
    episodes = rollout(policy, problem, links, windows, problem.scenario.objective.weights, keep_rows=True)
    observations = problem.encoder(episodes.rows[:-1].reshape(-1, episodes.rows.shape[2]))
    expected = network.predict(observations, deterministic=True)[0]
    assert np.array_equal(episodes.actions[1:, :, :3].reshape(-1, 3), expected)


def test_resumed_run_equals_an_uninterrupted_one(
    finished: Path, folder: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig
) -> None:
    interrupted(folder, problem, traces, tiny, at=384)
    assert read_checkpoint(folder / "last.npz").meta["steps"] == 256
    assert len(list(csv.reader((folder / "progress.csv").open()))) > 3
    result = resume(folder, problem, traces)
    assert result.steps == 768
    for name in ("last", "best"):
        mine, theirs = arrays_of(folder, name), arrays_of(finished, name)
        assert mine.keys() == theirs.keys()
        for key, array in mine.items():
            np.testing.assert_array_equal(array, theirs[key], err_msg=key)
    scores = [
        [(entry["steps"], entry["episodes"]) for entry in json.loads((run / "validation.json").read_text())]
        for run in (folder, finished)
    ]
    assert scores[0] == scores[1]
    steps = [[row["steps"] for row in csv.DictReader((run / "progress.csv").open())] for run in (folder, finished)]
    assert steps[0] == steps[1]


def test_resuming_a_finished_run_changes_nothing(
    finished: Path, folder: Path, problem: Problem, traces: TraceSet
) -> None:
    shutil.copytree(finished, folder)
    result = resume(folder, problem, traces)
    assert result.steps == 768
    assert (folder / "last.npz").read_bytes() == (finished / "last.npz").read_bytes()


def test_a_run_is_never_overwritten(finished: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    with pytest.raises(InputError, match="must be a new folder"):
        train(problem, traces, tiny, finished)
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


DAMAGE = {
    "last.npz": r"last\.npz: must be a checkpoint",
    "run.json": r"run\.json: must be readable JSON",
    "config.toml": r"config\.toml: must be valid TOML",
    "validation.json": r"validation\.json: must hold the run's validation scores",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_is_refused_and_left_alone(
    name: str, finished: Path, folder: Path, problem: Problem, traces: TraceSet
) -> None:
    shutil.copytree(finished, folder)
    content = (folder / name).read_bytes()
    cut = content.rindex(b"=") + 1 if name == "config.toml" else len(content) // 2
    (folder / name).write_bytes(content[:cut])
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=DAMAGE[name]):
        resume(folder, problem, traces)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("name", ["last.npz", "run.json", "config.toml", "validation.json"])
def test_a_missing_file_is_named(name: str, finished: Path, folder: Path, problem: Problem, traces: TraceSet) -> None:
    shutil.copytree(finished, folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        resume(folder, problem, traces)


def test_settings_and_checkpoint_must_agree(finished: Path, folder: Path, problem: Problem, traces: TraceSet) -> None:
    shutil.copytree(finished, folder)
    config = load_config(folder / "config.toml")
    (folder / "config.toml").write_text(config_with(config, ["num_envs=16"]).to_toml())
    with pytest.raises(InputError, match=r"last\.npz: env/.* of shape"):
        resume(folder, problem, traces)
    (folder / "config.toml").write_text(config_with(config, ["hidden=[8]"]).to_toml())
    with pytest.raises(InputError, match=r"last\.npz: meta\.hidden: must be \[8\]"):
        resume(folder, problem, traces)


def test_another_scenario_is_refused(finished: Path, other_problem: Problem, traces: TraceSet) -> None:
    other = other_problem
    with pytest.raises(InputError, match=r"run\.json: fingerprint"):
        resume(finished, other, traces)
    policy = PPOPolicy.load(finished)
    with pytest.raises(InputError, match=r"best\.npz: fingerprint: must be trained on the scenario in use"):
        policy.reset(other, 1, np.ones((1, 3)) / 3, 0)
    PPOPolicy.load(finished, any_problem=True).reset(other, 1, np.ones((1, 3)) / 3, 0)


def test_other_traces_are_refused(finished: Path, problem: Problem, traces: TraceSet) -> None:
    other = replace(traces, split=generated_split(1, (1, 1, 1), 60.0))
    with pytest.raises(InputError, match=r"run\.json: traces_digest"):
        resume(finished, problem, other)


def test_another_action_space_is_refused_even_when_allowed(finished: Path) -> None:
    scenario = load_scenario("camera-lte")
    fewer = scenario.model_copy(update={"vm": scenario.vm.model_copy(update={"max_vms": 1, "initial_vms": 0})})
    policy = PPOPolicy.load(finished, any_problem=True)
    with pytest.raises(InputError, match="nvec"):
        policy.reset(compile_problem(fewer), 1, np.ones((1, 3)) / 3, 0)


def test_a_run_depends_on_its_seed_alone(
    finished: Path, tmp_path: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig
) -> None:
    np.random.seed(5)  # noqa: NPY002 - whatever ran before must not matter
    short = config_with(tiny, ["total_steps=256"])
    runs = [tmp_path / name for name in ("a", "b", "c")]
    for run, seed in zip(runs, (0, 0, 1), strict=True):
        train(problem, traces, config_with(short, [], seed=seed), run)
    a, b, c = (arrays_of(run) for run in runs)
    assert all(np.array_equal(a[key], b[key], equal_nan=a[key].dtype.kind == "f") for key in a)
    assert not np.array_equal(a["policy/action_net.weight"], c["policy/action_net.weight"])


def test_it_learns(folder: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig) -> None:
    config = config_with(
        tiny, ["num_envs=16", "total_steps=8192", "minibatch=128", "hidden=[32]", "validate_every=2048", "epochs=4"]
    )
    validation = Validation(problem, traces.split.validation, 2, config.validation_preferences)
    chance = validation.score(Uniform()).mean
    result = train(problem, traces, config, folder)
    assert result.best_score > result.first_score
    assert result.best_score > 0.5 * chance  # rewards are negative: less than half of the cost of acting at random


def test_warm_start_imitates_the_teacher(folder: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig) -> None:
    changes = ["total_steps=128", "hidden=[32]", "warm_start_steps=6000", "warm_start_epochs=6", "learning_rate=0.003"]
    config = config_with(tiny, changes, warm_start="fixed")
    result = train(problem, traces, config, folder, teacher=Fixed())
    assert result.cloned is not None
    assert result.cloned.transitions >= 6000
    assert min(result.cloned.agreement) > 0.95
    assert json.loads((folder / "warm_start.json").read_text())["teacher"] == "fixed"
    validation = Validation(problem, traces.split.validation, 2, config.validation_preferences)
    assert result.first_score == pytest.approx(validation.score(Fixed()).mean, rel=0.1)


def test_a_warm_start_needs_its_teacher(folder: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig) -> None:
    with pytest.raises(InputError, match="warm_start"):
        train(problem, traces, config_with(tiny, [], warm_start="dp"), folder)
    with pytest.raises(InputError, match="warm_start"):
        train(problem, traces, tiny, folder, teacher=Fixed())
    assert not folder.exists()


def test_unknown_validation_preference(folder: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig) -> None:
    with pytest.raises(InputError, match="must be a preset or three numbers"):
        train(problem, traces, config_with(tiny, ['validation_preferences=["fast"]']), folder)
    assert not folder.exists()
