"""`subscribe` on real servers, with records that went through the real scripts, committed in no order."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from redis.asyncio import Redis

import kinestream
from kinestream import current_cursor, subscribe
from kinestream.errors import RunLost, UnsupportedVersion, UsageError
from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held, Outcome
from kinestream.keys import Keys
from kinestream.messages import ANY_CAMERA, Frame, PoseResult
from kinestream.packing import pack_map
from kinestream.redis import connect
from kinestream.resultreader import COUNT
from kinestream.run import Run
from scenarios import frames_of, names, of_camera, record
from servers import Server
from waiting import wait_until

ORDERS = pytest.mark.parametrize("order", [False, True], ids=["by-commit", "by-frame"])


class Pipeline:
    """Producers, and two workers that commit in no order; `published` counts the records of all of them."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self.redis = redis
        self.keys = keys
        self.published = 0
        self._random = random.Random(7)
        self._workers = [GroupConsumer(redis, name, keys=keys) for name in ("w1", "w2")]

    async def begin(self, camera: str, **options: Any) -> Run:
        """Open a run."""
        return await Run.begin(self.redis, camera, lane="every-frame", keys=self.keys, **options)

    async def offer(self, run: Run, count: int) -> None:
        """Offer the next frames."""
        for seq in range(run.produced, run.produced + count):
            assert await run.offer(frame(run, seq)) == "ok"

    async def give_up_on(self, run: Run, count: int) -> None:
        """Offer one frame, and say that those before it were given up on: one range record."""
        assert await run.offer(frame(run, run.produced + count), gap_cause="encoder") == "ok"
        self.published += 1

    async def take(self, cameras: Sequence[str], room: int = 100, worker: int = 0) -> list[Held]:
        """Take frames, as a worker."""
        return await self._workers[worker].take(cameras, room)

    async def commit(self, *taken: Held, worker: int = 0) -> None:
        """Commit frames, as a worker, in this order."""
        outcomes = [Outcome(held, record(held.seq, camera=held.camera, run=held.run)) for held in taken]
        assert all(await self._workers[worker].commit(outcomes))
        self.published += len(taken)

    async def work(self, cameras: Sequence[str]) -> None:
        """Let the two workers infer all that waits, in small batches that overtake one another."""
        batches: list[tuple[int, list[Held]]] = []
        while taken := await self.take(cameras, self._random.randint(1, 4), len(batches) % 2):
            self._random.shuffle(taken)
            batches.append((len(batches) % 2, taken))
        self._random.shuffle(batches)
        for worker, taken in batches:
            await self.commit(*taken, worker=worker)

    async def finish(self, run: Run) -> None:
        """End a run."""
        await run.finish()
        self.published += 1

    async def play(self, *cameras: str) -> dict[str, Run]:
        """One run of 20 frames a camera, from beginning to end; the `end` comes before the last frames."""
        runs = {camera: await self.begin(camera) for camera in cameras}
        for run in runs.values():
            await self.offer(run, 8)
        await self.work(cameras)
        for run in runs.values():
            await self.offer(run, 4)
            await self.give_up_on(run, 3)
            await self.offer(run, 4)
        await self.work(cameras[:1])
        for run in runs.values():
            await self.finish(run)
        await self.work(cameras)
        return runs

    async def committed(self) -> list[PoseResult]:
        """All records that are kept, in the order of commit."""
        entries = await self.redis.xrange(self.keys.results)
        return [PoseResult.unpack(fields[b"result"]) for _, fields in entries]


def frame(run: Run, seq: int) -> Frame:
    """A frame of one black pixel."""
    return Frame(
        camera=run.camera,
        run=run.number,
        seq=seq,
        captured_us=seq,
        width=1,
        height=1,
        view=(0, 0, 1, 1),
        codec="raw",
        data=b"\0\0\0",
        lane="every-frame",
    )


@pytest.fixture
def pipeline(redis: Redis, keys: Keys) -> Pipeline:
    return Pipeline(redis, keys)


async def take(results: AsyncIterator[PoseResult], count: int) -> list[PoseResult]:
    """The next records of a subscription."""
    async with asyncio.timeout(20):
        return [await anext(results) for _ in range(count)]


async def first(count: int, redis: Redis | str, *args: Any, **options: Any) -> list[PoseResult]:
    """The first records of a subscription, which is closed then."""
    async with aclosing(subscribe(redis, *args, **options)) as results:
        return await take(results, count)


async def nothing_more(results: AsyncIterator[PoseResult]) -> None:
    """See that a subscription has nothing more to say; that ends it."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(results), 0.2)


async def somebody_waits(redis: Redis) -> None:
    """Wait until a subscriber has read all there is, and blocks."""

    async def blocked() -> bool:
        return bool((await redis.info("clients"))["blocked_clients"])

    await wait_until(blocked, "a subscriber that waits for records")


def in_order(results: Sequence[PoseResult]) -> list[PoseResult]:
    """Sorted by the names of their frames."""
    return sorted(results, key=lambda result: (result.camera, result.run, result.seq, result.status == "end"))


async def test_everything_comes_in_the_order_of_commit(every_redis: Redis, keys: Keys) -> None:
    pipeline = Pipeline(every_redis, keys)
    await pipeline.play("a", "b", "c")
    async with aclosing(subscribe(every_redis, start="beginning", keys=keys)) as subscription:
        results = await take(subscription, pipeline.published)
        await nothing_more(subscription)
    assert results == await pipeline.committed()
    ids = [entry.decode().split("-") for entry, _ in await every_redis.xrange(keys.results)]
    assert [result.committed_ms for result in results] == [int(ms) for ms, _ in ids]
    assert any(of_camera(results, camera) != in_order(of_camera(results, camera)) for camera in "abc")


async def test_everything_comes_once_in_the_order_of_frames(every_redis: Redis, keys: Keys) -> None:
    pipeline = Pipeline(every_redis, keys)
    runs = await pipeline.play("a", "b", "c")
    async with aclosing(subscribe(every_redis, start="beginning", order=True, keys=keys)) as subscription:
        results = await take(subscription, pipeline.published)
        await nothing_more(subscription)
    assert in_order(results) == in_order(await pipeline.committed())
    for camera, run in runs.items():
        mine = of_camera(results, camera)
        assert mine == in_order(mine)
        assert frames_of(mine, camera, run.number) == list(range(20))
        assert names(mine)[-1] == (camera, run.number, 20, 20, "end")


@ORDERS
async def test_killed_at_every_record_it_misses_nothing_and_repeats_nothing(
    every_redis: Redis, keys: Keys, order: bool
) -> None:
    pipeline = Pipeline(every_redis, keys)

    async def play() -> None:
        await pipeline.play("a", "b", "c")
        await pipeline.finish(await pipeline.begin("last"))

    cursor = await current_cursor(every_redis, order=order, keys=keys)
    playing = asyncio.create_task(play())
    lives: list[PoseResult] = []
    while not lives or lives[-1].camera != "last":
        lives += await first(1, every_redis, start=cursor, order=order, keys=keys)
        cursor = lives[-1].cursor
    await playing
    assert lives == await first(pipeline.published, every_redis, start="beginning", order=order, keys=keys)
    async with aclosing(subscribe(every_redis, start=cursor, order=order, keys=keys)) as subscription:
        await nothing_more(subscription)


@ORDERS
async def test_from_any_record_on_the_rest_comes(pipeline: Pipeline, order: bool) -> None:
    await pipeline.play("a", "b")
    options: dict[str, Any] = {"order": order, "keys": pipeline.keys}
    whole = await first(pipeline.published, pipeline.redis, start="beginning", **options)
    for index, result in enumerate(whole[:-1], 1):
        rest = await first(len(whole) - index, pipeline.redis, start=result.cursor, **options)
        assert rest == whole[index:]


@ORDERS
async def test_some_cameras_only(pipeline: Pipeline, order: bool) -> None:
    await pipeline.play("a", "b", "ab")
    options: dict[str, Any] = {"start": "beginning", "order": order, "keys": pipeline.keys}
    everything = await first(pipeline.published, pipeline.redis, **options)
    for cameras in (["a"], ["ab"], ["ab", "b"]):
        wanted = [result for result in everything if result.camera in cameras]
        async with aclosing(subscribe(pipeline.redis, cameras, **options)) as subscription:
            results = await take(subscription, len(wanted))
            await nothing_more(subscription)
        for camera in "a", "b", "ab":
            assert of_camera(results, camera) == of_camera(wanted, camera)


async def test_from_now_on_in_the_middle(pipeline: Pipeline) -> None:
    await pipeline.play("over")
    running = await pipeline.begin("running")
    await pipeline.offer(running, 9)
    await pipeline.work(["running"])
    cursor = await current_cursor(pipeline.redis, order=True, keys=pipeline.keys)
    published = pipeline.published

    await pipeline.offer(running, 11)
    _, *four_to_ten, eleven = await pipeline.take(["running"])
    await pipeline.commit(eleven)  # it comes first, and so the run begins with it
    runs = await pipeline.play("over", "new")
    await pipeline.commit(*four_to_ten)
    await pipeline.offer(running, 3)
    await pipeline.work(["running"])
    await pipeline.finish(running)

    async with aclosing(
        subscribe(pipeline.redis, start=cursor, order=True, keys=pipeline.keys)
    ) as subscription:
        results = await take(subscription, pipeline.published - published - len(four_to_ten))
        await nothing_more(subscription)
    assert frames_of(results, "running", running.number) == [19, 20, 21, 22]
    assert names(results)[-1] == ("running", running.number, 23, 23, "end")
    for camera in ("over", "new"):
        assert frames_of(results, camera, runs[camera].number) == list(range(20))


@ORDERS
async def test_now_is_when_the_first_record_is_asked_for(
    own_server: Callable[..., Server], keys: Keys, order: bool
) -> None:
    async with connect(own_server().url) as redis:
        pipeline = Pipeline(redis, keys)
        await pipeline.play("a")
        published = pipeline.published
        async with aclosing(subscribe(redis, order=order, keys=keys)) as subscription:
            asking = asyncio.create_task(take(subscription, published))
            await somebody_waits(redis)
            await pipeline.play("a")
            results = await asking
        options: dict[str, Any] = {"start": "beginning", "order": order, "keys": keys}
        assert results == (await first(pipeline.published, redis, **options))[published:]


async def test_runs_follow_one_another(pipeline: Pipeline) -> None:
    old = await pipeline.begin("a")
    await pipeline.offer(old, 10)
    in_flight = await pipeline.take(["a"])
    new = await pipeline.begin("a")  # closes the old run, which then has frames in flight
    await pipeline.offer(new, 10)
    await pipeline.work(["a"])
    await pipeline.finish(new)
    await pipeline.commit(*reversed(in_flight))
    options: dict[str, Any] = {"start": "beginning", "order": True, "keys": pipeline.keys}
    results = await first(pipeline.published + 1, pipeline.redis, **options)
    assert results == in_order(results)
    assert [(result.run, result.seq) for result in results if result.status == "end"] == [
        (old.number, 10),
        (new.number, 10),
    ]


@ORDERS
async def test_a_subscriber_behind_the_trim_is_told_how_much_it_missed(
    pipeline: Pipeline, order: bool
) -> None:
    await pipeline.play("a")
    options: dict[str, Any] = {"order": order, "keys": pipeline.keys}
    read = await first(pipeline.published, pipeline.redis, start="beginning", **options)
    missed = 11
    run = await pipeline.begin("a")
    await pipeline.offer(run, 20)
    await pipeline.work(["a"])
    await pipeline.redis.xtrim(pipeline.keys.results, maxlen=20 - missed, approximate=False)
    async with aclosing(
        subscribe(pipeline.redis, start=read[-1].cursor, wait_s=0, **options)
    ) as subscription:
        (told,) = await take(subscription, 1)
        assert (told.camera, told.status, told.cause) == (ANY_CAMERA, "missing", "trimmed")
        assert told.frames == missed
        rest = await first(1, pipeline.redis, start=told.cursor, wait_s=0, **options)
        assert rest == await take(subscription, 1)
        if order:
            await pipeline.finish(run)
            while rest[-1].status != "end":
                rest += await take(subscription, 1)
            assert frames_of(rest, "a", run.number) == list(range(20))
            assert sum(result.frames for result in rest if result.status == "missing") >= missed
        else:
            assert rest == (await pipeline.committed())[:1]


async def test_from_the_beginning_of_a_trimmed_stream(pipeline: Pipeline) -> None:
    run = await pipeline.begin("a")
    await pipeline.offer(run, 20)
    taken = await pipeline.take(["a"])
    await pipeline.commit(*taken[:14])
    # A run's number is the second in which it began, and which runs are whole is told from that.
    await asyncio.sleep(1.1)
    for seq in (16, 15, 17, 19, 18):
        await pipeline.commit(taken[seq])
    await pipeline.redis.xtrim(pipeline.keys.results, maxlen=5, approximate=False)
    new = await pipeline.begin("b", after=int((await pipeline.redis.time())[0]))
    await pipeline.offer(new, 2)
    await pipeline.commit(*reversed(await pipeline.take(["b"])))
    options: dict[str, Any] = {"start": "beginning", "keys": pipeline.keys}
    assert await first(7, pipeline.redis, **options) == await pipeline.committed()
    results = await first(6, pipeline.redis, order=True, **options)
    assert frames_of(results, "a", run.number) == [16, 17, 18, 19]
    assert frames_of(results, "b", new.number) == [0, 1]


async def test_a_frame_that_does_not_come_is_given_up_on_though_nothing_else_comes(
    pipeline: Pipeline,
) -> None:
    run = await pipeline.begin("a")
    await pipeline.offer(run, 3)
    stuck, *others = await pipeline.take(["a"])
    await pipeline.commit(*others)
    options: dict[str, Any] = {"start": "beginning", "order": True, "keys": pipeline.keys}
    async with aclosing(subscribe(pipeline.redis, wait_s=0.2, **options)) as results:
        assert [(result.seq, result.status, result.cause) for result in await take(results, 3)] == [
            (0, "missing", "not-in-time"),
            (1, "ok", ""),
            (2, "ok", ""),
        ]
        await pipeline.commit(stuck)  # too late
        await pipeline.finish(run)
        assert names(await take(results, 1)) == [("a", run.number, 3, 3, "end")]


@ORDERS
async def test_a_slow_subscriber_holds_up_nobody_and_catches_up(pipeline: Pipeline, order: bool) -> None:
    options: dict[str, Any] = {"start": "beginning", "order": order, "keys": pipeline.keys}
    async with aclosing(subscribe(pipeline.redis, **options)) as slow:
        await pipeline.play("a")
        results = await take(slow, 1)
        while pipeline.published < 3 * COUNT:
            await pipeline.play("a", "b")
        results += await take(slow, pipeline.published - 1)
        await nothing_more(slow)
    assert in_order(results) == in_order(await pipeline.committed())


async def test_latest_only_skips_what_is_old_when_asked(pipeline: Pipeline) -> None:
    runs = {camera: await pipeline.begin(camera) for camera in ("a", "b")}
    for run in runs.values():
        await pipeline.offer(run, 8)
    a, b = [await pipeline.take([camera]) for camera in ("a", "b")]
    options: dict[str, Any] = {"start": "beginning", "latest_only": True, "keys": pipeline.keys}

    def of(camera: str, seq: int, status: str) -> tuple[str, int, int, int, str]:
        return camera, runs[camera].number, seq, seq, status

    async with aclosing(subscribe(pipeline.redis, **options)) as results:
        await pipeline.commit(a[0], b[0], a[2], a[1])
        assert names(await take(results, 1)) == [of("a", 2, "ok")]
        await pipeline.commit(b[3], b[2], a[3])
        assert names(await take(results, 2)) == [of("b", 3, "ok"), of("a", 3, "ok")]
        await pipeline.commit(b[1], a[5], a[4])  # nothing newer of b
        assert names(await take(results, 1)) == [of("a", 5, "ok")]
        for _ in range(3):
            await pipeline.give_up_on(runs["a"], 10)
        await pipeline.commit(a[6])  # a pose, though later frames were dropped meanwhile
        assert names(await take(results, 1)) == [of("a", 6, "ok")]
        await pipeline.give_up_on(runs["a"], 10)
        assert [(result.status, result.frames) for result in await take(results, 1)] == [("dropped", 10)]
        await pipeline.commit(a[7])
        await pipeline.finish(runs["a"])
        assert names(await take(results, 1)) == [of("a", runs["a"].produced, "end")]
        await nothing_more(results)


@ORDERS
async def test_a_restart_that_keeps_the_data_is_waited_out(
    own_server: Callable[..., Server], keys: Keys, order: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(durable=True)
    async with connect(server.url) as redis:
        pipeline = Pipeline(redis, keys)
        run = await pipeline.begin("a")
        await pipeline.offer(run, 6)
        taken = await pipeline.take(["a"])
        await pipeline.commit(taken[0], taken[3], taken[2])
        options: dict[str, Any] = {"order": order, "keys": keys}
        async with aclosing(subscribe(redis, start="beginning", **options)) as subscription:
            reading = asyncio.create_task(take(subscription, 7))
            await somebody_waits(redis)
            server.kill()
            await wait_until(lambda: "Redis is away while reading" in caplog.text, "the subscriber to notice")
            server.start()
            await pipeline.commit(taken[4], taken[1])
            await pipeline.finish(run)
            await pipeline.commit(taken[5])
            results = await reading
            await nothing_more(subscription)
        committed = await pipeline.committed()
        assert results == (in_order(committed) if order else committed)
        assert "lost its memory" not in caplog.text


@ORDERS
async def test_after_a_restart_without_data_nobody_waits_for_what_is_gone(
    own_server: Callable[..., Server], keys: Keys, order: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server()
    async with connect(server.url) as redis:
        pipeline = Pipeline(redis, keys)
        await pipeline.play("b")
        run = await pipeline.begin("a")
        await pipeline.offer(run, 6)
        taken = await pipeline.take(["a"])
        await pipeline.commit(taken[0], taken[3], taken[2])
        before = await pipeline.committed()
        options: dict[str, Any] = {"order": order, "wait_s": math.inf, "keys": keys}
        async with aclosing(subscribe(redis, start="beginning", **options)) as subscription:
            results = await take(subscription, len(before) - 2 * order)
            server.restart()
            with pytest.raises(RunLost) as lost:
                await run.offer(frame(run, 6))
            await run.finish_lost(lost.value.known)
            new = await pipeline.begin("a", after=run.number)
            await pipeline.offer(new, 3)
            await pipeline.work(["a"])
            results += await take(subscription, 6 + order if order else 4)
        assert caplog.text.count("Redis lost its memory") == 1
        if not order:
            assert results == before + await pipeline.committed()
            return
        assert [(result.seq, result.last, result.status) for result in of_camera(results, "a")] == [
            (0, 0, "ok"),
            (1, 1, "lost"),
            (2, 2, "ok"),
            (3, 3, "ok"),
            (4, 5, "lost"),
            (6, 6, "end"),
            (0, 0, "ok"),
            (1, 1, "ok"),
        ]


async def test_ids_may_start_lower_when_redis_lost_its_memory_and_its_clock_was_set_back(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    ahead_ms = (int((await pipeline.redis.time())[0]) + 3600) * 1000
    await pipeline.redis.xadd(pipeline.keys.results, {"result": record(0).pack()}, id=f"{ahead_ms}-41")
    async with aclosing(subscribe(pipeline.redis, start="beginning", keys=pipeline.keys)) as results:
        assert names(await take(results, 1)) == [("a", 1, 0, 0, "ok")]
        await pipeline.redis.delete(pipeline.keys.results)
        asking = asyncio.create_task(take(results, 1))
        await wait_until(lambda: "Redis lost its memory" in caplog.text, "the subscriber to notice")
        await pipeline.finish(await pipeline.begin("b"))
        assert [result.camera for result in await asking] == ["b"]
    assert caplog.text.count("Redis lost its memory") == 1


async def test_a_record_that_cannot_be_read_is_told(pipeline: Pipeline) -> None:
    await pipeline.redis.xadd(pipeline.keys.results, {"result": b"\xc1"}, id="1-0")
    await pipeline.redis.xadd(pipeline.keys.results, {"other": b""}, id="1-1")
    await pipeline.finish(await pipeline.begin("a"))
    for order in (False, True):
        options: dict[str, Any] = {"start": "beginning", "order": order, "keys": pipeline.keys}
        results = await first(3, pipeline.redis, **options)
        assert [(result.camera, result.status, result.frames) for result in results] == [
            (ANY_CAMERA, "missing", 1),
            (ANY_CAMERA, "missing", 1),
            ("a", "end", 0),
        ]
        assert all(result.cause.startswith("unreadable: ") for result in results[:2])


async def test_a_newer_version_stops_the_subscriber_at_that_record(pipeline: Pipeline) -> None:
    newer = record(0, camera="newer").as_dict() | {"version": 2}
    await pipeline.redis.xadd(pipeline.keys.results, {"result": pack_map(newer)}, id="1-0")
    await pipeline.finish(await pipeline.begin("court-1"))
    for order in (False, True):
        options: dict[str, Any] = {"start": "beginning", "order": order, "keys": pipeline.keys}
        with pytest.raises(UnsupportedVersion, match="upgrade"):
            await first(1, pipeline.redis, **options)
        assert len(await first(1, pipeline.redis, ["court-1"], **options)) == 1


async def test_a_client_of_its_own_is_closed(redis: Redis, redis_url: str, pipeline: Pipeline) -> None:
    name = f"subscriber-{uuid.uuid4().hex}"
    await pipeline.play("a")

    async def is_gone() -> bool:
        return all(client["name"] != name for client in await redis.client_list())

    url = f"{redis_url}?client_name={name}"
    async for result in subscribe(url, start="beginning", keys=pipeline.keys):
        assert result.camera == "a"
        assert not await is_gone()
        break
    gc.collect()
    await wait_until(is_gone, "the subscriber's client to be closed")


@pytest.mark.parametrize(
    "options",
    [
        {"order": True, "latest_only": True},
        {"cameras": "court-1"},
        {"cameras": []},
        {"cameras": ["a:b"]},
        {"start": "yesterday"},
        {"start": None},
        {"start": b"beginning"},
        {"start": "c1~1~2", "order": True},
        {"start": "o1~1~2~0~3~4"},
        {"wait_s": -1.0, "order": True},
        {"wait_s": math.nan, "order": True},
        {"max_held_bytes": -1, "order": True},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_a_usage_error_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        subscribe("redis://localhost:6379", **options)


async def test_a_client_whose_replies_differ_is_a_usage_error(redis_url: str) -> None:
    for settings in ({"decode_responses": True}, {"protocol": 3}, {"socket_timeout": 0.5}):
        client: Redis = Redis.from_url(redis_url, **settings)
        with pytest.raises(UsageError, match=r"kinestream\.connect"):
            subscribe(client)
        with pytest.raises(UsageError, match=r"kinestream\.connect"):
            await current_cursor(client)
        await client.aclose()


def test_the_package_offers_what_a_client_needs_and_imports_little() -> None:
    assert {"Frame", "PoseResult", "Person", "subscribe", "connect", "KinestreamError"} <= {
        *kinestream.__all__
    }
    script = """
import sys, kinestream
assert not {"redis", "numpy", "cv2", "msgpack"} & set(sys.modules)
for name in kinestream.__all__:
    assert getattr(kinestream, name) is not None, name
assert not {"numpy", "cv2"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError, match="subscibe"):
        kinestream.subscibe  # noqa: B018
