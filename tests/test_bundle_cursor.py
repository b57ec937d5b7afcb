"""Whoever took bundles, was killed and goes on: each frame is in one bundle, before or after.

The stream is a list, as in `test_orders.py`. Not for: a real server (see `test_bundles.py`).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.bundle import Bundle
from kinestream.bundlecursor import BundleCursor, Place
from kinestream.bundling import Bundler, Clock
from kinestream.cursor import Cursor, EntryId, Position
from kinestream.errors import UsageError
from kinestream.messages import PoseResult
from scenarios import Name, end, name, record, scenarios
from test_orders import START, Stream, by_frame, stream_of

CAMERAS = ["a", "b"]
WAIT_MS = 1e9


@st.composite
def filmed(draw: st.DrawFn) -> Stream:
    """The records of two cameras in any order of commit, those of one frame with the time of its capture."""
    apart_ms = draw(st.integers(0, 60))
    items = []
    for one in draw(scenarios(cameras=CAMERAS)).committed:
        if one.seq_to is None and one.status != "end":
            at_ms = 1000 * one.run + 40 * one.seq + apart_ms * (one.camera == "b")
            one = replace(one, captured_us=1000 * at_ms, media_time_s=at_ms / 1000)
        items.append(one)
    stream = stream_of(*items)
    stream._chunk = draw(st.integers(1, 7))
    return stream


async def put_together(
    stream: Stream, cursor: str = str(START), clock: Clock = "captured", wait_ms: float = math.inf
) -> list[Bundle]:
    """All bundles until the stream is read and everybody was waited for."""
    here = BundleCursor.parse(cursor)
    bundler = Bundler(
        CAMERAS,
        tolerance_us=15_000,
        wait_ms=WAIT_MS,
        max_held=1000,
        clock=clock,
        again=clock == "captured",
        ended=here.ended,
    )
    place = Place(here.records)
    bundles = []
    for result in [*await by_frame(stream, str(here.records), wait_ms=wait_ms), None]:
        if result is not None:
            place.came(result, waits=bundler.add(result, 0))
        while bundle := bundler.release(0 if result else WAIT_MS):
            place.left(one.camera for one in bundle.members.values() if one.result is not None)
            bundles.append(replace(bundle, cursor=str(place.cursor(bundler.ended))))
    return bundles


def members(bundles: list[Bundle]) -> list[list[Name]]:
    """The names of the frames in each bundle."""
    return [
        [name(one.result) for one in bundle.members.values() if one.result is not None] for bundle in bundles
    ]


def of_each(bundles: list[Bundle]) -> dict[str, list[Name]]:
    """The names of each camera's frames, in the order of the bundles."""
    frames = [one for each in members(bundles) for one in each]
    return {camera: [one for one in frames if one[0] == camera] for camera in CAMERAS}


@settings(deadline=None)
@given(filmed(), st.sampled_from(["captured", "media"]))
def test_wherever_it_is_killed_the_frames_after_it_follow(stream: Stream, clock: Clock) -> None:
    """Not always in the same bundles: whether a camera that has ended begins again in time depends on how its
    records and others' come in between one another.
    """

    async def check() -> None:
        whole = await put_together(stream, clock=clock)
        for index, bundle in enumerate(whole, 1):
            rest = await put_together(stream, bundle.cursor, clock)
            assert of_each(rest) == of_each(whole[index:])

    asyncio.run(check())


@settings(deadline=None)
@given(filmed(), st.sampled_from([0, 30]))
def test_no_frame_is_in_two_bundles_where_not_everything_is_waited_for(stream: Stream, wait_ms: int) -> None:
    async def check() -> None:
        whole = await put_together(stream, wait_ms=wait_ms)
        for index, bundle in enumerate(whole, 1):
            rest = await put_together(stream, bundle.cursor, wait_ms=wait_ms)
            before, after = members(whole[:index]), members(rest)
            seen = [one for each in before + after for one in each]
            assert len({*seen}) == len(seen)

    asyncio.run(check())


def test_the_text_is_read_back() -> None:
    records = Cursor(
        following=EntryId(7, 3),
        ordered=True,
        untold=2,
        positions={"o1": Position(4, 2), "2": Position(9, None)},
    )
    for ended in ({}, {"o1": 4}, {"2": 9, "left-1.a_b": 1_790_000_000}):
        cursor = BundleCursor(records=records, ended=ended)
        assert BundleCursor.parse(str(cursor)) == cursor
    assert BundleCursor.parse(str(records)) == BundleCursor(records=records)


@pytest.mark.parametrize(
    "text",
    [
        *("", "b1", "b1~0", "b1~0~", "b1~1~left~o1~7~3~0~0~0", "b1~01~o1~7~3~0~0~0"),
        *("b1~1~left~x~o1~7~3~0~0~0", "b1~99999999~o1~7~3~0~0~0", "b1~0~b1~0~o1~7~3~0~0~0"),
        *(
            "b1~1~left~0~o1~7~3~0~0~0",
            f"b1~1~left~{10**19}~o1~7~3~0~0~0",
            f"b1~1~left~{'7' * 5000}~o1~7~3~0~0~0",
        ),
        *("b1~1~le ft~3~o1~7~3~0~0~0", "b1~1~left~-3~o1~7~3~0~0~0"),
        *("b1~0~c1~7~3", "c1~7~3", "b2~0~o1~7~3~0~0~0"),
    ],
)
def test_what_is_none_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"a start is now, beginning or|order=True|a camera name is"):
        BundleCursor.parse(text)


async def test_a_camera_that_ended_is_not_waited_for_again() -> None:
    frames = [record(seq, camera="b", captured_us=40_000 * seq) for seq in range(3)]
    first: PoseResult = record(0, captured_us=0)
    stream = stream_of(first, end(1), *frames)
    whole = await put_together(stream)
    assert members(whole) == [[name(first), name(frames[0])], [name(frames[1])], [name(frames[2])]]
    (_, last) = await put_together(stream, whole[0].cursor)
    assert last.members["a"].status == "ended"
