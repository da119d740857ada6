"""Operations and activations of the networks that SplitLLM was measured with, from their published shapes.

A multiply-add counts as two operations; normalisations, activations and softmax are left out. Activations are float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOAT_BYTES = 4
TOKEN_BYTES = 8


@dataclass(frozen=True)
class Chain:
    """A network as a chain of layers.

    Attributes:
        name: Of the network.
        flops: Operations of each layer, (L,).
        cut_bytes: What crosses before each layer and after the last, (L + 1,).
    """

    name: str
    flops: np.ndarray
    cut_bytes: np.ndarray


def attention_flops(queries: int, keys: int, width: int) -> float:
    """Four projections, scores and their weighted sum."""
    return 4.0 * queries * width**2 + 4.0 * keys * width**2 + 4.0 * queries * keys * width


def feed_forward_flops(tokens: int, width: int, hidden: int) -> float:
    """Two linear layers."""
    return 4.0 * tokens * width * hidden


def transformer(length: int, width: int = 512, hidden: int = 2048, layers: int = 6, words: int = 37_000) -> Chain:
    """Vaswani et al. 2017, base: as many tokens out as in. Cuts within the decoder carry the encoder's output, too."""
    attend, feed = attention_flops(length, length, width), feed_forward_flops(length, width, hidden)
    flops = [attend, feed] * layers + [attend, attend, feed] * layers + [2.0 * length * width * words]
    state = FLOAT_BYTES * length * width
    sizes = [TOKEN_BYTES * 2 * length] + [state] * (2 * layers) + [2 * state] * (3 * layers - 1) + [state]
    return Chain("Transformer 6+6", np.array(flops), np.array([*sizes, TOKEN_BYTES * length], dtype=np.float64))


def bert(length: int, width: int = 768, layers: int = 12) -> Chain:
    """BERT base (Devlin et al. 2019), answer from the first token."""
    flops = [attention_flops(length, length, width), feed_forward_flops(length, width, 4 * width)] * layers
    sizes = [TOKEN_BYTES * length] + [FLOAT_BYTES * length * width] * (2 * layers)
    return Chain("BERT", np.array([*flops, 2.0 * width**2]), np.array([*sizes, TOKEN_BYTES], dtype=np.float64))


def gpt2(length: int, width: int = 768, layers: int = 12, words: int = 50_257) -> Chain:
    """GPT-2, the smallest (Radford et al. 2019), reading a prompt; logits of the last position."""
    base = bert(length, width, layers)
    return Chain("GPT-2-like", np.array([*base.flops[:-1], 2.0 * width * words]), base.cut_bytes)


CMT_WIDTHS, CMT_DEPTHS, CMT_REDUCTIONS, CMT_EXPANSION, CMT_STEM = (
    (64, 128, 256, 512),
    (3, 3, 16, 3),
    (8, 4, 2, 1),
    4,
    32,
)
"""CMT-S (Guo et al., CVPR 2022), as copies of the authors' code have it (qk_ratio 1)."""


def cmt(pixels: int) -> Chain:
    """CMT-S: a stem of three convolutions, then four stages of attention with reduced keys and inverted residuals."""
    side = pixels // 2
    flops = [2.0 * 9 * side**2 * (3 * CMT_STEM + 2 * CMT_STEM**2)]
    sizes = [3.0 * pixels**2, FLOAT_BYTES * side**2 * CMT_STEM]
    before = CMT_STEM
    for width, depth, reduction in zip(CMT_WIDTHS, CMT_DEPTHS, CMT_REDUCTIONS, strict=True):
        side //= 2
        tokens, state = side**2, FLOAT_BYTES * side**2 * width
        flops.append(2.0 * 4 * tokens * before * width)  # 2 x 2 convolution of stride two
        sizes.append(state)
        for _ in range(depth):
            local = 2.0 * 9 * tokens * width
            keys = max(tokens // reduction**2, 1)
            hidden = CMT_EXPANSION * width
            flops.append(local + attention_flops(tokens, keys, width) + 2.0 * width * tokens)
            flops.append(feed_forward_flops(tokens, width, hidden) + 2.0 * 9 * tokens * hidden)
            sizes += [state, state]
        before = width
    flops.append(2.0 * before * 1000)
    return Chain("vision (CMT-S)", np.array(flops), np.array([*sizes, TOKEN_BYTES], dtype=np.float64))
