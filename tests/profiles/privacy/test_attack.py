import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecloud.errors import InputError
from edgecloud.profiles import load_profile, save_profile
from edgecloud.profiles.images.image_set import ImageSet
from edgecloud.profiles.measuring.measured_profile import ATTACK_MEASURE, measure_run
from edgecloud.profiles.networks.network import NetworkShape
from edgecloud.profiles.networks.runs import read_run, train_run
from edgecloud.profiles.networks.training import TrainSettings
from edgecloud.profiles.privacy.attack import AttackPlan, attack_network, like
from edgecloud.profiles.privacy.attack_report import attack_report
from edgecloud.profiles.privacy.attack_results import ATTACKERS, AttackResult, Attacks, read_attacks
from edgecloud.profiles.privacy.inversion import DecoderSettings, build_decoder
from edgecloud.profiles.privacy.protections import parse_protection

SHAPE = NetworkShape(
    widths=(8, 8, 8), depths=(1, 1, 1), pooled=(False, True, True), exits=(2, 3), branch_width=8, branches=1
)
SETTINGS = TrainSettings(epochs=1, batch=32, exit_weights=(0.5, 1.0), held_out=96, seed=4)
PLAN = AttackPlan(
    protections=(parse_protection("int8"), parse_protection("dropout:0.5")),
    decoder=DecoderSettings(images=96, epochs=14, batch=16, rate=6e-3, precision="float32"),
    evaluated=32,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def smooth_images(seed: int, name: str) -> ImageSet:
    """Random colour gradients: simple enough for a decoder to learn in seconds."""
    rng = np.random.default_rng(seed)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        corners = rng.uniform(0, 255, (count, 3, 4))
        ramp = np.linspace(0, 1, 16)
        weights = np.stack([np.outer(a, b) for a in (1 - ramp, ramp) for b in (1 - ramp, ramp)])
        images = np.einsum("nck,khw->nchw", corners, weights)
        return images.astype(np.uint8), rng.integers(0, 10, count)

    return ImageSet(*part(352), *part(128), name=name)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return smooth_images(1, "gradients")


@pytest.fixture(scope="module")
def run(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("attacked")
    train_run(folder, images, SETTINGS, SHAPE)
    finished = read_run(folder)
    attack_network(folder, finished.network, images, finished.settings, smooth_images(2, "others"), PLAN)
    return folder


def test_every_cut_attacker_and_defence_once(run):
    attacks = read_attacks(run)
    plain = [(cut, attacker, "none") for attacker in ATTACKERS for cut in (1, 2)]
    guarded = [(cut, "same-distribution", name) for cut in (1, 2) for name in ("int8", "dropout-0.5")]
    assert sorted(row.key for row in attacks.results) == sorted(plain + guarded)
    assert attacks.settings["attacker_images"] == 96


def test_the_attack_recovers_most_of_the_image(run):
    """Against the mean image, which is what an attacker without the activation could do."""
    attacks = read_attacks(run)
    first = [row for row in attacks.results if row.cut == 1 and row.protection == "none"]
    assert min(row.mse for row in first) < attacks.mean_image_mse / 5
    assert all(row.ssim > 0.5 for row in first)


def test_leakage_falls_from_one_to_nothing(run):
    values = read_attacks(run).leakage(3)
    assert values[0] == 1
    assert values[-1] == 0
    assert np.all(np.diff(values) <= 0)
    assert values[1] > 0.8


def test_finished_attacks_are_not_repeated_and_new_ones_are_added(run, images, tmp_path):
    content = (run / "attack.json").read_bytes()
    finished = read_run(run)
    others = smooth_images(2, "others")
    new = []
    attack_network(run, finished.network, images, finished.settings, others, PLAN, on_result=new.append)
    assert not new
    assert (run / "attack.json").read_bytes() == content


def test_an_interrupted_attack_continues_to_the_same_figures(run, images, tmp_path):
    finished = read_run(run)
    plan = replace(PLAN, attackers=("same-distribution",), protections=())

    def stop(result: AttackResult) -> None:
        raise KeyboardInterrupt

    others = smooth_images(2, "others")
    with pytest.raises(KeyboardInterrupt):
        attack_network(tmp_path, finished.network, images, finished.settings, others, plan, on_result=stop)
    assert len(read_attacks(tmp_path).results) == 1
    again = attack_network(tmp_path, finished.network, images, finished.settings, others, plan)
    expected = {row.key: row.mse for row in read_attacks(run).results}
    assert {row.key: row.mse for row in again.results} == pytest.approx(
        {row.key: expected[row.key] for row in again.results}
    )


def test_other_settings_are_refused(run, images):
    finished = read_run(run)
    plan = replace(PLAN, decoder=replace(PLAN.decoder, epochs=7))
    before = (run / "attack.json").read_bytes()
    with pytest.raises(InputError, match="decoder"):
        attack_network(run, finished.network, images, finished.settings, smooth_images(2, "others"), plan)
    assert (run / "attack.json").read_bytes() == before


@pytest.mark.parametrize(
    ("plan", "other", "text"),
    [(replace(PLAN, cuts=(3,)), True, "--cut"), (PLAN, False, "another data set")],
)
def test_plans_that_cannot_be(run, images, tmp_path, plan, other, text):
    finished = read_run(run)
    others = smooth_images(2, "others") if other else None
    with pytest.raises(InputError, match=text):
        attack_network(tmp_path, finished.network, images, finished.settings, others, plan)
    assert not list(tmp_path.iterdir())


def test_unknown_attacker():
    with pytest.raises(InputError, match="--attacker"):
        AttackPlan(attackers=("eve",))


def test_the_profile_takes_its_leakage_from_the_attack(run, images, tmp_path):
    profile, _ = measure_run(run, images, "attacked", runs=15)
    attacks = read_attacks(run)
    assert profile.leakage_measure == ATTACK_MEASURE
    assert profile.leakage == pytest.approx(attacks.leakage(3), abs=1e-6)
    assert [item.name for item in profile.protections] == ["int8", "dropout-0.5"]
    assert profile.protections[0].leakage == pytest.approx(attacks.leakage(3, "int8"), abs=1e-6)
    assert profile.protections[1].accuracy[1] == attacks.accuracy(1, "dropout-0.5")
    assert len(profile.provenance["attack"]["results"]) == 10
    again = load_profile(save_profile(profile, tmp_path))
    assert again.equals(profile)
    assert again.protections == profile.protections


def test_without_attacks_or_with_some_cuts_only_it_is_the_distance_correlation(run, images, tmp_path):
    for name in ("checkpoint.pt", "exits.npz", "training.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    content = json.loads((run / "attack.json").read_text())
    content["results"] = [row for row in content["results"] if row["cut"] == 1]
    (tmp_path / "attack.json").write_text(json.dumps(content))
    profile, _ = measure_run(tmp_path, images, "part", runs=15)
    assert "distance correlation" in profile.leakage_measure
    assert not profile.protections


def test_report_is_one_page_with_pictures(run, tmp_path):
    page = attack_report(run, "a < b")
    assert "a &lt; b" in page
    assert page.count("data:image/png;base64,") == 10
    assert "<svg" in page
    assert 'src="http' not in page
    with pytest.raises(InputError, match="must hold attacks"):
        attack_report(tmp_path)


def test_damaged_results(tmp_path):
    (tmp_path / "attack.json").write_text('{"results": [{}]}')
    with pytest.raises(InputError, match="readable list of attacks"):
        read_attacks(tmp_path)


def test_leakage_from_figures():
    def row(cut: int, mse: float, attacker: str = "same-set", protection: str = "none") -> AttackResult:
        return AttackResult(cut, attacker, protection, mse, 0.0, 0.0, 0.9, 1.0)

    rows = (row(1, 0.02), row(1, 0.03, "other-set"), row(2, 0.01), row(3, 0.08), row(1, 0.06, protection="int8"))
    attacks = Attacks(rows, mean_image_mse=0.05, settings={})
    assert attacks.leakage(4) == pytest.approx([1, 0.8, 0.8, 0, 0])
    assert attacks.leakage(4, "int8") is None
    assert attacks.leakage(2, "int8") == pytest.approx([1, 0, 0])


def test_images_of_another_set_take_the_victims_form():
    grey = np.full((2, 1, 28, 28), 7, dtype=np.uint8)
    wide = like(grey, 3, 32)
    assert wide.shape == (2, 3, 32, 32)
    assert wide[0, 2, 2, 2] == 7
    assert wide[0, 0, 1, 5] == 0
    colour = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    colour[0, 1] = 100
    small = like(colour, 1, 28)
    assert small.shape == (1, 1, 28, 28)
    assert set(small.ravel().tolist()) == {59}


@pytest.mark.parametrize(
    ("activation", "image"),
    [((8, 32, 32), (3, 32, 32)), ((8, 4, 4), (3, 32, 32)), ((8, 7, 7), (1, 28, 28)), ((8, 3, 3), (1, 28, 28)),
     ((8, 1, 1), (3, 32, 32)), ((8, 16, 16), (3, 32, 32))],
)  # fmt: skip
def test_decoder_sizes(activation, image):
    decoder = build_decoder(activation, image).eval()
    assert decoder(torch.zeros(2, *activation)).shape == (2, *image)
