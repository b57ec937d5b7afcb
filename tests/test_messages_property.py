"""Messages and bytes made at random: what is valid comes back equal, all else is `MessageError`."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headers import jpeg_header, png_header
from kinestream.errors import MessageError
from kinestream.fields import MAX_INTEGER, MAX_TEXT
from kinestream.messages import ANY_CAMERA, LANES, STATUSES, Frame, Person, PoseResult
from kinestream.skeletons import SKELETONS
from samples import frame, result

many = settings(max_examples=100, deadline=None)

BOTH = pytest.mark.parametrize("message", [Frame, PoseResult])

integers = st.integers(0, MAX_INTEGER)
finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=40) | st.just("x" * MAX_TEXT)
cameras = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
points = st.tuples(finite, finite, finite)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Any valid frame."""
    width, height = draw(st.integers(1, 7000)), draw(st.integers(1, 7000))
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    w, h = draw(st.integers(1, width - x)), draw(st.integers(1, height - y))
    codec = draw(st.sampled_from(["jpeg", "png", "raw"]))
    if codec == "raw":
        w, h = min(w, 5), min(h, 5)
        data = draw(st.binary(min_size=3 * w * h, max_size=3 * w * h))
    else:
        header = jpeg_header if codec == "jpeg" else png_header
        data = header(draw(st.integers(1, 7000)), draw(st.integers(1, 7000))) + draw(st.binary(max_size=50))
    return Frame(
        camera=draw(cameras),
        run=draw(st.integers(1, MAX_INTEGER)),
        seq=draw(integers),
        captured_us=draw(integers),
        width=width,
        height=height,
        view=(float(x), float(y), float(w), float(h)),
        codec=codec,  # type: ignore[arg-type]
        data=data,
        lane=draw(st.sampled_from(LANES)),
        media_time_s=draw(st.none() | finite),
        encoded_ms=draw(finite),
        origin=draw(texts),
        clock=draw(texts),
    )


@st.composite
def results(draw: st.DrawFn) -> PoseResult:
    """Any valid result."""
    status = draw(st.sampled_from(STATUSES))
    seq = draw(st.integers(0, MAX_INTEGER))
    skeleton = draw(texts | st.sampled_from([*SKELETONS]))
    count = len(SKELETONS[skeleton].names) if skeleton in SKELETONS else draw(st.integers(0, 20))
    keypoints = st.lists(points, min_size=count, max_size=count).map(tuple)
    people = st.builds(
        Person, box=st.tuples(finite, finite, finite, finite), score=finite, keypoints=keypoints
    )
    return PoseResult(
        camera=draw(cameras | st.just(ANY_CAMERA)) if status == "missing" else draw(cameras),
        run=draw(st.integers(1, MAX_INTEGER)),
        seq=seq,
        status=status,
        seq_to=None if status in ("ok", "end") else draw(st.none() | st.integers(seq, MAX_INTEGER)),
        captured_us=draw(st.none() | integers),
        media_time_s=draw(st.none() | finite),
        width=draw(st.none() | st.integers(1, MAX_INTEGER)),
        height=draw(st.none() | st.integers(1, MAX_INTEGER)),
        cause=draw(texts),
        model=draw(texts),
        skeleton=skeleton,
        people=draw(st.lists(people, max_size=3).map(tuple)) if status == "ok" else (),
        timings=draw(st.dictionaries(texts, finite, max_size=6)),
        worker=draw(texts),
        batch=draw(integers),
        lost_from=draw(st.none() | integers) if status == "end" else None,
        origin=draw(texts),
        clock=draw(texts),
    )


def fate(message: type[Frame | PoseResult], packed: bytes) -> str:
    """Read bytes that may be anything; a message that they are taken for must come back equal."""
    try:
        read = message.unpack(packed)
    except MessageError as error:
        assert 0 < len(str(error)) < 400, error
        return "refused"
    assert message.unpack(read.pack()) == read
    return "read"


@many
@given(frames())
def test_every_valid_frame_comes_back_equal(sent: Frame) -> None:
    assert Frame.unpack(sent.pack()) == sent


@many
@given(results())
def test_every_valid_result_comes_back_equal_from_msgpack_and_from_json(sent: PoseResult) -> None:
    assert PoseResult.unpack(sent.pack()) == sent
    line = json.dumps(sent.as_dict(), allow_nan=False, ensure_ascii=False)
    assert PoseResult.from_dict(json.loads(line.encode())) == sent


KNOWN = {"version", *PoseResult.__dataclass_fields__}
VALID = {Frame: frame().pack(), PoseResult: result().pack()}

short = st.text(st.characters(codec="utf-8"), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | short
    | st.binary(max_size=10)
)
extensions = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=6)) | st.builds(
    msgpack.Timestamp, st.integers(0, 2**32)
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and maps of lists and maps of `leaves`."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(short, inner, max_size=4),
        max_leaves=20,
    )


plain, junk = nested(scalars), nested(scalars | extensions)


@BOTH
@many
@given(packed=st.binary(max_size=300))
def test_arbitrary_bytes(message: type[Frame | PoseResult], packed: bytes) -> None:
    assert fate(message, packed) == "refused"


@BOTH
@many
@given(value=junk | st.dictionaries(scalars, junk, max_size=3))
def test_arbitrary_objects(message: type[Frame | PoseResult], value: Any) -> None:
    assert fate(message, msgpack.packb(value)) == "refused"


@BOTH
@many
@given(data=st.data())
def test_valid_messages_with_some_fields_replaced_by_anything(
    message: type[Frame | PoseResult], data: st.DataObject
) -> None:
    sent = msgpack.unpackb(VALID[message])
    names = [*sent, "people", "box", "unknown"]
    replaced = data.draw(st.dictionaries(st.sampled_from(names), junk, min_size=1, max_size=3))
    fate(message, msgpack.packb(sent | replaced))
    if message is PoseResult:
        person = sent["people"][0] | replaced
        people = [person, data.draw(junk)] if data.draw(st.booleans()) else [person]
        fate(message, msgpack.packb(sent | {"people": people}))


@BOTH
@many
@given(data=st.data())
def test_valid_bytes_with_some_of_them_changed_inserted_or_taken_away(
    message: type[Frame | PoseResult], data: st.DataObject
) -> None:
    packed = bytearray(VALID[message])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(packed)))
        packed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    fate(message, bytes(packed))


@BOTH
def test_every_byte_changed_to_what_msgpack_reads_most_differently(message: type[Frame | PoseResult]) -> None:
    packed = VALID[message]
    seen = set()
    for at in range(len(packed)):
        for byte in (0x00, 0x7F, 0x80, 0x90, 0xA0, 0xC0, 0xC1, 0xC6, 0xC9, 0xCF, 0xDB, 0xDD, 0xDF, 0xFF):
            seen.add(fate(message, packed[:at] + bytes([byte]) + packed[at + 1 :]))
    assert seen == {"read", "refused"}


@BOTH
def test_every_truncation_is_refused(message: type[Frame | PoseResult]) -> None:
    packed = VALID[message]
    assert fate(message, packed) == "read"
    assert {fate(message, packed[:length]) for length in range(len(packed))} == {"refused"}


@many
@given(more=st.dictionaries(short.filter(lambda name: name not in KNOWN), plain, max_size=4))
def test_a_later_minor_version_may_add_fields_of_any_kind(more: dict[str, Any]) -> None:
    sent = msgpack.unpackb(VALID[PoseResult])
    assert PoseResult.unpack(msgpack.packb(sent | more)) == result()
