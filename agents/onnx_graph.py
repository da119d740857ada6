"""A trained policy as one ONNX graph: measured rows in SI units in, decisions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..envs import Encoder
from ..envs.measure import column, width

__all__ = ["policy_graph"]

Arrays = Mapping[str, NDArray[Any]]

_OPSET, _IR = 17, 8  # of 2022: any onnxruntime of the last years reads them


class _Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str | Sequence[str], **attributes: Any) -> str:
        outputs = [output] if isinstance(output, str) else list(output)
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, name=outputs[0], **attributes))
        return outputs[0]


def policy_graph(
    encoder: Encoder,
    actor: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    relu: bool,
    choices: Sequence[int],
    pool: Arrays,
    pool_margin: float,
) -> bytes:
    """Encoder, actor and pool network as one ONNX model.

    Input `measurements`, float64 (N, D): rows of `edgecloud.envs.measure.SCHEMA`. Outputs: `choice`, int64 (N, 3), the
    likeliest placement, threshold and route; `vm_target`, int64 (N, 1), what the pool network wants; `observations`,
    float32 (N, L); `logits`, float32 (N, sum(choices)); `gains`, float32 (N, targets).

    The encoder computes in double precision and rounds once to single, the networks compute in single precision: both
    as in `PPOPolicy` and stable-baselines3; sums of products may be taken in another order.

    Args:
        encoder: Of the problem.
        actor: Weight (inputs, outputs) and bias of each layer, the head last.
        relu: Activation between them; else tanh.
        choices: Sizes of placement, threshold and route.
        pool: Parameters of `PoolNetwork`.
        pool_margin: Predicted gain that a change of the pool must bring.
    """
    graph = _Graph()
    observations = _encode(graph, encoder)
    logits = _actor(graph, observations, actor, relu)
    _choose(graph, logits, choices)
    _pool(graph, observations, pool, pool_margin)
    outputs = [
        ("choice", TensorProto.INT64, len(choices)),
        ("vm_target", TensorProto.INT64, 1),
        ("observations", TensorProto.FLOAT, encoder.size),
        ("logits", TensorProto.FLOAT, int(sum(choices))),
        ("gains", TensorProto.FLOAT, len(pool["2.bias"])),
    ]
    whole = helper.make_graph(
        graph.nodes,
        "policy",
        [helper.make_tensor_value_info("measurements", TensorProto.DOUBLE, ["N", width()])],
        [helper.make_tensor_value_info(name, kind, ["N", size]) for name, kind, size in outputs],
        graph.constants,
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    model.producer_name = "edgecloud"
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _encode(graph: _Graph, encoder: Encoder) -> str:
    """`Encoder.__call__`; log1p(x) is log(1 + x), which differs by less than single precision can show."""
    graph.constant("zero", np.zeros(1))
    graph.constant("one", np.ones(1))
    graph.add("Gather", ["measurements", graph.constant("source", encoder.source)], "picked", axis=1)
    graph.add("Div", ["picked", graph.constant("scale", encoder.scale)], "scaled")
    graph.add("Max", ["scaled", "zero"], "positive")
    graph.add("Add", ["positive", "one"], "plus_one")
    graph.add("Log", ["plus_one"], "logarithm")
    graph.add("Where", [graph.constant("logarithmic", encoder.logarithmic), "logarithm", "scaled"], "unit")
    graph.add("Mul", ["unit", graph.constant("gain", encoder.gain)], "gained")
    graph.add("Add", ["gained", graph.constant("shift", encoder.shift)], "shifted")
    graph.constant("low", np.array(-1.0))
    graph.constant("high", np.array(1.0))
    parts = [graph.add("Clip", ["shifted", "low", "high"], "numbers")]
    parts += [_lookup(graph, k, at, table) for k, (at, table) in enumerate(encoder.tables)]
    graph.add("Concat", parts, "observations_double", axis=1)
    return graph.add("Cast", ["observations_double"], "observations", to=TensorProto.FLOAT)


def _index(graph: _Graph, name: str, at: int, choices: int) -> str:
    """A column as a whole number within a table, int64 (N,)."""
    graph.add("Gather", ["measurements", graph.constant(f"{name}_column", np.array(at))], f"{name}_value", axis=1)
    graph.add("Cast", [f"{name}_value"], f"{name}_whole", to=TensorProto.INT64)
    first, last = graph.constant(f"{name}_first", np.array(0)), graph.constant(f"{name}_last", np.array(choices - 1))
    return graph.add("Clip", [f"{name}_whole", first, last], f"{name}_index")


def _lookup(graph: _Graph, k: int, at: int, table: NDArray[np.float64]) -> str:
    """The vectors that a categorical column selects."""
    index = _index(graph, f"table_{k}", at, len(table))
    return graph.add("Gather", [graph.constant(f"table_{k}", table), index], f"part_{k}", axis=0)


def _actor(graph: _Graph, x: str, layers: Sequence[tuple[NDArray[Any], NDArray[Any]]], relu: bool) -> str:
    for k, (weight, bias) in enumerate(layers):
        last = k == len(layers) - 1
        names = [graph.constant(f"actor_{k}_weight", weight), graph.constant(f"actor_{k}_bias", bias)]
        x = graph.add("Gemm", [x, *names], "logits" if last else f"actor_{k}")
        if not last:
            x = graph.add("Relu" if relu else "Tanh", [x], f"actor_{k}_active")
    return x


def _choose(graph: _Graph, logits: str, choices: Sequence[int]) -> None:
    """The likeliest part of each; of equal ones the first, as NumPy and torch choose."""
    heads = [f"head_{k}" for k in range(len(choices))]
    sizes = graph.constant("choices", np.asarray(choices, dtype=np.int64))
    graph.add("Split", [logits, sizes], heads, axis=1)
    best = [graph.add("ArgMax", [head], f"{head}_best", axis=1, keepdims=1) for head in heads]
    graph.add("Concat", best, "choice", axis=1)


def _pool(graph: _Graph, observations: str, pool: Arrays, margin: float) -> None:
    """`PoolNetwork.targets`: the most promising size, or the one asked for now where it is nearly as good."""
    arrays = {name: np.asarray(value, dtype=np.float32) for name, value in pool.items()}
    for layer in ("0", "2"):
        graph.constant(f"pool_{layer}_weight", arrays[f"{layer}.weight"])
        graph.constant(f"pool_{layer}_bias", arrays[f"{layer}.bias"])
    graph.add("Gemm", [observations, "pool_0_weight", "pool_0_bias"], "pool_0", transB=1)
    graph.add("Relu", ["pool_0"], "pool_0_active")
    graph.add("Gemm", ["pool_0_active", "pool_2_weight", "pool_2_bias"], "gains", transB=1)
    graph.add("ArgMax", ["gains"], "pool_best", axis=1, keepdims=1)
    _index(graph, "target", column("vm_target"), len(arrays["2.bias"]))
    graph.add("Unsqueeze", ["target_index", graph.constant("columns", np.array([1]))], "pool_now")
    graph.add("GatherElements", ["gains", "pool_best"], "gain_best", axis=1)
    graph.add("GatherElements", ["gains", "pool_now"], "gain_now", axis=1)
    graph.add("Add", ["gain_now", graph.constant("margin", np.array(margin, dtype=np.float32))], "gain_needed")
    graph.add("Greater", ["gain_best", "gain_needed"], "change")
    graph.add("Where", ["change", "pool_best", "pool_now"], "vm_target")
