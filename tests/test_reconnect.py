"""A camera that breaks and comes back: each connection is a run whose end says why, and the books balance."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np
import pytest
from redis.asyncio import Redis

from delivering import Delivery
from kinestream.abandoned import end_abandoned_runs
from kinestream.camerastate import CameraState
from kinestream.errors import Fenced, SourceError
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream_ingest import progress, retrying
from kinestream_ingest.feed import Feed
from kinestream_ingest.opening import Opener
from kinestream_ingest.producer import SourceBroke
from kinestream_ingest.retrying import FIRST_PAUSE_S, LONGEST_AWAY_S, LONGEST_PAUSE_S, STEADY_S, Backoff
from kinestream_ingest.sources import Refused, Source
from producing import working
from scripted import ScriptedSource, scripted_frame
from waiting import wait_until


class TestBackoff:
    def test_one_that_is_away_is_tried_often(self) -> None:
        backoff, longest = Backoff(), FIRST_PAUSE_S
        for _ in range(12):
            assert longest / 2 <= backoff.pause_s() <= longest
            longest = min(2 * longest, LONGEST_AWAY_S)
            backoff.failed(SourceError("connection refused"))

    def test_one_that_refuses_doubles_with_jitter_up_to_a_limit(self) -> None:
        backoff, longest = Backoff(), FIRST_PAUSE_S
        backoff.failed(Refused("401 Unauthorized"))
        for _ in range(12):
            assert longest / 2 <= backoff.pause_s() <= longest
            longest = min(2 * longest, LONGEST_PAUSE_S)
        assert longest == LONGEST_PAUSE_S

    def test_begins_anew_after_a_connection_that_held(self) -> None:
        backoff = Backoff()
        for _ in range(5):
            backoff.pause_s()
        backoff.held(STEADY_S)
        assert backoff.pause_s() <= FIRST_PAUSE_S

    def test_goes_on_after_one_that_broke_at_once(self) -> None:
        backoff = Backoff()
        for _ in range(5):
            backoff.pause_s()
        backoff.held(STEADY_S / 2)
        backoff.failed(SourceError("connection refused"))
        assert backoff.pause_s() >= 16 * FIRST_PAUSE_S

    def test_jitters(self) -> None:
        assert len({Backoff().pause_s() for _ in range(5)}) > 1


class Camera:
    """Opens as a test says: `sources` are connections, an error is a try that fails; then it is away."""

    def __init__(self) -> None:
        self.tries = 0
        self.outcomes: list[ScriptedSource | Exception] = []

    def __call__(self) -> Source:
        self.tries += 1
        if not self.outcomes:
            raise SourceError("it is away")
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def delivery(redis: Redis, keys: Keys) -> Delivery:
    return Delivery(redis, keys)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tries follow one another at once."""
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0.02)


class Feeding:
    """A feed under way, in a task; its first connection is `first`."""

    def __init__(self, delivery: Delivery, reopen: Callable[[], Source] | None) -> None:
        self.first = ScriptedSource()
        self.stop = asyncio.Event()
        self.feed = Feed(
            delivery.redis,
            self.first,
            camera="cam",
            lane="every-frame",
            reopen=reopen,
            stop=self.stop,
            keys=delivery.keys,
            limits=delivery.limits,
        )
        self.task = asyncio.create_task(self.feed.produce())

    async def offered(self, count: int) -> None:
        await wait_until(lambda: self.feed.offered >= count, f"{count} frames to be offered")


@pytest.fixture
def camera() -> Camera:
    return Camera()


@pytest.fixture
async def feeding(delivery: Delivery, camera: Camera, quick: None) -> AsyncIterator[Feeding]:
    under_way = Feeding(delivery, camera)
    yield under_way
    under_way.stop.set()
    await asyncio.wait([under_way.task], timeout=20)


async def test_goes_on_as_a_new_run(delivery: Delivery, camera: Camera, feeding: Feeding) -> None:
    second = ScriptedSource()
    camera.outcomes = [SourceError("it boots"), second]
    feeding.first.give(scripted_frame(0), scripted_frame(1), SourceError("the cable is out"))
    await wait_until(lambda: len(feeding.feed.runs) == 2, "a new run")
    second.give(scripted_frame(2))
    await feeding.offered(3)
    assert (feeding.feed.seen, feeding.feed.offered, feeding.feed.away_s) == (3, 3, 0)
    feeding.stop.set()
    await feeding.task
    assert camera.tries == 2
    old, new = feeding.feed.runs
    assert old < new
    ends = [(r.run, r.seq, r.cause) for r in await delivery.records() if r.status == "end"]
    assert ends == [(old, 2, "source-failed: the cable is out"), (new, 1, "stopped")]
    assert (await delivery.ledger(feeding.feed.offering.run)).produced == 1


async def test_nothing_is_left_of_the_connection_before(camera: Camera, feeding: Feeding) -> None:
    first = weakref.ref(feeding.first)
    gc.disable()  # by itself it runs after so many allocations, which here may take hours
    try:
        feeding.first.give(scripted_frame(0), SourceError("the cable is out"))
        feeding.first = second = ScriptedSource()
        camera.outcomes = [second]
        await wait_until(lambda: len(feeding.feed.runs) == 2, "a new run")
        assert first() is None
    finally:
        gc.enable()


async def test_what_is_said_of_it(camera: Camera, feeding: Feeding, caplog: pytest.LogCaptureFixture) -> None:
    second = ScriptedSource()
    camera.outcomes = [SourceError("it boots")] * 3 + [SourceError("401")] * 2 + [second]
    feeding.first.give(scripted_frame(0), SourceError("the cable is out"))
    await wait_until(lambda: len(feeding.feed.runs) == 2, "a new run")
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert said[:3] == [
        "cam: the source ended early: the cable is out; trying again until it is back",
        "cam: still away: it boots",
        "cam: still away: 401",
    ]
    assert said[3].startswith("cam: back after ")
    assert len(said) == 4


async def test_a_stop_while_it_is_away_is_a_clean_end(
    delivery: Delivery, camera: Camera, feeding: Feeding
) -> None:
    feeding.first.give(scripted_frame(0), SourceError("the cable is out"))
    assert feeding.feed.away_s == 0
    await wait_until(lambda: camera.tries > 2, "several tries")
    assert feeding.feed.away_s > 0
    feeding.stop.set()
    await feeding.task
    assert [r.cause for r in await delivery.records()] == ["source-failed: the cable is out"]


async def test_the_progress_says_that_it_is_away(
    delivery: Delivery,
    camera: Camera,
    feeding: Feeding,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(progress, "_LOG_INTERVAL_S", 0.02)
    caplog.set_level(logging.INFO)
    feeding.first.give(scripted_frame(0), SourceError("the cable is out"))
    async with progress.shown_progress(feeding.feed, delivery.redis, keys=delivery.keys):
        line = r"cam: 1 frames read, away for \d+ s, 1 in flight"
        await wait_until(lambda: re.search(line, caplog.text), "that line")


async def test_a_source_that_simply_ends_is_not_opened_again(
    delivery: Delivery, camera: Camera, feeding: Feeding
) -> None:
    feeding.first.give(scripted_frame(0))
    feeding.first.end()
    await feeding.task
    assert camera.tries == 0


async def test_without_reconnecting_it_fails(delivery: Delivery) -> None:
    feeding = Feeding(delivery, None)
    feeding.first.give(scripted_frame(0), SourceError("the cable is out"))
    with pytest.raises(SourceBroke, match="cam: the source ended early: the cable is out"):
        await feeding.task


async def test_a_bug_is_not_a_camera_that_is_away(camera: Camera, feeding: Feeding) -> None:
    feeding.first.give(scripted_frame(0), ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        await feeding.task
    assert camera.tries == 0


async def test_who_takes_over_meanwhile_keeps_the_camera(
    delivery: Delivery, camera: Camera, feeding: Feeding
) -> None:
    feeding.first.give(scripted_frame(0), SourceError("the cable is out"))
    await wait_until(lambda: camera.tries > 0, "a try")
    other = await delivery.begin("every-frame")
    with pytest.raises(Fenced, match="a newer run of this camera has begun elsewhere"):
        await feeding.task
    await delivery.offer(other, 0)  # it was not fenced


class TestOpener:
    async def test_gives_the_source(self) -> None:
        source = ScriptedSource()
        assert await Opener(lambda: source).opened(asyncio.Event()) is source

    async def test_raises_what_it_raises(self) -> None:
        def fail() -> Source:
            raise SourceError("no camera")

        with pytest.raises(SourceError, match="no camera"):
            await Opener(fail).opened(asyncio.Event())

    async def test_a_stop_leaves_it_alone_and_closes_what_comes_too_late(self) -> None:
        stop, go_on, source = asyncio.Event(), threading.Event(), ScriptedSource()

        def slow() -> Source:
            assert go_on.wait(20)
            return source

        opening = asyncio.create_task(Opener(slow).opened(stop))
        await asyncio.sleep(0)
        stop.set()
        assert await opening is None
        assert not source.closed
        go_on.set()
        await wait_until(lambda: source.closed, "the camera to be given back")


async def test_a_run_has_another_number_though_redis_forgot_the_one_before(
    delivery: Delivery, camera: Camera, feeding: Feeding
) -> None:
    """Runs that follow one another within a second are ahead of the clock that a new Redis goes by."""
    feeding.first.give(scripted_frame(0), SourceError("the cable is out"))
    await wait_until(lambda: camera.tries > 0, "a try")
    ahead = feeding.feed.runs[-1] + 1000
    feeding.feed.offering.runs[-1].number = ahead
    await delivery.redis.delete(delivery.keys.cameras)
    second = ScriptedSource()
    camera.outcomes = [second]
    await wait_until(lambda: len(feeding.feed.runs) == 2, "a new run")
    assert feeding.feed.runs == [ahead, ahead + 1]


async def test_pictures_of_another_size_are_another_run(
    delivery: Delivery, camera: Camera, feeding: Feeding
) -> None:
    second = ScriptedSource()
    camera.outcomes = [second]
    small = np.zeros((24, 32, 3), np.uint8)
    feeding.first.give(scripted_frame(0), scripted_frame(1), scripted_frame(2, image=small))
    await wait_until(lambda: len(feeding.feed.runs) == 2, "a new run")
    second.give(scripted_frame(3, image=small), scripted_frame(4, image=small))
    await feeding.offered(4)
    ends = [(r.seq, r.cause) for r in await delivery.records() if r.status == "end"]
    assert ends == [(3, "source-failed: its pictures were 64x48, and now are 32x24")]
    old, _ = feeding.feed.runs
    ledger = await read_ledger(delivery.redis, "cam", old, keys=delivery.keys)
    assert ledger is not None
    assert ledger.causes == {"dropped:size-changed": 1}
    assert ledger.balanced


async def test_a_run_that_was_ended_while_it_was_frozen_is_followed_by_another(
    delivery: Delivery, camera: Camera, feeding: Feeding
) -> None:
    feeding.first.give(scripted_frame(0))
    await feeding.offered(1)
    run = feeding.feed.offering.run
    state = CameraState(camera="cam", state="live", producer="p", run=run.number)
    await delivery.redis.set(delivery.keys.camera_state("cam"), state.pack(0))
    await end_abandoned_runs(delivery.redis, keys=delivery.keys, confirm_s=0)
    second = ScriptedSource()
    camera.outcomes = [second]
    feeding.first.give(scripted_frame(1))
    await wait_until(lambda: len(feeding.feed.runs) == 2, "a new run")
    second.give(scripted_frame(2))
    await feeding.offered(2)
    assert [r.cause for r in await delivery.records() if r.status == "end"] == ["producer-gone"]


async def test_times_of_a_camera_only_grow(delivery: Delivery, camera: Camera, feeding: Feeding) -> None:
    times_us = [1_000_000, 1_040_000, 900_000, 1_020_000, 1_080_000]
    frames = [replace(scripted_frame(number), captured_us=at) for number, at in enumerate(times_us)]
    feeding.first.give(*frames[:4])
    await feeding.offered(4)
    async with working(delivery) as took:
        feeding.first.give(frames[4])
        await wait_until(lambda: len(took) == 5, "all to be taken")
    assert [frame.captured_us for frame in took] == [1_000_000, 1_040_000, 1_040_001, 1_040_002, 1_080_000]


async def test_a_clock_that_is_set_back_far_is_another_run(
    delivery: Delivery, camera: Camera, feeding: Feeding
) -> None:
    camera.outcomes = [ScriptedSource()]
    feeding.first.give(
        replace(scripted_frame(0), captured_us=9_000_000), replace(scripted_frame(1), captured_us=5_500_000)
    )
    await wait_until(lambda: len(feeding.feed.runs) == 2, "a new run")
    ends = [(r.seq, r.cause) for r in await delivery.records() if r.status == "end"]
    assert ends == [(1, "source-failed: its clock was set back by 3.5 s")]
