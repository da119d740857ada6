import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from edgecloud.profiles import NEVER, list_profiles, load_profile
from edgecloud.profiles.plotting import draw_profile
from edgecloud.profiles.privacy.attack_results import ATTACKERS

WITH_EXITS = [name for name in list_profiles() if load_profile(name).has_exit_table]
"""Those with measured exits; test_measured_catalogue.py has the others."""


@pytest.mark.parametrize("name", WITH_EXITS)
def test_shipped_profile(name):
    profile = load_profile(name)
    assert profile.name == name
    assert profile.n_samples == 10_000
    assert profile.accuracy(NEVER) >= 0.88
    assert profile.exit_accuracy()[-1] == profile.accuracy(NEVER)
    assert np.all(np.diff(profile.exit_accuracy()) > -0.005)
    assert np.all(np.diff(profile.leakage) <= 0)
    assert all(stage.latency_s > 0 and stage.flops > 0 for stage in profile.stages)
    assert {"command", "date", "seed", "versions", "notes", "training"} <= set(profile.provenance)
    assert "/work" not in str(profile.provenance)


@pytest.mark.parametrize("name", WITH_EXITS)
def test_confidence_is_calibrated(name):
    profile = load_profile(name)
    gap = profile.confidence.mean(axis=0, dtype=float) - profile.exit_accuracy()
    assert np.all(np.abs(gap) < 0.03)


@pytest.mark.parametrize("name", WITH_EXITS)
def test_stages_add_up_to_the_whole(name):
    profile = load_profile(name)
    assert profile.reference.whole_latency_s == pytest.approx(profile.total_latency_s, rel=0.15)


@pytest.mark.parametrize("name", WITH_EXITS)
def test_early_exits_save_compute(name):
    """Some threshold saves at least a third of the operations for at most one point of accuracy."""
    profile = load_profile(name)
    savings = [
        1 - profile.expected_flops(threshold) / profile.total_flops
        for threshold in np.linspace(0.3, 1, 71)
        if profile.accuracy(threshold) >= profile.accuracy(NEVER) - 0.01
    ]
    assert max(savings) > 1 / 3


ATTACKED = [name for name in WITH_EXITS if "attack" in load_profile(name).provenance]


@pytest.mark.parametrize("name", ATTACKED)
def test_attacked_profiles(name):
    """Half of the operations for at most one point; a strong attack at the first cut that fails with depth."""
    profile = load_profile(name)
    kept = [t for t in np.linspace(0.3, 1, 71) if profile.accuracy(t) >= profile.accuracy(NEVER) - 0.01]
    assert min(profile.expected_flops(t) for t in kept) <= 0.5 * profile.total_flops
    share_left = 1.0 - profile.leakage[1:-1]  # of the pixels' variance
    assert share_left[-1] >= 5.0 * share_left[0]
    rows = [row for row in profile.provenance["attack"]["results"] if row["protection"] == "none"]
    assert {(row["cut"], row["attacker"]) for row in rows} == set(product(range(1, profile.n_stages), ATTACKERS))
    first, last = (min(row["mse"] for row in rows if row["cut"] == cut) for cut in (1, profile.n_stages - 1))
    assert last >= 5.0 * first
    assert max(row["ssim"] for row in rows if row["cut"] == 1) > 0.9


@pytest.mark.parametrize("name", ATTACKED)
def test_the_picture_shows_leakage_behind_every_defence(name):
    profile = load_profile(name)
    panel = draw_profile(profile).axes[3]
    lines = {line.get_label(): line.get_ydata() for line in panel.lines}
    assert np.array_equal(lines["no defence"], profile.leakage)
    assert set(lines) == {"no defence", *(item.name for item in profile.protections)}
    labels = [label.get_text() for label in panel.get_xticklabels()]
    assert labels == ["input", *(stage.name for stage in profile.stages[:-1]), "result"]


def test_a_chain_and_a_residual_network_on_cifar10_and_one_on_fashion_mnist_are_attacked():
    found = {
        (kind["dataset"], kind["shape"]["block"]) for kind in (load_profile(n).provenance["training"] for n in ATTACKED)
    }
    assert found == {("cifar10", "plain"), ("cifar10", "residual"), ("fashion-mnist", "plain")}


def test_the_two_sizes_are_one_network():
    small, large = load_profile("cifar10-ee-32"), load_profile("cifar10-ee-224")
    assert (small.input_bytes, large.input_bytes) == (3_072, 150_528)
    assert np.array_equal(small.confidence, large.confidence)
    assert np.array_equal(small.leakage, large.leakage)
    assert np.allclose(large.stage_flops / small.stage_flops, 49)
    assert np.array_equal(large.cut_bytes[:-1], 49 * small.cut_bytes[:-1])
    assert large.cut_bytes[-1] == small.cut_bytes[-1]
    assert any("not trained on 224x224" in note for note in large.provenance["notes"])


def test_the_package_imports_without_torch():
    code = "import sys, edgecloud.profiles as p; p.load_profile('cifar10-ee-32'); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
