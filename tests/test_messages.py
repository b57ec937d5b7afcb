"""What the two messages hold, what they refuse, and with which words.

Not for: messages and bytes made at random (see `test_messages_property.py`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest

from headers import jpeg_header, png_header
from kinestream.errors import KinestreamError, MessageError, UnsupportedVersion
from kinestream.fields import MAX_INTEGER, MAX_TEXT, clip_text
from kinestream.messages import (
    ANY_CAMERA,
    MAX_DATA_BYTES,
    MAX_FRAME_BYTES,
    MAX_KEYPOINTS,
    MAX_PEOPLE,
    MAX_RESULT_BYTES,
    MAX_TIMINGS,
    Frame,
    PoseResult,
)
from kinestream.skeletons import SKELETONS
from samples import RUN, frame, person, plain, refused, result

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "sent",
    [
        frame(),
        frame(codec="png", data=png_header(30, 20)),
        frame(codec="raw", view=(1278.0, 717.0, 2.0, 3.0), data=bytes(range(18)), lane="every-frame"),
        frame(media_time_s=None, encoded_ms=0.0, run=1, seq=0, captured_us=0),
        frame(run=MAX_INTEGER, seq=MAX_INTEGER, captured_us=MAX_INTEGER, media_time_s=-0.04),
        frame(camera="A" + "b" * 62 + "."),
    ],
    ids=["cropped", "png", "raw", "least", "greatest", "long-name"],
)
def test_a_frame_comes_back_as_it_was_sent(sent: Frame) -> None:
    assert Frame.unpack(sent.pack()) == sent


@pytest.mark.parametrize(
    "sent",
    [
        result(),
        result(people=()),
        result(skeleton="hand21", people=[person(keypoints=[[1, 2, 1]])]),
        PoseResult(camera="c", run=1, seq=0, status="dropped", cause="no-room"),
        PoseResult(camera="c", run=1, seq=5, seq_to=9, status="lost"),
        PoseResult(camera="c", run=1, seq=5, seq_to=5, status="missing", cause="trimmed"),
        PoseResult(camera=ANY_CAMERA, run=1, seq=0, seq_to=99, status="missing", cause="trimmed"),
        PoseResult(camera="c", run=1, seq=300, status="end", lost_from=290, cause="Ruhe — 静か"),
    ],
    ids=["ok", "nobody", "other-skeleton", "dropped", "lost", "missing", "missing-anywhere", "end"],
)
def test_a_result_comes_back_as_it_was_sent_from_msgpack_and_from_json(sent: PoseResult) -> None:
    assert PoseResult.unpack(sent.pack()) == sent
    line = json.dumps(sent.as_dict(), allow_nan=False)
    assert PoseResult.from_dict(json.loads(line)) == sent


def test_the_packed_map_is_plain_and_named() -> None:
    packed = plain(result())
    assert packed["version"] == 1
    assert list(packed)[:5] == ["version", "camera", "run", "seq", "status"]
    assert packed["people"][0]["keypoints"][16] == [26.0, 20.1 * 16, 16 / 17]
    assert packed["seq_to"] is None
    assert not {"cursor", "committed_ms"} & packed.keys()


def test_where_a_result_was_met_is_not_part_of_it() -> None:
    met = replace(result(), cursor="1-1", committed_ms=12)
    assert met == result()
    assert met.pack() == result().pack()
    assert PoseResult.from_dict(met.as_dict()).cursor == ""


def test_numbers_that_another_language_packs_as_integers_come_as_floats() -> None:
    sent = plain(frame()) | {"view": [0, 0, 1280, 720], "media_time_s": 2, "encoded_ms": 3}
    got = Frame.unpack(msgpack.packb(sent))
    assert [type(number) for number in (*got.view, got.media_time_s, got.encoded_ms)] == [float] * 6
    people = [{"box": [1, 2, 3, 4], "score": 1, "keypoints": [[1, 2.5, 1]] * 17}]
    [one] = PoseResult.unpack(msgpack.packb(plain(result()) | {"people": people})).people
    assert {type(number) for number in (*one.box, one.score, *one.keypoints[0])} == {float}


def test_lists_and_numpy_floats_are_taken_and_kept_as_plain_tuples() -> None:
    boxes = np.array([[1.5, 2.5, 3.5, 4.5]])
    made = person(
        box=list(boxes[0]), score=boxes[0, 0], keypoints=[list(point) for point in person().keypoints]
    )
    assert made == person(box=(1.5, 2.5, 3.5, 4.5), score=1.5)
    assert PoseResult.unpack(result(people=[made]).pack()).people == (made,)


def test_unknown_fields_are_ignored_and_known_ones_with_a_default_may_be_missing_or_null() -> None:
    sent = plain(frame()) | {"gps": [1, {"a": None}], "media_time_s": None, "encoded_ms": None}
    del sent["clock"]  # as before there was this field
    assert Frame.unpack(msgpack.packb(sent)) == frame(media_time_s=None, encoded_ms=0.0, clock="")
    least = {"version": 1, "camera": "c", "run": 7, "seq": 0, "status": "ok", "timings": None}
    assert PoseResult.unpack(msgpack.packb(least)) == PoseResult(camera="c", run=7, seq=0, status="ok")


@pytest.mark.parametrize(
    "name", ["camera", "run", "seq", "captured_us", "width", "view", "codec", "data", "lane"]
)
def test_a_field_without_a_default_must_be_there(name: str) -> None:
    assert name in refused(frame(), **{name: None})
    sent = plain(frame())
    del sent[name]
    with pytest.raises(MessageError, match=f"^{name} is missing$"):
        Frame.unpack(msgpack.packb(sent))


@pytest.mark.parametrize("kind", [frame(), result()], ids=["frame", "result"])
def test_versions(kind: Frame | PoseResult) -> None:
    for version in (None, 0, -1, 1.0, "1", True, [1]):
        assert "version" in refused(kind, version=version)
    for version in (2, 99):
        # Whatever else is in it, a newer message is called newer: it is handed back, not given up on.
        newer = {"version": version, "camera": 5, "run": "x"}
        with pytest.raises(UnsupportedVersion, match=f"version {version} is newer than 1"):
            type(kind).unpack(msgpack.packb(newer))
    assert issubclass(UnsupportedVersion, MessageError)
    assert issubclass(MessageError, KinestreamError)


def test_finite_giants_whose_sum_is_not_finite_are_still_numbers() -> None:
    giants = person(keypoints=((1e308, 1e308, 1e308),) * 17)
    assert PoseResult.unpack(result(people=(giants,)).pack()).people == (giants,)


def test_a_message_that_cannot_be_read_back_cannot_be_made() -> None:
    wrong_frames: list[dict[str, Any]] = [
        {"seq": np.int64(4)},
        {"camera": "a b"},
        {"width": 0},
        {"view": (0.0, 0.0, 1281.0, 720.0)},
        {"data": jpeg_header(60_000, 60_000)},
        {"data": bytearray(jpeg_header(2, 2))},
        {"data": b"no image"},
    ]
    for change in wrong_frames:
        with pytest.raises(MessageError):
            frame(**change)
    wrong_results: list[dict[str, Any]] = [
        {"people": (person(), None)},
        {"people": person()},
        {"cause": "\udcff from a file name that is not UTF-8"},
        {"people": (person(keypoints=((1.0, 2.0, 0.5),)),)},
        {"status": "failed"},  # with people
        {"camera": ANY_CAMERA},
        {"timings": {"queued": np.float32(1)}},
    ]
    for change in wrong_results:
        with pytest.raises(MessageError):
            result(**change)
    with pytest.raises(MessageError, match="keypoints"):
        person(keypoints=np.full((17, 3), np.nan).tolist())
    with pytest.raises(MessageError, match="only an end has lost_from"):
        PoseResult(camera="c", run=1, seq=0, status="lost", lost_from=0)
    with pytest.raises(MessageError, match="seq_to must be an integer from 3"):
        PoseResult(camera="c", run=1, seq=3, seq_to=2, status="dropped")
    with pytest.raises(MessageError, match="has no seq_to"):
        PoseResult(camera="c", run=1, seq=3, seq_to=3, status="end")


def test_the_largest_messages_fit() -> None:
    size = MAX_DATA_BYTES // 3 // 1000
    data = bytes(3 * 1000 * size)
    largest = frame(width=1000, height=size, view=(0, 0, 1000, size), codec="raw", data=data)
    assert len(largest.pack()) <= MAX_FRAME_BYTES
    text = "\N{GRINNING FACE}" * MAX_TEXT
    giant = person(keypoints=((1e300, 1.1, 1 / 3),) * MAX_KEYPOINTS)
    names = {f"{i:02}" + text[2:]: 1.5 for i in range(MAX_TIMINGS)}
    full = result(
        cause=text, model=text, skeleton=text, worker=text, people=(giant,) * MAX_PEOPLE, timings=names
    )
    assert len(full.pack()) <= MAX_RESULT_BYTES
    assert PoseResult.unpack(full.pack()) == full


def test_a_view_may_overlap_the_edge_by_a_rounding_error() -> None:
    assert frame(width=3, height=1, view=(0.1, 0.0, 0.1 + 0.2 + 2.6, 1.0)).view[2] + 0.1 > 3


def test_a_frame_shows_itself_without_its_image() -> None:
    assert len(repr(frame(data=jpeg_header(9, 9, before=b"\xff" * 900)))) < 300


@pytest.mark.parametrize(
    ("seq", "seq_to", "status", "count", "last"),
    [(4, None, "ok", 1, 4), (4, 4, "dropped", 1, 4), (4, 9, "lost", 6, 9), (9, None, "end", 0, 9)],
)
def test_how_many_frames_a_record_stands_for(
    seq: int, seq_to: int | None, status: Any, count: int, last: int
) -> None:
    record = PoseResult(camera="c", run=RUN, seq=seq, seq_to=seq_to, status=status)
    assert (record.frames, record.last) == (count, last)


def test_texts_from_elsewhere_are_made_to_fit() -> None:
    assert clip_text("") == ""
    assert clip_text("fünf") == "fünf"
    assert clip_text("x" * MAX_TEXT) == "x" * MAX_TEXT
    clipped = clip_text("\udcff" + "x" * 5 * MAX_TEXT)
    assert clipped.startswith("?x")
    assert clipped.endswith("x…")
    assert (
        PoseResult.unpack(PoseResult(camera="c", run=1, seq=0, status="failed", cause=clipped).pack()).cause
        == clipped
    )


def test_skeletons_name_every_keypoint_once_and_join_only_what_is_there() -> None:
    for name, skeleton in SKELETONS.items():
        assert skeleton.name == name
        assert len(set(skeleton.names)) == len(skeleton.names)
        assert [skeleton.index(keypoint) for keypoint in skeleton.names] == [*range(len(skeleton.names))]
        joined = {index for limb in skeleton.limbs for index in limb}
        assert joined == set(range(len(skeleton.names)))
        assert len(set(map(frozenset, skeleton.limbs))) == len(skeleton.limbs)
    assert len(SKELETONS["coco17"].names) == 17
