"""What device, edge and cloud say to each other: a msgpack header of a strict schema, then the tensor's raw bytes.

A message is `ECM1`, the header's length (4 bytes, little-endian), the header, and what remains is the tensor. Nothing
in it is executable, every size is limited before memory is reserved, and whatever breaks a rule is a `MessageError`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

import msgpack

from ...errors import InputError
from .fields import Check, MessageError, binary, check_fields, flag, integer, number, text, words
from .payloads import Payload, payload_from, payload_header
from .plan import MAX_STAGES, ROUTES, Plan

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Message",
    "MessageError",
    "Prepare",
    "Prepared",
    "Reply",
    "Request",
    "Scale",
    "Status",
    "Timings",
    "decode",
    "encode",
]

MAX_MESSAGE_BYTES = 64 << 20
"""A limit for any message; servers may set a lower one."""
MAX_HEADER_BYTES = 128 << 10
ID_BYTES = 16
_MAGIC = b"ECM1"
_LENGTH = struct.Struct("<I")
_HOUR_S = 3600.0
_EXITS = 256
_LOGITS_BYTES = 64 << 10
_SEGMENTS = 64
_GAUGES = 64

OUTCOMES = ("ok", "late", "refused", "failed")


class Timings(TypedDict, total=False):
    """What a request cost, as measured where it was spent; what a tier did not do is missing."""

    edge_queue_s: float
    edge_service_s: float
    edge_pause_s: float  # loading the segment, where it was not resident
    edge_queue: int  # requests there when it came
    edge_load: float  # utilisation of the server, 0..1
    backhaul_s: float  # edge to cloud and back, without the time spent in the cloud
    transit_bytes: int  # that the edge sent to the cloud
    cloud_queue_s: float
    cloud_service_s: float
    cloud_pause_s: float
    cloud_queue: int
    cold: bool  # a function instance was started for it
    init_s: float  # that start
    billed_ms: int
    route_used: str
    cloud_server: str


@dataclass(frozen=True)
class Request:
    """Please go on with this tensor."""

    id: bytes
    """16 random bytes; a retry keeps them."""
    model: str
    """Fingerprint of the split model."""
    plan: Plan
    cut: int
    """The payload is the tensor at this cut."""
    deadline_s: float
    """Seconds that remain when it is sent."""
    payload: Payload
    sent_s: float
    """Unix time of the first attempt's sending: servers refuse what lies outside their window."""
    attempt: int = 1
    """1, 2, …: a server answers the same id again only if the attempt has risen."""
    first_confidence: float = math.nan
    """Confidence at the first head, where that was computed already."""
    want_logits: bool = False
    """Whether the reply shall carry the answering head's logits."""


@dataclass(frozen=True)
class Reply:
    """The answer, or why there is none."""

    id: bytes
    exit: int
    """Index of the head that answered; -1: none."""
    confidence: float
    label: int
    """Predicted class; -1: none."""
    status: str
    """`ok`, `late`, `refused` or `failed`."""
    reason: str = ""
    timings: Timings = field(default_factory=lambda: Timings())
    server: str = ""
    """Name of the tier that answered."""
    first_confidence: float = math.nan
    """Confidence at the first head; not a number: nobody computed it."""
    logits: bytes = b""
    """Little-endian 32-bit floats, where asked for."""


@dataclass(frozen=True)
class Prepare:
    """Please load what this plan will need, ahead of the switch."""

    model: str
    plan: Plan


@dataclass(frozen=True)
class Prepared:
    """What came of it."""

    resident: bool
    """Whether the segment is loaded now; if not, there was no room and the first request will pay a pause."""
    seconds: float
    """Spent on loading; 0: it was there already."""
    segments: tuple[tuple[int, int], ...] = ()
    """Resident now, most recently used first."""


@dataclass(frozen=True)
class Scale:
    """Please aim at this many VMs; for the cloud's gateway, on the method `Prepare`."""

    vm_target: int


@dataclass(frozen=True)
class Status:
    """How a server is."""

    server: str
    tier: str
    model: str
    queue: int
    """Requests waiting or in service."""
    load: float
    """Share of the last seconds that the tier was busy."""
    segments: tuple[tuple[int, int], ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)
    """Counters and whatever else a tier reports, for example `vm_running`."""
    draining: bool = False


Message = Request | Reply | Prepare | Prepared | Scale | Status


def _plan(name: str, value: object) -> Plan:
    content = check_fields(value, _PLAN, name)
    try:
        return Plan(**content)
    except InputError as error:
        raise MessageError(f"{name}.{error.field}", error.rule, error.value) from error


def _timings(name: str, value: object) -> Timings:
    return cast(Timings, check_fields(value, _TIMINGS, name, partial=True))


def _segments(name: str, value: object) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list) or len(value) > _SEGMENTS:
        raise MessageError(name, f"must be a list of at most {_SEGMENTS} pairs", value)
    pairs = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise MessageError(name, "must hold pairs of cuts", pair)
        first, last = (_CUT(name, cut) for cut in pair)
        pairs.append((first, last))
    return tuple(pairs)


def _mapping(check: Check) -> Check:
    def checked(name: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > _GAUGES:
            raise MessageError(name, f"must be a map of at most {_GAUGES} entries", value)
        return {_NAME(name, key): check(name, entry) for key, entry in value.items()}

    return checked


_NAME, _CUT, _SECONDS = text(100), integer(0, MAX_STAGES), number(0.0, 1e9)
_ID = binary(ID_BYTES, ID_BYTES)
_CONFIDENCE = number(0.0, 1.0, nan=True)
_PLAN: dict[str, Check] = {
    "cut_device": _CUT,
    "cut_edge": _CUT,
    "threshold": number(0.0, math.inf),
    "route": words(*ROUTES),
}
_TIMINGS: dict[str, Check] = {
    name: {"float": _SECONDS, "int": integer(0, 1 << 53), "bool": flag, "str": _NAME}[kind.__forward_arg__]
    for name, kind in Timings.__annotations__.items()
}
_SCHEMAS: dict[str, tuple[type[Message], dict[str, Check]]] = {
    "request": (
        Request,
        {
            "id": _ID,
            "model": _NAME,
            "plan": _plan,
            "cut": _CUT,
            "deadline_s": number(0.0, _HOUR_S),
            "sent_s": number(0.0, 1e11),
            "attempt": integer(1, 1000),
            "first_confidence": _CONFIDENCE,
            "want_logits": flag,
        },
    ),
    "reply": (
        Reply,
        {
            "id": _ID,
            "exit": integer(-1, _EXITS),
            "confidence": _CONFIDENCE,
            "label": integer(-1, 1 << 31),
            "status": words(*OUTCOMES),
            "reason": text(500),
            "timings": _timings,
            "server": _NAME,
            "first_confidence": _CONFIDENCE,
            "logits": binary(0, _LOGITS_BYTES),
        },
    ),
    "prepare": (Prepare, {"model": _NAME, "plan": _plan}),
    "prepared": (Prepared, {"resident": flag, "seconds": _SECONDS, "segments": _segments}),
    "scale": (Scale, {"vm_target": integer(0, 1 << 10)}),
    "status": (
        Status,
        {
            "server": _NAME,
            "tier": _NAME,
            "model": _NAME,
            "queue": integer(0, 1 << 31),
            "load": number(0.0, 1.0),
            "segments": _segments,
            "versions": _mapping(_NAME),
            "gauges": _mapping(number(-math.inf, math.inf)),
            "draining": flag,
        },
    ),
}
_KINDS = {kind: name for name, (kind, _) in _SCHEMAS.items()}


def encode(message: Message) -> bytes:
    """A message as bytes.

    Raises:
        MessageError: If it exceeds a limit.
    """
    name = _KINDS[type(message)]
    content: dict[str, object] = {key: getattr(message, key) for key in _SCHEMAS[name][1]}
    if "plan" in content:
        content["plan"] = {key: getattr(content["plan"], key) for key in _PLAN}
    data: bytes | memoryview = b""
    if isinstance(message, Request):
        content["payload"], data = payload_header(message.payload), message.payload.data
    header = msgpack.packb({"kind": name, **content})
    if len(header) > MAX_HEADER_BYTES or len(header) + len(data) + 8 > MAX_MESSAGE_BYTES:
        raise MessageError("", f"must have at most {MAX_MESSAGE_BYTES} bytes", len(header) + len(data) + 8)
    return b"".join((_MAGIC, _LENGTH.pack(len(header)), header, data))


def decode(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> Message:
    """A message from bytes that anybody may have sent.

    Args:
        data: As received; a tensor in the result refers to it, without a copy.
        max_bytes: The longest message to accept.

    Raises:
        MessageError: If the bytes are not a message, or one that breaks a rule.
    """
    if len(data) > max_bytes:
        raise MessageError("", f"must have at most {max_bytes} bytes", len(data))
    if len(data) < 8 or data[:4] != _MAGIC:
        raise MessageError("", f"must begin with {_MAGIC!r} and a length", bytes(data[:8]))
    (length,) = _LENGTH.unpack(data[4:8])
    if not 0 < length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise MessageError("header", "must fit into the message", length)
    content = _header(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    name = content.pop("kind", None)
    if not isinstance(name, str) or name not in _SCHEMAS:
        raise MessageError("kind", f"must be one of {', '.join(_SCHEMAS)}", name)
    kind, schema = _SCHEMAS[name]
    if name == "request":
        payload = payload_from(content.pop("payload", None), body)
        return Request(**check_fields(content, schema), payload=payload)
    if len(body):
        raise MessageError("", f"of kind {name} must end with its header", len(body))
    return kind(**check_fields(content, schema))


def _header(data: bytes) -> dict[str, Any]:
    try:
        content = msgpack.unpackb(data, raw=False, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack raises a dozen kinds for malformed input
        raise MessageError("header", "must be valid msgpack", f"{type(error).__name__}: {error}"[:80]) from error
    if not isinstance(content, dict):
        raise MessageError("header", "must be a map", type(content).__name__)
    return content
