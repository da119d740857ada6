"""The adapter keeps stable-baselines3's contract and loses nothing of the vector environment's."""

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from edgecloud.agents import Sb3VecEnv
from edgecloud.envs import TERMS, EdgeCloudVecEnv, Problem
from edgecloud.traces import TraceSet


def make(problem: Problem, traces: TraceSet, n: int = 4, **options: object) -> Sb3VecEnv:
    env = Sb3VecEnv(EdgeCloudVecEnv(n, problem, traces.split.train), **options)  # type: ignore[arg-type]
    env.seed(3)
    return env


def draw(env: Sb3VecEnv, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(env.action_space.nvec, size=(env.num_envs, 3))  # type: ignore[attr-defined]


def test_same_numbers_as_the_vector_environment(problem: Problem, traces: TraceSet) -> None:
    env, plain = make(problem, traces, reward_scale=0.5), EdgeCloudVecEnv(4, problem, traces.split.train)
    expected, _ = plain.reset(seed=3)
    assert np.array_equal(env.reset(), expected)
    rng = np.random.default_rng(0)
    for t in range(60):
        actions = draw(env, rng)
        observation, reward, done, infos = env.step(actions)
        expected, gained, terminated, truncated, info = plain.step(np.column_stack([actions, np.zeros(4, np.int64)]))
        assert np.array_equal(observation, expected)
        np.testing.assert_allclose(reward, 0.5 * gained, rtol=1e-6)
        assert np.array_equal(done, truncated | terminated)
        assert done.all() == ((t + 1) % 25 == 0)
        for i in range(4):
            if done[i]:
                assert infos[i]["TimeLimit.truncated"] is True
                assert np.array_equal(infos[i]["terminal_observation"], info["final_obs"][i])
                assert not np.array_equal(infos[i]["terminal_observation"], observation[i])
            else:
                assert infos[i] == {}


def test_types_and_shapes(problem: Problem, traces: TraceSet) -> None:
    env = make(problem, traces)
    observation = env.reset()
    assert observation.shape == (4, problem.encoder.size)
    assert observation.dtype == np.float32
    observation, reward, done, infos = env.step(draw(env, np.random.default_rng(0)))
    assert env.observation_space.contains(observation[0])
    assert (reward.dtype, reward.shape) == (np.float32, (4,))
    assert (done.dtype, done.shape) == (np.bool_, (4,))
    assert isinstance(infos, list)
    assert len(infos) == 4
    env.close()


def test_staggered_starts_spread_the_ends(problem: Problem, traces: TraceSet) -> None:
    env = make(problem, traces, n=5, stagger=True)
    env.reset()
    ends = np.zeros((50, 5), dtype=bool)
    rng = np.random.default_rng(0)
    for t in range(50):
        ends[t] = env.step(draw(env, rng))[2]
    assert ends.sum(axis=1).max() == 1
    assert (ends.sum(axis=0) == 2).all()
    for column in ends.T:  # after its first one, every episode has its full length
        first, second = np.flatnonzero(column)
        assert second - first == 25


def test_statistics_sum_the_terms_and_count_the_actions(problem: Problem, traces: TraceSet) -> None:
    env = make(problem, traces)
    env.reset()
    rng = np.random.default_rng(1)
    total, taken = np.zeros(len(TERMS)), []
    for _ in range(30):
        taken.append(draw(env, rng))
        env.step(taken[-1])
        total += env.env.simulator.terms.sum(axis=0)
    np.testing.assert_allclose(env.statistics.terms, total)
    assert env.statistics.intervals == 120
    *parts, pool = np.split(env.statistics.actions, np.cumsum(problem.nvec)[:-1])
    assert pool.tolist() == [120, 0, 0, 0]  # nobody has learnt to rent
    for k, part in enumerate(parts):
        assert np.array_equal(part, np.bincount(np.concatenate(taken)[:, k], minlength=problem.nvec[k]))


def test_attributes_and_methods(problem: Problem, traces: TraceSet) -> None:
    env = make(problem, traces)
    assert env.get_attr("num_envs") == [4, 4, 4, 4]
    assert env.get_attr("render_mode", indices=[1]) == [None]
    assert not env.has_attr("nothing")
    env.set_attr("marker", 7)
    assert env.get_attr("marker", indices=2) == [7]
    with pytest.raises(ValueError, match="shared"):
        env.set_attr("marker", 8, indices=[0])
    assert env.env_method("__repr__", indices=[0, 1]) == [repr(env.env)] * 2
    assert env.env_is_wrapped(object) == [False] * 4  # type: ignore[arg-type]


def test_works_under_stock_stable_baselines3(problem: Problem, traces: TraceSet) -> None:
    model = PPO("MlpPolicy", VecMonitor(make(problem, traces)), n_steps=32, batch_size=64, n_epochs=1, device="cpu")
    model.learn(256)
    assert model.ep_info_buffer is not None
    assert all(entry["l"] == 25 for entry in model.ep_info_buffer)


def test_the_learner_bootstraps_truncations(problem: Problem, traces: TraceSet) -> None:
    env = make(problem, traces)
    model = PPO("MlpPolicy", env, n_steps=25, batch_size=50, n_epochs=1, gamma=0.9, device="cpu", seed=0)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    inner = env.step_wait

    def watched() -> object:
        result = inner()
        if result[2].any():
            seen.append((result[1].copy(), np.stack([info["terminal_observation"] for info in result[3]])))
        return result

    env.step_wait = watched  # type: ignore[method-assign,assignment]
    before = model.policy.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    model.learn(100)
    reward, last = seen[0]
    model.policy.load_state_dict(before)
    values = model.policy.predict_values(model.policy.obs_to_tensor(last)[0]).detach().numpy().ravel()
    # The buffer has been flattened environment by environment; only its rewards keep the (steps, envs) layout.
    np.testing.assert_allclose(model.rollout_buffer.rewards[-1], reward + 0.9 * values, rtol=1e-5)
