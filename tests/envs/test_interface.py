"""Gymnasium's and SB3's conventions, bad input, seeding."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import edgecloud
from edgecloud.envs import SCHEMA, TERMS, EdgeCloudEnv, EdgeCloudVecEnv, Measurements, Simulator, Window
from edgecloud.errors import InputError

from .support import TRAIN, compile_problem, random_actions, with_params

BASE = with_params(compile_problem("camera-lte"), arrival_rps=[3.0, 8.0, 15.0])
SHORT = with_params(BASE, episode_intervals=5)


@pytest.mark.parametrize("env_id", edgecloud.ENV_IDS)
def test_gymnasiums_checker_has_nothing_to_say(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(env_id, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("env_id", edgecloud.ENV_IDS)
def test_sb3s_checker_has_nothing_to_say(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env_sb3(gymnasium.make(env_id).unwrapped)


@pytest.mark.parametrize("env_id", edgecloud.ENV_IDS)
def test_seeded_rollouts_are_equal(env_id):
    rollouts = []
    for _ in range(2):
        env = gymnasium.make(env_id)
        env.action_space.seed(0)
        seen = [env.reset(seed=3)[0]]
        for _ in range(30):
            observation, reward, *_ = env.step(env.action_space.sample())
            seen.append(np.append(observation, reward))
        rollouts.append(seen)
    assert all((a == b).all() for a, b in zip(*rollouts, strict=True))


def test_make_vec_gives_the_compiled_batch():
    envs = gymnasium.make_vec("edgecloud-v0", num_envs=3)
    assert isinstance(envs.unwrapped, EdgeCloudVecEnv)
    observation, info = envs.reset(seed=0)
    assert envs.observation_space.contains(observation)
    assert info == {}
    observation, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
    assert observation.shape == (3, envs.single_observation_space.shape[0])
    assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)
    assert set(TERMS) <= set(info)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    envs.close()


def test_make_vec_with_gymnasiums_own_vectors():
    envs = gymnasium.make_vec("edgecloud-v0", num_envs=2, vectorization_mode="sync")
    observation, _ = envs.reset(seed=0)
    single = gymnasium.make("edgecloud-v0")
    assert (observation[0] == single.reset(seed=0)[0]).all()
    envs.close()


def test_statistics_wrapper_counts_episodes():
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(EdgeCloudVecEnv(2, SHORT, TRAIN))
    envs.reset(seed=0)
    returns = 0.0
    for action in random_actions(SHORT, 5, 2):
        _, reward, _, truncated, info = envs.step(action)
        returns += reward
    assert truncated.all()
    assert info["episode"]["r"] == pytest.approx(returns, rel=1e-5)
    assert info["episode"]["l"].tolist() == [5, 5]


def test_same_step_autoreset_matches_gymnasiums_sync_vector():
    ours = EdgeCloudVecEnv(2, SHORT, TRAIN)
    theirs = gymnasium.vector.SyncVectorEnv(
        [lambda: EdgeCloudEnv(SHORT, TRAIN)] * 2, autoreset_mode=AutoresetMode.SAME_STEP
    )
    theirs.reset(seed=[7, 8])
    alone = EdgeCloudVecEnv(1, SHORT, TRAIN)
    alone.reset(seed=7)
    ours.reset(seed=7)
    for t, action in enumerate(random_actions(SHORT, 12, 2)):
        a, b, c = ours.step(action), theirs.step(action), alone.step(action[:1])
        assert (a[0][0] == b[0][0]).all()  # environment 0 of seed 7 is the same world
        assert (a[1][0], a[3][0]) == (b[1][0], b[3][0])
        assert (a[0][0] == c[0][0]).all()
        assert ("final_obs" in a[4]) == ("final_obs" in b[4]) == (t % 5 == 4)
        if "final_obs" in a[4]:
            assert (a[4]["_final_obs"] == b[4]["_final_obs"]).all()
            assert (a[4]["final_obs"][0] == b[4]["final_obs"][0]).all()
            assert a[4]["final_obs"].dtype == b[4]["final_obs"].dtype == object
            for name in TERMS:
                assert a[4]["final_info"][name][0] == b[4]["final_info"][name][0]
            assert not (a[4]["final_obs"][0] == a[0][0]).all()


def test_only_truncated_environments_start_anew():
    envs = EdgeCloudVecEnv(3, SHORT, TRAIN)
    envs.reset(seed=0)
    envs.simulator.state.t[:] = [0, 4, 2]
    _, _, terminated, truncated, info = envs.step(np.tile(SHORT.start_action, (3, 1)))
    assert truncated.tolist() == [False, True, False]
    assert not terminated.any()
    assert envs.simulator.state.t.tolist() == [1, 0, 3]
    assert [x is None for x in info["final_obs"]] == [True, False, True]


def test_final_observation_carries_the_last_interval():
    envs = EdgeCloudVecEnv(1, SHORT, TRAIN)
    simulator = Simulator(SHORT, TRAIN, 1)
    envs.reset(seed=0)
    simulator.reset(0)
    for action in random_actions(SHORT, 5, 1):
        _, _, _, truncated, info = envs.step(action)
        rows = simulator.step(action).rows
    assert truncated.all()
    assert (info["final_obs"][0] == SHORT.encoder(rows)[0]).all()


def test_options_fix_weights_and_windows():
    envs = EdgeCloudVecEnv(2, SHORT, TRAIN)
    envs.reset(seed=0, options={"weights": [0.1, 0.2, 0.7], "windows": [Window(2, 30), (3, 7)]})
    assert envs.simulator.state.trace.tolist() == [2, 3]
    assert envs.simulator.state.offset.tolist() == [30, 7]
    assert envs.measurements.weights.tolist() == [[0.1, 0.2, 0.7]] * 2
    for action in random_actions(SHORT, 7, 2):
        envs.step(action)
    assert envs.simulator.state.offset.tolist() == [30, 7]  # and they hold for the next episode


def test_weights_are_uniform_on_the_simplex():
    simulator = Simulator(BASE, TRAIN, 4000)
    weights = simulator.reset(0).weights
    assert weights.sum(axis=1) == pytest.approx(np.ones(4000))
    assert weights.mean(axis=0) == pytest.approx(np.full(3, 1 / 3), abs=0.015)
    assert (weights[:, 0] < 0.5).mean() == pytest.approx(0.75, abs=0.025)


def test_records_in_info():
    env = EdgeCloudEnv(BASE, TRAIN, records=True)
    env.reset(seed=0)
    info = env.step(BASE.start_action)[4]
    assert info["records"].shape == (info["arrived"], 13)


def test_render_draws_the_episode():
    env = EdgeCloudEnv(BASE, TRAIN, render_mode="rgb_array")
    env.reset(seed=0)
    for action in random_actions(BASE, 5, 1)[:, 0]:
        env.step(action)
    image = env.render()
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.std() > 0


def test_every_measurement_has_a_name():
    measured = EdgeCloudVecEnv(2, BASE, TRAIN).measurements
    for field in SCHEMA:
        assert getattr(measured, field.name).shape == ((2,) if field.size == 1 else (2, field.size))
    with pytest.raises(AttributeError, match="no measurement"):
        _ = measured.bandwidth
    assert isinstance(measured, Measurements)


# -- bad input

GOOD = [0, 0, 0, 0]


@pytest.mark.parametrize(
    "action",
    [
        [-1, 0, 0, 0],
        [10**6, 0, 0, 0],
        [0, 0, 3, 0],
        [0, 0, 0, 99],
        [0, 0, 0],
        [0, 0, 0, 0, 0],
        [0.5, 0, 0, 0],
        [float("nan"), 0, 0, 0],
        [[0, 0, 0, 0]],
        3,
        "best",
    ],
)
def test_bad_actions_are_refused_and_change_nothing(action):
    env = EdgeCloudEnv(BASE, TRAIN)
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(InputError, match="actions: must be"):
        env.step(action)
    for a, b in zip(before, env.get_state(), strict=True):
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@pytest.mark.parametrize("actions", [np.zeros((1, 4), int), np.zeros(4, int), np.full((2, 4), -1)])
def test_bad_batches_of_actions_are_refused(actions):
    envs = EdgeCloudVecEnv(2, BASE, TRAIN)
    envs.reset(seed=0)
    with pytest.raises(InputError, match="actions: must be"):
        envs.step(actions)


@pytest.mark.parametrize("weights", [[1, 1, 1], [-1, 1, 1], [0.5, 0.5], "all", [np.nan, 0, 1], [[1, 0, 0]] * 3])
def test_bad_weights_are_refused(weights):
    with pytest.raises(InputError, match="weights"):
        EdgeCloudVecEnv(2, BASE, TRAIN, weights=weights)


@pytest.mark.parametrize("windows", [[Window(0)], [Window(999), Window(0)], [Window(0, -5), Window(0)]])
def test_bad_windows_are_refused(windows):
    with pytest.raises(InputError, match="windows"):
        Simulator(BASE, TRAIN, 2, windows=windows)


def test_no_traces_no_environments_no_such_part():
    with pytest.raises(InputError, match="at least one link trace"):
        EdgeCloudEnv(BASE, [])
    with pytest.raises(InputError, match="at least 1"):
        EdgeCloudVecEnv(0, BASE, TRAIN)
    with pytest.raises(InputError, match=r"part.*'test'"):
        EdgeCloudEnv(BASE, None, part="tets")


def test_unknown_options_are_refused():
    with pytest.raises(InputError, match="did you mean 'weights'"):
        EdgeCloudEnv(BASE, TRAIN).reset(options={"weigths": [1, 0, 0]})


@pytest.mark.parametrize("make", [lambda: EdgeCloudEnv(BASE, TRAIN), lambda: EdgeCloudVecEnv(1, BASE, TRAIN)])
def test_stepping_before_the_first_reset_is_an_error(make):
    env = make()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros_like(env.action_space.sample()))
