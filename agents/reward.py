"""What the learner is paid: the reward with less luck in it, and a cold start paid for as long as it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..envs import TERMS, Simulator
from ..envs.redrawn import RedrawnTerms
from ..envs.state import Params, State

if TYPE_CHECKING:
    from .config import TrainConfig

__all__ = ["LearnerReward", "cold_start_worth", "expected_accuracy_loss"]

Floats = NDArray[np.float64]

_REWARD, _ACCURACY = TERMS.index("reward"), TERMS.index("reward_accuracy")
_ARRIVED, _FAILED = TERMS.index("arrived"), TERMS.index("failed")


class LearnerReward:
    """The reward that training uses instead of what happened; validation and scores never see it.

    Args:
        simulator: Whose rewards.
        expected_accuracy: Charge the accuracy that the threshold loses on average at the true difficulty instead of
            what the few requests of the interval happened to lose: the same mean, far less noise.
        redraws: Draws of the interval's requests over which the reward is averaged; 0: what happened.
        warm_refund: Share of a cold start's delay and bill that is given back when the instance starts and taken when
            it expires: the difference of the potential `warm_refund * worth * instances`, undiscounted. An instance
            serves for minutes, a learner's horizon is seconds; so its price is no reason against starting it (a
            heuristic for what lies beyond the horizon, as in Cheng, Kolobov and Swaminathan, NeurIPS 2021). It has the
            form of Ng, Harada and Russell's shaping (ICML 1999) without its invariance: nothing is taken back where an
            episode ends, so up to `refunded_instances` starts are free to the learner in an episode that is shorter
            than the keep-alive. That is wanted, and changes what is optimal for it.
        refunded_instances: How many instances at most.
    """

    def __init__(
        self,
        simulator: Simulator,
        expected_accuracy: bool = False,
        redraws: int = 0,
        warm_refund: float = 0.0,
        refunded_instances: int = 4,
    ) -> None:
        self._simulator, self._params = simulator, simulator.problem.params
        self._lost = expected_accuracy_loss(self._params) if expected_accuracy else None
        self._redrawn = RedrawnTerms(simulator, redraws) if redraws else None
        self._refund, self._most = warm_refund, refunded_instances
        self._worth = cold_start_worth(self._params)
        self._hard = self._potential = np.zeros(simulator.num_envs)
        self._draws = np.zeros((simulator.num_envs, 0, len(TERMS)))

    @classmethod
    def of(cls, simulator: Simulator, config: TrainConfig) -> LearnerReward:
        """With the settings of a training."""
        c = config
        return cls(simulator, c.expected_accuracy, c.redraws, c.warm_refund, c.refunded_instances)

    def before(self, actions: NDArray[np.int64]) -> None:
        """Note what has to be known before an interval begins, int64 (N, 4)."""
        self._hard = 1.0 / (1.0 + np.exp(-1.7 * self._simulator.state.regime))
        self._potential = self.potential(self._simulator.state)
        if self._redrawn is not None:
            self._draws = self._redrawn(actions)

    def after(self, terms: Floats, actions: NDArray[np.int64], done: NDArray[np.bool_]) -> Floats:
        """The interval's reward for the learner, (N,).

        Args:
            terms: What happened, (N, len(TERMS)).
            actions: int64 (N, 4).
            done: Whose episode has ended: their state is another episode's already, so nothing is refunded (a start
                in the last interval is charged in full).
        """
        draws = terms[:, None] if self._redrawn is None else self._draws
        reward = draws[..., _REWARD]
        if self._lost is not None:
            hard, easy = self._lost[:, actions[:, 1]]
            expected = self._params.accuracy_penalty * (self._hard * hard + (1.0 - self._hard) * easy)
            answered = draws[..., _ARRIVED] > draws[..., _FAILED]
            reward = reward - draws[..., _ACCURACY] - np.where(answered, expected[:, None], 0.0)
        refund = np.where(done, 0.0, self.potential(self._simulator.state) - self._potential)
        return np.asarray(reward.mean(axis=1) + refund)

    def potential(self, state: State) -> Floats:
        """What the running function instances of each environment have been refunded, (N,)."""
        if not self._refund:
            return np.zeros(len(state.t))
        p = self._params
        alive = (state.t[:, None] * p.interval_s - state.faas_free_s < p.keep_alive_s).sum(axis=1)
        return np.asarray(self._refund * (state.weights @ self._worth) * np.minimum(alive, self._most))


def cold_start_worth(params: Params) -> Floats:
    """What one cold start costs in an interval's reward, per unit of each weight, (3,).

    Its mean delay over the latency reference, as one request among those of its interval; its mean billed part over the
    cost reference; no leakage.
    """
    delay = float(params.faas_setup_s.mean() + params.faas_init_s.mean())
    billed = 1e3 * float(params.faas_init_s.mean()) * params.usd_per_faas_ms * params.faas_init_billed
    return np.array([_share_of_one(params) * delay / params.latency_ref_s, billed / params.cost_ref_usd, 0.0])


def _share_of_one(params: Params) -> float:
    """Mean of 1 / (requests of its interval) over all requests: what a request counts in its interval's mean."""
    if len(params.arrival_counts):
        counts = params.arrival_counts
        return float(np.count_nonzero(counts) / max(counts.sum(), 1))
    sojourn, mean = 1.0 / params.arrival_leave, params.arrival_rps * params.interval_s
    share = sojourn / sojourn.sum()
    return float(share @ -np.expm1(-mean)) / max(float(share @ mean), 1e-12)


def expected_accuracy_loss(params: Params) -> Floats:
    """Mean of correct(full network) - correct(answer) per threshold over the hard and the easy half, float64 (2, K)."""
    samples = np.arange(len(params.difficulty_order))
    lost = params.correct[:, -1].astype(np.float64) - params.correct[samples, params.exit_of].astype(np.float64)
    half = len(samples) // 2
    halves = params.difficulty_order[:half], params.difficulty_order[half:]
    return np.stack([lost[:, chosen].mean(axis=1) for chosen in halves])
