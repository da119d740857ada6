import gzip
import shutil
import subprocess

import numpy as np
import pytest

from edgecloud.errors import InputError
from edgecloud.profiles.images import fashion_mnist
from edgecloud.profiles.images.datasets import load_images
from edgecloud.profiles.images.fashion_mnist import MD5, load_fashion_mnist


def idx_files() -> dict[str, bytes]:
    """Four small files in the idx layout: pixels count up, labels cycle."""
    contents = {}
    for part, count in (("train", 3), ("t10k", 2)):
        pixels = (np.arange(count * 784) % 256).astype(np.uint8).tobytes()
        header = b"".join(value.to_bytes(4, "big") for value in (2051, count, 28, 28))
        contents[f"{part}-images-idx3-ubyte"] = header + pixels
        header = b"".join(value.to_bytes(4, "big") for value in (2049, count))
        contents[f"{part}-labels-idx1-ubyte"] = header + bytes(range(count))
    return contents


@pytest.fixture
def small_files(monkeypatch) -> dict[str, bytes]:
    contents = idx_files()
    digests = {name: fashion_mnist.hashlib.md5(contents[name]).hexdigest() for name in MD5}
    monkeypatch.setattr(fashion_mnist, "MD5", digests)
    return contents


@pytest.mark.parametrize("packed", [True, False])
def test_folder_of_idx_files(small_files, tmp_path, packed):
    for name, content in small_files.items():
        (tmp_path / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    images = load_images("fashion-mnist", tmp_path)
    assert images.train_images.shape == (3, 1, 28, 28)
    assert images.train_images[0, 0, 1, 0] == 28
    assert images.test_labels.tolist() == [0, 1]
    assert images.name == "Fashion-MNIST"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_debian_package(small_files, tmp_path):
    root = tmp_path / "root"
    (root / fashion_mnist.INSTALLED).mkdir(parents=True)
    for name, content in small_files.items():
        (root / fashion_mnist.INSTALLED / f"{name}.gz").write_bytes(gzip.compress(content))
    (root / "DEBIAN").mkdir()
    fields = "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\nMaintainer: test\nDescription: test\n"
    (root / "DEBIAN" / "control").write_text(fields)
    package = tmp_path / "dataset-fashion-mnist_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(package)], check=True, capture_output=True)
    assert len(load_fashion_mnist(tmp_path).train_labels) == 3
    package.write_bytes(b"no package")
    with pytest.raises(InputError, match="must be the Debian package"):
        load_fashion_mnist(tmp_path)


def test_wrong_bytes(small_files, tmp_path):
    for name, content in small_files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(small_files["t10k-labels-idx1-ubyte"][:-1] + b"\x07")
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte: MD5"):
        load_fashion_mnist(tmp_path)


def test_damaged_gzip_and_empty_folder(small_files, tmp_path):
    with pytest.raises(InputError, match="must hold Fashion-MNIST"):
        load_fashion_mnist(tmp_path)
    for name, content in small_files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content)[:20])
    with pytest.raises(InputError, match="readable gzip"):
        load_fashion_mnist(tmp_path)


def test_unknown_data_set(tmp_path):
    with pytest.raises(InputError, match="did you mean 'fashion-mnist'"):
        load_images("fashion-mnits", tmp_path)
