"""`kinestream record`: nothing is missing, each picture has its own poses, and it ends when all is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from filmed import FRAMES, Stage, frame, pictures, shown
from kinestream.keys import Keys
from kinestream.resultreader import ResultReader
from kinestream_consumers.jsonlines import from_line
from kinestream_consumers.pictures import Pictures
from recordings import Record, content, recordings


@pytest.fixture
def stage(redis: Redis, keys: Keys) -> Stage:
    return Stage(redis, keys)


@pytest.fixture
async def record(stage: Stage, tmp_path: Path) -> AsyncIterator[Record]:
    async with recordings(stage, tmp_path / "recording") as start:
        yield start


async def test_a_missing_picture_shifts_nothing(stage: Stage, record: Record) -> None:
    recording = await record("a")
    run = await stage.begin("a")
    for held in await stage.take(run, FRAMES):
        await stage.commit([held], picture=held.seq not in (0, 3, 4, 8))
    await run.finish()
    await recording.ends()
    assert [result.seq for result in recording.records] == [*range(FRAMES), FRAMES]
    # The video begins with the first picture; a frame without one leaves the one before it, with its pose.
    assert pictures(recording.video) == [1, 2, 2, 2, 5, 6, 7, 7, 9, 10, 11]
    assert recording.recorder.pictures == FRAMES - 4


async def test_pictures_that_are_there_before_their_results_are_read(stage: Stage, record: Record) -> None:
    run = await stage.begin("a")
    await Pictures(stage.redis, ["a"], keys=stage.keys).want()
    held = await stage.take(run, FRAMES)
    for one in (held[5], held[4], *held[:4], *held[6:]):
        await stage.commit([one], picture=one.seq not in (0, 3, 7))
    await stage.redis.delete(stage.keys.want("a"))
    await run.finish()
    recording = await record("a", start="beginning")
    await recording.ends()
    assert pictures(recording.video) == [1, 2, 2, 4, 5, 6, 6, 8, 9, 10, 11]


async def test_two_workers_in_no_order(stage: Stage, record: Record) -> None:
    recording = await record("a")
    run = await stage.begin("a")
    held = await stage.take(run, FRAMES)
    for seq in (3, 2, 0, 1, 5, 4, 6, 10, 11, 7, 9, 8):
        await stage.commit([held[seq]])
    await run.finish()
    await recording.ends()
    assert pictures(recording.video) == list(range(FRAMES))
    assert [result.seq for result in recording.records][:4] == [3, 2, 0, 1], (
        "lines are in the order of commit"
    )


async def test_frames_that_are_not_ok(stage: Stage, record: Record) -> None:
    recording = await record("a")
    run = await stage.begin("a")
    held = await stage.take(run, 6)
    await stage.commit(held[:2])
    await stage.commit(held[2:4], status="stale")
    await stage.commit(held[4:])
    assert await run.offer(frame(run, 8), gap_cause="encoder-failed") == "ok"
    await stage.commit(await stage.take_again("a"))
    await run.finish()
    await recording.ends()
    told = [(result.seq, result.last, result.status) for result in recording.records]
    assert told[2:4] == [(2, 2, "stale"), (3, 3, "stale")] and (6, 7, "dropped") in told
    assert pictures(recording.video) == [0, 1, 1, 1, 4, 5, 5, 5, 8]


async def test_what_is_side_by_side_was_captured_at_the_same_time(stage: Stage, record: Record) -> None:
    """Though one camera's frames come out long after the other's."""
    recording = await record("a", "b")
    early, late = await stage.begin("a"), await stage.begin("b")
    waiting = await stage.take(late, FRAMES)
    await stage.play(early, FRAMES)
    await early.finish()
    await recording.reads(FRAMES + 1)
    for held in waiting:
        await stage.commit([held])
    await late.finish()
    await recording.ends()
    both = shown(recording.video, tiles=2)
    assert [(a.picture, b.picture) for a, b in both] == [(seq, seq) for seq in range(FRAMES)]
    assert all(tile.pose == tile.picture for tiles in both for tile in tiles)


async def test_the_end_comes_before_the_last_results(stage: Stage, record: Record) -> None:
    recording = await record("a", "b")
    for camera in ("a", "b"):
        run = await stage.begin(camera)
        await stage.play(run, 2)
        held = await stage.take(run, 3)
        await run.finish()
        await recording.reads(3 if camera == "a" else 9)
        await recording.looks()  # and goes on, as three frames are in flight
        for one in reversed(held):
            await stage.commit([one])
    await recording.ends()
    assert len(recording.records) == 12
    assert sum(result.status == "ok" for result in recording.records) == 10


@pytest.mark.parametrize(("at", "reader_is_slow"), [("before", False), ("before", True), ("after", False)])
async def test_the_last_result_comes_while_it_looks(
    stage: Stage, record: Record, monkeypatch: pytest.MonkeyPatch, at: str, reader_is_slow: bool
) -> None:
    """Before it asks what is in flight, or after it has found that nothing is."""
    recording = await record("a")
    run = await stage.begin("a")
    held = await stage.take(run, 3)
    await run.finish()
    await recording.reads(1)
    is_over, read = recording.recorder._is_over, ResultReader.read

    async def commit() -> None:
        while held:
            await stage.commit([held.pop()])
        if not reader_is_slow:
            await asyncio.sleep(0.05)  # for the reader to get them

    async def is_over_meanwhile(reader: ResultReader) -> bool:
        if at == "before":
            await commit()
            return await is_over(reader)
        if held:
            await commit()
            return True  # what it would have said of a run without these
        return await is_over(reader)

    async def slow_read(reader: ResultReader, wait_ms: float) -> Any:
        events = await read(reader, wait_ms)
        await asyncio.sleep(0.5)
        return events

    if reader_is_slow:
        monkeypatch.setattr(ResultReader, "read", slow_read)
    monkeypatch.setattr(recording.recorder, "_is_over", is_over_meanwhile)
    await recording.ends()
    assert sorted(result.seq for result in recording.records) == [0, 1, 2, 3]


async def test_other_cameras_do_not_keep_it_from_ending(stage: Stage, record: Record) -> None:
    other = await stage.begin("other")
    recording = await record("a")
    run = await stage.begin("a")
    busy = asyncio.ensure_future(stage.play(other, FRAMES))
    await stage.play(run, 2)
    await run.finish()
    await recording.ends()
    await busy
    assert {result.camera for result in recording.records} == {"a"}


async def test_a_run_that_is_followed_by_another_goes_on(stage: Stage, record: Record) -> None:
    recording = await record("a")
    await stage.play(await stage.begin("a"), 2)
    second = await stage.begin("a")  # its producer began anew; nobody ended the first run
    await stage.play(second, 3)
    await recording.reads(6)
    await recording.looks()
    await second.finish()
    await recording.ends()
    assert [result.status for result in recording.records].count("end") == 2
    # The second run was captured at the same time as the first: the clock went back, by less than a second.
    assert pictures(recording.video)[-1] == 2


async def test_it_can_be_stopped_at_any_time(stage: Stage, record: Record, tmp_path: Path) -> None:
    recording = await record("a", "never")
    run = await stage.begin("a")
    await stage.play(run, 5)
    await recording.reads(5)
    lines = (tmp_path / "recording" / "results.jsonl.part").read_text().splitlines()
    assert [from_line(line).seq for line in lines] == [0, 1, 2, 3, 4], "lines can be read while they come"
    assert not recording.video.exists()
    await recording.is_stopped()
    assert content(recording.folder) == {"results.jsonl", "annotated.mp4"}
    assert [tiles[0].picture for tiles in shown(recording.video, tiles=2)] == [0, 1, 2, 3, 4]
    await stage.play(run, 1)
    assert len(recording.records) == 5


async def test_nothing_came(record: Record, caplog: pytest.LogCaptureFixture) -> None:
    recording = await record("a")
    await recording.is_stopped()
    assert recording.records == []
    assert content(recording.folder) == {"results.jsonl"}
    assert "no picture came" in caplog.text


async def test_without_video_nobody_is_asked_for_pictures(stage: Stage, record: Record) -> None:
    run = await stage.begin("a")
    recording = await record("a", video=False, start="beginning")
    await stage.play(run, 3)
    await run.finish()
    await recording.ends()
    assert len(recording.records) == 4
    assert content(recording.folder) == {"results.jsonl"}
    assert not await stage.is_wanted("a")


async def test_it_goes_on_from_a_cursor_of_its_own_lines(
    stage: Stage, record: Record, tmp_path: Path
) -> None:
    run = await stage.begin("a")
    recording = await record("a")
    await stage.play(run, 4)
    await recording.reads(4)
    await recording.is_stopped()
    await stage.play(run, 4)
    lines = (recording.folder / "results.jsonl").read_text().splitlines()
    rest = await record("a", start=json.loads(lines[1])["cursor"], folder=tmp_path / "rest")
    await stage.play(run, 2)
    await run.finish()
    await rest.ends()
    assert [result.seq for result in rest.records] == [*range(2, 10), 10]
    # The wish was still alive while nobody recorded, and pictures are kept for a while.
    assert pictures(rest.video) == list(range(2, 10))


async def test_from_the_beginning(stage: Stage, record: Record) -> None:
    run = await stage.begin("a")
    await stage.play(run, 3)
    recording = await record("a", start="beginning")
    await stage.play(run, 3)
    await run.finish()
    await recording.ends()
    assert [result.seq for result in recording.records] == list(range(7))
    assert pictures(recording.video) == [3, 4, 5], "of what was before there are no pictures"


async def test_a_camera_that_comes_back_while_others_run_is_waited_for(stage: Stage, record: Record) -> None:
    recording = await record("a", "b")
    steady, broken = await stage.begin("a"), await stage.begin("b")
    await stage.play(broken, 2)
    late = await stage.take(broken, 1)
    await broken.finish(cause="source-failed: the connection was closed")
    back = await stage.begin("b")
    await stage.play(back, 2)
    await steady.finish()
    await recording.reads(6)
    await recording.looks()  # and goes on, as b is there again
    await back.finish()
    await recording.reads(7)
    await recording.looks()  # and goes on, as a frame of the run before is in flight
    await stage.commit(late)
    await recording.ends()
    told = [(result.camera, result.run, result.seq) for result in recording.records]
    assert told[-2:] == [("b", back.number, 2), ("b", broken.number, 2)]
