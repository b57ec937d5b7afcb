"""Lines of a run: whole and in order, from any place that was told, and by one model only."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from redis.asyncio import Redis

import frames
from kinestream.errors import KinestreamError
from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Outcome
from kinestream.jobs import collecting
from kinestream.jobs.collecting import Incomplete, Lines, Place, Rate, collect, take_over
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.run import Run
from kinestream.subscriber import current_cursor
from kinestream.tasks import cancel
from waiting import wait_until

FRAMES = 40


async def analysed(redis: Redis, keys: Keys, *, models: tuple[str, ...] = ("m",)) -> Run:
    """A run that is over, its frames committed in another order than they were offered."""
    run = await Run.begin(redis, "jump-1", lane="every-frame", keys=keys)
    for seq in range(FRAMES):
        await run.offer(frames.frame(run, seq))
    worker = GroupConsumer(redis, "worker", keys=keys)
    held = await worker.take(["jump-1"], FRAMES)
    names = itertools.cycle(models)
    for frame in sorted(held, key=lambda frame: (frame.seq % 7, frame.seq)):
        result = PoseResult(
            camera="jump-1",
            run=run.number,
            seq=frame.seq,
            status="ok",
            model=next(names),
            skeleton="none",
            people=(),
        )
        await worker.commit([Outcome(frame, result)])
    await run.finish(cause="")
    return run


async def lines_from(
    redis: Redis, keys: Keys, run: Run, path: Path, place: Place, *, until: int = FRAMES
) -> tuple[Lines, bool]:
    """Collect into a file from a place; give up once so many frames are written. Whether the end came."""
    with path.open("a+b") as file:
        file.truncate(place.offset)
        lines = Lines(file, place)
        collecting_it = asyncio.create_task(collect(redis, run.camera, run.number, lines, keys=keys))
        await wait_until(lambda: collecting_it.done() or lines.frames >= until, "lines")
        is_over = collecting_it.done()
        await cancel(collecting_it)
        if is_over:
            assert collecting_it.result() == ""
    return lines, is_over


async def test_from_any_place_each_line_is_there_once(
    redis: Redis, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_TOLD_EVERY_S", -1.0)  # after each record
    start = Place(await current_cursor(redis, order=True, keys=keys))
    run = await analysed(redis, keys)
    whole, _ = await lines_from(redis, keys, run, tmp_path / "whole", start, until=FRAMES + 1)
    assert whole.frames == FRAMES and whole.models == {"m"}
    text = (tmp_path / "whole").read_bytes()
    places: list[Place] = [start]
    told = Lines.tell

    def tell(self: Lines) -> None:
        told(self)
        places.append(self.place)

    monkeypatch.setattr(Lines, "tell", tell)
    await lines_from(redis, keys, run, tmp_path / "again", start, until=FRAMES + 1)
    assert [place.frames for place in places] == [*range(FRAMES + 1), FRAMES]
    for place in places[::5] + places[-2:]:
        (tmp_path / "cut").write_bytes(text + b"what was written, but not told\n")
        lines, is_over = await lines_from(redis, keys, run, tmp_path / "cut", place, until=FRAMES + 1)
        assert is_over, "the end is read again from the last place, too"
        assert (tmp_path / "cut").read_bytes() == text and lines.frames == FRAMES


async def test_who_takes_over_copies_what_was_told_and_knows_its_model(tmp_path: Path) -> None:
    before, lines = tmp_path / "before", tmp_path / "lines"
    assert take_over(before, lines, 0) is None, "nothing is there"
    before.write_bytes(b'{"model": ""}\n{"model": "m"}\n{"model": "m"}\n')
    whole = before.stat().st_size
    assert take_over(before, lines, whole) == {"m"} and lines.read_bytes() == before.read_bytes()
    assert take_over(before, lines, 14) == set() and lines.read_bytes() == b'{"model": ""}\n'
    assert take_over(before, lines, 0) == set() and lines.read_bytes() == b""
    assert take_over(before, lines, whole + 1) is None, "the disk has less than was told"


@pytest.mark.parametrize("known", [(), ("other",)])
async def test_two_models_are_refused_also_across_a_takeover(
    redis: Redis, keys: Keys, tmp_path: Path, known: tuple[str, ...]
) -> None:
    start = Place(await current_cursor(redis, order=True, keys=keys))
    run = await analysed(redis, keys, models=("m",) if known else ("m", "other"))
    with (tmp_path / "lines").open("w+b") as file:
        lines = Lines(file, start, known)
        with pytest.raises(KinestreamError, match=r"workers with different models .*\(m, other\)"):
            await collect(redis, run.camera, run.number, lines, keys=keys)


@pytest.mark.parametrize("left", [5, 0], ids=["some", "none, and nothing comes any more"])
async def test_what_was_trimmed_is_incomplete(redis: Redis, keys: Keys, tmp_path: Path, left: int) -> None:
    start = Place(await current_cursor(redis, order=True, keys=keys))
    run = await analysed(redis, keys)
    await redis.xtrim(keys.results, maxlen=left, approximate=False)
    with (tmp_path / "lines").open("w+b") as file, pytest.raises(Incomplete, match="missing: trimmed"):
        await asyncio.wait_for(collect(redis, run.camera, run.number, Lines(file, start), keys=keys), 10)


async def test_frames_of_an_attempt_before_that_come_late_hold_nothing_up(
    redis: Redis, keys: Keys, tmp_path: Path
) -> None:
    """A worker had them when it failed: they are after the cursor, and the end of their run is not."""
    failed = await Run.begin(redis, "jump-1", lane="every-frame", keys=keys)
    for seq in range(3):
        await failed.offer(frames.frame(failed, seq))
    slow = GroupConsumer(redis, "slow", keys=keys)
    held = await slow.take(["jump-1"], 3)
    await failed.finish(cause="job-failed")
    start = Place(await current_cursor(redis, order=True, keys=keys))
    facts = {"camera": "jump-1", "run": failed.number, "status": "ok", "model": "other", "skeleton": "none"}
    for frame in held[1:]:
        await slow.commit([Outcome(frame, PoseResult(seq=frame.seq, **facts))])
    run = await analysed(redis, keys)
    lines, is_over = await lines_from(redis, keys, run, tmp_path / "lines", start, until=FRAMES + 1)
    assert is_over and lines.frames == FRAMES and lines.models == {"m"}


def test_the_rate_falls_in_silence() -> None:
    rate = Rate()
    assert rate.at(0.0, 0) == 0.0
    assert rate.at(1.0, 10) == rate.at(2.0, 20) == 10.0
    assert 0 < rate.at(6.0, 20) < 10
    for second in range(7, 20):
        last = rate.at(float(second), 20)
    assert last == 0.0
