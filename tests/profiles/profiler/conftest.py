"""Small variants of the catalogue's architectures: the same graphs, fewer and narrower layers."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgecloud.profiles.profiler.architectures import Vgg, plain_chain
from edgecloud.profiles.profiler.capture import capture
from edgecloud.profiles.profiler.graph import LayerGraph

transformers = pytest.importorskip("transformers", reason="needs the extra 'profiler'")
pytest.importorskip("zstandard", reason="needs the extra 'profiler'")
from edgecloud.profiles.profiler import decoder, from_transformers  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def picture(pixels: int) -> torch.Tensor:
    return torch.randn(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))


def tokens(count: int, vocabulary: int = 100) -> torch.Tensor:
    return torch.randint(0, vocabulary, (1, count), generator=torch.Generator().manual_seed(2))


SMALL_TEXT = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL_GPT2 = {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}


def built(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return from_transformers.build(name, options, name)[0]


def graph_of(model: nn.Module, *inputs: torch.Tensor) -> LayerGraph:
    return LayerGraph(capture(model, inputs, type(model).__name__))


MAKERS: dict[str, Callable[[], LayerGraph]] = {
    "chain": lambda: graph_of(plain_chain(), picture(32)),
    "vgg16": lambda: graph_of(
        Vgg([8, 8, 0, 8, 8, 0, 8, 8, 8, 0, 8, 8, 8, 0, 8, 8, 8, 0], pixels=32, hidden=16, classes=5), picture(32)
    ),
    "resnet50": lambda: graph_of(
        built("ResNetConfig", embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2]), picture(32)
    ),
    "mobilenetv2": lambda: graph_of(
        built("MobileNetV2Config", depth_multiplier=0.25, image_size=32, tf_padding=False), picture(32)
    ),
    "vit-b16": lambda: graph_of(
        built("ViTConfig", image_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
              intermediate_size=64), picture(32)
    ),
    "bert-base": lambda: graph_of(built("BertConfig", intermediate_size=64, **SMALL_TEXT), tokens(12)),
    "gpt2-prefill": lambda: LayerGraph(
        decoder.capture_prefill(built("GPT2Config", **SMALL_GPT2), tokens(12), "gpt2")
    ),
    "gpt2-decode": lambda: LayerGraph(
        decoder.capture_decode(built("GPT2Config", **SMALL_GPT2), tokens(12), "gpt2")
    ),
}  # fmt: skip
"""Name and maker of each architecture's graph."""

_made: dict[str, LayerGraph] = {}


@pytest.fixture(params=sorted(MAKERS))
def architecture(request: pytest.FixtureRequest) -> LayerGraph:
    """Each architecture in turn, captured once."""
    return made(request.param)


def made(name: str) -> LayerGraph:
    if name not in _made:
        _made[name] = MAKERS[name]()
    return _made[name]


@pytest.fixture
def named() -> Callable[[str], LayerGraph]:
    """An architecture by name."""
    return made
