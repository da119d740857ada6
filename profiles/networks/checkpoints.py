"""Checkpoints of a training run: written in one step, read without unpickling, refused when the settings differ."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...files import write_atomically
from .network import EarlyExitCnn, NetworkShape

__all__ = ["build_network", "load_network", "read_checkpoint", "require_same", "shape_from", "write_checkpoint"]

KEYS = {"network", "optimiser", "epoch", "settings", "shape"}


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values so that `path` is the old file or the new one, whenever the machine stops."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def read_checkpoint(path: Path, keys: set[str] | None = None) -> dict[str, Any]:
    """The content of a checkpoint; nothing but tensors and plain values is ever unpickled.

    Raises:
        InputError: If the file is damaged or lacks one of `keys` (those of a training run by default).
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            path, "", "must be a readable training checkpoint", reason, "remove it to start anew"
        ) from error
    if not isinstance(content, dict) or not (keys or KEYS) <= content.keys():
        raise InputError(path, "", "must be a training checkpoint of this project", None, "remove it to start anew")
    return content


def require_same(checkpoint: Path, part: str, wanted: dict[str, Any], stored: dict[str, Any]) -> None:
    """Refuse to continue a run with other settings; names the first that differs."""
    for key, value in wanted.items():
        if stored.get(key) != value:
            rule = f"must be the run's own, {stored.get(key)!r}"
            raise InputError(checkpoint, f"{part}.{key}", rule, value, "use another run folder")


def shape_from(content: dict[str, Any]) -> NetworkShape:
    """The shape that a checkpoint stores; what older checkpoints lack has its default."""
    stored = content["shape"].items()
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored}
    return NetworkShape(**values)


def build_network(shape: NetworkShape | None) -> EarlyExitCnn:
    """A network in channels-last memory order, which convolutions on a CPU prefer."""
    network = EarlyExitCnn(shape)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def load_network(path: Path) -> tuple[EarlyExitCnn, dict[str, Any]]:
    """The network of a checkpoint, in evaluation mode, and the checkpoint's other content.

    Raises:
        InputError: If the file is not such a checkpoint.
    """
    content = read_checkpoint(path)
    network = build_network(shape_from(content))
    network.load_state_dict(content["network"])
    network.eval()
    return network, content
