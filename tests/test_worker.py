"""What a worker promises, on a real server, with an engine that does what the test says.

Not for: engines that fail or hang, and a Redis that goes away (see `test_worker_trouble.py`).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from frames import frame, offer
from kinestream.errors import UnsupportedVersion
from kinestream.groupconsumer import GroupConsumer
from kinestream.ledger import read_ledger
from kinestream.run import Run
from waiting import wait_until
from working import LIMITS


async def test_every_frame_is_published_once_with_its_own_people(begin, work, published, engine) -> None:
    run = await begin("left")
    for seq in range(7):
        await run.offer(frame(run, seq, grey=10 * seq))
    async with work() as running:
        results = await published(7)
    assert sorted(result.seq for result in results) == list(range(7))
    for result in results:
        assert result.status == "ok"
        assert result.people[0].box[0] == pytest.approx(10 * result.seq, abs=1)
        assert (result.model, result.skeleton, result.media_time_s) == ("scripted", "coco17", result.seq / 30)
        assert result.clock == "camera"
        assert set(result.timings) == {"encoded", "queued", "decoded", "waited", "inferred"}
    assert all(len(batch) <= 2 for batch in engine.batches)
    assert running.worker.committed == 7


async def test_a_camera_that_floods_does_not_starve_another(begin, work, published, engine) -> None:
    flood, other = await begin("a-flood"), await begin("b-other")
    await offer(flood, 40)
    await offer(other, 4)
    async with work():
        results = await published(44)
    last_of_other = max(index for index, result in enumerate(results) if result.camera == "b-other")
    assert last_of_other < 16


async def test_it_never_holds_more_than_it_has_room_for(redis, keys, begin, work, published, engine) -> None:
    run = await begin("left")
    await offer(run, 30)
    engine.gate.clear()
    async with work(max_batch=2) as running:
        # While one batch is in the session, two wait decoded and one is fetched (nobody knows how slow the
        # engine is), and nothing more is taken.
        await wait_until(lambda: engine.arrived == 1 and running.worker.held == 8, "four batches")
        await asyncio.sleep(0.1)
        assert (await read_ledger(redis, "left", run.number, keys=keys)).held == 8
        engine.gate.set()
        await published(30)


async def test_the_engine_finds_its_next_batches_without_anybody_s_help(
    begin, work, published, engine
) -> None:
    await offer(await begin("left"), 8)
    engine.gate.clear()
    async with work(max_batch=2) as running:
        await wait_until(lambda: engine.arrived == 1 and running.worker.held == 8, "four batches")
        await asyncio.sleep(0.1)
        engine.gate.set()
        time.sleep(0.3)  # noqa: ASYNC251  # the event loop does something else
        assert engine.arrived == 3
        await published(8)


async def test_a_worker_that_waits_for_frames_does_not_ask_before_each(redis, keys, begin, work) -> None:
    run = await begin("left")
    other = GroupConsumer(redis, "other", keys=keys)
    await run.offer(frame(run, 0))
    held = await other.take(["left"], 1)
    async with work(max_batch=2) as running:
        await wait_until(lambda: running.worker._reader.cameras, "the camera")
        consumer = running.worker._consumer
        real, asked = consumer.take, []

        async def take(*given: Any, **more: Any) -> Any:
            asked.append(time.monotonic())
            return await real(*given, **more)

        consumer.take = take
        for seq in range(1, 61):
            await run.offer(frame(run, seq))
            await asyncio.sleep(0.02)
            if seq < 40:
                assert await other.renew(held) == [True]
            if seq == 40:
                assert await other.hand_back(held, counted=False) == 1
        await asyncio.sleep(0.2)
        ledger = await read_ledger(redis, "left", run.number, keys=keys)
    assert 0 < len(asked) < 30
    assert ledger.ok == 61, "what was handed back is found meanwhile"


async def test_a_camera_that_comes_later_is_found(begin, work, published) -> None:
    async with work():
        await asyncio.sleep(0)
        await offer(await begin("late"), 1)
        await published(1)
        await offer(await begin("later"), 1)
        assert {result.camera for result in await published(2)} == {"late", "later"}


async def test_an_undecodable_frame_fails_and_its_neighbours_do_not(
    redis, keys, begin, work, published
) -> None:
    run = await begin("left")
    whole = frame(run, 0)
    await run.offer(whole)
    await run.offer(frame(run, 1, data=whole.data[: len(whole.data) // 2]))
    await run.offer(frame(run, 2))
    async with work(max_batch=4):
        results = await published(3)
    assert {result.seq: result.status for result in results} == {0: "ok", 1: "failed", 2: "ok"}
    assert [(one.cause, one.clock) for one in results if one.seq == 1] == [("undecodable", "camera")]
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"name"].decode() == f"{run.number}-1"
    assert b"MessageError" in dead[b"error"]


class _Garbage:
    """Stands for a frame whose message is not what a producer should send."""

    def __init__(self, run: Run, packed: bytes) -> None:
        self._frame, self._packed = frame(run, run.produced), packed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frame, name)

    def pack(self) -> bytes:
        return self._packed


async def test_a_message_of_garbage_fails_under_the_name_that_redis_gave_it(begin, work, published) -> None:
    run = await begin("left")
    await run.offer(_Garbage(run, b"\xc1garbage"))
    other = await begin("right")
    await run.offer(_Garbage(run, frame(other, 9).pack()))
    async with work():
        results = await published(2)
    assert [(r.camera, r.seq, r.status, r.cause) for r in results] == [
        ("left", 0, "failed", "undecodable"),
        ("left", 1, "failed", "undecodable"),
    ]


async def test_an_entry_that_holds_no_frame_fails_and_ends_no_worker(
    redis, keys, begin, work, published
) -> None:
    """Somebody wrote it past the scripts, while the worker is waiting for frames."""
    run = await begin("left")
    clients = redis.client_list

    async def waits() -> bool:
        return any(client["cmd"] == "xreadgroup" and "b" in client["flags"] for client in await clients())

    async with work():
        await wait_until(waits, "the worker to wait")
        await redis.xadd(keys.frames("left"), {"other": b"x"}, id=f"{run.number}-0")
        await published(1)
    await redis.xadd(keys.frames("left"), {"frame": b"x", "offered_us": b"soon"}, id=f"{run.number}-1")
    async with work():
        results = await published(2)
    assert [(result.status, result.cause) for result in results] == [("failed", "undecodable")] * 2


async def test_a_message_of_a_newer_version_is_handed_back_and_ends_the_worker(
    redis, keys, begin, work, engine
) -> None:
    run = await begin("left")
    newer = frame(run, 0).pack().replace(b"\xa7version\x01", b"\xa7version\x63")
    await run.offer(_Garbage(run, newer))
    with pytest.raises(UnsupportedVersion, match="upgrade"):
        async with work() as running:
            await asyncio.wait({running.task}, timeout=20)
    ledger = await read_ledger(redis, "left", run.number, keys=keys)
    assert (ledger.in_flight, ledger.held, ledger.failed) == (1, 0, 0)
    (again,) = await GroupConsumer(redis, "newer", keys=keys).take(["left"], 1)
    assert again.deliveries == 1


async def test_a_live_frame_past_its_age_is_stale_and_never_inferred(begin, work, published, engine) -> None:
    run = await begin("left", "live")
    await offer(run, 2)
    async with work(max_age_ms=0):
        results = await published(2)
    assert [(result.status, result.cause) for result in results] == [("stale", "too-old")] * 2
    assert engine.batches == []


async def test_a_draining_worker_commits_its_batch_and_hands_back_the_rest(
    redis, keys, begin, work, published, engine
) -> None:
    run = await begin("left")
    await offer(run, 9)
    engine.gate.clear()
    async with work(max_batch=2) as running:
        await wait_until(lambda: engine.arrived == 1 and running.worker.held == 8, "four batches")
        running.stop.set()
        await asyncio.sleep(0.05)  # the worker learns of it before its batch comes back
        engine.gate.set()
    await published(2)
    ledger = await read_ledger(redis, "left", run.number, keys=keys)
    assert (ledger.in_flight, ledger.held) == (7, 0)
    assert {held.deliveries for held in await GroupConsumer(redis, "next", keys=keys).take(["left"], 9)} == {
        1
    }
    consumers = await redis.xinfo_consumers(keys.frames("left"), "workers")
    assert running.worker._settings.name.encode() not in {consumer["name"] for consumer in consumers}


async def test_frames_of_a_dead_worker_are_finished_by_others(redis, keys, begin, work, published) -> None:
    run = await begin("left")
    await offer(run, 5)
    dead = GroupConsumer(redis, "dead", keys=keys, limits=LIMITS)
    assert len(await dead.take(["left"], 3)) == 3
    async with work():
        results = await published(5)
    assert sorted(result.seq for result in results) == list(range(5))
