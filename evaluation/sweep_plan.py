"""What a large comparison consists of: pieces of work, each with a key that says all that its result depends on."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ..agents.ppo_policy import checkpoint_path
from ..envs import Policy, Problem, Window, evaluation_windows
from ..traces import LinkTrace
from .comparison import check_inputs
from .resolve import method_of, named, wanted_specs
from .scores import Weights

__all__ = ["CHUNK", "Entry", "Plan", "Task", "code_digest", "entries_of", "plan_sweep", "policy_seed"]

CHUNK = 20
"""Episodes per piece of work. Part of the results of rules that draw random numbers for a whole batch, so no option."""

_PACKAGE = __name__.partition(".")[0]
_CODE = ("traces", "profiles", "pricing", "envs", "baselines")
_FILES = (
    "agents/ppo_policy.py",
    "agents/pool.py",
    "evaluation/metrics.py",
    "evaluation/fixed.py",
    "evaluation/sweep.py",
)
_KINDS = {".py", ".toml", ".json"}


@dataclass(frozen=True)
class Entry:
    """One policy of the comparison.

    Attributes:
        method: Row of the table.
        member: Which of the method's training runs.
        spec: How to make it: a rule's name, a run folder, `module:Class`; see `resolve_policy`.
        learned: Whether it is an agent.
        digest: Of all that makes it decide as it does, apart from the package's own code.
    """

    method: str
    member: str
    spec: str
    learned: bool
    digest: str


@dataclass(frozen=True)
class Task:
    """One policy at one preference on some of the episodes.

    Attributes:
        entry: The policy.
        weights_name: Name of the preference.
        weights: The preference.
        first: Its first episode.
        last: The one after its last.
        key: Digest of all that the result depends on.
        constant: An action to be played instead of loading a policy.
    """

    entry: Entry
    weights_name: str
    weights: Weights
    first: int
    last: int
    key: str
    constant: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """A whole comparison, before it runs.

    Attributes:
        problem: The compiled problem.
        traces: Held-out logs.
        windows: One per episode.
        presets: Preferences by name.
        entries: The policies.
        seed: Of the worlds.
        repeats: Episodes per window.
        best_fixed: Whether the best fixed action in hindsight is searched.
        exhaustive: Whether that search may not discard constants early.
    """

    problem: Problem
    traces: tuple[LinkTrace, ...]
    windows: tuple[Window, ...]
    presets: dict[str, Weights]
    entries: tuple[Entry, ...]
    seed: int = 0
    repeats: int = 1
    best_fixed: bool = False
    exhaustive: bool = False

    def tasks(self) -> tuple[Task, ...]:
        """Every piece of work but those of the best fixed action."""
        return tuple(task for entry in self.entries for task in self.tasks_of(entry))

    def tasks_of(self, entry: Entry, constants: Mapping[str, tuple[int, ...]] | None = None) -> tuple[Task, ...]:
        """One policy's pieces of work; `constants`: the action that it plays, by preference."""
        tasks = []
        for name, weights in self.presets.items():
            constant = constants[name] if constants else ()
            for first in range(0, len(self.windows), CHUNK):
                last = min(first + CHUNK, len(self.windows))
                key = self.key(
                    kind="episodes",
                    policy=entry.digest,
                    constant=constant,
                    weights=weights,
                    worlds=self._worlds(first, last),
                )
                tasks.append(Task(entry, name, weights, first, last, key, constant))
        return tuple(tasks)

    def search_key(self) -> str:
        """Of the search of the best fixed action."""
        worlds = self._worlds(0, len(self.windows))
        return self.key(kind="best-fixed", presets=self.presets, worlds=worlds, exhaustive=self.exhaustive)

    def time_key(self, entry: Entry) -> str:
        """Of the measurement of how long one decision takes."""
        return self.key(kind="decision", policy=entry.digest, worlds=self._worlds(0, 1))

    def key(self, **parts: Any) -> str:
        """Digest of parts, the problem, the seed and the code.

        An edit of the code makes every key another one: results of different code are never mixed.
        """
        content = {"code": code_digest(), "problem": self.problem.fingerprint(), "seed": self.seed, **parts}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def _worlds(self, first: int, last: int) -> list[tuple[str, int, int]]:
        chosen = enumerate(self.windows[first:last], first)
        return [(self._fingerprints[w.trace], w.offset, k) for k, w in chosen]

    @functools.cached_property
    def _fingerprints(self) -> list[str]:
        return [trace.fingerprint for trace in self.traces]


def plan_sweep(
    runs: Sequence[str],
    against: str,
    problem: Problem,
    traces: Sequence[LinkTrace],
    presets: Mapping[str, Weights],
    seed: int = 0,
    repeats: int = 1,
    *,
    exhaustive: bool = False,
) -> Plan:
    """Plan a comparison; everything named is loaded once, so that what cannot be loaded is refused before the work.

    Args:
        runs: As for `resolve_methods`.
        against: As for `resolve_methods`.
        problem: The compiled problem.
        traces: Held-out logs.
        presets: Preferences by name.
        seed: Of the worlds.
        repeats: Worlds per window of a log.
        exhaustive: See `search_fixed`.

    Raises:
        InputError: Something named cannot be loaded, or there is nothing to compare.
    """
    entries, best_fixed = entries_of(runs, against)
    check_inputs(entries, traces, presets, repeats, best_fixed)
    windows = evaluation_windows(traces, problem, repeats)
    return Plan(problem, tuple(traces), windows, dict(presets), entries, seed, repeats, best_fixed, exhaustive)


def entries_of(runs: Sequence[str], against: str) -> tuple[tuple[Entry, ...], bool]:
    """The policies that a command line names, and whether the best fixed action is wanted too."""
    specs, best_fixed = wanted_specs(runs, against)
    members: dict[str, list[Entry]] = {}
    for spec in specs:
        method = method_of(spec)
        rest = named(spec)[1]
        digest = _digest(rest, method.members[0])
        entry = Entry(method.name, method.labels[0], rest, method.learned, digest)
        members.setdefault(method.name, []).append(entry)
    entries = []
    for group in members.values():
        distinct = len({entry.member for entry in group}) == len(group)
        for number, entry in enumerate(group):
            label = entry.member if distinct else str(number)
            entries.append(Entry(entry.method, label, entry.spec, entry.learned, entry.digest))
    return tuple(entries), best_fixed


def _digest(spec: str, policy: Policy) -> str:
    """Of a checkpoint's content, or of a rule's specification with its source if it does not ship with the package."""
    path = Path(spec)
    if path.is_dir() or path.suffix == ".npz":
        return hashlib.sha256(checkpoint_path(path).read_bytes()).hexdigest()
    digest = hashlib.sha256(spec.encode())
    if type(policy).__module__.partition(".")[0] != _PACKAGE:
        digest.update(Path(inspect.getfile(type(policy))).read_bytes())
    return digest.hexdigest()


@functools.cache
def code_digest() -> str:
    """Of the code and data files that results depend on, and of the numerical libraries' versions."""
    digest = hashlib.sha256()
    for name in ("numpy", "numba", "scipy"):
        digest.update(metadata.version(name).encode())
    for part in _CODE:
        folder = _folder(part)
        for path in sorted(folder.rglob("*")):
            if path.suffix in _KINDS and path.is_file():
                digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    for name in _FILES:
        part, _, file = name.partition("/")
        digest.update((_folder(part) / file).read_bytes())
    return digest.hexdigest()


def _folder(part: str) -> Path:
    module = importlib.import_module(f"{_PACKAGE}.{part}")
    return Path(str(module.__file__)).parent


def policy_seed(seed: int, first: int) -> int:
    """The seed of a policy that draws, in the piece of work that begins with an episode.

    The first piece has the comparison's own seed: a comparison of one piece is what `compare` returns.
    """
    return seed if first == 0 else int(np.random.SeedSequence([seed, first]).generate_state(1)[0])
