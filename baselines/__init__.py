"""Every rule that is not learned, behind the one policy interface."""

from .dp import DynamicProgramme
from .neurosurgeon import Neurosurgeon, NeurosurgeonEnergy, StagePredictor
from .reference import AlwaysCloudVm, AlwaysDevice, AlwaysEdge, AlwaysFaas, FixedAction, RandomPolicy
from .registry import list_policies, load_policy

__all__ = [
    "AlwaysCloudVm",
    "AlwaysDevice",
    "AlwaysEdge",
    "AlwaysFaas",
    "DynamicProgramme",
    "FixedAction",
    "Neurosurgeon",
    "NeurosurgeonEnergy",
    "RandomPolicy",
    "StagePredictor",
    "list_policies",
    "load_policy",
]
