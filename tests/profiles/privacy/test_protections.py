import numpy as np
import pytest
import torch

from edgecloud.errors import InputError
from edgecloud.profiles.privacy.protections import fit_protection, parse_protection, principal_channels, through_int8


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture
def activation() -> torch.Tensor:
    return torch.relu(torch.randn(64, 8, 10, 10, generator=generator()))


def sent(text: str, activation: torch.Tensor) -> torch.Tensor:
    return fit_protection(parse_protection(text), activation)(activation, generator())


def test_none_and_int8(activation):
    assert torch.equal(sent("none", activation), activation)
    rounded = sent("int8", activation)
    step = activation.amax(dim=(1, 2, 3), keepdim=True) / 255
    assert torch.all((rounded - activation).abs() <= step / 2 + 1e-6)
    levels = (rounded[0] / step[0]).round().unique()
    assert len(levels) <= 256
    assert torch.equal(through_int8(torch.zeros(1, 1, 2, 2)), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(("kind", "factor"), [("gaussian", 1.0), ("laplace", 2.0)])
def test_noise_has_the_stated_scale_over_the_clipped_activation(activation, kind, factor):
    """A Gaussian of deviation s has variance s², a Laplace variable of scale s has 2 s²."""
    bound = float(np.quantile(activation.numpy(), 0.999))
    noise = sent(f"{kind}:0.2", activation) - activation.clamp(max=bound)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01 * bound)
    assert float(noise.var()) == pytest.approx(factor * (0.2 * bound) ** 2, rel=0.03)
    kurtosis = float((noise**4).mean() / noise.var() ** 2)
    assert kurtosis == pytest.approx({"gaussian": 3, "laplace": 6}[kind], rel=0.1)


def test_noise_is_new_every_time_and_follows_the_generator(activation):
    protect = fit_protection(parse_protection("laplace:0.1"), activation)
    source = generator()
    first, second = protect(activation, source), protect(activation, source)
    assert not torch.equal(first, second)
    assert torch.equal(first, protect(activation, generator()))


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    ones = torch.ones(64, 8, 10, 10)
    dropped = sent("dropout:0.3", ones)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert dropped[dropped > 0].unique().item() == pytest.approx(1 / 0.7)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)


def test_bottleneck_is_the_best_linear_one(activation):
    """Eckart and Young: what is lost is the variance in the directions left out."""
    mixed = torch.einsum("nchw,cd->ndhw", activation, torch.randn(8, 8, generator=generator()))
    rebuilt = sent("bottleneck:0.25", mixed)
    vectors = mixed.permute(0, 2, 3, 1).reshape(-1, 8).double().numpy()
    lost = np.linalg.eigvalsh(np.cov(vectors.T, bias=True))[:6].sum()
    assert float(((rebuilt - mixed).double() ** 2).sum(dim=1).mean()) == pytest.approx(lost, rel=1e-4)
    mean, basis = principal_channels(mixed, 0.25)
    assert basis.shape == (8, 2)
    assert mean.numpy() == pytest.approx(vectors.mean(axis=0), abs=1e-5)


def test_a_low_rank_activation_passes_the_bottleneck_unchanged(activation):
    low_rank = torch.einsum("nchw,cd->ndhw", activation[:, :2], torch.randn(2, 8, generator=generator()))
    assert sent("bottleneck:0.25", low_rank).numpy() == pytest.approx(low_rank.numpy(), abs=1e-4)


@pytest.mark.parametrize("text", ["blur", "laplace", "laplace:x", "laplace:0", "dropout:1", "int8:3", "laplace:nan"])
def test_bad_protections(text):
    with pytest.raises(InputError, match="--protect"):
        parse_protection(text)


def test_names():
    assert [parse_protection(text).name for text in ("none", "int8", "gaussian:0.10")] == [
        "none",
        "int8",
        "gaussian-0.1",
    ]
    assert "0.1 times" in parse_protection("gaussian:0.1").description
