"""The quick policy is stable-baselines3's, only quicker."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from stable_baselines3.common.policies import ActorCriticPolicy

from edgecloud.agents import FastMultiDiscretePolicy

NVEC = [28, 7, 3, 4]
OBSERVATION = Box(-1.0, 1.0, shape=(12,), dtype=np.float32)


def pair() -> tuple[FastMultiDiscretePolicy, ActorCriticPolicy]:
    torch.manual_seed(0)
    options = {"net_arch": {"pi": [32, 32], "vf": [32, 32]}}
    stock = ActorCriticPolicy(OBSERVATION, MultiDiscrete(NVEC), lambda _: 1e-3, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        stock.action_net.weight.mul_(300.0)  # far from uniform
    fast = FastMultiDiscretePolicy(OBSERVATION, MultiDiscrete(NVEC), lambda _: 1e-3, **options)
    fast.load_state_dict(stock.state_dict())
    return fast, stock


def test_log_probabilities_entropies_and_gradients_are_the_same() -> None:
    fast, stock = pair()
    rng = np.random.default_rng(0)
    observations = torch.as_tensor(rng.uniform(-1, 1, (256, 12)).astype(np.float32))
    actions = torch.as_tensor(rng.integers(NVEC, size=(256, 4)))
    gradients = []
    results = []
    for policy in (fast, stock):
        value, log_p, entropy = policy.evaluate_actions(observations, actions.float())
        policy.zero_grad()
        (log_p.mean() + 0.1 * entropy.mean() + value.mean()).backward()
        results.append([value.detach(), log_p.detach(), entropy.detach()])
        gradients.append([p.grad.clone() for p in policy.parameters()])
    assert results[0][1].min() < -15
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-6, atol=2e-6)
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_deterministic_actions_and_values_are_the_same() -> None:
    fast, stock = pair()
    observations = np.random.default_rng(1).uniform(-1, 1, (500, 12)).astype(np.float32)
    assert np.array_equal(
        fast.predict(observations, deterministic=True)[0], stock.predict(observations, deterministic=True)[0]
    )
    tensor = torch.as_tensor(observations)
    torch.testing.assert_close(fast.predict_values(tensor), stock.predict_values(tensor))
    actions, value, log_p = fast(tensor, deterministic=True)
    torch.testing.assert_close(stock.evaluate_actions(tensor, actions)[1], log_p, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(value, stock.predict_values(tensor))


def test_draws_follow_the_distribution() -> None:
    fast, stock = pair()
    draws = 40_000
    one = torch.as_tensor(np.random.default_rng(2).uniform(-1, 1, (1, 12)).astype(np.float32))
    torch.manual_seed(1)
    with torch.no_grad():
        actions = fast(one.expand(draws, -1))[0].numpy()
        distributions = stock.get_distribution(one).distribution
    for head, distribution in enumerate(distributions):
        expected = distribution.probs.numpy().ravel()
        found = np.bincount(actions[:, head], minlength=NVEC[head]) / draws
        spread = np.sqrt(expected * (1 - expected) / draws)
        assert (np.abs(found - expected) <= 5 * spread + 1e-9).all()


def test_entropy_of_each_part() -> None:
    fast, stock = pair()
    observations = torch.as_tensor(np.random.default_rng(3).uniform(-1, 1, (64, 12)).astype(np.float32))
    with torch.no_grad():
        found = fast.head_entropies(observations)
        expected = [d.entropy().mean() for d in stock.get_distribution(observations).distribution]
    torch.testing.assert_close(found, torch.stack(expected), rtol=2e-6, atol=2e-6)


def test_save_and_load(tmp_path: Path) -> None:
    fast, _ = pair()
    fast.save(str(tmp_path / "policy"))
    again = FastMultiDiscretePolicy.load(str(tmp_path / "policy"), device="cpu")
    observations = np.random.default_rng(4).uniform(-1, 1, (50, 12)).astype(np.float32)
    assert np.array_equal(
        again.predict(observations, deterministic=True)[0], fast.predict(observations, deterministic=True)[0]
    )


def test_other_action_spaces_are_refused() -> None:
    with pytest.raises(TypeError, match="MultiDiscrete"):
        FastMultiDiscretePolicy(OBSERVATION, Discrete(3), lambda _: 1e-3)
