"""Frames of the uplink's stream: a message in pieces, in order, with receipts, so that its progress can be seen.

Device to server: pieces of the message with number `seq` (the last one marked), a message given up half-way, a ping.
Server to device: bytes of `seq` received so far, its reply or error, a pong.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from .fields import MessageError

__all__ = ["ABORT", "ERROR", "LAST", "PART", "PING", "PONG", "RECEIPT", "REPLY", "Frame", "frame", "read_frame"]

PART, LAST, ABORT, PING = 1, 2, 3, 4
RECEIPT, REPLY, ERROR, PONG = 17, 18, 19, 20

_HEAD = struct.Struct("<BIQ")
_KINDS = frozenset((PART, LAST, ABORT, PING, RECEIPT, REPLY, ERROR, PONG))


class Frame(NamedTuple):
    """One frame."""

    kind: int
    seq: int
    value: int
    """Of a receipt: bytes received; of a ping: anything."""
    body: bytes


def frame(kind: int, seq: int, value: int = 0, body: bytes | memoryview = b"") -> bytes:
    """A frame as bytes."""
    return b"".join((_HEAD.pack(kind, seq, value), body))


def read_frame(data: bytes) -> Frame:
    """A frame from a peer.

    Raises:
        MessageError: If it is none.
    """
    if len(data) < _HEAD.size or data[0] not in _KINDS:
        raise MessageError("frame", "must be a known frame", data[:16])
    kind, seq, value = _HEAD.unpack_from(data)
    return Frame(kind, seq, value, data[_HEAD.size :])
