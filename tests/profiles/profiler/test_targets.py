"""Finding models and inputs: by factory, by configuration, with weights; one-line errors for what is wrong."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from edgecloud.errors import InputError
from edgecloud.profiles.profiler.architectures import vgg16
from edgecloud.profiles.profiler.targets import find_target, parse_input, settle_batch_norm

CHAIN = "edgecloud.profiles.profiler.architectures:plain_chain"


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module in the current folder, as a user's own."""
    (tmp_path / "own_nets.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def pair(width=4):\n"
        "    return nn.Linear(width, 2), torch.ones(1, width)\n"
        "def number():\n"
        "    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "own_nets"
    sys.modules.pop("own_nets", None)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_factory_of_ones_own(own_module):
    target = find_target(f"{own_module}:pair", options=["width=6"])
    assert target.example(None)[0].shape == (1, 6)
    assert target.model.in_features == 6
    assert target.weights == "as the factory makes them, seed 0"
    given = find_target(f"{own_module}:pair", inputs=["1x4"])
    assert given.example(None)[0].shape == (1, 4)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nonsense", [], "package.module:factory"),
        ("no_such_module:net", [], "importable"),
        ("own_nets:pear", [], "did you mean 'pair'"),
        ("own_nets:number", [], "torch module"),
        ("own_nets:pair", ["depth=3"], "must fit the factory"),
        ("own_nets:pair", ["width"], "key=value"),
        ("transformers:ResNetConfigs", [], "did you mean 'ResNetConfig'"),
        ("transformers:gpt2", ["n_layers=2"], "setting of the configuration"),
        ("transformers:missing.json", [], "existing configuration"),
        ("transformers:ClapConfig", [], "image classifier"),
    ],
)
def test_wrong_targets(own_module, name, options, words):
    with pytest.raises(InputError, match=words) as caught:
        find_target(name, options=options)
    assert "\n" not in str(caught.value)


def test_inputs_must_be_known():
    with pytest.raises(InputError, match="--input"):
        find_target(CHAIN).example(None)


@pytest.mark.parametrize("text", ["", "1x", "2x3", "1x0", "1x3:complex64", "1x3:int64:x", "one"])
def test_wrong_inputs(text):
    with pytest.raises(InputError, match="--input"):
        parse_input(text, None, generator())


def test_inputs():
    numbers = parse_input("1x200:int64:7", None, generator())
    assert numbers.dtype == torch.int64
    assert set(numbers.unique().tolist()) == set(range(7))
    assert parse_input("1x5:bool", None, generator()).dtype == torch.bool
    assert parse_input("1x5x7", None, generator()).shape == (1, 5, 7)


def test_pictures(tmp_path):
    photograph = parse_input("1x3x64x48", None, generator())
    assert photograph.shape == (1, 3, 64, 48)
    assert 0.2 < float(photograph.std()) < 3
    from PIL import Image

    Image.fromarray(np.full((40, 40, 3), 255, np.uint8)).save(tmp_path / "white.png")
    white = parse_input("1x3x32x32", tmp_path / "white.png", generator())
    assert torch.allclose(
        white[0, :, 5, 5], torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    )
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(InputError, match="readable picture"):
        parse_input("1x3x32x32", tmp_path / "bad.png", generator())


def test_configurations(tmp_path):
    small = ["embedding_size=8", "hidden_sizes=[8,16]", "depths=[1,1]", "num_labels=7"]
    target = find_target("transformers:resnet", inputs=["1x3x32x32"], options=small)
    assert target.kind == "plain"
    assert target.model(*target.example(None)).logits.shape == (1, 7)
    text = ["vocab_size=50", "hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=16"]
    target = find_target("transformers:BertConfig", options=text)
    assert target.kind == "encoder"
    assert target.example(9)[0].shape == (1, 9)
    assert int(target.example(9)[0].max()) < 50
    config = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 40}
    (tmp_path / "config.json").write_text(json.dumps(config))
    target = find_target(f"transformers:{tmp_path}/config.json")
    assert target.kind == "decoder"
    assert target.model.config.n_layer == 1


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights(tmp_path, suffix):
    from safetensors.torch import save_file

    source = find_target(CHAIN, inputs=["1x3x32x32"], seed=5).model
    path = tmp_path / f"chain{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), path)
    target = find_target(CHAIN, inputs=["1x3x32x32"], weights=path, seed=0)
    assert target.weights == f"from {path.name}"
    x = target.example(None)[0]
    assert torch.equal(target.model(x), source.eval()(x))
    path.write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"must be the model's weights"):
        find_target(CHAIN, inputs=["1x3x32x32"], weights=path)


def test_weights_are_never_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (type(tmp_path).touch, (tmp_path / "sprung",))

    torch.save({"0.weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(InputError, match="must be the model's weights"):
        find_target(CHAIN, inputs=["1x3x32x32"], weights=tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (find_target(CHAIN, inputs=["1x3x32x32"], seed=seed).model for seed in (1, 1, 2))
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)


def test_batch_norm_settles_on_the_example():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()
    x = torch.randn(1, 3, 12, 12) * 50
    settle_batch_norm(net, (x,))
    assert not any(module.training for module in net.modules())
    assert float(net(x).std()) == pytest.approx(1.0, abs=0.05)
    tiny = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    settle_batch_norm(tiny, (torch.randn(1, 3),))
    assert tiny[1].running_var.tolist() == [1.0] * 4
    assert tiny[1].momentum == 0.1


def test_vgg16_is_vgg16():
    """Simonyan and Zisserman, table 2: 138 million parameters."""
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in vgg16().parameters()) == 138_357_544
