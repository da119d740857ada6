"""Grouping operators into stages: which of the legal cuts a profile keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Literal

from torch import fx

from ...errors import InputError
from ..layer_table import CutSizes
from ..pruning import can_win_in_any
from .graph import LayerGraph

__all__ = ["Grouping", "coarsen", "drop_pruned", "fine_positions", "stage_names"]

Grouping = Literal["narrow", "all", "winners"]
"""`narrow`: cuts that one tensor crosses, light operators joined to the one before; `all`: every legal cut;
`winners`: of the narrow ones those that can be optimal."""

NAME_LENGTH = 80


def fine_positions(graph: LayerGraph, flops: Mapping[str, float], grouping: Grouping) -> list[int]:
    """Where stages may end, from 0 to the number of operators.

    Args:
        graph: The layer graph.
        flops: Operations of each operator, by name.
        grouping: `all` keeps every legal cut. Otherwise the cuts are kept that a single tensor crosses and behind
            which counted operations (convolutions, matrix products, attention) start: activation functions, pooling
            and normalisation belong to the stage before them, where a cut never costs more bytes.
    """
    end = len(graph.nodes)
    if grouping == "all":
        return [cut.position for cut in graph.cuts]
    narrow = [cut.position for cut in graph.cuts if len(cut.crossing) == 1 and 0 < cut.position < end]
    bounds = [0, *narrow, end]
    heavy = [
        first
        for first, last in pairwise(bounds)
        if any(flops.get(node.name, 0) > 0 for node in graph.nodes[first:last])
    ]
    starts = [position for position in heavy if position > 0]
    if starts and not _uses_weights(graph.nodes[: starts[0]]):
        starts = starts[1:] if heavy[0] > 0 else starts
    return [0, *starts, end]


def _uses_weights(nodes: Sequence[fx.Node]) -> bool:
    return any(source.op == "get_attr" for node in nodes for source in node.all_input_nodes)


def drop_pruned(positions: Sequence[int], sizes: Mapping[int, CutSizes], result_bytes: int) -> list[int]:
    """Indices of the positions that can be optimal in some encoding (see `edgecloud.profiles.pruning`)."""
    keep = can_win_in_any([sizes[position] for position in positions], result_bytes)
    return [index for index in range(len(positions)) if keep[index]]


def coarsen(
    chosen: Sequence[int], positions: Sequence[int], work: Sequence[float], winners: Sequence[int], stages: int
) -> list[int]:
    """Join neighbouring stages until there are at most `stages`, the lightest pair first.

    Args:
        chosen: Indices into `positions` that are kept so far, the first and the last among them.
        positions: The fine positions.
        work: Work before each fine position, never falling (operations).
        winners: Indices of cuts that can be optimal; they are given up only when no other is left.
        stages: The most stages wanted, at least one.

    Returns:
        The indices that remain.
    """
    kept = list(chosen)
    precious = set(winners)
    while len(kept) - 1 > stages:
        inner = range(1, len(kept) - 1)
        spare = [place for place in inner if kept[place] not in precious] or list(inner)
        place = min(spare, key=lambda place: work[kept[place + 1]] - work[kept[place - 1]])
        del kept[place]
    return kept


def stage_names(graph: LayerGraph, positions: Sequence[int], flops: Mapping[str, float]) -> list[str]:
    """A name for each stage: what the paths of its heavy operators' modules have in common; unique."""
    names = []
    for first, last in pairwise(positions):
        inside = graph.nodes[first:last]
        heavy = [node for node in inside if flops.get(node.name, 0) > 0] or list(inside)
        paths = [module_path(node).split(".") for node in heavy]
        levels = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
        names.append(".".join(parts[0] for parts in levels) or heavy[-1].name)
    while len(names) > 1 and len({name.split(".")[0] for name in names}) == 1 and all("." in name for name in names):
        names = [name.partition(".")[2] for name in names]
    unique: list[str] = []
    for name in names:
        short = name[-NAME_LENGTH + 6 :]
        number = sum(1 for other in unique if re.fullmatch(re.escape(short) + r"(#\d+)?", other))
        unique.append(f"{short}#{number + 1}" if number else short)
    return unique


def module_path(node: fx.Node) -> str:
    """Path of the innermost module that an operator comes from; empty where torch did not record it."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()), ("",))[0] if stack else ""
    return re.sub(r"^L\['self'\]\.?", "", str(path))


def check_same_stages(one: Sequence[int], other: Sequence[int], source: str) -> None:
    """Check that the graph of another sequence length or phase falls into the same number of stages.

    Raises:
        InputError: It does not.
    """
    if len(one) != len(other):
        rule = f"must have {len(one) - 1} stages at every sequence length and in both phases"
        raise InputError(source, "stages", rule, len(other) - 1, "profile one length: give a single --lengths")
