"""A look into an ONNX model before it is run: only the plain operators of a policy, nothing outside the file.

onnxruntime refuses operators that it does not know, but runs every one that it does: loops, and tensors whose data
lies in other files. A policy needs neither. The few protobuf fields that tell are read here, so that loading needs no
further package (field numbers: onnx.proto, ONNX 1.17).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

__all__ = ["MAX_NODES", "OPERATORS", "check_graph"]

OPERATORS = frozenset(
    {
        "Add",
        "ArgMax",
        "Cast",
        "Clip",
        "Concat",
        "Div",
        "Gather",
        "GatherElements",
        "Gemm",
        "Greater",
        "Log",
        "Max",
        "Mul",
        "Relu",
        "Split",
        "Tanh",
        "Unsqueeze",
        "Where",
    }
)
"""Operators that a policy is made of; what `edgecloud.agents.onnx_graph` uses."""
MAX_NODES = 1000

_MODEL_GRAPH, _MODEL_FUNCTIONS, _MODEL_TRAINING = 7, 25, 20
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


def check_graph(content: bytes, source: str | Path) -> bytes:
    """The model, if it is one that a policy may be.

    Args:
        content: ONNX model.
        source: Where it came from, for messages.

    Raises:
        InputError: It is no ONNX model, has other operators, more than `MAX_NODES` nodes, or refers to other files.
    """
    try:
        _check_model(content, source)
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(source, "policy.onnx", "must be an ONNX model: it is damaged or something else") from error
    return content


def _check_model(content: bytes, source: str | Path) -> None:
    graphs = []
    for number, value in _fields(content):
        if number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
            raise InputError(source, "policy.onnx", "must not define functions or training")
        if number == _MODEL_GRAPH:
            graphs.append(_bytes(value))
    if len(graphs) != 1:
        raise InputError(source, "policy.onnx", "must be an ONNX model with one graph", len(graphs))
    nodes = 0
    for number, value in _fields(graphs[0]):
        if number == _GRAPH_NODE:
            nodes += 1
            if nodes > MAX_NODES:
                raise InputError(source, "policy.onnx", f"must have at most {MAX_NODES} nodes")
            _check_node(_bytes(value), source)
        elif number == _GRAPH_TENSOR:
            _check_tensor(_bytes(value), source)
        elif number == _GRAPH_SPARSE:
            raise InputError(source, "policy.onnx", "must not hold sparse tensors")
    if not nodes:
        raise InputError(source, "policy.onnx", "must have nodes", 0)


def _check_node(content: bytes, source: str | Path) -> None:
    operator, domain = "", ""
    for number, value in _fields(content):
        if number == _NODE_TYPE:
            operator = _bytes(value).decode()
        elif number == _NODE_DOMAIN:
            domain = _bytes(value).decode()
        elif number == _NODE_ATTRIBUTE and any(
            inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS) for inner, _ in _fields(_bytes(value))
        ):
            raise InputError(source, "policy.onnx", "must not hold graphs inside its nodes", operator)
    if operator not in OPERATORS or domain not in ("", "ai.onnx"):
        name = f"{domain}.{operator}" if domain else operator
        raise InputError(source, "policy.onnx", "must hold only the operators of an exported policy", name)


def _check_tensor(content: bytes, source: str | Path) -> None:
    if any(n == _TENSOR_EXTERNAL or (n == _TENSOR_LOCATION and value != 0) for n, value in _fields(content)):
        raise InputError(source, "policy.onnx", "must not refer to other files")


def _fields(content: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Field numbers and values of a protobuf message; a ValueError or IndexError if it is none."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(content, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(content, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(content):
            raise ValueError("a field ends after the message")
        yield number, content[at : at + length]
        at += length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number longer than 64 bits")


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message must be")
    return value
