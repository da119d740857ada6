"""An exported policy behind the environments' interface: it stands in comparisons, rollouts and the control loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..envs import Measurements, Problem
from ..envs import Policy as EnvsPolicy
from ..envs.measure import SCHEMA
from ..errors import InputError

if TYPE_CHECKING:
    from .policy import Policy

__all__ = ["ArtifactPolicy"]


class ArtifactPolicy(EnvsPolicy):
    """Decides with the graph of an artifact.

    Args:
        exported: The artifact's policy; its own memory is reset with this one's.
        any_problem: Accept a problem with another fingerprint, as long as its action space is the same.
    """

    name = "exported"
    learned = True
    """An agent, not a rule."""

    def __init__(self, exported: Policy, any_problem: bool = False) -> None:
        self.exported, self.any_problem = exported, any_problem
        provenance = exported.manifest.get("provenance")
        self.meta: dict[str, Any] = dict(provenance) if isinstance(provenance, dict) else {}
        """Provenance: among others the training's seed."""

    def reset(self, problem: Problem, num_envs: int, weights: NDArray[np.float64], seed: int) -> None:
        """Check that this is the problem that the policy was trained on, and start anew.

        Raises:
            InputError: It is another problem.
        """
        facts, source = self.exported.facts, self.exported.source
        fingerprint = problem.fingerprint()
        if facts.fingerprint != fingerprint and not self.any_problem:
            rule = (
                f"must be trained on the scenario in use ('{problem.scenario.name}', {fingerprint}), "
                f"but was trained on '{facts.scenario}'"
            )
            remedy = "export a run of it, or allow another scenario"
            raise InputError(source, "fingerprint", rule, facts.fingerprint, remedy)
        if list(facts.nvec) != problem.nvec.tolist():
            raise InputError(source, "actions", f"must be {problem.nvec.tolist()} for this scenario", list(facts.nvec))
        layout = [(field.name, field.size) for field in SCHEMA]
        if [(field.name, field.size) for field in facts.fields] != layout:
            raise InputError(source, "measurements", "must be those of this version", remedy="export the run again")
        self.exported.reset()

    def act(self, measurements: Measurements) -> NDArray[np.int64]:
        """The likeliest action of each environment, int64 (N, 4)."""
        return self.exported.act(measurements.rows)
