"""The file that an exported policy is: a zip of a manifest, an ONNX graph and digests; nothing in it can run code.

Members: `manifest.json`, `policy.onnx`, and `SHA256SUMS` over both (`sha256sum -c` reads it). Sizes are checked before
anything is unpacked, digests before anything is parsed. The digests show damage; whether a file is the one that you
exported only its own digest can tell, which `edgecloud export` prints and `Policy.load(path, sha256=...)` demands.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..files import write_atomically
from .onnx_check import check_graph

__all__ = ["FORMAT", "KIND", "MAX_BYTES", "SUFFIX", "Artifact", "read_artifact", "write_artifact"]

FORMAT = 1
KIND = "edgecloud-policy"
SUFFIX = ".edgecloud"
MAX_BYTES = 64 << 20
"""Of the file and of each member when unpacked; a policy of this project takes well under 1 MB."""

_MANIFEST, _GRAPH, _SUMS = "manifest.json", "policy.onnx", "SHA256SUMS"
_LIMITS = {_MANIFEST: 8 << 20, _GRAPH: MAX_BYTES, _SUMS: 4096}
_TIME = (1980, 1, 1, 0, 0, 0)  # the same policy gives the same bytes whenever it is exported


class Artifact(NamedTuple):
    """An artifact as read.

    Attributes:
        source: The file.
        manifest: Facts about the policy.
        graph: ONNX model.
        sha256: Of the file, hexadecimal.
    """

    source: Path
    manifest: dict[str, Any]
    graph: bytes
    sha256: str


def write_artifact(path: str | Path, facts: Mapping[str, Any], graph: bytes) -> str:
    """Pack a policy, atomically; an older file of the name is replaced. Returns the file's SHA-256, hexadecimal.

    Args:
        path: The file.
        facts: JSON values; see docs/runtime-policy.md.
        graph: ONNX model.

    Raises:
        InputError: The file cannot be written.
    """
    check_graph(graph, path)
    text = json.dumps({"format": FORMAT, "kind": KIND, **facts}, indent=1, allow_nan=False).encode() + b"\n"
    members = {_MANIFEST: text, _GRAPH: graph}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, _SUMS: sums.encode()}.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    try:
        write_atomically(Path(path), buffer.getvalue())
    except OSError as error:
        raise InputError(path, "", f"must be a file that can be written ({error.strerror})") from error
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def read_artifact(path: str | Path, sha256: str = "") -> Artifact:
    """Unpack and check a policy.

    Args:
        path: The file.
        sha256: Digest that the file must have, hexadecimal; empty: any.

    Raises:
        InputError: The file is missing, too large, damaged, altered, of a newer format or something else.
    """
    path = Path(path)
    content = _content(path)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 and digest != sha256.strip().lower():
        raise InputError(path, "sha256", f"must be {sha256}", digest, "this is not the file that was exported")
    members = _members(path, content)
    _check_sums(path, members)
    return Artifact(path, _manifest(path, members[_MANIFEST]), check_graph(members[_GRAPH], path), digest)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(path, "", f"must be a readable policy file ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise InputError(path, "", f"must not be larger than {MAX_BYTES} bytes: this is no exported policy")
    return content


def _members(path: Path, content: bytes) -> dict[str, bytes]:
    """The three members, unpacked no further than their limits."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if sorted(names) != sorted(_LIMITS):
                raise InputError(path, "members", f"must be {', '.join(_LIMITS)}", names[:10])
            return {entry.filename: _unpacked(path, archive, entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        rule = "must be a policy written by 'edgecloud export': the file is damaged, truncated or something else"
        raise InputError(path, "", f"{rule} ({type(error).__name__})") from error


def _unpacked(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    limit = _LIMITS[entry.filename]
    if entry.file_size > limit:
        raise InputError(path, entry.filename, f"must not unpack to more than {limit} bytes", entry.file_size)
    with archive.open(entry) as member:
        content = member.read(limit + 1)  # the header's size may be a lie
    if len(content) > limit:
        raise InputError(path, entry.filename, f"must not unpack to more than {limit} bytes")
    return content


def _check_sums(path: Path, members: Mapping[str, bytes]) -> None:
    expected = {
        name: digest
        for digest, _, name in (line.partition("  ") for line in members[_SUMS].decode("utf-8", "replace").splitlines())
    }
    for name in (_MANIFEST, _GRAPH):
        digest = hashlib.sha256(members[name]).hexdigest()
        if expected.get(name) != digest:
            rule = "was altered: its SHA-256 is not the one that was noted when it was exported"
            raise InputError(path, name, rule, digest, "export the run again")


def _manifest(path: Path, content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(path, _MANIFEST, f"must be JSON ({type(error).__name__})") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise InputError(path, f"{_MANIFEST}.kind", f"must be '{KIND}'", _shown(manifest, "kind"))
    version = manifest.get("format")
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT:
        rule = f"must be at most {FORMAT}: the file was written by a newer version"
        raise InputError(path, f"{_MANIFEST}.format", rule, version, "update edgecloud")
    if version != FORMAT or isinstance(version, bool):
        raise InputError(path, f"{_MANIFEST}.format", f"must be {FORMAT}", version)
    return manifest


def _shown(manifest: object, name: str) -> object:
    return manifest.get(name) if isinstance(manifest, dict) else type(manifest).__name__
