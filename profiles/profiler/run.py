"""From a model to its profile: the steps behind `edgecloud profile`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ...errors import InputError
from ...source import versions
from ..layer_table import CutSizes, Layer, LayerCut, LayerTable, SequencePoint
from ..measuring.timing import one_thread
from ..profile import Exit, Profile, Reference, Stage
from ..provenance import machine_name, today
from .capture import Captured, capture
from .costs import LayerCosts, StageCosts, cut_sizes, measure_layers, measure_stages
from .energy import find_meter, joules_per_call
from .graph import LayerGraph, is_tensor, value_of
from .grouping import (
    Grouping,
    check_same_stages,
    coarsen,
    drop_pruned,
    fine_positions,
    module_path,
    stage_names,
)
from .targets import Target

__all__ = ["LENGTHS", "Measured", "ProfileSettings", "profile_target"]

LENGTHS = (128, 32, 64, 256, 512)
"""Sequence lengths that a transformer is measured at if none are given; the first is the profile's own."""
TOKEN_BYTES = 8
"""A text generator's answer as sent: the number of one token, int64."""
UNKNOWN_LEAKAGE = "not measured"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ProfileSettings:
    """How a model is profiled."""

    name: str
    grouping: Grouping = "narrow"
    max_stages: int = 0
    """Most stages; 0 for as many as the grouping gives."""
    lengths: tuple[int, ...] = ()
    """Sequence lengths, the profile's own first; empty for `LENGTHS`. Only for transformers of text."""
    runs: int = 31
    seconds: float = 60.0
    """Most seconds of timing per graph; there are fewer runs then, but at least seven."""
    result_bytes: int = 0
    """Bytes of the answer as sent; 0 for a token's number (text generators) or the float32 outputs."""
    command: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """One graph with everything that was measured of it."""

    graph: LayerGraph
    layers: LayerCosts
    fine: list[int]
    positions: list[int]
    costs: StageCosts

    def cut_sizes(self) -> list[CutSizes]:
        """What crosses at each end of a stage, from the inputs to the outputs."""
        return [cut_sizes(self.graph, position, self.layers) for position in self.positions]


def profile_target(
    target: Target, settings: ProfileSettings, on_progress: Progress = lambda text, done, total: None
) -> tuple[Profile, Measured]:
    """Capture, cut, check and measure a model, at every sequence length that is asked for.

    Args:
        target: The model, from `find_target`.
        settings: How.
        on_progress: Told what is being done and how far it is.

    Raises:
        InputError: The model cannot be captured or cut, or its parts do not compute what it computes.
    """
    load = os.getloadavg()[0]
    lengths = (settings.lengths or LENGTHS) if target.kind != "plain" else (0,)
    with one_thread():
        first = _measure(target, "prefill", lengths[0], settings, None, on_progress)
        points = []
        if target.kind != "plain":
            points.append(_point("prefill", lengths[0], first))
            phases: list[Literal["prefill", "decode"]] = ["prefill", "decode"]
            todo = [(phase, length) for phase in phases[: 1 + (target.kind == "decoder")] for length in lengths]
            for phase, length in todo[1:]:
                other = _measure(target, phase, length, settings, first, on_progress)
                points.append(_point(phase, length, other))
        energy = _energy(first)
    points.sort(key=lambda point: (point.phase != "prefill", point.length))
    return _assemble(target, settings, first, tuple(points), lengths[0], load, energy), first


def _measure(
    target: Target,
    phase: Literal["prefill", "decode"],
    length: int,
    settings: ProfileSettings,
    like: Measured | None,
    on_progress: Progress,
) -> Measured:
    """Everything about one phase at one length; grouped `like` another graph, if one is given."""
    label = f"{phase} at {length} tokens: " if target.kind == "decoder" else f"{length} tokens: " if length else ""
    on_progress(f"{label}exporting", 0, 1)
    captured, original = _capture(target, phase, length)
    graph = LayerGraph(captured)
    done = 0
    total = len(captured.module.graph.nodes)

    def on_node() -> None:
        nonlocal done
        done += 1
        on_progress(f"{label}operators", done, total)

    layers = measure_layers(graph, on_node)
    fine = fine_positions(graph, layers.flops, settings.grouping)
    if like is None:
        positions = _choose(target, graph, layers, fine, settings)
    else:
        check_same_stages(like.fine, fine, target.name)
        positions = [fine[like.fine.index(position)] for position in like.positions]
    _check_same_model(captured, original)
    costs = measure_stages(
        graph,
        positions,
        settings.runs,
        settings.seconds,
        original,
        lambda rounds, total: on_progress(f"{label}timing {len(positions) - 1} stages", rounds, total),
    )
    return Measured(graph=graph, layers=layers, fine=fine, positions=positions, costs=costs)


def _capture(target: Target, phase: str, length: int) -> tuple[Captured, Callable[[], Any]]:
    """The exported graph, and a call of the model as it was given."""
    inputs = target.example(length or None)
    if target.kind == "decoder":
        from . import decoder

        if phase == "decode":
            captured = decoder.capture_decode(target.model, inputs[0], target.name)
            return captured, partial(decoder.Decode(target.model), *captured.inputs)
        captured = decoder.capture_prefill(target.model, inputs[0], target.name)
        return captured, partial(decoder.Prefill(target.model), *captured.inputs)
    return capture(target.model, inputs, target.name), partial(target.model, *inputs)


def _choose(
    target: Target, graph: LayerGraph, layers: LayerCosts, fine: list[int], settings: ProfileSettings
) -> list[int]:
    """The ends of the stages that the settings ask for."""
    sizes = {position: cut_sizes(graph, position, layers) for position in fine}
    winners = drop_pruned(fine, sizes, _result_bytes(target, settings, sizes[fine[-1]]))
    chosen = winners if settings.grouping == "winners" else list(range(len(fine)))
    if settings.max_stages:
        work = np.concatenate([[0.0], np.cumsum([layers.flops.get(node.name, 0.0) for node in graph.nodes])])
        chosen = coarsen(chosen, fine, [float(work[position]) for position in fine], winners, settings.max_stages)
    return [fine[index] for index in chosen]


def _result_bytes(target: Target, settings: ProfileSettings, outputs: CutSizes) -> int:
    return settings.result_bytes or (TOKEN_BYTES if target.kind == "decoder" else outputs.fp32)


@torch.inference_mode()
def _check_same_model(captured: Captured, original: Callable[[], Any]) -> None:
    """Check that the exported graph computes the same bits as the model that was given."""
    given = [item for item in pytree.tree_leaves(_plain(original())) if isinstance(item, Tensor)]
    ours = captured.module(*captured.inputs)
    for number, (mine, theirs) in enumerate(zip(ours, given, strict=True)):
        if not torch.equal(mine, theirs):
            rule = "must be the same, bit for bit, from the exported graph and from the model"
            raise InputError(captured.source, f"output {number}", rule, "it differs")


def _plain(result: Any) -> Any:
    """A model's result as tuples: `transformers` returns ordered mappings."""
    return tuple(result.values()) if isinstance(result, Mapping) else result


def _energy(measured: Measured) -> tuple[float, str] | None:
    meter = find_meter()
    if meter is None:
        return None
    captured = measured.graph.captured
    with torch.inference_mode():
        return joules_per_call(meter, partial(captured.module, *captured.inputs)), meter.name


def _point(phase: Literal["prefill", "decode"], length: int, measured: Measured) -> SequencePoint:
    costs = measured.costs
    return SequencePoint(
        phase=phase,
        length=length,
        stage_latency_s=tuple(timing.median_s for timing in costs.latency),
        stage_latency_spread=tuple(timing.spread for timing in costs.latency),
        stage_flops=tuple(_stage_flops(measured)),
        stage_memory_bytes=costs.memory_bytes,
        cut_sizes=tuple(measured.cut_sizes()),
        stage_cache_bytes=costs.cache_bytes,
        whole_latency_s=costs.whole.median_s,
    )


def _stage_flops(measured: Measured) -> list[float]:
    ends = measured.positions
    flops = measured.layers.flops
    return [
        sum(flops.get(node.name, 0.0) for node in measured.graph.nodes[first:last]) for first, last in pairwise(ends)
    ]


def _assemble(
    target: Target,
    settings: ProfileSettings,
    measured: Measured,
    points: tuple[SequencePoint, ...],
    length: int,
    load: float,
    energy: tuple[float, str] | None,
) -> Profile:
    sizes = measured.cut_sizes()
    stages = _stages(measured, sizes)
    costs = measured.costs
    cuts = len(measured.graph.cuts)
    text = f"{target.name}, {len(measured.graph.nodes)} operators in {len(stages)} stages, {cuts} legal cuts"
    if length:
        text += f"; {length} tokens"
    return Profile(
        name=settings.name,
        description=text,
        stages=stages,
        input_bytes=max(sizes[0].int8, 1),
        result_bytes=_result_bytes(target, settings, sizes[-1]),
        exits=(Exit(name="final", after_stage=len(stages), flops=0.0, latency_s=0.0),),
        confidence=np.zeros((0, 1), dtype=np.float32),
        correct=np.zeros((0, 1), dtype=np.bool_),
        leakage=np.array([1.0, *[np.nan] * (len(stages) - 1), 0.0]),
        leakage_measure=UNKNOWN_LEAKAGE,
        reference=Reference(
            machine=machine_name(),
            effective_flops=sum(stage.flops for stage in stages) / costs.sum_s,
            runs=costs.runs,
            whole_latency_s=costs.whole.median_s,
            energy_j=energy[0] if energy else None,
            energy_meter=energy[1] if energy else None,
        ),
        provenance=_provenance(target, settings, measured, load, energy is not None),
        input_sizes=sizes[0],
        layers=_layer_table(measured),
        sequence=points,
    )


def _stages(measured: Measured, sizes: Sequence[CutSizes]) -> tuple[Stage, ...]:
    graph, costs, ends = measured.graph, measured.costs, measured.positions
    names = stage_names(graph, ends, measured.layers.flops)
    flops = _stage_flops(measured)
    stages = []
    for index, name in enumerate(names):
        crossing = graph.crossing(ends[index + 1])
        stages.append(
            Stage(
                name=name,
                flops=flops[index],
                output_bytes=sizes[index + 1].int8,
                output_fp32_bytes=sizes[index + 1].fp32,
                output_shape=tuple(value_of(crossing[0]).shape[1:]) if len(crossing) == 1 else None,
                weight_bytes=costs.weight_bytes[index],
                parameters=costs.parameters[index],
                memory_bytes=costs.memory_bytes[index],
                latency_s=costs.latency[index].median_s,
                latency_spread=costs.latency[index].spread,
                sizes=sizes[index + 1],
                end=ends[index + 1],
            )
        )
    return tuple(stages)


def _layer_table(measured: Measured) -> LayerTable:
    graph, ends = measured.graph, measured.positions
    layers = []
    for number, node in enumerate(graph.nodes):
        value = value_of(node) if is_tensor(node) else None
        layers.append(
            Layer(
                name=node.name,
                operator=str(node.target),
                module=module_path(node),
                inputs=tuple(source.name for source in graph.needs(node)),
                shape=tuple(value.shape) if value is not None else None,
                dtype=str(value.dtype).removeprefix("torch.") if value is not None else None,
                flops=measured.layers.flops.get(node.name, 0.0),
                stage=int(np.searchsorted(ends, number, side="right")) - 1,
            )
        )
    cuts = tuple(
        LayerCut(
            position=cut.position,
            tensors=tuple(value.name for value in cut.crossing),
            sizes=cut_sizes(graph, cut.position, measured.layers),
        )
        for cut in graph.cuts
    )
    return LayerTable(inputs=tuple(node.name for node in graph.inputs), layers=tuple(layers), cuts=cuts)


def _provenance(
    target: Target, settings: ProfileSettings, measured: Measured, load: float, energy: bool
) -> dict[str, Any]:
    costs = measured.costs
    notes = [
        "FLOPs count a multiply-add as two; convolutions, matrix products and attention (torch.utils.flop_counter).",
        "Latencies: processor time of one thread, batch 1, float32, eager operators, nothing fused; medians.",
        "Output bytes: int8, one byte per element; tensors that are not floats as they are. Sizes with zstd: level 1, "
        "on the activations of the example.",
        "Memory: most activation bytes alive at once, tensors that are passed on and the stage's own cache included.",
        "Compressed sizes depend on the weights and on the example: take those of random weights as an illustration.",
        "The final classifier is part of the last stage. Accuracy and leakage were not measured.",
    ]
    if target.weights.startswith("random"):
        notes.append(
            "The weights are random; batch normalisation, if there is any, has the statistics of the example input."
        )
    if not energy:
        notes.append("Energy: this machine has no meter that may be read.")
    found = versions()
    for name in ("transformers", "zstandard"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": settings.command,
        "date": today(),
        "seed": settings.seed,
        "weights": target.weights,
        "versions": found,
        "parameters": sum(parameter.numel() for parameter in target.model.parameters()),
        "load_average_before": round(load, 2),
        "sum_over_whole": costs.sum_s / costs.whole.median_s,
        "whole_spread": costs.whole.spread,
        "model_as_given_latency_s": costs.original.median_s if costs.original else None,
        "notes": notes,
    }
