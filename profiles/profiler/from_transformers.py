"""Models of the `transformers` library from a configuration, with random weights and without a download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ...errors import InputError, did_you_mean

__all__ = ["build"]

Kind = Literal["plain", "encoder", "decoder"]


def build(name: str, options: Mapping[str, Any], source: str) -> tuple[nn.Module, Kind, str | int]:
    """A model with the head that its configuration usually has.

    Image models get a classifier, models that read text in both directions a classifier of sequences, text generators
    their language-model head.

    Args:
        name: A configuration class, a model type or the path of a configuration file.
        options: Settings that replace the configuration's.
        source: For error messages.

    Returns:
        The module; its kind; the shape of its input as text, or the size of its vocabulary.

    Raises:
        InputError: `transformers` is not installed or has no such configuration, or no such head.
    """
    try:
        import transformers
    except ImportError as error:
        rule = "needs the library transformers"
        raise InputError(source, "", rule, None, "pip install 'edgecloud[profiler]'") from error
    transformers.logging.set_verbosity_error()
    config = _config(name, options, source)
    from transformers.models.auto import modeling_auto as auto

    kinds = type(config)
    if kinds in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        size = getattr(config, "image_size", 224)
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        model = transformers.AutoModelForImageClassification.from_config(config)
        return model, "plain", f"1x{getattr(config, 'num_channels', 3)}x{height}x{width}"
    both_ways = kinds in auto.MODEL_FOR_MASKED_LM_MAPPING
    if both_ways and kinds in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return transformers.AutoModelForSequenceClassification.from_config(config), "encoder", int(config.vocab_size)
    if kinds in auto.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM.from_config(config), "decoder", int(config.vocab_size)
    rule = "must be an image classifier, an encoder or a decoder of text"
    raise InputError(source, "", rule, kinds.__name__, "write a factory: package.module:factory")


def _config(name: str, options: Mapping[str, Any], source: str) -> Any:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

    if name.endswith(".json"):
        if not Path(name).is_file():
            raise InputError(source, "", "must be an existing configuration file", name)
        return transformers.AutoConfig.from_pretrained(name, **options)
    if name in CONFIG_MAPPING_NAMES:
        kind = CONFIG_MAPPING[name]
    elif name in CONFIG_MAPPING_NAMES.values():
        kind = getattr(transformers, name)
    else:
        known = [*CONFIG_MAPPING_NAMES, *CONFIG_MAPPING_NAMES.values()]
        remedy = did_you_mean(name, known)
        remedy = remedy if remedy.startswith("did") else "name a class such as ResNetConfig or a type such as resnet"
        raise InputError(source, "", "must be a configuration that transformers knows", name, remedy)
    usual = kind()
    for key in options:
        if not hasattr(usual, key):
            raise InputError(source, "--set", "must be a setting of the configuration", key)
    return kind(**options)
