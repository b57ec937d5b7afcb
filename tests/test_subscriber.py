"""`subscribe` on real servers, with records that went through the real scripts, committed out of order."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from redis.asyncio import Redis
from scenarios import end, frames_of, name, names, of_camera, record
from servers import Server
from waiting import wait_until

import kinestream
from kinestream import current_cursor, subscribe
from kinestream.errors import RunLost, UnsupportedVersion, UsageError
from kinestream.groupconsumer import GroupConsumer, Outcome
from kinestream.keys import Keys
from kinestream.messages import Frame, PoseResult
from kinestream.orders import ANY_CAMERA
from kinestream.packing import pack_map
from kinestream.redis import connect
from kinestream.resultreader import COUNT
from kinestream.run import Run

ORDERS = pytest.mark.parametrize("order", [False, True], ids=["by commit", "by frame"])


def frame(camera: str, run: int, seq: int) -> Frame:
    """A frame of one black pixel."""
    return Frame(
        camera=camera,
        run=run,
        seq=seq,
        captured_us=seq,
        width=1,
        height=1,
        view=(0, 0, 1, 1),
        codec="raw",
        data=b"\0\0\0",
        lane="every-frame",
    )


class Pipeline:
    """Producers and two workers that commit in an order of their own; `published` counts their records."""

    def __init__(self, redis: Redis, keys: Keys, seed: int = 7) -> None:
        self.redis = redis
        self.keys = keys
        self.published = 0
        self._random = random.Random(seed)
        self._workers = [GroupConsumer(redis, worker, keys=keys) for worker in ("w1", "w2")]

    async def begin(self, camera: str, **options: Any) -> Run:
        """Open a run."""
        return await Run.begin(self.redis, camera, lane="every-frame", keys=self.keys, **options)

    async def offer(self, run: Run, count: int) -> None:
        """Offer the next frames; now and then some are given up on, and become one range record."""
        last = run.produced + count - 1
        while run.produced <= last:
            skipped = self._random.choice([0, 0, 0, 2]) if run.produced + 2 <= last else 0
            offered = frame(run.camera, run.number, run.produced + skipped)
            assert await run.offer(offered, gap_cause="encoder" if skipped else "") == "ok"
            self.published += bool(skipped)

    async def work(self, cameras: Sequence[str]) -> None:
        """Infer all that waits: in small batches, whose commits two workers shuffle."""
        batches = []
        while taken := await self._workers[len(batches) % 2].take(cameras, self._random.randint(1, 4)):
            batches.append((self._workers[len(batches) % 2], taken))
        self._random.shuffle(batches)
        for worker, taken in batches:
            self._random.shuffle(taken)
            outcomes = [Outcome(held, record(held.seq, camera=held.camera, run=held.run)) for held in taken]
            assert all(await worker.commit(outcomes))
            self.published += len(taken)

    async def finish(self, run: Run) -> None:
        """End a run."""
        await run.finish()
        self.published += 1

    async def play(self, cameras: Sequence[str], frames: int = 20) -> dict[str, Run]:
        """One run a camera from beginning to end; all but the first camera end before their last frames."""
        runs = {camera: await self.begin(camera) for camera in cameras}
        for run in runs.values():
            await self.offer(run, frames // 2)
        await self.work(cameras)
        for run in runs.values():
            await self.offer(run, frames - run.produced)
        await self.work(cameras[:1])
        for run in runs.values():
            await self.finish(run)
        await self.work(cameras)
        return runs


@pytest.fixture
def pipeline(redis: Redis, keys: Keys) -> Pipeline:
    return Pipeline(redis, keys)


async def take(results: AsyncIterator[PoseResult], count: int, timeout_s: float = 20) -> list[PoseResult]:
    """The next records."""
    async with asyncio.timeout(timeout_s):
        return [await anext(results) for _ in range(count)]


async def first(count: int, *args: Any, **options: Any) -> list[PoseResult]:
    """The first records of a subscription that is closed then."""
    async with aclosing(subscribe(*args, **options)) as results:
        return await take(results, count)


async def quiet(results: AsyncIterator[PoseResult], seconds: float = 0.3) -> None:
    """See to it that nothing more comes; ends the iteration."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            pytest.fail(f"unexpected {await anext(results)}")


def in_order(results: Sequence[PoseResult]) -> list[PoseResult]:
    """Sorted by the names of their frames."""
    return sorted(results, key=lambda result: (result.camera, result.run, result.seq, result.status == "end"))


async def test_everything_comes_in_the_order_of_commit(every_redis: Redis, keys: Keys) -> None:
    pipeline = Pipeline(every_redis, keys)
    await pipeline.play(["a", "b", "c"])
    results = await first(pipeline.published, every_redis, start="beginning", keys=keys)
    entries = await every_redis.xrange(keys.results)
    assert results == [PoseResult.unpack(fields[b"result"]) for _, fields in entries]
    assert [result.committed_ms for result in results] == [int(i.split(b"-")[0]) for i, _ in entries]
    assert names(results) != names(in_order(results)), "this test is to commit out of order"


async def test_everything_comes_once_and_in_the_order_of_frames(every_redis: Redis, keys: Keys) -> None:
    pipeline = Pipeline(every_redis, keys)
    runs = await pipeline.play(["a", "b", "c"])
    async with aclosing(subscribe(every_redis, start="beginning", order=True, keys=keys)) as subscription:
        results = await take(subscription, pipeline.published)
        await quiet(subscription)
    for camera, run in runs.items():
        mine = of_camera(results, camera)
        assert mine == in_order(mine)
        assert frames_of(mine, camera, run.number) == list(range(20))
        assert (mine[-1].status, mine[-1].seq) == ("end", 20)
        assert {result.status for result in mine} == {"ok", "dropped", "end"}


@ORDERS
async def test_killed_at_every_record_it_misses_nothing_and_repeats_nothing(
    every_redis: Redis, keys: Keys, order: bool
) -> None:
    pipeline = Pipeline(every_redis, keys)
    cursor = await current_cursor(every_redis, order=order, keys=keys)
    playing = asyncio.create_task(pipeline.play(["a", "b", "c"]))
    lives: list[PoseResult] = []
    while not (playing.done() and len(lives) == pipeline.published):
        (result,) = await first(1, every_redis, start=cursor, order=order, keys=keys)
        lives.append(result)
        cursor = result.cursor
    await playing
    undisturbed = await first(len(lives), every_redis, start="beginning", order=order, keys=keys)
    for camera in ("a", "b", "c"):
        assert of_camera(lives, camera) == of_camera(undisturbed, camera)
    async with aclosing(subscribe(every_redis, start=cursor, order=order, keys=keys)) as rest:
        await quiet(rest)


async def test_killed_anywhere_the_rest_comes(pipeline: Pipeline) -> None:
    await pipeline.play(["a", "b"])
    options: dict[str, Any] = {"order": True, "keys": pipeline.keys}
    whole = await first(pipeline.published, pipeline.redis, start="beginning", **options)
    for index, result in enumerate(whole[:-1], 1):
        rest = await first(len(whole) - index, pipeline.redis, start=result.cursor, **options)
        assert rest == whole[index:]


async def test_some_cameras_only(pipeline: Pipeline) -> None:
    await pipeline.play(["a", "b", "ab"])
    for order in (False, True):
        everything = await first(
            pipeline.published, pipeline.redis, start="beginning", order=order, keys=pipeline.keys
        )
        for cameras in (["a"], ["ab"], ["ab", "b"]):
            wanted = [result for result in everything if result.camera in cameras]
            results = await first(
                len(wanted), pipeline.redis, cameras, start="beginning", order=order, keys=pipeline.keys
            )
            for camera in cameras:
                assert of_camera(results, camera) == of_camera(wanted, camera)
            assert {result.camera for result in results} == set(cameras)


async def test_from_now_on_in_the_middle(pipeline: Pipeline) -> None:
    over = (await pipeline.play(["over"]))["over"]
    running = await pipeline.begin("running")
    await pipeline.offer(running, 10)
    await pipeline.work(["running"])
    cursor = await current_cursor(pipeline.redis, order=True, keys=pipeline.keys)
    published = pipeline.published

    await pipeline.offer(running, 10)
    again = await pipeline.begin("over")
    await pipeline.offer(again, 10)
    new = (await pipeline.play(["running", "over", "new"][2:]))["new"]
    await pipeline.work(["running", "over"])
    await pipeline.finish(running)

    entries = await pipeline.redis.xrange(pipeline.keys.results)
    committed = [PoseResult.unpack(fields[b"result"]) for _, fields in entries[published:]]
    begin = of_camera(committed, "running")[0].seq
    late = [result for result in of_camera(committed, "running") if result.seq < begin]
    async with aclosing(
        subscribe(pipeline.redis, start=cursor, order=True, keys=pipeline.keys)
    ) as subscription:
        results = await take(subscription, len(committed) - len(late))
        await quiet(subscription)
    assert again.number > over.number
    assert frames_of(results, "running", running.number) == list(range(begin, 20))
    assert frames_of(results, "over", again.number) == list(range(10))
    assert frames_of(results, "new", new.number) == list(range(20))
    assert of_camera(results, "running")[-1].status == "end"


@ORDERS
async def test_now_is_when_the_first_record_is_asked_for(pipeline: Pipeline, order: bool) -> None:
    await pipeline.play(["a"])
    published = pipeline.published
    subscription = subscribe(pipeline.redis, order=order, keys=pipeline.keys)
    asking = asyncio.create_task(take(subscription, 1))
    await waits(pipeline.redis)
    await pipeline.play(["a"])
    results = await asking + await take(subscription, pipeline.published - published - 1)
    everything = await first(
        pipeline.published, pipeline.redis, start="beginning", order=order, keys=pipeline.keys
    )
    assert results == everything[published:]
    await subscription.aclose()


async def waits(redis: Redis) -> None:
    """Wait until a client of the server waits for entries."""

    async def blocked() -> bool:
        return bool((await redis.info("clients"))["blocked_clients"])

    await wait_until(blocked, "a subscriber that waits for records")


async def test_runs_follow_one_another(pipeline: Pipeline) -> None:
    old = await pipeline.begin("a")
    await pipeline.offer(old, 10)
    new = await pipeline.begin("a")  # the old one is fenced, and ends with frames in flight
    await pipeline.offer(new, 10)
    await pipeline.work(["a"])
    await pipeline.finish(new)
    results = await first(
        pipeline.published + 1, pipeline.redis, start="beginning", order=True, keys=pipeline.keys
    )
    assert results == in_order(results)
    assert [(result.run, result.seq) for result in results if result.status == "end"] == [
        (old.number, 10),
        (new.number, 10),
    ]


@ORDERS
async def test_a_subscriber_behind_the_trim_is_told_how_much_it_missed(
    pipeline: Pipeline, order: bool
) -> None:
    await pipeline.play(["a"])
    options: dict[str, Any] = {"order": order, "wait_s": 0, "keys": pipeline.keys}
    before = await first(5, pipeline.redis, start="beginning", **options)
    await pipeline.play(["a", "b"])
    kept = 7
    read = await read_by(before[-1], pipeline)
    await pipeline.redis.xtrim(pipeline.keys.results, maxlen=kept)
    (told,) = await first(1, pipeline.redis, start=before[-1].cursor, **options)
    assert (told.camera, told.status, told.cause) == (ANY_CAMERA, "missing", "trimmed")
    assert told.frames == pipeline.published - kept - read
    (entry, *_) = await pipeline.redis.xrange(pipeline.keys.results, count=1)
    after = await first(1, pipeline.redis, start=told.cursor, **options)
    if not order:
        assert after == [PoseResult.unpack(entry[1][b"result"])]


async def read_by(result: PoseResult, pipeline: Pipeline) -> int:
    """How many entries of the stream a cursor has behind it."""
    return int(result.cursor.split("~")[2])


async def test_from_the_beginning_of_a_trimmed_stream(pipeline: Pipeline) -> None:
    await pipeline.play(["a"])
    await pipeline.redis.xtrim(pipeline.keys.results, maxlen=8)
    entries = await pipeline.redis.xrange(pipeline.keys.results)
    kept = [PoseResult.unpack(fields[b"result"]) for _, fields in entries]
    assert await first(8, pipeline.redis, start="beginning", keys=pipeline.keys) == kept
    # Its run began before what is kept, so it begins with whichever frame comes first, and waits for none.
    begin = kept[0].seq
    expected = in_order([result for result in kept if result.seq >= begin])
    options: dict[str, Any] = {"order": True, "keys": pipeline.keys}
    assert await first(len(expected), pipeline.redis, start="beginning", **options) == expected


async def test_a_frame_that_does_not_come_is_given_up_on_while_nothing_else_comes(
    pipeline: Pipeline,
) -> None:
    run = await pipeline.begin("a")
    for seq in range(3):
        await run.offer(frame("a", run.number, seq))
    worker = GroupConsumer(pipeline.redis, "w", keys=pipeline.keys)
    stuck, *others = await worker.take(["a"], 3)
    await worker.commit([Outcome(held, record(held.seq, run=held.run)) for held in others])
    async with aclosing(
        subscribe(pipeline.redis, start="beginning", order=True, wait_s=0.2, keys=pipeline.keys)
    ) as results:
        assert [(result.seq, result.status, result.cause) for result in await take(results, 3)] == [
            (0, "missing", "not-in-time"),
            (1, "ok", ""),
            (2, "ok", ""),
        ]
        await worker.commit([Outcome(stuck, record(0, run=run.number))])
        await run.finish()
        assert names(await take(results, 1)) == [("a", run.number, 3, 3, "end")]


async def test_a_slow_subscriber_holds_up_nobody_and_catches_up(pipeline: Pipeline) -> None:
    async with aclosing(subscribe(pipeline.redis, start="beginning", keys=pipeline.keys)) as slow:
        await pipeline.play(["a", "b"])
        await take(slow, 1)
        while pipeline.published < 3 * COUNT:
            await pipeline.play(["a", "b"])
        results = await take(slow, pipeline.published - 1)
        assert in_order(results) != results
        await quiet(slow)


async def test_latest_only_skips_what_is_old_when_asked(pipeline: Pipeline) -> None:
    async with aclosing(
        subscribe(pipeline.redis, start="beginning", latest_only=True, keys=pipeline.keys)
    ) as results:
        runs = {camera: await pipeline.begin(camera) for camera in ("a", "b")}
        for run in runs.values():
            await pipeline.offer(run, 40)
            await pipeline.offer(run, 1) if run.produced % 2 else None
        await pipeline.work(["a", "b"])
        ...
