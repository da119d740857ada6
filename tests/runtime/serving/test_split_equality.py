"""Split answers are the whole network's, bit for bit, for every pair of cuts."""

import math

import pytest
import torch

from edgecloud.profiles.networks.recipes import NETWORKS, network_shape
from edgecloud.runtime.serving.model import Activation, Answer, SplitModel, load_split_model
from edgecloud.runtime.serving.payloads import Encoding, pack, unpack


def through(model: SplitModel, image: torch.Tensor, cuts: tuple[int, int], threshold: float, encoding: str) -> Answer:
    """Three tiers, with the codec between them."""
    value: torch.Tensor = image
    for first, last in zip((0, *cuts), (*cuts, model.stages), strict=True):
        result = model.run(unpack(pack(value, Encoding.parse(encoding)), model.shapes[first]), first, last, threshold)
        if isinstance(result, Answer):
            return result
        value = result.tensor
    raise AssertionError("the last head answers")


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_logits_are_the_whole_networks(network: str) -> None:
    model = load_split_model(f"random:{network}", resident=1000)
    whole = model.whole()
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        logits = whole(whole.prepare(image))
    confidences = [float(row.double().softmax(1).max()) for row in logits]
    # One threshold per exit that is reached, besides 'never'.
    thresholds = [math.inf, *(c * (1 - 1e-9) for c in confidences[:-1])]
    for cut_device in range(model.stages + 1):
        for cut_edge in range(cut_device, model.stages + 1):
            for threshold in thresholds:
                answer = through(model, image, (cut_device, cut_edge), threshold, "fp32+lz4")
                expected = next((e for e, c in enumerate(confidences) if c >= threshold), len(confidences) - 1)
                assert answer.exit == expected
                assert torch.equal(answer.logits, logits[expected][0])
                assert answer.confidence == pytest.approx(confidences[expected], abs=1e-12)


def test_one_channel_images_too() -> None:
    model = load_split_model("random:small")
    shape = network_shape("small", "fashion-mnist")
    torch.manual_seed(0)
    from edgecloud.profiles.networks.checkpoints import build_network

    state = build_network(shape).state_dict()
    grey = SplitModel(shape, lambda: state, resident=1000)
    assert grey.shapes[0] == (1, 1, 28, 28)
    assert grey.fingerprint != model.fingerprint
    image = torch.randint(0, 256, (1, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    whole = grey.whole()
    with torch.inference_mode():
        logits = whole(whole.prepare(image))[-1][0]
    for cut in range(grey.stages + 1):
        assert torch.equal(through(grey, image, (cut, cut), math.inf, "fp32").logits, logits)


def test_without_a_threshold_no_early_head_is_computed(split_model: SplitModel, image: torch.Tensor) -> None:
    result = split_model.run(image, 0, split_model.stages - 1)
    assert isinstance(result, Activation)
    assert math.isnan(result.first_confidence)
    asked = split_model.run(image, 0, split_model.stages - 1, threshold=2.0)
    assert isinstance(asked, Activation)
    assert 0 < asked.first_confidence <= 1


def test_temperature_divides_the_logits(split_model: SplitModel, image: torch.Tensor) -> None:
    state = split_model.whole().state_dict()
    warm = SplitModel(split_model.network_shape, lambda: state, (2.0, 2.0, 2.0, 2.0))
    plain, calibrated = split_model.run(image, 0, 6), warm.run(image, 0, 6)
    assert isinstance(plain, Answer)
    assert isinstance(calibrated, Answer)
    assert torch.equal(plain.logits, calibrated.logits)
    expected = float((plain.logits.double() / 2).softmax(0).max())
    assert calibrated.confidence == pytest.approx(expected)
    assert warm.fingerprint != split_model.fingerprint


def test_the_fingerprint_names_the_parameters() -> None:
    prints = {load_split_model(spec).fingerprint for spec in ("random:small", "random:small:0", "random:small:1")}
    assert len(prints) == 2
