"""A policy trained with the preset 'quick', cut short, and its artifact."""

from pathlib import Path

import pytest
import torch

from edgecloud.agents import preset, train
from edgecloud.agents.export import export_policy
from edgecloud.envs import Problem
from edgecloud.runtime.artifact import write_artifact
from edgecloud.traces import TraceSet, generated_split

from .feeding import shortened


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def problem() -> Problem:
    return shortened(60)


@pytest.fixture(scope="session")
def traces() -> TraceSet:
    return TraceSet(generated_split(0, (1, 1, 1), 120.0), "generated for tests", False)


@pytest.fixture(scope="session")
def trained(problem: Problem, traces: TraceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "quick-run"
    short = {"total_steps": 4096, "validate_every": 4096, "validation_windows": 1, "pool_trials": 100, "pool_review": 7}
    train(problem, traces, preset("quick").model_copy(update=short), folder)
    return folder


@pytest.fixture(scope="session")
def artifact(trained: Path, problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "policy.edgecloud"
    exported = export_policy(trained, problem)
    write_artifact(path, exported.facts, exported.graph)
    return path
