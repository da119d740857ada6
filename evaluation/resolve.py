"""From what a person names on the command line to policies and preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..agents.ppo_policy import PPOPolicy
from ..baselines import list_policies, load_policy
from ..envs import Policy, Scenario
from ..envs.preferences import PRESETS, preference
from ..errors import InputError, did_you_mean
from .fixed import BEST_FIXED
from .scores import Method, methods_of

__all__ = [
    "Readers",
    "method_of",
    "named",
    "resolve_methods",
    "resolve_policy",
    "resolve_weights",
    "split_specs",
    "wanted_specs",
]

Readers = Mapping[str, Callable[[Path], Policy]]
"""Further kinds of policy files: by suffix, what reads them."""


def split_specs(text: str) -> list[str]:
    """Split a comma-separated list of policies; options of a policy keep their commas.

    >>> split_specs("dp:horizon=3,margin=0.1,neurosurgeon")
    ['dp:horizon=3,margin=0.1', 'neurosurgeon']
    """
    specs: list[str] = []
    for part in (piece.strip() for piece in text.split(",")):
        if specs and "=" in part and ":" not in part:
            specs[-1] += f",{part}"
        elif part:
            specs.append(part)
    return specs


def resolve_methods(
    runs: Sequence[str], against: str = "all", readers: Readers | None = None
) -> tuple[tuple[Method, ...], bool]:
    """Methods of a command line, and whether the best fixed action in hindsight is wanted too.

    Runs whose policies have the same name are training runs of one method; `NAME=PATH` gives a run another name.

    Args:
        runs: Run folders, checkpoints, names of rules, `module:Class` or `file.py:Class`.
        against: Rules, separated by commas; 'all' among them: every shipped rule and 'best-fixed'; 'none'.
        readers: Of further kinds of policy files.

    Raises:
        InputError: Something named does not exist or cannot be loaded.
    """
    wanted, best_fixed = wanted_specs(runs, against)
    return methods_of([method_of(spec, readers) for spec in wanted]), best_fixed


def wanted_specs(runs: Sequence[str], against: str = "all") -> tuple[tuple[str, ...], bool]:
    """What a command line names, each once, and whether the best fixed action is among it; see `resolve_methods`."""
    specs = [spec for spec in split_specs(against) if spec != "none"]
    if "all" in specs:
        specs = [*list_policies(), BEST_FIXED, *(spec for spec in specs if spec != "all")]
    wanted = dict.fromkeys(spec for spec in (*runs, *specs) if spec != BEST_FIXED)
    return tuple(wanted), BEST_FIXED in (*runs, *specs)


def named(spec: str) -> tuple[str, str]:
    """The name that a `NAME=PATH` gives, empty where there is none, and what is named.

    >>> named("lab=runs/d"), named("dp:horizon=3"), named("runs/a=b")
    (('lab', 'runs/d'), ('', 'dp:horizon=3'), ('', 'runs/a=b'))
    """
    name, equals, rest = spec.partition("=")
    return (name, rest) if equals and ":" not in name and "/" not in name else ("", spec)


def method_of(spec: str, readers: Readers | None = None) -> Method:
    """The method of one member that a specification means.

    Raises:
        InputError: It does not exist or cannot be loaded.
    """
    name, rest = named(spec)
    policy, label, learned = _loaded(rest, readers or {})
    return Method(name or policy[0].name, policy, label, learned)


def _loaded(spec: str, readers: Readers) -> tuple[tuple[Policy, ...], tuple[str, ...], bool]:
    policy = resolve_policy(spec, readers)
    learned = isinstance(policy, PPOPolicy) or getattr(policy, "learned", False) is True
    seed = getattr(policy, "meta", {}).get("seed") if learned else None
    return (policy,), (spec if seed is None else f"seed {seed}",), learned


def resolve_policy(spec: str, readers: Readers | None = None) -> Policy:
    """A policy from a run folder, a checkpoint, a rule's name, `module:Class` or `file.py:Class`.

    Args:
        spec: What is named.
        readers: Of further kinds of policy files.

    Raises:
        InputError: It does not exist or cannot be loaded.
    """
    path = Path(spec)
    if path.is_dir() or path.suffix == ".npz":
        return PPOPolicy.load(path)
    if readers and path.suffix in readers:
        return readers[path.suffix](path)
    if "/" in spec and ":" not in spec and not path.exists():
        raise InputError("policy", "", "must be a run folder, a checkpoint or the name of a rule", spec)
    try:
        return load_policy(spec)
    except InputError as error:
        if error.source == "policy" and not error.field and ":" not in spec:
            known = [*list_policies(), BEST_FIXED]
            remedy = did_you_mean(spec, known) + "; or name a run folder, a checkpoint, module:Class or file.py:Class"
            raise InputError("policy", "", "must be a known policy", spec, remedy) from error
        raise


def resolve_weights(text: str, scenario: Scenario) -> dict[str, tuple[float, float, float]]:
    """Preferences by name: 'all', names separated by commas, or three numbers (latency, cost, privacy).

    Raises:
        InputError: A name is unknown or the numbers are not on the simplex.
    """
    if text.strip() == "all":
        return {name: preference(name, scenario) for name in ("default", *PRESETS)}
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) == 3 and all(_is_number(part) for part in parts):
        return {",".join(parts): preference(",".join(parts), scenario)}
    if not parts:
        raise InputError(
            "weights", "", "must be presets or three numbers", text, did_you_mean("", ["default", *PRESETS])
        )
    return {part: preference(part, scenario) for part in parts}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
