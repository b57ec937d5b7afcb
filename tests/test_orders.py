"""What subscribers get out of a stream: whatever happens in it, and wherever they are killed and go on.

The stream is a list here, so that hypothesis can try many; `test_subscriber.py` does it with real servers.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from kinestream.cursor import Cursor, EntryId
from kinestream.keys import Keys
from kinestream.messages import ANY_CAMERA, PoseResult
from kinestream.orders import Cameras, in_order_of_commit, in_order_of_frames, latest
from kinestream.reorder import Reorderer
from kinestream.resultreader import ResultReader
from scenarios import Scenario, end, frames_of, names, of_camera, record, scenarios

GARBAGE = b"\xc1 no message"
START = Cursor(following=EntryId(0, 0), ordered=True)


class EndOfStreamError(Exception):
    """All entries were read."""


class Stream:
    """Stands for Redis where `ResultReader` reads: entries, of which the first `kept` are trimmed."""

    def __init__(self, entries: list[tuple[EntryId, bytes]], *, chunk: int = 64) -> None:
        self.entries = entries
        self.kept = 0
        self._chunk = chunk

    async def command(self, *words: Any) -> list[Any]:
        """The reply to XREAD: the next entries, at most `chunk` of them."""
        assert words[:2] == ("XREAD", "COUNT")
        count, after = words[2], EntryId.parse(words[-1])
        there = [(entry, packed) for entry, packed in self.entries[self.kept :] if entry > after]
        if not there:
            raise EndOfStreamError
        there = there[: min(count, self._chunk)]
        return [[b"results", [[str(entry).encode(), [b"result", packed]] for entry, packed in there]]]


def stream_of(*items: PoseResult | bytes | int, step_ms: int = 10) -> Stream:
    """A stream of records, garbage, and numbers of trimmed records."""
    entries = []
    entry = EntryId(1000, 0)
    for item in items:
        if isinstance(item, int):
            entry = EntryId(entry.ms, entry.number + item)
        else:
            entries.append((entry, item if isinstance(item, bytes) else item.pack()))
            entry = EntryId(entry.ms + step_ms, entry.number + 1)
    return Stream(entries)


def reader_of(stream: Stream, following: EntryId) -> ResultReader:
    """One that reads this stream in place of Redis."""
    reader = ResultReader(Redis(), Keys(), following)
    reader._blocking = stream  # type: ignore[assignment]
    return reader


async def by_frame(
    stream: Stream,
    cursor: str = str(START),
    cameras: Cameras = None,
    wait_ms: float = math.inf,
    max_bytes: float = math.inf,
) -> list[PoseResult]:
    """All that a subscriber with order=True gets until the stream is read."""
    here = Cursor.parse(cursor)
    reorderer = Reorderer(
        wait_ms=wait_ms,
        max_bytes=max_bytes,  # type: ignore[arg-type]
        since_ms=here.since_ms,
        positions=here.positions,
    )
    reader = reader_of(stream, here.following)
    results: list[PoseResult] = []
    with pytest.raises(EndOfStreamError):
        async for result in in_order_of_frames(
            reader, cameras, reorderer, held=here.held, untold=here.untold
        ):
            results.append(result)
    return results


async def by_commit(stream: Stream, cursor: str = "c1~0~0", cameras: Cameras = None) -> list[PoseResult]:
    """All that a subscriber gets until the stream is read."""
    reader = reader_of(stream, Cursor.parse(cursor).following)
    results: list[PoseResult] = []
    with pytest.raises(EndOfStreamError):
        async for result in in_order_of_commit(reader, cameras):
            results.append(result)
    return results


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """The records of a scenario, some twice, some absent, with garbage and jumps between them."""
    items: list[PoseResult | bytes | int] = []
    seen: list[PoseResult] = []
    for result in draw(scenarios()).committed:
        kind = draw(st.sampled_from(["as it is"] * 5 + ["absent", "again", "garbage", "trimmed"]))
        if kind == "again" and seen:
            items.append(draw(st.sampled_from(seen)))
        if kind == "garbage":
            items.append(GARBAGE)
        if kind == "trimmed":
            items.append(draw(st.integers(1, 5)))
        if kind != "absent":
            seen.append(result)
            items.append(result)
    stream = stream_of(*items)
    stream._chunk = draw(st.integers(1, 7))
    return stream


@settings(deadline=None)
@given(streams(), st.sampled_from([0, 30, math.inf]), st.sampled_from([0, 500, math.inf]))
def test_wherever_it_is_killed_it_goes_on_as_if_nothing_had_been(
    stream: Stream, wait_ms: float, max_bytes: float
) -> None:
    async def check() -> None:
        whole = await by_frame(stream, wait_ms=wait_ms, max_bytes=max_bytes)
        for index, result in enumerate(whole):
            rest = await by_frame(stream, result.cursor, wait_ms=wait_ms, max_bytes=max_bytes)
            assert rest == whole[index + 1 :]
        one_by_one: list[PoseResult] = []  # killed after each record
        cursor = str(START)
        while rest := await by_frame(stream, cursor, wait_ms=wait_ms, max_bytes=max_bytes):
            one_by_one.append(rest[0])
            cursor = rest[0].cursor
        assert one_by_one == whole
        whole = await by_commit(stream)
        for index, result in enumerate(whole):
            assert await by_commit(stream, result.cursor) == whole[index + 1 :]

    asyncio.run(check())


@settings(deadline=None)
@given(scenarios(cameras=("a", "b", "ab")), st.sampled_from([{"a"}, {"ab"}, {"a", "b"}]))
def test_some_cameras_only(scenario: Scenario, chosen: set[str]) -> None:
    async def check() -> None:
        stream = stream_of(*scenario.committed)
        committed = [result for result in scenario.committed if result.camera in chosen]
        assert await by_commit(stream, cameras=frozenset(chosen)) == committed
        released = await by_frame(stream, cameras=frozenset(chosen))
        assert {result.camera for result in released} == chosen
        for camera in chosen:
            assert of_camera(released, camera) == scenario.in_order(camera)

    asyncio.run(check())


async def test_a_jump_says_how_many_were_trimmed() -> None:
    stream = stream_of(record(0), 3, record(4), 1, record(6))
    results = await by_commit(stream)
    assert [(result.camera, result.status, result.cause, result.frames) for result in results] == [
        ("a", "ok", "", 1),
        (ANY_CAMERA, "missing", "trimmed", 3),
        ("a", "ok", "", 1),
        (ANY_CAMERA, "missing", "trimmed", 1),
        ("a", "ok", "", 1),
    ]
    assert [result.committed_ms for result in results] == [1000, None, 1010, None, 1020]


async def test_what_is_trimmed_between_two_lives_is_told_to_the_second() -> None:
    items = [record(0), record(1), record(2), record(3), record(4), record(5), record(6)]
    for trimmed in range(7):
        stream = stream_of(*items)
        first = await by_commit(stream)
        stream.kept = trimmed
        results = await by_commit(stream, first[1].cursor)
        assert sum(result.frames for result in results) == 5
        assert sum(result.frames for result in results if result.status == "missing") == max(0, trimmed - 2)


async def test_held_records_that_are_trimmed_between_two_lives_are_told() -> None:
    stream = stream_of(record(0), record(2), record(3), record(4), 7, GARBAGE, record(5), record(6), end(7))
    first = await by_frame(stream)
    assert names(first) == [
        ("a", 1, 0, 0, "ok"),
        (ANY_CAMERA, 1, 0, 6, "missing"),
        (ANY_CAMERA, 1, 0, 0, "missing"),
    ]
    # As long as the held ones are there, nothing is told again.
    assert await by_frame(stream, first[2].cursor) == []
    stream.kept = 2  # record 2 is gone, which was held: it is told, and so are the frames 1 and 2
    rest = await by_frame(stream, first[2].cursor, wait_ms=1)
    assert names(rest) == [
        (ANY_CAMERA, 1, 0, 0, "missing"),
        ("a", 1, 1, 2, "missing"),
        *[("a", 1, seq, seq, "ok") for seq in (3, 4, 5, 6)],
        ("a", 1, 7, 7, "end"),
    ]
    resumed = await by_frame(stream, rest[0].cursor, wait_ms=1)
    assert resumed == rest[1:]  # what was told in the first life is not told in the third
    stream.kept = 6  # all that was held is gone: at least as much is told
    rest = await by_frame(stream, first[2].cursor, wait_ms=1)
    assert rest[0].camera == ANY_CAMERA and rest[0].frames >= 3
    assert frames_of(rest, "a", 1) == [1, 2, 3, 4, 5, 6]


async def test_all_that_was_held_is_held_again_before_anything_goes() -> None:
    # The `end` of run 2 is not there, so nothing but what was held says that run 2 comes before run 3.
    stream = stream_of(
        end(1), record(0, run=3), record(0, run=2), record(0), record(1, run=2), record(1, run=3)
    )
    first = await by_frame(stream)
    assert [(result.run, result.status) for result in first] == [(1, "ok"), (1, "end"), (2, "ok"), (2, "ok")]
    for index, result in enumerate(first):
        assert await by_frame(stream, result.cursor) == first[index + 1 :]


async def test_garbage_is_told_not_skipped() -> None:
    (result, after) = await by_commit(stream_of(GARBAGE, record(0)))
    assert (result.camera, result.status, result.frames) == (ANY_CAMERA, "missing", 1)
    assert result.cause.startswith("unreadable: ")
    assert after.seq == 0


async def test_of_what_is_there_the_latest_shows_the_newest_pose() -> None:
    stream = stream_of(
        record(0),
        record(0, camera="b"),
        record(5, status="dropped"),  # given way while frame 3 was inferred
        record(3),
        record(2),
        record(1, camera="c", status="dropped"),
        record(7, status="dropped"),
        record(1, camera="b"),
        end(2, camera="b"),
    )
    reader = reader_of(stream, EntryId(0, 0))
    shown = latest(reader, None)
    assert names([await anext(shown)]) == [("a", 1, 3, 3, "ok")]
    await shown.aclose()
