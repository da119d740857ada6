"""The rules that a profile must obey as a whole."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from .profile import Profile

__all__ = ["check_profile"]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
SPEED_TOLERANCE = 0.01
"""How far the stated effective speed may lie from total operations over total latency, relative."""


def check_profile(profile: Profile) -> None:
    """Check what the types of the single values cannot: that the parts of a profile agree.

    Raises:
        InputError: With the first broken rule; its source is the profile's name.
    """
    source = profile.name or "profile"
    if not NAME.fullmatch(profile.name):
        raise InputError(source, "name", "must be lower-case letters, digits, '.', '_' and '-'", profile.name)
    for field, value in (("input_bytes", profile.input_bytes), ("result_bytes", profile.result_bytes)):
        if value < 1:
            raise InputError(source, field, "must be at least 1", value)
    _check_stages(profile, source)
    _check_exits(profile, source)
    _check_table(profile, source)
    if profile.leakage.ndim != 1:
        raise InputError(source, "leakage", "must be one list, one entry per cut", profile.leakage.shape)
    _check_leakage(profile.leakage.tolist(), source, "leakage", profile.n_stages + 1, gaps=True)
    _check_protections(profile, source)
    _check_speed(profile, source)
    _check_layers(profile, source)
    _check_sequence(profile, source)


def _check_stages(profile: Profile, source: str) -> None:
    if not profile.stages:
        raise InputError(source, "stages", "must have at least one entry", 0)
    names = [stage.name for stage in profile.stages]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InputError(source, f"stages[{index}].name", "must differ from the other stages' names", name)


def _check_exits(profile: Profile, source: str) -> None:
    after = [head.after_stage for head in profile.exits]
    if not after:
        raise InputError(source, "exits", "must have at least the final classifier", 0)
    for index in range(1, len(after)):
        if after[index] <= after[index - 1]:
            raise InputError(source, f"exits[{index}].after_stage", f"must be above {after[index - 1]}", after[index])
    if after[-1] != profile.n_stages:
        rule = f"must be {profile.n_stages}, the number of stages: the last exit is the final classifier"
        raise InputError(source, f"exits[{len(after) - 1}].after_stage", rule, after[-1])


def _check_table(profile: Profile, source: str) -> None:
    confidence, correct = profile.confidence, profile.correct
    if confidence.ndim != 2 or confidence.shape[1] != profile.n_exits:
        rule = f"must have shape (samples, {profile.n_exits}), one column per exit"
        raise InputError(source, "confidence", rule, confidence.shape)
    if confidence.shape[0] < 1 and profile.n_exits > 1:
        rule = f"must have shape (samples, {profile.n_exits}): how often early exits fire must be known"
        raise InputError(source, "confidence", rule, confidence.shape)
    if correct.shape != confidence.shape:
        raise InputError(source, "correct", f"must have the shape of confidence, {confidence.shape}", correct.shape)
    bad = np.argwhere(~((confidence >= 0) & (confidence <= 1)))
    if len(bad):
        row, column = (int(number) for number in bad[0])
        raise InputError(source, f"confidence[{row},{column}]", "must lie in [0, 1]", float(confidence[row, column]))


def _check_leakage(leakage: Sequence[float], source: str, field: str, cuts: int, gaps: bool = False) -> None:
    """One value per cut in [0, 1]; with `gaps`, NaN is allowed at the inner cuts."""
    if len(leakage) != cuts:
        raise InputError(source, field, f"must have {cuts} entries, one per cut", (len(leakage),))
    for cut, value in enumerate(leakage):
        unknown = gaps and math.isnan(value) and 0 < cut < cuts - 1
        if not unknown and not 0 <= value <= 1:
            raise InputError(source, f"{field}[{cut}]", "must lie in [0, 1]", value)
    if leakage[0] != 1:
        raise InputError(source, f"{field}[0]", "must be 1, the raw input", leakage[0])
    if leakage[-1] != 0:
        raise InputError(source, f"{field}[{cuts - 1}]", "must be 0: no activation is sent", leakage[-1])


def _check_protections(profile: Profile, source: str) -> None:
    cuts = profile.n_stages + 1
    names = [item.name for item in profile.protections]
    for index, item in enumerate(profile.protections):
        field = f"leakage.protections[{index}]"
        if item.name in names[:index]:
            raise InputError(source, f"{field}.name", "must differ from the other protections' names", item.name)
        _check_leakage(item.leakage, source, f"{field}.leakage", cuts)
        if len(item.accuracy) != cuts:
            raise InputError(source, f"{field}.accuracy", f"must have {cuts} entries, one per cut", len(item.accuracy))
        for cut, value in enumerate(item.accuracy):
            if not 0 <= value <= 1:
                raise InputError(source, f"{field}.accuracy[{cut}]", "must lie in [0, 1]", value)


def _check_speed(profile: Profile, source: str) -> None:
    if profile.total_latency_s <= 0 or profile.total_flops <= 0:
        raise InputError(source, "stages", "must have positive latency and operations in total", 0)
    expected = profile.total_flops / profile.total_latency_s
    stated = profile.reference.effective_flops
    if abs(stated - expected) > SPEED_TOLERANCE * expected:
        rule = f"must be total operations over total latency, {expected:.6g}"
        raise InputError(source, "reference.effective_flops", rule, stated)


def _check_layers(profile: Profile, source: str) -> None:
    if profile.layers is None:
        return
    known = set(profile.layers.inputs)
    for index, layer in enumerate(profile.layers.layers):
        if layer.stage >= profile.n_stages:
            raise InputError(source, f"layers[{index}].stage", f"must be below {profile.n_stages}", layer.stage)
        for name in layer.inputs:
            if name not in known:
                raise InputError(source, f"layers[{index}].inputs", "must name layers that come before it", name)
        known.add(layer.name)
    positions = {cut.position for cut in profile.layers.cuts}
    for index, stage in enumerate(profile.stages):
        if stage.end is not None and stage.end not in positions:
            raise InputError(source, f"stages[{index}].end", "must be the position of a legal cut", stage.end)


def _check_sequence(profile: Profile, source: str) -> None:
    seen = set()
    for index, point in enumerate(profile.sequence):
        field = f"sequence[{index}]"
        if (point.phase, point.length) in seen:
            raise InputError(source, field, "must differ from the others", f"{point.phase} {point.length}")
        seen.add((point.phase, point.length))
        for name in ("latency_s", "latency_spread", "flops", "memory_bytes", "cache_bytes"):
            values = getattr(point, f"stage_{name}")
            if len(values) != profile.n_stages:
                rule = f"must have {profile.n_stages} values, one per stage"
                raise InputError(source, f"{field}.stage_{name}", rule, len(values))
        if len(point.cut_sizes) != profile.n_stages + 1:
            rule = f"must have {profile.n_stages + 1} values, one per cut"
            raise InputError(source, f"{field}.cut_sizes", rule, len(point.cut_sizes))
