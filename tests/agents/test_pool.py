"""The VM pool: who decides, when, and how it is learnt."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from edgecloud.agents import PPOPolicy, TrainConfig
from edgecloud.agents.pool import PoolControl, PoolNetwork
from edgecloud.agents.pool_learning import PoolTrials, fit_pool, try_pools
from edgecloud.agents.ppo_policy import network_shapes
from edgecloud.envs import EdgeCloudVecEnv, Problem, compile_problem, load_scenario
from edgecloud.traces import generated_split

LINKS = generated_split(0, (1, 1, 1), 60.0).train


def batch(problem: Problem, n: int = 8) -> EdgeCloudVecEnv:
    env = EdgeCloudVecEnv(n, problem, LINKS)
    env.reset(seed=3)
    return env


def policy_of(problem: Problem, pool: PoolNetwork, bias: dict[int, float] | None = None) -> PPOPolicy:
    """A network that always wants the same placement, threshold and route: those with a bias."""
    size, nvec = problem.encoder.size, problem.nvec
    weights = {
        name: np.zeros(shape, dtype=np.float32)
        for name, shape in network_shapes(size, (4,), int(nvec[:3].sum())).items()
    }
    for choice, value in (bias or {}).items():
        weights["action_net.bias"][choice] = value
    meta = {
        "fingerprint": problem.fingerprint(),
        "scenario": problem.scenario.name,
        "hidden": [4],
        "activation": "relu",
        "nvec": nvec.tolist(),
        "observation_size": size,
        "pool_review": 5,
    }
    return PPOPolicy(weights, pool, meta)


def test_a_target_holds_between_reviews(problem: Problem) -> None:
    env, control = batch(problem), PoolControl(review=5, exploration=0.0, most=3)
    rng = np.random.default_rng(0)
    last = np.zeros(8)
    for t in range(23):
        wanted = rng.integers(0, 4, 8)
        target = control.targets(env.simulator.state, wanted)
        assert control.due(env.simulator.state).all() == (t % 5 == 0)
        assert_array_equal(target, wanted if t % 5 == 0 else last)
        last = target
        env.step(np.column_stack([np.zeros((8, 3), dtype=np.int64), target]))


def test_some_episodes_begin_with_a_given_pool() -> None:
    problem = compile_problem("camera-lte")
    n = 512
    env, control = batch(problem, n), PoolControl(review=1, exploration=0.5, most=3)
    decided = np.full(n, 9)  # never given
    handed_over = np.full(n, -1)
    first = np.zeros(n)
    cheap = env.simulator.state.weights[:, 1] < 0.25
    for t in range(problem.params.episode_intervals - 1):
        target = control.targets(env.simulator.state, decided)
        assert_array_equal(target, control.targets(env.simulator.state, decided))  # resuming repeats it
        first = target if t == 0 else first
        mine = target == 9
        assert_array_equal(target[~mine], first[~mine])  # the same pool until it is handed over
        assert mine[handed_over >= 0].all()
        handed_over[(handed_over < 0) & mine] = t
        env.step(np.column_stack([np.zeros((n, 3), dtype=np.int64), np.minimum(target, 3)]))
    given = first != 9
    assert set(first[given]) == {1, 2, 3}
    assert (first[given] == 1).mean() > 0.5
    for where, share in ((cheap, 0.5), (~cheap, 0.05)):
        assert abs(given[where].mean() - share) < 4 * np.sqrt(share * (1 - share) / where.sum())
    assert handed_over[given & (handed_over >= 0)].min() >= 30


def test_the_policy_keeps_its_pool_between_reviews(problem: Problem) -> None:
    pool = PoolNetwork.untrained(problem.encoder.size, 2, 4)
    pool.arrays["2.bias"][:] = 0.0
    pool.arrays["0.weight"][:, problem.encoder.names.index("rate_bps_0")] = 1.0
    pool.arrays["2.weight"][2] = 1.0
    pool.arrays["2.bias"][0] = 0.4
    policy, env = policy_of(problem, pool), batch(problem, 16)
    policy.reset(problem, 16, np.ones((16, 3)) / 3, 0)
    seen = set()
    for t in range(20):
        before = env.measurements.vm_target.astype(np.int64)
        wanted = pool.targets(problem.encoder(env.measurements.rows), before)
        actions = policy.act(env.measurements)
        assert_array_equal(actions[:, 3], wanted if t % 5 == 0 else before)
        seen |= set(actions[:, 3].tolist())
        env.step(actions)
    assert seen == {0, 2}


def test_trials_are_what_the_simulation_does(problem: Problem) -> None:
    """Every request goes to a VM pool: without one all fail, and what each pool brings is known by running it."""
    route = sum(problem.nvec[:2])
    placement = int(np.flatnonzero((problem.placements == 0).all(axis=1))[0])
    policy = policy_of(problem, PoolNetwork.untrained(problem.encoder.size, 2, 4), {placement: 1.0, int(route): 1.0})
    config = TrainConfig(num_envs=32, pool_horizon=12, pool_review=5)
    trials = try_pools(problem, LINKS, policy, config, seed=4, trials=60)
    assert trials.observations.shape == (len(trials.rewards), problem.encoder.size)
    assert 60 <= len(trials.rewards) <= 64
    again = try_pools(problem, LINKS, policy, config, seed=4, trials=60)
    for mine, theirs in zip(trials, again, strict=True):
        assert_array_equal(mine, theirs)
    running = trials.observations[:, problem.encoder.names.index("vm_running")]
    booting = trials.observations[:, problem.encoder.names.index("vm_booting")]
    assert running.max() == 0.0  # a boot takes longer than these episodes
    assert booting.max() > 0.0  # given pools were met
    started = trials.observations[:, problem.encoder.names.index("vm_target")] > 0
    assert trials.rewards[~started, 0].mean() < -5.0  # nobody answers


def test_pools_that_are_kept_pay_their_price(problem: Problem) -> None:
    """Everything stays on the device: a pool brings nothing but its bill."""
    placement = int(np.flatnonzero((problem.placements == problem.stages).all(axis=1))[0])
    policy = policy_of(problem, PoolNetwork.untrained(problem.encoder.size, 2, 4), {placement: 1.0})
    config = TrainConfig(num_envs=32, pool_horizon=12, pool_review=5)
    trials = try_pools(problem, LINKS, policy, config, seed=1, trials=60)
    idle = trials.observations[:, problem.encoder.names.index("vm_target")] <= 0
    cost = (trials.observations[:, [problem.encoder.names.index(f"weights_{k}") for k in range(3)]] + 1.0) / 2.0
    p = problem.params
    horizon = 12
    for k in (1, 2, 3):
        lost = (trials.rewards[:, 0] - trials.rewards[:, k])[idle]
        per_second = cost[idle, 1] * k * p.usd_per_vm_s / p.cost_ref_usd
        # Where the episode ends with the trial, the rest of the minimum is charged at once.
        at_end = horizon + (p.vm_minimum_s - horizon)
        ratio = lost / per_second
        assert ((np.abs(ratio - 1.0) < 1e-2) | (np.abs(ratio - at_end / horizon) < 1e-2)).all()
    fit = fit_pool(trials, 8, 0.0, seed=0)
    assert (fit.network.gains(trials.observations[idle]).argmax(axis=1) == 0).mean() > 0.9
    assert fit.chosen <= fit.hindsight + 1e-9


def test_the_fit_finds_what_depends_on_the_observation() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1500, 6)).astype(np.float32)
    noise = rng.normal(0, 3.0, (1500, 1))  # the world's luck, the same for all pools
    gains = np.stack([0 * x[:, 0], x[:, 0] - 0.3, x[:, 1] - 0.5], axis=1) * 0.1 + rng.normal(0, 0.02, (1500, 3))
    fit = fit_pool(PoolTrials(x, (gains + noise).astype(np.float32)), 32, 0.0, seed=1)
    fresh = rng.uniform(-1, 1, (2000, 6)).astype(np.float32)
    truth = np.stack([0 * fresh[:, 0], fresh[:, 0] - 0.3, fresh[:, 1] - 0.5], axis=1)
    chosen = truth[np.arange(2000), fit.network.targets(fresh, np.zeros(2000, np.int64))].mean()
    assert chosen > 0.9 * truth.max(axis=1).mean()
    assert fit.fixed < fit.chosen <= fit.hindsight


def test_what_cannot_be_told_apart_is_not_rented() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 6)).astype(np.float32)
    rewards = rng.normal(0, 1.0, (400, 4)) - 0.5 * np.arange(4)
    fit = fit_pool(PoolTrials(x, rewards.astype(np.float32)), 16, 0.0, seed=0)
    assert (fit.network.gains(x).argmax(axis=1) == 0).mean() > 0.9


def test_the_fit_leaves_the_global_generator_alone() -> None:
    trials = PoolTrials(np.zeros((50, 3), np.float32), np.zeros((50, 2), np.float32))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = fit_pool(trials, 4, 0.0, seed=7)
    assert torch.equal(torch.rand(1), expected)
    second = fit_pool(trials, 4, 0.0, seed=7)
    for name, array in first.network.arrays.items():
        assert_array_equal(array, second.network.arrays[name])


def test_a_change_must_bring_the_margin() -> None:
    arrays = {name: np.zeros(s, dtype=np.float32) for name, s in PoolNetwork.shapes(1, 1, 3).items()}
    arrays["2.bias"][:] = [0.0, 0.02, 0.05]
    observations = np.zeros((3, 1), dtype=np.float32)
    for margin, expected in ((0.0, [2, 2, 2]), (0.04, [2, 1, 2]), (0.06, [0, 1, 2])):
        found = PoolNetwork(arrays, margin).targets(observations, np.array([0, 1, 2]))
        assert found.tolist() == expected


def test_trials_are_joined_and_the_oldest_dropped() -> None:
    old = PoolTrials(np.zeros((3, 2), np.float32), np.zeros((3, 4), np.float32))
    new = PoolTrials(np.ones((3, 2), np.float32), np.ones((3, 4), np.float32))
    both = old.joined(new, 4)
    assert_array_equal(both.observations[:, 0], [0, 1, 1, 1])
    assert_array_equal(both.rewards[:, 0], [0, 1, 1, 1])


def test_network_in_numpy_is_the_network() -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=s).astype(np.float32) for name, s in PoolNetwork.shapes(5, 7, 4).items()}
    net = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 4))
    net.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    x = rng.normal(size=(50, 5)).astype(np.float32)
    assert_allclose(PoolNetwork(arrays).gains(x), net(torch.from_numpy(x)).detach(), rtol=1e-4, atol=1e-5)


def test_a_scenario_without_vms_has_nothing_to_learn() -> None:
    scenario = load_scenario("camera-lte")
    none = scenario.model_copy(update={"vm": scenario.vm.model_copy(update={"max_vms": 0, "initial_vms": 0})})
    problem = compile_problem(none)
    if int(problem.nvec[3]) != 1:
        pytest.skip("a scenario has at least one VM")
    control = PoolControl(10, 0.5, 0)
    env = batch(problem, 4)
    assert_array_equal(control.targets(env.simulator.state, np.zeros(4, dtype=np.int64)), np.zeros(4))
