"""What takes noise from the learner must not change what it learns, nor reach the policy."""

import numpy as np
import torch
from gymnasium.spaces import Box, MultiDiscrete

from edgecloud.agents.adapter import Sb3VecEnv
from edgecloud.agents.fast_policy import FastMultiDiscretePolicy
from edgecloud.envs import TERMS, EdgeCloudVecEnv, compile_problem
from edgecloud.traces import generated_split


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
    env = Sb3VecEnv(EdgeCloudVecEnv(256, problem, generated_split(0).train), expected_accuracy=True)
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
