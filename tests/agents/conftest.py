"""A small problem that trains in a second."""

from pathlib import Path

import pytest
import torch

from edgecloud.agents import TrainConfig
from edgecloud.envs import Problem, compile_problem, load_scenario
from edgecloud.traces import TraceSet, generated_split


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def shortened(intervals: int) -> Problem:
    scenario = load_scenario("camera-lte")
    control = scenario.control.model_copy(update={"episode_intervals": intervals})
    return compile_problem(scenario.model_copy(update={"control": control}))


@pytest.fixture(scope="session")
def problem() -> Problem:
    return shortened(25)


@pytest.fixture(scope="session")
def other_problem() -> Problem:
    """Of the same sizes, but not the same."""
    return shortened(26)


@pytest.fixture(scope="session")
def traces() -> TraceSet:
    return TraceSet(generated_split(0, (1, 1, 1), 60.0), "generated for tests", False)


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    return TrainConfig(
        total_steps=8 * 16 * 6,
        num_envs=8,
        rollout_steps=16,
        minibatch=64,
        epochs=2,
        hidden=(16,),
        validate_every=8 * 16 * 2,
        validation_windows=2,
        redraws=2,
        warm_refund=0.5,
        altered_logs=1,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
