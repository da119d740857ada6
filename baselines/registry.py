"""Policies by name: the rules that ship, and a user's own."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..envs.policy import Policy
from ..errors import InputError, did_you_mean
from .dads import Dads, LoadPart
from .dp import DynamicProgramme
from .edgent import Edgent, EdgentDynamic
from .libra import Libra, Serflow
from .mpc import ModelPredictive
from .neurosurgeon import Neurosurgeon, NeurosurgeonEnergy
from .reference import AlwaysCloudVm, AlwaysDevice, AlwaysEdge, AlwaysFaas, RandomPolicy
from .splitllm import SplitLlm
from .targets import AmpsInf, ConfidenceRouting, DnnSplit, Spinn

__all__ = ["list_policies", "load_policy"]

_REGISTRY: dict[str, tuple[type[Policy], dict[str, Any], str]] = {
    "random": (RandomPolicy, {}, "uniform over the action space"),
    "always-device": (AlwaysDevice, {}, "the whole network on the device"),
    "always-edge": (AlwaysEdge, {}, "raw input to the edge server"),
    "always-cloud-vm": (AlwaysCloudVm, {}, "raw input to a VM pool that follows the load"),
    "always-faas": (AlwaysFaas, {}, "raw input to a function"),
    "neurosurgeon": (Neurosurgeon, {}, "lowest predicted latency, device and edge (ASPLOS 2017)"),
    "neurosurgeon-energy": (NeurosurgeonEnergy, {}, "lowest predicted energy of the device, device and edge"),
    "neurosurgeon-faas": (Neurosurgeon, {"server": "faas"}, "lowest predicted latency, device and function"),
    "neurosurgeon-vm": (Neurosurgeon, {"server": "vm"}, "lowest predicted latency, device and one VM"),
    "dads": (Dads, {}, "lowest latency, or lowest bottleneck under heavy load, device and edge (INFOCOM 2019)"),
    "loadpart": (LoadPart, {}, "lowest latency with the edge server's load and queue (ICDCS 2022)"),
    "dnnsplit": (DnnSplit, {}, "lowest latency over three tiers among the pruned cuts (IEEE Access 2024)"),
    "edgent": (Edgent, {}, "strictest threshold that meets the deadline, best cut (Li et al. 2018)"),
    "edgent-dynamic": (EdgentDynamic, {}, "map of bandwidth states, found by change-point detection (Li et al. 2020)"),
    "spinn": (Spinn, {}, "cheapest cut and threshold within latency and accuracy targets (MobiCom 2020)"),
    "splitllm": (SplitLlm, {}, "most work on the device within the deadline, exact (arXiv 2410.10759)"),
    "splitllm-greedy": (SplitLlm, {"method": "greedy"}, "the same, layer by layer"),
    "splitllm-no-split": (SplitLlm, {"method": "no-split"}, "the same, the whole network on one tier"),
    "amps-inf": (AmpsInf, {}, "cheapest cut within a response-time objective (ICPP 2021)"),
    "libra": (Libra, {}, "whole requests in the cloud, VMs for the steady part, functions for the rest (IC2E 2021)"),
    "serflow": (Serflow, {}, "the same for what early exits leave of the work (arXiv 2510.27182)"),
    "hybrid-llm": (ConfidenceRouting, {}, "the first exit answers what it is sure of, the edge the rest (ICLR 2024)"),
    "dp": (
        DynamicProgramme,
        {"pool_margin": 0.0},
        "optimum of the expected one-interval objective over cuts, thresholds and routes",
    ),
    "dp-held": (
        DynamicProgramme,
        {"horizon": 15, "margin": 0.01, "arrival_margin": 0.1},
        "the same, judging an action as if it were kept for fifteen intervals",
    ),
    "dp-warm": (
        DynamicProgramme,
        {"horizon": 6, "margin": 0.01, "arrival_margin": 0.1, "warm": 4},
        "as dp-held, counting a function's cold start as an investment that outlives the horizon",
    ),
    "mpc": (ModelPredictive, {}, "receding horizon: plans judged by simulating imagined futures"),
}

_OWN = re.compile(r"^(?P<target>.+?):(?P<name>[A-Za-z_]\w*)(?::(?P<options>.*))?$")


def list_policies() -> dict[str, str]:
    """Names of the rules that ship, each with one line about it.

    >>> "neurosurgeon" in list_policies()
    True
    """
    return {name: about for name, (_, _, about) in _REGISTRY.items()}


def load_policy(spec: str) -> Policy:
    """Make a policy from its specification.

    Args:
        spec: A registered name ("dp"), a class of one's own ("package.module:Class" or "rules/mine.py:Class"), either
            followed by options for the constructor ("dp:horizon=3,vms=1").

    Raises:
        InputError: The name, file, class or option is unknown, or an option's value has the wrong type.

    >>> load_policy("always-edge").name
    'always-edge'
    """
    head, _, tail = spec.partition(":")
    if head in _REGISTRY:
        cls, fixed, _ = _REGISTRY[head]
        policy = _build(cls, spec, tail, fixed)
        policy.name = spec
        return policy
    own = _OWN.match(spec)
    if own is None:
        remedy = did_you_mean(head, _REGISTRY) + "; your own rule is named module:Class or path/to/file.py:Class"
        raise InputError("policy", "", "must be a known policy", spec, remedy)
    module = _module(own["target"], spec)
    found = getattr(module, own["name"], None)
    if found is None:
        classes = [name for name, value in vars(module).items() if inspect.isclass(value)]
        raise InputError("policy", own["target"], "has no such class", own["name"], did_you_mean(own["name"], classes))
    if not (inspect.isclass(found) and issubclass(found, Policy)) or inspect.isabstract(found):
        rule = "must be a class that derives from edgecloud.envs.Policy or Rule and defines its method"
        raise InputError("policy", spec, rule, own["name"])
    policy = _build(found, spec, own["options"] or "", {})
    if policy.name == Policy.name:
        policy.name = own["name"]
    return policy


def _module(target: str, spec: str) -> Any:
    """Import a module by file or by dotted name."""
    if target.endswith(".py"):
        path = Path(target).expanduser().resolve()
        if not path.is_file():
            raise InputError("policy", spec, "must name a file that exists", target)
        name = f"_edgecloud_rule_{path.stem}"
        found = importlib.util.spec_from_file_location(name, path)
        if found is None or found.loader is None:
            raise InputError("policy", spec, "must name a Python file", target)
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module  # dataclasses and pickles look their module up by name
        return _load(lambda: found.loader.exec_module(module), spec) or module  # type: ignore[union-attr]
    if not all(part.isidentifier() for part in target.split(".")):
        remedy = did_you_mean(target, _REGISTRY) + "; your own rule is named module:Class or path/to/file.py:Class"
        raise InputError("policy", "", "must be a known policy", spec, remedy)
    return _load(lambda: importlib.import_module(target), spec)


def _load(action: Callable[[], Any], spec: str) -> Any:
    try:
        return action()
    except InputError:
        raise
    except Exception as error:
        remedy = did_you_mean(spec.partition(":")[0], _REGISTRY)
        raise InputError(
            "policy", spec, f"cannot be imported ({type(error).__name__}: {error})", None, remedy
        ) from error


def _build(cls: type[Policy], spec: str, options: str, fixed: dict[str, Any]) -> Policy:
    """Construct with the options of a specification, converted to the types of the constructor's defaults."""
    known = inspect.signature(cls).parameters
    chosen = dict(fixed)
    for item in filter(None, options.split(",")):
        key, equals, text = item.partition("=")
        if not equals or key not in known:
            remedy = did_you_mean(key, known) if known else "it has no options"
            raise InputError("policy", spec, "must have options key=value that the policy knows", item, remedy)
        chosen[key] = _convert(text, known[key].default, spec, key)
    try:
        return cls(**chosen)
    except TypeError as error:
        raise InputError("policy", spec, f"cannot be made ({error})") from error


def _convert(text: str, default: Any, spec: str, key: str) -> Any:
    if isinstance(default, bool):
        if text.lower() in ("true", "false", "1", "0"):
            return text.lower() in ("true", "1")
        raise InputError("policy", spec, f"{key} must be true or false", text)
    kind: Callable[[str], Any] = type(default) if isinstance(default, (int, float)) else str
    try:
        return kind(text)
    except ValueError:
        raise InputError("policy", spec, f"{key} must be of type {type(default).__name__}", text) from None
