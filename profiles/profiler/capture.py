"""A model as one flat operator graph: exported by torch, without side effects, with input-free parts computed once."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ...errors import InputError

__all__ = ["Captured", "capture"]

EXPORT_GUIDE = "profile the part of the model before or after it, or rewrite it with torch operators"
OFF = {"train": False, "training": False, "dropout_p": 0.0, "dropout": 0.0, "p": 0.0}
"""Arguments that turn the randomness of an operator off, and the value that does."""


@dataclass(frozen=True, eq=False)
class Captured:
    """An exported model.

    Attributes:
        module: Takes the flat input tensors, gives a tuple of flat outputs. No operator in it writes to a tensor.
        inputs: The example inputs, flat, in the order of the placeholders.
        states: Which inputs are state that stays where it is used (a key-value cache), one flag per placeholder.
        state_outputs: Which outputs are state that stays where it is made, one flag per output.
        source: What the model is called in error messages.
    """

    module: fx.GraphModule
    inputs: tuple[Tensor, ...]
    states: tuple[bool, ...]
    state_outputs: tuple[bool, ...]
    source: str


@torch.no_grad()
def capture(
    model: nn.Module, inputs: Sequence[Any], source: str = "model", state_inputs: int = 0, state_outputs: int = 0
) -> Captured:
    """Export a model in evaluation mode for inputs of these shapes.

    Args:
        model: Any module; it is put into evaluation mode, and its parameters need no gradient afterwards.
        inputs: Positional arguments of its `forward`: tensors, or containers of tensors.
        source: Name for error messages.
        state_inputs: How many of the last flat inputs are state (a key-value cache).
        state_outputs: How many of the last flat outputs are state.

    Raises:
        InputError: The model cannot be exported or cut: control flow or shapes that depend on data, an operator that
            torch cannot trace, a write to a buffer or an input, a random operator. Names the node or the line.
    """
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    program = _export(model, tuple(inputs), source)
    flat = tuple(item for item in pytree.tree_leaves(tuple(inputs)) if isinstance(item, Tensor))
    with _quiet():
        module = program.module(check_guards=False)
    if not isinstance(module, fx.GraphModule):  # pragma: no cover - what torch documents
        raise InputError(source, "", "must export to one graph", type(module).__name__)
    _flatten(module)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    if len(placeholders) != len(flat):
        rule = "must take tensors only: each input of the graph is sent to another machine"
        raise InputError(source, "inputs", rule, [node.name for node in placeholders])
    _check_nodes(module, source)
    _fold_constants(module)
    outputs = module.graph.output_node().args[0]
    assert isinstance(outputs, tuple)
    return Captured(
        module=module,
        inputs=flat,
        states=tuple(index >= len(flat) - state_inputs for index in range(len(flat))),
        state_outputs=tuple(index >= len(outputs) - state_outputs for index in range(len(outputs))),
        source=source,
    )


def _export(model: nn.Module, inputs: tuple[Any, ...], source: str) -> torch.export.ExportedProgram:
    """The exported program, with in-place operators replaced by ones that make a new tensor."""
    with _quiet():
        try:
            program = torch.export.export(model, inputs, strict=False)
            if _mutating(program.graph):
                program = program.run_decompositions({})
        except Exception as error:
            raise _explain(error, source) from error
    signature = program.graph_signature
    for kind, written in (("buffer", signature.buffers_to_mutate), ("input", signature.user_inputs_to_mutate)):
        for node_name, target in written.items():
            rule = f"must not write to the {kind} '{target}': the parts of a cut model share no memory"
            remedy = "make it an input and an output of forward" if kind == "buffer" else "clone the input first"
            raise InputError(source, f"node {node_name}", rule, None, remedy)
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch logs and prints about failed exports off the terminal: the error says it in one line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _mutating(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if (schema := _schema(node)) is not None and schema.is_mutable]


def _schema(node: fx.Node) -> Any:
    return node.target._schema if isinstance(node.target, torch._ops.OpOverload) else None


def _explain(error: Exception, source: str) -> InputError:
    """What torch's exporter complains of, in one line with a way out."""
    text = str(error)
    where = _user_line(error, text)
    if "data-dependent" in text:
        rule = "must not branch, loop or build numbers on the values of a tensor"
        remedy = "use torch.cond or torch.where, or return the exits' logits as further outputs"
        return InputError(source, where, rule, None, remedy)
    operator = re.search(r"no fake impl registered for (\S+)", text)
    if operator:
        rule = f"uses the operator {operator[1].rstrip('.')}, of which torch does not know the output's shape"
        return InputError(source, where, rule, None, "register one: torch.library.register_fake")
    rule = f"cannot be exported by torch: {text.strip().splitlines()[0] if text.strip() else type(error).__name__}"
    return InputError(source, where, rule, None, EXPORT_GUIDE)


def _user_line(error: Exception, text: str) -> str:
    """The line of the model's own code at which the export failed, as `file:line in forward (code)`."""
    found = re.findall(r'File "([^"]+)", line (\d+), in (\w+)\n\s+(.+)', text)
    if found:
        file, line, function, code = found[-1]
        return f"{_short(file)}:{line} in {function} ({code.strip()})"
    best = ""
    trace = error.__traceback__
    while trace is not None:
        code_object = trace.tb_frame.f_code
        if "/torch/" not in code_object.co_filename and code_object.co_filename != __file__:
            best = f"{_short(code_object.co_filename)}:{trace.tb_lineno} in {code_object.co_name}"
        trace = trace.tb_next
    return best


def _short(file: str) -> str:
    return "/".join(file.split("/")[-2:])


def _flatten(module: fx.GraphModule) -> None:
    """Replace nested arguments and results by flat tensors."""
    graph = module.graph
    graph.set_codegen(fx.graph.CodeGen())
    output = graph.output_node()
    leaves = pytree.tree_leaves(output.args[0], is_leaf=lambda item: isinstance(item, fx.Node))
    output.args = (tuple(leaf for leaf in leaves if isinstance(leaf, fx.Node)),)
    for node in list(graph.nodes):
        if node.op == "call_function" and not node.users and _is_check(node):
            graph.erase_node(node)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()


def _is_check(node: fx.Node) -> bool:
    return "assert" in str(node.target)


def _check_nodes(module: fx.GraphModule, source: str) -> None:
    for node in module.graph.nodes:
        if node.op == "call_function":
            _check_node(node, source)
        elif node.op == "call_module":
            raise InputError(source, f"node {node.name}", "must be an operator, not a module", str(node.target))


def _check_node(node: fx.Node, source: str) -> None:
    field = f"node {node.name} ({node.target})"
    if node in _mutating(node.graph):
        rule = "must not write to a tensor in place, which torch could not undo here"
        raise InputError(source, field, rule, None, "use the operator that returns a new tensor")
    for value in pytree.tree_leaves(node.meta.get("val")):
        if isinstance(value, Tensor) and any(not isinstance(size, int) for size in value.shape):
            rule = f"must have a shape that does not depend on data, here {tuple(value.shape)}"
            raise InputError(source, field, rule, None, "use a mask (torch.where) instead of selecting elements")
    if _is_random(node):
        rule = "must not draw random numbers: the parts of a cut model could not repeat the whole"
        raise InputError(source, field, rule, None, "pass the noise as an input, or turn it off in eval()")


def _is_random(node: fx.Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    given = dict(node.kwargs)
    for argument, value in zip(_schema(node).arguments, node.args, strict=False):
        given[argument.name] = value
    for argument in _schema(node).arguments:
        given.setdefault(argument.name, argument.default_value)
    return not any(name in given and given[name] == value for name, value in OFF.items())


def _fold_constants(module: fx.GraphModule) -> None:
    """Compute what depends neither on inputs nor on weights (masks, positions) once and keep it as a buffer."""
    graph = module.graph
    values: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "call_function" and all(source in values for source in node.all_input_nodes):
            args = fx.node.map_arg(node.args, values.__getitem__)
            kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
            values[node] = node.target(*args, **kwargs)
    for number, (node, value) in enumerate(values.items()):
        outside = [user for user in node.users if user not in values]
        if not outside or not isinstance(value, Tensor):
            continue
        name = f"_folded_{number}"
        module.register_buffer(name, value.clone(memory_format=torch.preserve_format), persistent=False)
        with graph.inserting_before(outside[0]):
            fresh = graph.get_attr(name)
        fresh.meta = dict(node.meta)
        node.replace_all_uses_with(fresh, delete_user_cb=lambda user: user not in values)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()
