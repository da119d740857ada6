"""The actor-critic network of stable-baselines3 with a quicker distribution for several discrete choices.

`MultiCategoricalDistribution` builds one torch distribution per choice, each with its own checks, normalisations,
gathers and sums. Here every choice costs one log-soft-max, and all that follows is done once for all of them.
Log-probabilities and entropies are those of stable-baselines3 to rounding; parameters have the same names, so either
class loads the other's.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.spaces import MultiDiscrete, Space
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

__all__ = ["FastMultiDiscretePolicy"]


class _Extractor(nn.Module):
    """Separate networks for actor and critic; the actor does not see the observation's last `private` columns."""

    def __init__(self, size: int, private: int, layers: dict[str, list[int]], activation: type[nn.Module]) -> None:
        super().__init__()
        self.public = size - private
        self.policy_net, self.latent_dim_pi = _stack(self.public, layers["pi"], activation)
        self.value_net, self.latent_dim_vf = _stack(size, layers["vf"], activation)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        """Also takes observations that end before the private columns."""
        latent: Tensor = self.policy_net(features[:, : self.public])
        return latent

    def forward_critic(self, features: Tensor) -> Tensor:
        latent: Tensor = self.value_net(features)
        return latent


def _stack(inputs: int, layers: list[int], activation: type[nn.Module]) -> tuple[nn.Sequential, int]:
    modules: list[nn.Module] = []
    for units in layers:
        modules += [nn.Linear(inputs, units), activation()]
        inputs = units
    return nn.Sequential(*modules), inputs


class FastMultiDiscretePolicy(ActorCriticPolicy):
    """`ActorCriticPolicy` for a flat observation and a `MultiDiscrete` action.

    Args:
        observation_space: A `Box` of one dimension, already scaled: it enters the network as it is.
        action_space: `MultiDiscrete`.
        private: Columns at the end of an observation that only the critic sees.
        *args: As of `ActorCriticPolicy`.
        **kwargs: As of `ActorCriticPolicy`.
    """

    def __init__(
        self, observation_space: Space[Any], action_space: Space[Any], *args: Any, private: int = 0, **kwargs: Any
    ) -> None:
        self._private = private
        if not isinstance(action_space, MultiDiscrete):
            raise TypeError("The 'action_space' parameter of FastMultiDiscretePolicy must be MultiDiscrete.")
        super().__init__(observation_space, action_space, *args, **kwargs)
        self._sizes = [int(n) for n in action_space.nvec]
        offsets = torch.tensor([0, *self._sizes[:-1]]).cumsum(0)
        self.register_buffer("_offsets", offsets, persistent=False)

    def _build_mlp_extractor(self) -> None:
        both = self.net_arch  # a list means the same layers for actor and critic, as in stable-baselines3
        layers = both if isinstance(both, dict) else {"pi": both, "vf": both}
        self.mlp_extractor = _Extractor(self.features_dim, self._private, layers, self.activation_fn).to(self.device)  # type: ignore[assignment]

    def _log_probabilities(self, latent: Tensor) -> Tensor:
        """Log-probability of every choice of every head, end to end, (B, sum(nvec))."""
        heads = torch.split(self.action_net(latent), self._sizes, dim=1)
        return torch.cat([torch.log_softmax(head, dim=1) for head in heads], dim=1)

    def _of(self, log_p: Tensor, actions: Tensor) -> Tensor:
        """Log-probability of joint actions, (B,)."""
        return log_p.gather(1, actions + self._offsets).sum(dim=1)  # type: ignore[operator]

    def _choose(self, log_p: Tensor, deterministic: bool) -> Tensor:
        """The likeliest choice of each head, or a draw: the largest p / E, E exponential, is k with probability p_k."""
        if not deterministic:
            noise = torch.empty_like(log_p).exponential_().clamp_min_(1e-20)  # an exact zero could make 0 / 0
            log_p = log_p.exp() / noise
        return torch.stack([head.argmax(dim=1) for head in torch.split(log_p, self._sizes, dim=1)], dim=1)

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (B, heads), values (B, 1) and log-probabilities (B,)."""
        latent_pi, latent_vf = self.mlp_extractor(obs)
        log_p = self._log_probabilities(latent_pi)
        actions = self._choose(log_p, deterministic)
        return actions, self.value_net(latent_vf), self._of(log_p, actions)

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Values (B, 1), log-probabilities (B,) and entropies (B,) of given actions."""
        latent_pi, latent_vf = self.mlp_extractor(obs)
        log_p = self._log_probabilities(latent_pi)
        entropy = -(log_p.exp() * log_p).sum(dim=1)
        return self.value_net(latent_vf), self._of(log_p, actions.long()), entropy

    def head_entropies(self, obs: Tensor) -> Tensor:
        """Mean entropy of each head in nats, (heads,)."""
        log_p = self._log_probabilities(self.mlp_extractor.forward_actor(obs))
        terms = -(log_p.exp() * log_p).mean(dim=0)
        return torch.stack([head.sum() for head in torch.split(terms, self._sizes)])

    def head_logits(self, obs: Tensor) -> list[Tensor]:
        """Logits of each head, (B, nvec[head])."""
        return list(torch.split(self.action_net(self.mlp_extractor.forward_actor(obs)), self._sizes, dim=1))

    def predict_values(self, obs: Tensor) -> Tensor:  # type: ignore[override]
        """Values, (B, 1)."""
        value: Tensor = self.value_net(self.mlp_extractor.forward_critic(obs))
        return value

    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:  # type: ignore[override]
        return self._choose(self._log_probabilities(self.mlp_extractor.forward_actor(observation)), deterministic)
