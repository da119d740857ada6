"""The two phases of a text generator as modules with tensors for arguments, so that they can be exported and cut."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from .capture import Captured, capture

__all__ = ["Decode", "Prefill", "capture_decode", "capture_prefill"]


class Prefill(nn.Module):
    """Reads a whole prompt and fills the cache.

    Args:
        model: A causal language model of `transformers`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Scores of the next token (1, 1, vocabulary), then keys and values of each layer (1, heads, n, width)."""
        result = self.model(input_ids=tokens, use_cache=True, logits_to_keep=1)
        return result.logits, *_tensors(result.past_key_values)


class Decode(nn.Module):
    """Makes one token from the last one and the cache.

    Args:
        model: A causal language model of `transformers`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Scores of the next token, then the cache with this token added; `cache` as from `Prefill`."""
        past: Any = DynamicCache()
        for layer, (keys, values) in enumerate(zip(cache[::2], cache[1::2], strict=True)):
            past.update(keys[:, :, :0], values[:, :, :0], layer)
            past.layers[layer].keys, past.layers[layer].values = keys, values
        result = self.model(input_ids=token, past_key_values=past, use_cache=True)
        return result.logits, *_tensors(result.past_key_values)


def _tensors(cache: Any) -> list[Tensor]:
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def capture_prefill(model: nn.Module, tokens: Tensor, source: str) -> Captured:
    """The prompt phase for `tokens` (1, n); the cache is state that stays where it is made.

    Raises:
        InputError: As `capture`.
    """
    return capture(Prefill(model), (tokens,), source, state_outputs=_cache_tensors(model, tokens))


@torch.inference_mode()
def _cache_tensors(model: nn.Module, tokens: Tensor) -> int:
    return len(Prefill(model)(tokens[:, :1])) - 1


def capture_decode(model: nn.Module, tokens: Tensor, source: str) -> Captured:
    """One step of the token phase after the prompt `tokens` (1, n), whose real cache is the example.

    Raises:
        InputError: As `capture`.
    """
    with torch.no_grad():
        scores, *cache = Prefill(model)(tokens)
    token = scores[:, -1].argmax(dim=-1, keepdim=True)
    count = len(cache)
    return capture(Decode(model), (token, *cache), source, state_inputs=count, state_outputs=count)
