"""Train, validation and test parts, by log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .link import LinkTrace

__all__ = ["Split", "split_traces"]


@dataclass(frozen=True)
class Split:
    """Traces to learn from, to choose settings on, and to report on; no log is in two of them."""

    train: tuple[LinkTrace, ...]
    validation: tuple[LinkTrace, ...]
    test: tuple[LinkTrace, ...]

    @property
    def modes(self) -> tuple[str, ...]:
        """Transport modes in any part, sorted."""
        return tuple(sorted({trace.mode for trace in (*self.train, *self.validation, *self.test)}))


def split_traces(
    traces: Sequence[LinkTrace], seed: int = 0, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
) -> Split:
    """Divide logs into train, validation and test, stratified by transport mode, never within a log.

    Traces with the same content, or with the same mode and name (one recording in two forms), are one log and stay
    together. Per mode, in a random order that depends only on the seed and on the logs' content:

    * three logs or more: each part gets at least one; the rest goes where the fractions lack most;
    * two logs: one to train, one to test (validation does without that mode);
    * one log: to train.

    Args:
        traces: The logs, in any order.
        seed: Of the random order.
        fractions: Shares of train, validation and test; positive, their sum is 1.

    Returns:
        The parts, each sorted by mode and name. The same logs and seed give the same parts whatever their order.

    Raises:
        InputError: The fractions are not shares, or a part would be empty.
    """
    if len(fractions) != 3 or min(fractions) <= 0.0 or abs(sum(fractions) - 1.0) > 1e-9:
        raise InputError("split", "fractions", "must be three positive shares that add up to 1", fractions)
    if seed < 0:
        raise InputError("split", "seed", "must not be negative", seed)
    parts: tuple[list[LinkTrace], ...] = ([], [], [])
    logs = _group(traces)
    for mode in sorted(logs):
        rng = np.random.default_rng([seed, *mode.encode()])
        order = rng.permutation(len(logs[mode]))
        for part, index in zip(_places(len(order), fractions), order, strict=True):
            parts[part].extend(logs[mode][index])
    if not all(parts):
        rule = "must contain at least one transport mode with three logs, so that no part of the split is empty"
        raise InputError("split", "traces", rule, f"{len(traces)} traces")
    train, validation, test = (
        tuple(sorted(part, key=lambda trace: (trace.mode, trace.name, trace.fingerprint))) for part in parts
    )
    return Split(train, validation, test)


def _group(traces: Sequence[LinkTrace]) -> dict[str, list[list[LinkTrace]]]:
    """Logs per mode: lists of traces that belong together, in an order that depends on their content only."""
    logs: list[list[LinkTrace]] = []
    found: dict[tuple[str, ...], list[LinkTrace]] = {}
    for trace in sorted(traces, key=lambda trace: (trace.mode, trace.name, trace.fingerprint)):
        keys = (("name", trace.mode, trace.name), ("content", trace.fingerprint))
        log = found.get(keys[0], [])
        other = found.get(keys[1], log)
        if other is not log:
            log.extend(other)
            logs = [kept for kept in logs if kept is not other]
            found = {key: log if kept is other else kept for key, kept in found.items()}
        log.append(trace)
        if not any(kept is log for kept in logs):
            logs.append(log)
        found[keys[0]] = found[keys[1]] = log
    per_mode: dict[str, list[list[LinkTrace]]] = {}
    for log in sorted(logs, key=lambda log: min((trace.mode, trace.name, trace.fingerprint) for trace in log)):
        per_mode.setdefault(min(trace.mode for trace in log), []).append(log)
    return per_mode


def _places(n_logs: int, fractions: tuple[float, float, float]) -> list[int]:
    """Part (0 train, 1 validation, 2 test) of each of n logs in random order."""
    if n_logs <= 2:
        return [0, 2][:n_logs]
    counts = [1, 1, 1]
    for _ in range(n_logs - 3):
        lacking = [fraction * n_logs - count for fraction, count in zip(fractions, counts, strict=True)]
        counts[int(np.argmax(lacking))] += 1
    return [part for part, count in enumerate(counts) for _ in range(count)]
