"""Finding the model that a person names, and an input for it."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError, did_you_mean

__all__ = ["Target", "find_target", "parse_input"]

DTYPES = {
    "float32": torch.float32,
    "int64": torch.int64,
    "int32": torch.int32,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Target:
    """A model to profile.

    Attributes:
        name: What the person wrote.
        model: The module, in evaluation mode.
        kind: `encoder` reads a whole sequence of tokens at once, `decoder` also makes tokens one by one; a `plain`
            model takes the tensors that it takes.
        example: Makes the example inputs; given a sequence length for the first two kinds, None for the third.
        weights: In words, where the weights come from.
    """

    name: str
    model: nn.Module
    kind: Literal["plain", "encoder", "decoder"]
    example: Callable[[int | None], tuple[Tensor, ...]]
    weights: str


def find_target(
    name: str,
    inputs: Sequence[str] = (),
    options: Sequence[str] = (),
    weights: Path | None = None,
    image: Path | None = None,
    seed: int = 0,
) -> Target:
    """The model that `package.module:factory` or `transformers:NAME` names.

    Args:
        name: `package.module:factory`, where calling the factory gives a module or a pair (module, example inputs); or
            `transformers:NAME` with a configuration class (`ResNetConfig`), a model type (`resnet`) or the path of a
            configuration file.
        inputs: Shapes as `parse_input` reads them; needed where neither factory nor configuration tells.
        options: `key=value` arguments of the factory or the configuration; values are JSON, else text.
        weights: A file of weights (.safetensors, or .pt without pickled code); random ones without it.
        image: The picture that an image model is given; a photograph that matplotlib brings, without it.
        seed: Of the random weights and random inputs.

    Raises:
        InputError: There is no such thing, or it is no module; the weights or the picture do not fit.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        rule = "must be package.module:factory, or transformers:NAME such as transformers:ResNetConfig"
        raise InputError("target", "", rule, name)
    torch.manual_seed(seed)
    arguments = _options(options)
    if module_name == "transformers":
        from . import from_transformers

        model, kind, shape = from_transformers.build(attribute, arguments, name)
        given: tuple[Tensor, ...] | None = None
    else:
        model, given = _call_factory(_find(module_name, attribute), arguments, name)
        kind, shape = "plain", None
    words = f"random, seed {seed}" if kind != "plain" or shape else f"as the factory makes them, seed {seed}"
    if weights is not None:
        _load_weights(model, weights)
        words = f"from {weights.name}"
    model.eval()
    generator = torch.Generator().manual_seed(seed)

    def example(length: int | None) -> tuple[Tensor, ...]:
        if kind != "plain":
            assert isinstance(shape, int)
            size = (1, length or 128)
            return (torch.randint(0, shape, size, generator=torch.Generator().manual_seed(seed)),)
        if inputs:
            return tuple(parse_input(text, image, generator) for text in inputs)
        if given is not None:
            return given
        if shape is None:
            raise InputError(name, "--input", "must be given, for example --input 1x3x224x224")
        return (parse_input(str(shape), image, generator),)

    if kind == "plain" and shape and weights is None:
        settle_batch_norm(model, example(None))
    return Target(name=name, model=model, kind=kind, example=example, weights=words)


def parse_input(text: str, image: Path | None, generator: torch.Generator) -> Tensor:
    """An example tensor from its shape: `1x3x224x224`, `1x128:int64:30522` (numbers below 30522), `1x16:bool`.

    A float of shape (1, 3, height, width) from 16 pixels on is a picture: colours scaled to mean 0 and deviation 1 as
    for ImageNet. Other floats are normally distributed.

    Raises:
        InputError: The text is no shape, or the picture cannot be read.
    """
    match = re.fullmatch(r"(\d+(?:x\d+)*)(?::(\w+))?(?::(\d+))?", text)
    if not match or (match[2] or "float32") not in DTYPES:
        rule = f"must read like 1x3x224x224 or 1x128:int64:30522, with one of {', '.join(DTYPES)}"
        raise InputError("--input", "", rule, text)
    shape = tuple(int(part) for part in match[1].split("x"))
    dtype = DTYPES[match[2] or "float32"]
    if not all(shape) or shape[0] != 1:
        raise InputError("--input", "", "must have sizes of at least 1, the first (samples) exactly 1", text)
    if not dtype.is_floating_point:
        return torch.randint(0, int(match[3] or 2), shape, generator=generator).to(dtype)
    if len(shape) == 4 and shape[1] == 3 and min(shape[2:]) >= 16:
        return read_image(image, shape[2], shape[3])
    return torch.randn(shape, generator=generator)


def read_image(path: Path | None, height: int, width: int) -> Tensor:
    """A picture as (1, 3, height, width), its middle cut out and scaled; matplotlib's photograph without a path."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if path is None:
        from matplotlib import get_data_path

        path = Path(get_data_path()) / "sample_data" / "grace_hopper.jpg"
    try:
        with Image.open(path) as opened:
            picture = ImageOps.fit(opened.convert("RGB"), (width, height), Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(path, "", "must be a readable picture", str(error)) from error
    colours = (np.asarray(picture, dtype=np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return torch.from_numpy(np.ascontiguousarray(colours.transpose(2, 0, 1)[None], dtype=np.float32))


def _options(options: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not key.isidentifier():
            raise InputError("--set", "", "must be key=value", option)
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return values


def _find(module_name: str, attribute: str) -> Callable[..., Any]:
    """The factory; modules of the current folder are found, as `python -m` does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError("target", module_name, f"must be an importable module: {error}", None) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError("target", module_name, "must have that factory", attribute, did_you_mean(attribute, known))
    return found  # type: ignore[no-any-return]


def _call_factory(
    factory: Callable[..., Any], arguments: Mapping[str, Any], name: str
) -> tuple[nn.Module, tuple[Tensor, ...] | None]:
    try:
        made = factory(**arguments)
    except TypeError as error:
        raise InputError(name, "--set", f"must fit the factory: {error}", dict(arguments)) from error
    inputs = None
    if isinstance(made, tuple) and len(made) == 2:
        made, inputs = made
        inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if not isinstance(made, nn.Module):
        rule = "must return a torch module, or a pair of module and example inputs"
        raise InputError(name, "", rule, type(made).__name__)
    return made, inputs


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:
        first = str(error).strip().splitlines()[:2]
        raise InputError(path, "", "must be the model's weights (.safetensors or .pt)", " ".join(first)) from error


@torch.no_grad()
def settle_batch_norm(model: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Give random weights the batch-normalisation statistics of the example, so that activations keep their scale.

    Untrained statistics (mean 0, variance 1) let activations vanish or explode over the depth, and nothing that is
    measured on them, such as how well they compress, would mean anything. Without batch normalisation, or where the
    example is too small for it, nothing changes.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [(module.momentum, {k: v.clone() for k, v in module.state_dict().items()}) for module in norms]
    try:
        for module in norms:
            module.train()
            module.momentum = 1.0
        if norms:
            model(*inputs)
    except (ValueError, RuntimeError):
        for module, (_, state) in zip(norms, kept, strict=True):
            module.load_state_dict(state)
    finally:
        for module, (momentum, _) in zip(norms, kept, strict=True):
            module.momentum = momentum
            module.eval()
