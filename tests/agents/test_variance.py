"""What takes noise from the learner must not change what it learns, nor reach the policy."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete

from edgecloud.agents.adapter import Sb3VecEnv
from edgecloud.agents.config import TrainConfig
from edgecloud.agents.fast_policy import FastMultiDiscretePolicy
from edgecloud.agents.reward import LearnerReward, cold_start_worth, expected_accuracy_loss
from edgecloud.agents.session import training_links
from edgecloud.envs import TERMS, EdgeCloudVecEnv, Simulator, compile_problem, load_scenario
from edgecloud.envs.redrawn import RedrawnTerms
from edgecloud.traces import TraceSet, generated_split


def test_the_actor_does_not_see_private_columns() -> None:
    torch.manual_seed(0)
    space = Box(-1.0, 1.0, (10,), np.float32)
    policy = FastMultiDiscretePolicy(space, MultiDiscrete([3, 2]), lambda _: 1e-3, net_arch=[8], private=4)
    seen = torch.rand(5, 10)
    changed = seen.clone()
    changed[:, 6:] = torch.rand(5, 4)
    for mine, theirs in zip(policy.head_logits(seen), policy.head_logits(changed), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(policy.predict_values(seen), policy.predict_values(changed))


def test_private_columns_at_the_end_of_an_episode() -> None:
    problem = compile_problem("camera-lte")
    env = Sb3VecEnv(EdgeCloudVecEnv(2, problem, generated_split(0).train), foresight=3)
    env.seed(0)
    env.reset()
    action = np.tile(problem.start_action[:3], (2, 1))
    for _ in range(problem.params.episode_intervals):
        before = env._ahead.copy()
        env.step_async(action)
        _, _, done, infos = env.step_wait()
    assert done.all()
    for i, info in enumerate(infos):
        last = info["terminal_observation"]
        assert last.shape == env.observation_space.shape
        np.testing.assert_array_equal(last[-env.private :], before[i, 1:].ravel())


def test_expected_accuracy_has_the_mean_of_the_drawn_one() -> None:
    problem = compile_problem("camera-lte")
    batch = EdgeCloudVecEnv(256, problem, generated_split(0).train)
    env = Sb3VecEnv(batch, reward=LearnerReward(batch.simulator, expected_accuracy=True))
    env.seed(0)
    env.reset()
    action = np.tile(problem.action(2, problem.stages, 0, "faas", 0)[:3], (256, 1))
    difference = []
    for _ in range(problem.params.episode_intervals):
        env.step_async(action)
        _, reward, _, _ = env.step_wait()
        difference.append(reward - env.env.simulator.terms[:, TERMS.index("reward")])
    per_env = np.mean(difference, axis=0)  # environments are independent, the intervals of one are not quite
    error = per_env.std(ddof=1) / np.sqrt(len(per_env))
    assert 0.0 < error < 0.05
    assert abs(per_env.mean()) < 4.0 * error


def test_redraws_change_nothing_and_have_the_mean_of_what_happens() -> None:
    problem = compile_problem("camera-lte")
    simulator = Simulator(problem, generated_split(0).train, 256)
    simulator.reset(0)
    redrawn, reward = RedrawnTerms(simulator, 8), TERMS.index("reward")
    action = np.tile(problem.action(0, problem.stages, 4, "faas", 0), (256, 1))
    difference, spread, alone = [], [], []
    for _ in range(120):
        before = simulator.get_state()
        draws = redrawn(action)[..., reward].copy()
        for name, mine, theirs in zip(before._fields, before, simulator.state, strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
        simulator.step(action)
        difference.append(draws.mean(axis=1) - simulator.terms[:, reward])
        spread.append(draws.mean(axis=1))
        alone.append(simulator.terms[:, reward].copy())
    per_env = np.mean(difference, axis=0)
    error = per_env.std(ddof=1) / np.sqrt(len(per_env))
    assert 0.0 < error < 0.05
    assert abs(per_env.mean()) < 4.0 * error
    assert np.var(spread) < 0.8 * np.var(alone)


def test_draws_differ_and_are_the_same_when_asked_again() -> None:
    problem = compile_problem("camera-lte")
    simulator = Simulator(problem, generated_split(0).train, 8)
    simulator.reset(0)
    redrawn, action = RedrawnTerms(simulator, 4), np.tile(problem.action(0, 0, 4, "faas", 0), (8, 1))
    first = redrawn(action).copy()
    assert np.array_equal(redrawn(action), first)
    assert all(len(np.unique(row)) > 1 for row in first[..., TERMS.index("latency_s")])
    simulator.step(action)
    assert not np.array_equal(redrawn(action), first)


def test_a_refund_is_what_the_instances_of_an_episode_are_worth_whenever_they_start() -> None:
    problem = compile_problem("camera-lte")
    links = generated_split(0).train
    late = problem.params.episode_intervals // 2
    for begins in (0, late):
        simulator = Simulator(problem, links, 16)
        simulator.reset(0)
        with_refund = LearnerReward(simulator, warm_refund=0.5, refunded_instances=3)
        total = np.zeros(16)
        for t in range(problem.params.episode_intervals):
            place = (0, problem.stages) if t < begins else (0, 0)
            action = np.tile(problem.action(*place, 4, "faas", 0), (16, 1))
            with_refund.before(action)
            simulator.step(action)
            nobody = np.zeros(16, dtype=bool)
            total += with_refund.after(simulator.terms, action, nobody) - simulator.terms[:, TERMS.index("reward")]
        instances = np.isfinite(simulator.state.faas_free_s).sum(axis=1)
        worth = 0.5 * (simulator.state.weights @ cold_start_worth(problem.params)) * np.minimum(instances, 3)
        np.testing.assert_allclose(total, worth, atol=1e-9)
        assert (total > 0.0).all()


def test_a_refund_is_taken_when_the_instances_expire() -> None:
    scenario = load_scenario("camera-lte")
    faas = scenario.faas.model_copy(update={"keep_alive_s": 20.0})
    problem = compile_problem(scenario.model_copy(update={"faas": faas}))
    simulator = Simulator(problem, generated_split(0).train, 16)
    simulator.reset(0)
    reward, nobody = LearnerReward(simulator, warm_refund=1.0), np.zeros(16, dtype=bool)
    refunds = []
    for t in range(70):
        place = (0, 0) if t < 30 else (problem.stages, problem.stages)
        action = np.tile(problem.action(*place, 4, "faas", 0), (16, 1))
        reward.before(action)
        simulator.step(action)
        refunds.append(reward.after(simulator.terms, action, nobody) - simulator.terms[:, TERMS.index("reward")])
    assert (np.sum(refunds[:30], axis=0) > 0.0).all()
    np.testing.assert_allclose(np.sum(refunds, axis=0), 0.0, atol=1e-9)


def test_nothing_is_refunded_where_an_episode_ends() -> None:
    problem = compile_problem("camera-lte")
    batch = EdgeCloudVecEnv(8, problem, generated_split(0).train)
    env = Sb3VecEnv(batch, reward=LearnerReward(batch.simulator, warm_refund=1.0))
    env.seed(0)
    env.reset()
    action = np.tile(problem.action(0, 0, 4, "faas", 0)[:3], (8, 1))
    total = np.zeros(8)
    for t in range(problem.params.episode_intervals):
        _, reward, done, _ = env.step(action)
        refund = reward - batch.simulator.terms[:, TERMS.index("reward")]
        total += refund
        assert done.all() == (t + 1 == problem.params.episode_intervals)
    assert (total > 0.0).all()
    np.testing.assert_allclose(refund, 0.0, atol=1e-6)


def test_the_learner_gets_the_mean_over_the_redraws() -> None:
    problem = compile_problem("camera-lte")
    simulator = Simulator(problem, generated_split(0).train, 32)
    simulator.reset(0)
    action = np.tile(problem.action(0, problem.stages, 2, "faas", 0), (32, 1))
    plain, averaged = RedrawnTerms(simulator, 5), LearnerReward(simulator, redraws=5)
    expected = LearnerReward(simulator, expected_accuracy=True, redraws=5)
    draws = plain(action).copy()
    for reward in (averaged, expected):
        reward.before(action)
    hard = 1.0 / (1.0 + np.exp(-1.7 * simulator.state.regime))
    simulator.step(action)
    nobody = np.zeros(32, dtype=bool)
    mean = draws[..., TERMS.index("reward")].mean(axis=1)
    np.testing.assert_allclose(averaged.after(simulator.terms, action, nobody), mean, rtol=1e-12)
    assert not np.allclose(mean, simulator.terms[:, TERMS.index("reward")])
    lost = expected_accuracy_loss(problem.params)[:, 2]
    charged = problem.params.accuracy_penalty * (hard * lost[0] + (1.0 - hard) * lost[1])
    answered = (draws[..., TERMS.index("arrived")] > draws[..., TERMS.index("failed")]).mean(axis=1)
    mean -= draws[..., TERMS.index("reward_accuracy")].mean(axis=1) + answered * charged
    np.testing.assert_allclose(expected.after(simulator.terms, action, nobody), mean, rtol=1e-9)


def test_a_cold_start_is_worth_what_it_costs() -> None:
    """The same worlds with every start cold and with every start warm but the first."""
    scenario = load_scenario("camera-lte")
    rewards, starts = [], []
    for keep_alive_s in (0.0, 3600.0):
        faas = scenario.faas.model_copy(update={"keep_alive_s": keep_alive_s})
        problem = compile_problem(scenario.model_copy(update={"faas": faas}))
        simulator = Simulator(problem, generated_split(0).train, 256, weights=[0.5, 0.4, 0.1])
        simulator.reset(0)
        action = np.tile(problem.action(0, 0, 4, "faas", 0), (256, 1))
        terms = np.zeros((256, len(TERMS)))
        for _ in range(problem.params.episode_intervals):
            simulator.step(action)
            terms += simulator.terms
        # Without timeouts, which cost more than a delay; the accuracy is the same in both.
        rewards.append(terms[:, TERMS.index("reward_latency")] + terms[:, TERMS.index("reward_cost")])
        starts.append(terms[:, TERMS.index("cold_starts")])
    each = (rewards[1] - rewards[0]).sum() / (starts[0] - starts[1]).sum()
    assert each == pytest.approx(np.array([0.5, 0.4, 0.1]) @ cold_start_worth(problem.params), rel=0.05)


def test_altered_logs_are_of_other_networks() -> None:
    traces = TraceSet(generated_split(0, (3, 1, 1)), "generated for tests", False)
    config = TrainConfig(altered_logs=2, altered_rate=(0.5, 4.0), altered_rtt_s=(0.01, 0.08))
    links = training_links(traces, config)
    own = traces.split.train
    assert links[: len(own)] == own
    assert len(links) == 3 * len(own)
    assert len({link.name for link in links}) == len(links)
    for number in (1, 2):
        for link, altered in zip(own, links[number * len(own) : (number + 1) * len(own)], strict=True):
            factor = altered.mean_bps / link.mean_bps
            assert 0.5 <= factor <= 4.0
            np.testing.assert_allclose(altered.rate_bps, factor * link.rate_bps, rtol=1e-9)
            assert altered.rtt_s is not None
            assert len(np.unique(altered.rtt_s)) == 1
            assert 0.01 <= altered.rtt_s[0] <= 0.08
    again = training_links(traces, config)
    assert all(mine.equals(theirs) for mine, theirs in zip(links, again, strict=True))
    other = training_links(traces, config.model_copy(update={"seed": 1}))
    assert not links[-1].equals(other[-1])
