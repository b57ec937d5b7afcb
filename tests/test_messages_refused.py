"""Messages that break the contract, by one field or by their bytes: each is one short `MessageError`.

Not for: messages and bytes made at random (see `test_messages_property.py`).
"""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest

from headers import jpeg_header, png_header
from kinestream.errors import MessageError
from kinestream.fields import MAX_INTEGER, MAX_TEXT
from kinestream.messages import (
    MAX_FRAME_BYTES,
    MAX_KEYPOINTS,
    MAX_PEOPLE,
    MAX_RESULT_BYTES,
    MAX_TIMINGS,
    Frame,
    PoseResult,
)
from samples import frame, plain, refused, result, with_field

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "camera": ["", ".hidden", "a/b", "a b", "ü", "a\n", "x" * 65, "x" * 100_000, b"pitch", 5, ["a"]],
        "run": [0, -1, MAX_INTEGER + 1, 2**64 - 1, 1.0, True, "1", [[]] * 1000],
        "seq": [-1, MAX_INTEGER + 1, 0.0, False],
        "captured_us": [-1, MAX_INTEGER + 1, 1.7e15],
        "width": [0, -5, 2**40, 1279.0],
        "height": [0, 70_000_000, True],
        "view": [
            [0, 0, 1280],
            [0, 0, 1280, 720, 1],
            [0, 0, NAN, 720],
            [0, 0, INFINITY, 720],
            [0, 0, 0, 720],
            [-1, 0, 100, 100],
            [0, -1, 100, 100],
            [1, 0, 1280, 720],
            [0, 1, 1280, 720],
            ["0", 0, 1280, 720],
            [0, 0, True, 720],
            {"x": 0},
        ],
        "codec": ["JPEG", "webp", b"jpeg", 1, [], "png", "raw"],
        "data": [b"", "text", [1, 2], b"\xff\xd8\xff", jpeg_header(0, 10), jpeg_header(10, 0)],
        "lane": ["", "fast", 3, ["live"]],
        "media_time_s": [NAN, INFINITY, -INFINITY, "1", MAX_INTEGER + 1, True],
        "encoded_ms": [NAN, "fast", []],
        "clock": ["x" * (MAX_TEXT + 1), 1, b"camera"],
    }.items(),
)
def test_a_frame_with_a_wrong_field_is_refused_and_the_field_is_named(name: str, values: list[Any]) -> None:
    for value in values:
        said = refused(frame(), **{name: value})
        if name not in ("data", "codec"):  # these two may also contradict each other
            assert name in said or f"got {value}x" in said or f"x{value}" in said


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "status": ["OK", "", "done", 1, b"ok"],
        "seq_to": [40, -1, 41, 1.5, "42"],  # 41 is in range, but an `ok` stands for one frame
        "captured_us": [-1, "now"],
        "media_time_s": [NAN, "1"],
        "width": [0, 1.5],
        "height": [-1],
        "cause": ["x" * (MAX_TEXT + 1), 1, b"x"],
        "model": ["x" * (MAX_TEXT + 1), []],
        "skeleton": [17],
        "worker": [{"a": 1}],
        "clock": ["x" * (MAX_TEXT + 1), 1, b"camera"],
        "batch": [-1, 1.5, True],
        "lost_from": [-1, 3],  # only an `end` has it
        "timings": [
            [1.0],
            {"a": "b"},
            {"a": NAN},
            {"a": None},
            {b"a": 1.0},
            {"x" * (MAX_TEXT + 1): 1.0},
            {str(i): 1.0 for i in range(MAX_TIMINGS + 1)},
        ],
        "people": [
            {"box": 1},
            ["a"],
            [None],
            [{}] * (MAX_PEOPLE + 1),
            [{"box": [1, 2, 3, 4], "score": 1}],
            [{"box": [1, 2, 3], "score": 1, "keypoints": []}],
            [{"box": [1, 2, 3, NAN], "score": 1, "keypoints": []}],
            [{"box": [1, 2, 3, 4], "score": "1", "keypoints": []}],
        ],
    }.items(),
)
def test_a_result_with_a_wrong_field_is_refused_and_the_field_is_named(name: str, values: list[Any]) -> None:
    for value in values:
        assert name in refused(result(), **{name: value})
        with pytest.raises(MessageError, match=name):
            PoseResult.from_dict(result().as_dict() | {name: value})


@pytest.mark.parametrize(
    "keypoints",
    [
        [[1, 2]] * 17,
        [[1, 2, 3, 4]] * 17,
        [[1.0, 2.0, NAN]] * 17,
        [[1.0, INFINITY, 0.5]] * 17,
        [[INFINITY, -INFINITY, 0.5]] * 17,
        [[1.0, "2", 0.5]] * 17,
        [[1.0, True, 0.5]] * 17,
        [1.0, 2.0, 0.5],
        {"nose": [1, 2, 3]},
        [[1.0, 2.0, 0.5]] * (MAX_KEYPOINTS + 1),
        [[1.0, 2.0, 0.5]] * 16,  # coco17 has 17: whoever draws them relies on it
        [],
    ],
)
def test_keypoints_are_triples_of_finite_numbers_and_as_many_as_the_skeleton_has(keypoints: Any) -> None:
    wrong = {"box": [1, 2, 3, 4], "score": 1, "keypoints": keypoints}
    said = refused(result(), people=[wrong])
    assert "keypoints" in said
    if len(keypoints) in (17, 3, 257, 1):
        assert "people[0]: keypoints" in said


def test_an_image_of_no_bytes_is_refused() -> None:
    assert "data must be 1 to" in refused(frame(), data=b"")


def test_images_that_claim_too_much_are_refused_from_their_header() -> None:
    assert "60000x60000" in refused(frame(), data=jpeg_header(60_000, 60_000))
    assert "2147483647x9" in refused(frame(), codec="png", data=png_header(2**31 - 1, 9))
    assert "60000x60000" in refused(frame(), width=60_000, height=60_000)
    assert "3 bytes a pixel" in refused(frame(), codec="raw", view=[0, 0, 2, 2], data=b"11")
    assert "3 bytes a pixel" in refused(frame(), codec="raw", view=[0, 0, 1.5, 2], data=bytes(6))


def array(items: int, item: bytes) -> bytes:
    return b"\xdc" + items.to_bytes(2, "big") + items * item


DAMAGED = {
    "nothing": (b"", "incomplete"),
    "no map": (msgpack.packb([1, 2]), "must be a map, got tuple of length 2"),
    "text": (msgpack.packb("frame"), "must be a map, got 'frame'"),
    "null": (msgpack.packb(None), "must be a map, got None"),
    "two objects": (msgpack.packb({"version": 1}) * 2, "extra data"),
    "cut": (msgpack.packb({"version": 1, "camera": "c"})[:-1], "incomplete"),
    "never used byte": (b"\xc1", "FormatError"),
    "bytes as keys": (b"\x81\xc4\x07version\x01", "version must be"),
    "4 GB of text": (b"\x81\xa7version\xdb\xff\xff\xff\xff", "incomplete"),
    "4 GB of bytes": (b"\x81\xa4data\xc6\xff\xff\xff\xff", "incomplete"),
    "4 G keys": (b"\xdf\xff\xff\xff\xff", "4294967295 exceeds max_map_len"),
    "deep maps": (b"\x81\xa1a" * 100_000 + b"\xc0", "StackError"),
}
DAMAGED_FIELDS = {
    "not UTF-8": (b"\xa1\xff", "utf-8"),
    "number as key": (b"\x81\x01\x01", "not allowed for map key"),
    "null as key": (b"\x81\xc0\x01", "not allowed for map key"),
    "list as key": (b"\x81\x90\x01", "not allowed for map key"),
    "4 G items": (b"\xdd\xff\xff\xff\xff", "4294967295 exceeds max_array_len"),
    "1025 items": (array(1025, b"\xc0"), "1025 exceeds max_array_len"),
    "1025 keys": (msgpack.packb({str(i): i for i in range(1025)}), "1025 exceeds max_map_len"),
    "deep": (b"\x91" * 100_000 + b"\xc0", "StackError"),
    "extension": (b"\xd4\x05\x00", "exceeds max_ext_len"),
    "time stamp": (b"\xd6\xff\x00\x00\x00\x00", "exceeds max_ext_len"),
    "a key twice": (b"\x82\xa1b\x01\xa1b\x01", "a key twice"),
}


def why_refused(message: type[Frame | PoseResult], packed: bytes) -> str:
    """The error's text, which is short whatever came."""
    with pytest.raises(MessageError) as caught:
        message.unpack(packed)
    assert type(caught.value) is MessageError
    assert len(str(caught.value)) < 200
    return str(caught.value)


@pytest.mark.parametrize("message", [Frame, PoseResult])
@pytest.mark.parametrize(("packed", "why"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_bytes_are_one_short_message_error(
    message: type[Frame | PoseResult], packed: bytes, why: str
) -> None:
    assert why in why_refused(message, packed)


@pytest.mark.parametrize("message", [frame(), result()], ids=["frame", "result"])
@pytest.mark.parametrize(("value", "why"), DAMAGED_FIELDS.values(), ids=DAMAGED_FIELDS.keys())
def test_damage_in_an_unknown_field_is_one_short_message_error(
    message: Frame | PoseResult, value: bytes, why: str
) -> None:
    assert type(message).unpack(with_field(message, "more", b"\x01")) == message
    assert why in why_refused(type(message), with_field(message, "more", value))


@pytest.mark.parametrize("message", [frame(), result()], ids=["frame", "result"])
def test_a_key_twice_is_refused_since_readers_disagree_on_which_counts(message: Frame | PoseResult) -> None:
    assert "a key twice" in why_refused(type(message), with_field(message, "seq", b"\x07"))


def test_a_deeply_nested_field_is_refused_without_being_shown() -> None:
    assert refused(frame(), view=msgpack.unpackb(b"\x91" * 500 + b"\xc0")).endswith("got tuple of length 1")


@pytest.mark.parametrize("message", [frame(), result()], ids=["frame", "result"])
def test_more_bytes_than_allowed_are_refused_before_they_are_read(message: Frame | PoseResult) -> None:
    limit = MAX_FRAME_BYTES if isinstance(message, Frame) else MAX_RESULT_BYTES
    padded = msgpack.packb(plain(message) | {"more": bytes(limit)})
    with pytest.raises(MessageError, match=f"may have {limit} bytes, got {len(padded)}"):
        type(message).unpack(padded)


@pytest.mark.parametrize("message", [frame(), result()], ids=["frame", "result"])
def test_a_message_of_millions_of_empty_lists_costs_little_memory(message: Frame | PoseResult) -> None:
    hostile = with_field(message, "more", array(3, array(1000, array(1000, b"\x90"))))
    assert len(hostile) > 3_000_000
    tracemalloc.start()
    try:
        with pytest.raises(MessageError, match="lists and maps"):
            type(message).unpack(hostile)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Unlimited, they are 250 MB. A result may have 66,000 lists: 256 people of 256 keypoints.
    assert peak < (1_000_000 if isinstance(message, Frame) else 12_000_000)
