import math
import struct
from dataclasses import replace

import msgpack
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecloud.errors import InputError
from edgecloud.runtime.serving.framing import LAST, frame, read_frame
from edgecloud.runtime.serving.messages import (
    MAX_MESSAGE_BYTES,
    MessageError,
    Prepare,
    Prepared,
    Reply,
    Request,
    Status,
    decode,
    encode,
)
from edgecloud.runtime.serving.payloads import pack, unpack
from edgecloud.runtime.serving.plan import Plan

PAYLOAD = pack(torch.arange(24.0).reshape(1, 2, 3, 4))
REQUEST = Request(bytes(range(16)), "model", Plan(1, 2, 0.5, "spill"), 1, 0.75, PAYLOAD, 1.7e9, 2, 0.25, True)
REPLY = Reply(b"r" * 16, 2, 0.5, 7, "ok", "", {"edge_queue_s": 0.25, "cold": True, "route_used": "faas"}, "edge", 0.5)
MESSAGES = (
    REQUEST,
    REPLY,
    Prepare("model", Plan(0, 3)),
    Prepared(True, 0.5, ((0, 3), (3, 6))),
    Status("edge", "edge", "model", 3, 0.5, ((0, 2),), {"torch": "2"}, {"vm_running": 2.0}),
)


def header_of(data: bytes) -> dict[str, object]:
    (length,) = struct.unpack("<I", data[4:8])
    content: dict[str, object] = msgpack.unpackb(data[8 : 8 + length])
    return content


def with_header(data: bytes, **changes: object) -> bytes:
    (length,) = struct.unpack("<I", data[4:8])
    header = msgpack.packb({**header_of(data), **changes})
    return data[:4] + struct.pack("<I", len(header)) + header + data[8 + length :]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_encoded_is_decoded(message: object) -> None:
    assert decode(encode(message)) == message  # type: ignore[arg-type]


def test_the_tensor_survives() -> None:
    decoded = decode(encode(REQUEST))
    assert isinstance(decoded, Request)
    assert torch.equal(unpack(decoded.payload, (1, 2, 3, 4)), torch.arange(24.0).reshape(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": b"short"}, "id"),
        ({"deadline_s": math.nan}, "deadline_s"),
        ({"deadline_s": -1.0}, "deadline_s"),
        ({"attempt": True}, "attempt"),
        ({"cut": 1.0}, "cut"),
        ({"plan": {"cut_device": 2, "cut_edge": 1, "threshold": 1.0, "route": "vm"}}, "plan.cuts"),
        ({"plan": {"cut_device": 1, "cut_edge": 1, "threshold": math.nan, "route": "vm"}}, "plan.threshold"),
        ({"plan": {"cut_device": 1, "cut_edge": 1, "threshold": 1.0, "route": "boat"}}, "plan.route"),
        ({"plan": [1, 2]}, "plan"),
        ({"surprise": 1}, "header"),
        ({"kind": "reply"}, ""),
        ({"kind": ["reply"]}, "kind"),
        ({"payload": None}, "payload"),
        ({"payload": {"dtype": "fp64", "shape": [1], "compression": "none", "scales": b""}}, "payload.dtype"),
        ({"payload": {"dtype": "fp32", "shape": [1 << 30], "compression": "zstd", "scales": b""}}, "payload.shape"),
        ({"payload": {"dtype": "fp32", "shape": [1, 2], "compression": "none", "scales": b""}}, "payload"),
        ({"payload": {"dtype": "int8", "shape": [96], "compression": "none", "scales": b""}}, "payload.scales"),
    ],
)
def test_a_broken_rule_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(MessageError) as caught:
        decode(with_header(encode(REQUEST), **changes))
    assert caught.value.field == field
    assert isinstance(caught.value, InputError)


def test_a_missing_field_is_named() -> None:
    data = encode(REPLY)
    header = header_of(data)
    del header["label"]
    packed = msgpack.packb(header)
    with pytest.raises(MessageError, match="label"):
        decode(data[:4] + struct.pack("<I", len(packed)) + packed)


@pytest.mark.parametrize("timings", [{"unknown_s": 1.0}, {"edge_queue_s": "1"}, {"cold": 1}, {"edge_queue_s": -1.0}])
def test_timings_are_checked(timings: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        decode(with_header(encode(REPLY), timings=timings))


def test_too_long_is_refused_before_anything_is_read() -> None:
    with pytest.raises(MessageError, match="at most 100 bytes"):
        decode(b"x" * 101, max_bytes=100)
    with pytest.raises(MessageError, match="at most"):
        encode(replace(REQUEST, payload=replace(PAYLOAD, data=bytes(MAX_MESSAGE_BYTES))))


def test_nothing_may_follow_a_header() -> None:
    with pytest.raises(MessageError, match="must end with its header"):
        decode(encode(REPLY) + b"x")


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes_are_refused(data: bytes, prefixed: bool) -> None:
    with pytest.raises(MessageError):
        decode((b"ECM1" + struct.pack("<I", len(data)) if prefixed else b"") + data)


@settings(max_examples=250, deadline=None)
@given(st.integers(0, len(MESSAGES) - 1), st.data())
def test_mutated_messages_are_decoded_or_refused(number: int, data: st.DataObject) -> None:
    original = bytearray(encode(MESSAGES[number]))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(original) - 1))
        action = data.draw(st.sampled_from(("change", "cut", "insert")))
        if action == "change":
            original[position] = data.draw(st.integers(0, 255))
        elif action == "cut" and len(original) > 1:
            del original[position : position + data.draw(st.integers(1, 8))]
        else:
            original[position:position] = data.draw(st.binary(min_size=1, max_size=8))
        if not original:
            original = bytearray(b"x")
    try:
        decoded = decode(bytes(original))
        if isinstance(decoded, Request):
            unpack(decoded.payload, (1, 2, 3, 4))
    except MessageError:
        return
    assert type(decoded) in {type(item) for item in MESSAGES}


scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats()
json_like = st.recursive(
    scalars | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(MESSAGES) - 1), st.data())
def test_any_value_in_any_field_is_decoded_or_refused(number: int, data: st.DataObject) -> None:
    original = encode(MESSAGES[number])
    field = data.draw(st.sampled_from(sorted(header_of(original))))
    try:
        decoded = decode(with_header(original, **{field: data.draw(json_like)}))
    except MessageError:
        return
    assert decode(encode(decoded)) is not None  # what is accepted can be said again


def test_a_nested_bomb_is_refused() -> None:
    header = b"\x91" * 100_000
    with pytest.raises(MessageError, match="msgpack"):
        decode(b"ECM1" + struct.pack("<I", len(header)) + header)


def test_frames() -> None:
    assert read_frame(frame(LAST, 7, 9, b"body")) == (LAST, 7, 9, b"body")
    for data in (b"", b"\x02", b"\x63" + bytes(20)):
        with pytest.raises(MessageError):
            read_frame(data)
