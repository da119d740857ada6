"""A trained policy in another program: numpy and onnxruntime, nothing else.

from edgecloud.runtime import Policy

policy = Policy.load("policy.edgecloud")
decision = policy.decide(measurements)  # once per control interval
print(decision.cut_device, decision.cut_edge, decision.threshold_value, decision.route, decision.vm_target)
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .artifact import Artifact, read_artifact
from .in_force import InForce
from .manifest import Facts, facts_of
from .measured import RowBuilder

if TYPE_CHECKING:
    from ..envs import Policy as EnvsPolicy

__all__ = ["Decision", "Policy"]

Ints = NDArray[np.int64]


class Decision(NamedTuple):
    """What holds for the next control interval.

    Attributes:
        cut_device: Stages before it run on the device (0: the raw input is sent; the number of stages: nothing is).
        cut_edge: Stages from `cut_device` to it run at the edge, the rest in the cloud.
        threshold: Index of the confidence threshold.
        threshold_value: The confidence at which an exit answers; infinite: none but the last does.
        route: 'vm', 'faas' or 'spill'; without meaning where nothing runs in the cloud.
        vm_target: VMs to aim at.
        indices: As the environment counts: placement, threshold, route, VM target.
    """

    cut_device: int
    cut_edge: int
    threshold: int
    threshold_value: float
    route: str
    vm_target: int
    indices: tuple[int, int, int, int]


class Policy:
    """An exported policy.

    It chooses placement, threshold and route each interval, and every `pool_review` intervals the size of the VM pool,
    which holds in between. It may be used from several threads; decisions are made one after the other.

    Args:
        artifact: As read; `load` reads one.

    Attributes:
        manifest: All that the artifact says of itself.
        facts: The part that decisions need, checked.
        sha256: Of the file.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.source, self.manifest, self.sha256 = artifact.source, artifact.manifest, artifact.sha256
        self.facts: Facts = facts_of(artifact.manifest, artifact.source)
        self._rows = RowBuilder(self.facts.fields, artifact.source)
        self._session = _session(artifact, self._rows.width, self.facts.nvec)
        self._lock = threading.Lock()
        self._own = InForce(self.facts.start, self.facts.resident_placements)
        self._t = 0

    @classmethod
    def load(cls, path: str | Path, sha256: str = "") -> Policy:
        """Read a policy that `edgecloud export` wrote.

        Args:
            path: The file.
            sha256: Digest that the file must have, as `edgecloud export` printed it; empty: any.

        Raises:
            InputError: The file is missing, damaged, altered, of a newer format or something else.
        """
        return cls(read_artifact(path, sha256))

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the measurements, in the row's order."""
        return tuple(field.name for field in self.facts.fields)

    def reset(self) -> None:
        """Start anew: the next decision also reviews the pool, and nothing was decided before."""
        with self._lock:
            self._t = 0
            self._own.reset()

    def decide(self, measurements: Mapping[str, ArrayLike] | ArrayLike) -> Decision:
        """Decide for the coming interval; call it once per interval.

        Args:
            measurements: Fields by name in SI units (`policy.manifest["measurements"]` lists them with meaning and
                unit), or one whole row of the environment. The fields that follow from earlier decisions (placement,
                threshold, route, vm_target, placement_age, other_placement) may be left out: the policy knows what it
                decided. Give them if something else came into force.

        Raises:
            InputError: A field is missing, misspelt, of the wrong size, or not finite.
        """
        with self._lock:
            row = self._rows.row(measurements, self._own.fields())
            indices = self._act(row[None])[0]
            self._own.decide(indices)
        return self.decision(indices.tolist())

    def act(self, rows: ArrayLike) -> Ints:
        """Decide for a batch of systems, float64 (N, D) to int64 (N, 4): placement, threshold, route, VM target.

        The rows must be whole: a batch has no memory but when the pool is due.

        Raises:
            InputError: The shape is another, or a number is not finite.
        """
        checked = self._rows.rows(rows)
        with self._lock:
            return self._act(checked)

    def _act(self, rows: NDArray[np.float64]) -> Ints:
        choice, target = self._session.run(("choice", "vm_target"), {"measurements": rows})
        if self._t % self.facts.pool_review:
            target = rows[:, self._rows.vm_target, None].astype(np.int64)
        self._t += 1
        return np.concatenate([choice, target], axis=1)

    def inspect(self, rows: ArrayLike) -> dict[str, NDArray[Any]]:
        """Everything that the graph computes for whole rows (N, D): choice, vm_target, observations, logits, gains."""
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {"measurements": self._rows.rows(rows)}), strict=True))

    def decision(self, indices: Sequence[int]) -> Decision:
        """An action's indices in the field's words."""
        placement, threshold, route, target = (int(part) for part in indices)
        facts = self.facts
        return Decision(
            *facts.placements[placement],
            threshold,
            facts.thresholds[threshold],
            facts.routes[route],
            target,
            (placement, threshold, route, target),
        )

    def as_policy(self, any_problem: bool = False) -> EnvsPolicy:
        """The policy behind the environments' interface: for `rollout`, comparisons and the controller.

        Needs the whole project to be installed.

        Args:
            any_problem: Accept a problem with another fingerprint, as long as its action space is the same.
        """
        from .artifact_policy import ArtifactPolicy

        return ArtifactPolicy(self, any_problem)


def _session(artifact: Artifact, width: int, nvec: Sequence[int]) -> Any:
    """An inference session on one thread: the networks are small, and a decision must not compete with serving."""
    try:
        import onnxruntime
    except ImportError as error:
        remedy = "pip install onnxruntime"
        raise InputError("policy", "", f"needs the package 'onnxruntime' ({error})", remedy=remedy) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(artifact.graph, options, providers=["CPUExecutionProvider"])
        probe = session.run(("choice", "vm_target", "gains"), {"measurements": np.zeros((2, width))})
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        reason = str(error).splitlines()[0][:200]
        raise InputError(artifact.source, "policy.onnx", f"must be a graph that onnxruntime runs ({reason})") from error
    sizes = [part.shape for part in probe]
    if sizes != [(2, 3), (2, 1), (2, nvec[3])] or not (probe[0] < np.asarray(nvec[:3])).all():
        raise InputError(artifact.source, "policy.onnx", "must have outputs that fit the manifest's actions", sizes)
    return session
