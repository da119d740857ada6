"""What the benchmarks on missing information do must be what they say: one thing differs between the arms."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from edgecloud.agents import TrainConfig, train
from edgecloud.agents.checkpoint import read_checkpoint
from edgecloud.agents.fast_policy import FastMultiDiscretePolicy
from edgecloud.agents.session import build_model
from edgecloud.envs import EdgeCloudVecEnv, Problem
from edgecloud.envs.foresight import INPUTS, foresee
from edgecloud.traces import TraceSet

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"_benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, problem: Problem, traces: TraceSet, tiny: TrainConfig) -> Path:
    folder = tmp_path_factory.mktemp("information") / "run"
    train(problem, traces, tiny, folder)
    return folder


@pytest.mark.parametrize("arm", ["nothing", "link", "world"])
def test_arms_begin_with_the_same_decisions(
    arm: str, run: Path, problem: Problem, traces: TraceSet, tiny: TrainConfig
) -> None:
    module = benchmark("foresight_value")
    reveal = module.ARMS[arm]
    env = module.Revealing(EdgeCloudVecEnv(6, problem, traces.split.train), reveal, tiny)
    env.seed(3)
    seen = env.reset()
    size = problem.encoder.size
    assert seen.shape[1] == size + tiny.foresight * len(INPUTS)
    assert env.private == tiny.foresight * (len(INPUTS) - len(reveal))
    checkpoint = read_checkpoint(run / "best.npz")
    config = tiny.model_copy(update={"num_envs": 6})
    policy = build_model(config, env).policy
    policy.load_state_dict(module.widened(checkpoint.group("policy"), env))
    assert isinstance(policy, FastMultiDiscretePolicy)
    plain = module.Revealing(EdgeCloudVecEnv(6, problem, traces.split.train), (), tiny)
    usual = build_model(config, plain).policy
    usual.load_state_dict({name: torch.from_numpy(x) for name, x in checkpoint.group("policy").items()})
    plain.seed(3)
    other = plain.reset()
    np.testing.assert_array_equal(seen[:, :size], other[:, :size])
    with torch.no_grad():
        mine, theirs = torch.as_tensor(seen), torch.as_tensor(other)
        assert torch.equal(policy._predict(mine, True), usual._predict(theirs, True))
        torch.testing.assert_close(policy.predict_values(mine), usual.predict_values(theirs), rtol=1e-4, atol=1e-4)


def test_what_is_revealed_is_the_future(problem: Problem, traces: TraceSet, tiny: TrainConfig) -> None:
    module = benchmark("foresight_value")
    env = module.Revealing(EdgeCloudVecEnv(4, problem, traces.split.train), ("rate_bps",), tiny)
    env.seed(0)
    seen = env.reset()
    simulator = env.env.simulator
    rate = foresee(problem.params, simulator.bank, simulator.state, tiny.foresight)[..., 0]
    size = problem.encoder.size
    shown = seen[:, size : size + tiny.foresight]
    expected = 2.0 * np.log1p(rate / 0.5e6) / np.log1p(200.0) - 1.0
    np.testing.assert_allclose(shown, np.clip(expected, -1.0, 1.0), atol=1e-5)


def test_gains_are_those_over_the_policys_own_way(run: Path, problem: Problem, traces: TraceSet) -> None:
    module = benchmark("hindsight_gains")
    module.ENVIRONMENTS, module.EACH, module.HORIZON, module.HISTORY = 16, 6, 4, 2
    gains = module.collect(run, problem, traces.split.train, 30, hold=1)
    assert gains.gains.shape == (30, 21)
    np.testing.assert_array_equal(gains.histories[:, : problem.encoder.size], gains.observations)
    assert np.isfinite(gains.gains).all()
    assert gains.gains.any()
    held_for_nothing = module.collect(run, problem, traces.split.train, 30, hold=0)
    np.testing.assert_array_equal(held_for_nothing.observations, gains.observations)
    np.testing.assert_allclose(held_for_nothing.gains, 0.0, atol=1e-5)


def test_a_foreseeable_gain_is_found_and_luck_is_not() -> None:
    module = benchmark("hindsight_gains")
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(3000, 3)).astype(np.float32)
    environments = rng.integers(0, 128, len(seen))
    luck = rng.normal(size=(len(seen), 4)).astype(np.float32)
    for size, foreseeable in ((0.0, False), (2.0, True)):
        known = size * np.column_stack([seen[:, 0], -seen[:, 0], *np.full((2, len(seen)), -1.0)])
        gains = module.Gains(seen, seen, environments, (luck + known).astype(np.float32))
        mean, error = module.foreseeable(seen, gains)
        assert np.maximum(gains.gains.max(axis=1), 0.0).mean() > 0.9
        if foreseeable:  # the mean of 2 |x| is 1.6
            assert abs(mean - 1.6) < 0.15
        else:
            assert abs(mean) < 4.0 * error + 0.02
