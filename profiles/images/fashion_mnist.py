"""Fashion-MNIST (Xiao et al. 2017, MIT licence) from idx files or the Debian package, checked by MD5 and cached."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import write_atomically
from .image_set import ImageSet

__all__ = ["PACKAGE", "load_fashion_mnist"]

PACKAGE = "dataset-fashion-mnist"
"""The Debian package that holds the four files."""

INSTALLED = Path("usr/share/datasets/fashion-mnist")
MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
"""Digests of the files after decompression, as the Debian package has them."""

REMEDY = f"give --data DIR with {', '.join(MD5)} (plain or .gz), or the Debian package {PACKAGE} (.deb or unpacked)"


def load_fashion_mnist(folder: Path | None = None, cache: Path = Path("data/fashion-mnist")) -> ImageSet:
    """Fashion-MNIST from `folder`, from the cache, from the installed Debian package, or fetched by `apt-get download`.

    Args:
        folder: A folder with the four idx files (plain or gzip), with the `.deb`, or with the unpacked package.
        cache: Folder for the idx files; keep it out of version control.

    Raises:
        InputError: If a file is missing or has a wrong MD5, or if nothing can be fetched.
    """
    if folder is not None:
        return _read_any(folder)
    installed = Path("/") / INSTALLED
    if not _has_files(cache) and _has_files(installed):
        return _image_set(_read_files(installed), installed)
    if not _has_files(cache):
        _fetch(cache)
    return _image_set(_read_files(cache), cache)


def _has_files(folder: Path) -> bool:
    return all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in MD5)


def _read_any(folder: Path) -> ImageSet:
    for place in (folder, folder / INSTALLED):
        if _has_files(place):
            return _image_set(_read_files(place), folder)
    archives = sorted(folder.glob(f"{PACKAGE}_*.deb"))
    if not archives:
        raise InputError(folder, "", "must hold Fashion-MNIST", None, REMEDY)
    with tempfile.TemporaryDirectory() as scratch:
        return _image_set(_unpack(archives[0], Path(scratch)), folder)


def _read_files(folder: Path) -> dict[str, bytes]:
    contents = {}
    for name in MD5:
        plain, packed = folder / name, folder / f"{name}.gz"
        try:
            contents[name] = plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(packed, "", "must be a readable gzip file", str(error), REMEDY) from error
    return contents


def _unpack(archive: Path, scratch: Path) -> dict[str, bytes]:
    command = ["dpkg-deb", "--extract", str(archive), str(scratch)]
    if shutil.which(command[0]) is None:
        raise InputError(archive, "", "needs dpkg-deb, which is not installed", None, REMEDY)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not _has_files(scratch / INSTALLED):
        reason = (done.stderr.strip().splitlines() or ["files missing"])[-1]
        raise InputError(archive, "", f"must be the Debian package {PACKAGE}", reason, REMEDY)
    return _read_files(scratch / INSTALLED)


def _fetch(cache: Path) -> None:
    """Run `apt-get download` and keep the four files in `cache` once all are checked."""
    command = ["apt-get", "download", "--quiet", PACKAGE]
    if shutil.which(command[0]) is None:
        raise InputError(cache, "", "Fashion-MNIST is not cached here and apt-get is not installed", None, REMEDY)
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        archives = sorted(Path(scratch).glob("*.deb"))
        if done.returncode != 0 or not archives:
            reason = (done.stderr.strip().splitlines() or ["no package"])[-1]
            raise InputError(" ".join(command), "", "must deliver the package", reason, REMEDY)
        contents = _unpack(archives[0], Path(scratch) / "unpacked")
    _image_set(contents, cache)
    cache.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(cache / name, content)


def _image_set(contents: dict[str, bytes], source: Path) -> ImageSet:
    """The images and labels of four checked files."""
    for name, expected in MD5.items():
        digest = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
        if digest != expected:
            raise InputError(source / name, "MD5", f"must be {expected}", digest, "fetch the data again")
    return ImageSet(
        train_images=_images(contents["train-images-idx3-ubyte"]),
        train_labels=_labels(contents["train-labels-idx1-ubyte"]),
        test_images=_images(contents["t10k-images-idx3-ubyte"]),
        test_labels=_labels(contents["t10k-labels-idx1-ubyte"]),
        name="Fashion-MNIST",
        source=f"Debian package {PACKAGE}",
    )


def _images(content: bytes) -> NDArray[np.uint8]:
    """uint8 (n, 1, 28, 28) of an idx3 file: a header of four big-endian words, then the pixels."""
    return np.frombuffer(content, dtype=np.uint8, offset=16).reshape(-1, 1, 28, 28).copy()


def _labels(content: bytes) -> NDArray[np.int64]:
    """int64 (n,) of an idx1 file: a header of two words, then one byte per label."""
    return np.frombuffer(content, dtype=np.uint8, offset=8).astype(np.int64)
