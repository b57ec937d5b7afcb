"""arq as it is used here: who gets a job, again and again if need be, and what it leaves in Redis.

Not for: what a job is (see `test_jobs_store.py`), nor processes (`test_jobs.py`).
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from kinestream.cameraspec import CameraSpec
from kinestream.errors import UsageError
from kinestream.jobs import queue
from kinestream.jobs.chores import camera_chores
from kinestream.jobs.client import start_camera, stop_camera
from kinestream.jobs.queue import Queue, serve
from kinestream.keys import Keys
from kinestream.redis import AWAY, connect
from kinestream.tasks import cancel
from kinestream.wanted import wanted_cameras
from servers import Server
from waiting import wait_until


class Serving:
    """`serve` in this process; `runs` lists the jobs it was given, `answers` what it says of them."""

    def __init__(self, redis: Redis, url: str, keys: Keys) -> None:
        self.runs: list[str] = []
        self.answers: list[bool] = []
        self.rounds = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.house_error: Exception | None = None
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(
            serve(
                url,
                keys=keys,
                run_job=self._run,
                chores=camera_chores(redis, keys),
                keep_house=self._keep_house,
                max_jobs=2,
                stop=self.stop,
            )
        )

    async def _run(self, job_id: str) -> bool:
        self.runs.append(job_id)
        await self.hold.wait()
        return self.answers.pop(0) if self.answers else True

    async def _keep_house(self) -> None:
        self.rounds += 1
        if self.house_error is not None:
            raise self.house_error

    async def end(self) -> None:
        self.stop.set()
        await self.task


@pytest.fixture
async def served(redis: Redis, redis_url: str, keys: Keys) -> AsyncIterator[Callable[[], Serving]]:
    """Return a function that starts one more that serves; all are ended."""
    started: list[Serving] = []

    def start() -> Serving:
        started.append(Serving(redis, redis_url, keys))
        return started[-1]

    yield start
    for serving in started:
        await serving.end()


async def left_of(redis: Redis, keys: Keys) -> set[str]:
    """Keys that name this prefix, and that will not expire by themselves within minutes."""
    found = [key async for key in redis.scan_iter(f"*{keys.prefix}*")]
    ttls = {key.decode(): await redis.ttl(key) for key in found}
    return {key for key, ttl in ttls.items() if not 0 <= ttl <= 120}


async def test_a_job_is_run_once_and_nothing_is_left_of_it(
    redis: Redis, keys: Keys, served: Callable[[], Serving]
) -> None:
    put = Queue(redis, keys)
    assert await put.put("jump-1", 1)
    assert not await put.put("jump-1", 1), "it is in the queue"
    assert await put.has("jump-1", 1) and not await put.has("jump-1", 2)
    first, second = served(), served()
    await wait_until(lambda: first.runs + second.runs, "the job to be run")
    await wait_until(lambda: _gone(put), "arq to be done with it")
    assert first.runs + second.runs == ["jump-1"]
    assert await put.put("jump-1", 1), "no result of it is kept, which would keep it from being run again"
    await wait_until(lambda: len(first.runs + second.runs) == 2, "it to be run again")
    await wait_until(lambda: _gone(put), "arq to be done with it")

    async def nothing_is_left() -> bool:
        return not await left_of(redis, keys)

    await wait_until(nothing_is_left, "housekeeping to be over, and nothing to be left")


async def _gone(put: Queue) -> bool:
    return not await put.has("jump-1", 1)


async def test_a_job_that_is_somebody_elses_stays_in_the_queue(
    redis: Redis, keys: Keys, served: Callable[[], Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_RENEW_S", 0.1)
    put = Queue(redis, keys)
    serving = served()
    serving.answers = [False, False, True]
    await put.put("jump-1", 1)
    await wait_until(lambda: len(serving.runs) == 3, "it to be looked at again")
    await wait_until(lambda: _gone(put), "arq to be done with it")


async def test_told_to_end_another_gets_its_job_at_once(
    redis: Redis, keys: Keys, served: Callable[[], Serving]
) -> None:
    first = served()
    first.hold.clear()
    await Queue(redis, keys).put("jump-1", 1)
    await wait_until(lambda: first.runs, "it to be run")
    second = served()
    await first.end()
    await wait_until(lambda: second.runs == ["jump-1"], "the other to run it")


async def test_more_jobs_than_places(redis: Redis, keys: Keys, served: Callable[[], Serving]) -> None:
    serving = served()
    serving.hold.clear()
    for number in range(5):
        await Queue(redis, keys).put(f"jump-{number}", 1)
    await wait_until(lambda: len(serving.runs) == 2, "two jobs to be run")
    await wait_until(lambda: serving.rounds, "housekeeping, which does not wait behind them")
    assert len(serving.runs) == 2
    serving.hold.set()
    await wait_until(lambda: len(serving.runs) == 5, "the others")


async def test_an_outage_takes_no_place_for_ever(own_server: Callable[..., Server], keys: Keys) -> None:
    """arq takes a place for a job that it looks at, and forgets it when Redis goes away just then."""
    server = own_server(durable=True)
    async with connect(server.url) as redis:
        await Queue(redis, keys).put("jump-1", 1)
        run = queue.func(_nothing, name="run_job")
        worker = queue._worker(redis, queue._videos(keys), [run], max_jobs=2)
        (arq_id,) = await redis.zrange(queue._videos(keys), 0, -1)
        server.kill()
        for _ in range(4):
            with pytest.raises(AWAY):
                await worker.start_jobs([arq_id])
        server.start()
        await worker.start_jobs([arq_id])
        assert [*worker.tasks] == [arq_id.decode()]
        await asyncio.gather(*worker.tasks.values())


async def _nothing(context: dict[str, Any], job_id: str) -> None:
    """A job."""


async def test_serving_goes_on_after_an_outage_and_after_want_of_memory(
    own_server: Callable[..., Server], keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(durable=True)
    async with connect(server.url) as redis:
        await redis.config_set("maxmemory", 1)
        serving = Serving(redis, server.url, keys)
        try:
            await wait_until(lambda: caplog.text.count("no memory left") > 1, "it to meet the full server")
            assert not serving.task.done()
            await redis.config_set("maxmemory", 0)
            await Queue(redis, keys).put("jump-1", 1)
            await wait_until(lambda: serving.runs == ["jump-1"], "a job to be run")
            server.restart()
            await Queue(redis, keys).put("jump-2", 1)
            await wait_until(lambda: serving.runs[-1] == "jump-2", "a job after the outage")
            assert not serving.task.done()
        finally:
            await serving.end()


async def test_trouble_while_keeping_house_ends_nothing(
    redis: Redis, keys: Keys, served: Callable[[], Serving]
) -> None:
    serving = served()
    serving.house_error = AWAY[0]("away")
    await wait_until(lambda: serving.rounds, "a round")
    await Queue(redis, keys).put("jump-1", 1)
    await wait_until(lambda: serving.runs, "a job")
    assert not serving.task.done()


async def test_prefixes_on_one_server_have_nothing_to_do_with_each_other(
    redis: Redis, redis_url: str, keys: Keys, served: Callable[[], Serving]
) -> None:
    other_keys = Keys(prefix=f"{keys.prefix}-b")
    mine, other = served(), Serving(redis, redis_url, other_keys)
    try:
        await Queue(redis, other_keys).put("jump-1", 1)
        await Queue(redis, keys).put("jump-1", 1)
        await wait_until(lambda: mine.runs and other.runs, "each its own")
        await wait_until(lambda: mine.rounds and other.rounds, "each its own housekeeping")
        assert mine.runs == other.runs == ["jump-1"]
    finally:
        await other.end()


async def test_chores_now_and_at_a_time(
    redis: Redis, keys: Keys, served: Callable[[], Serving], caplog: pytest.LogCaptureFixture
) -> None:
    served()
    spec = CameraSpec(name="hall", source="testcard://")

    async def wanted() -> list[str]:
        return [found.name for found in await wanted_cameras(redis, keys=keys)]

    soon = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=1.5)
    await start_camera(redis, CameraSpec(name="late", source="testcard://"), at=soon, keys=keys)
    await start_camera(redis, spec, keys=keys)
    await wait_until(lambda: _is(wanted, ["hall"]), "the camera to be wanted, the later one not yet")
    await wait_until(lambda: _is(wanted, ["hall", "late"]), "the later one")
    assert datetime.datetime.now().astimezone() > soon
    await stop_camera(redis, "hall", keys=keys)
    await wait_until(lambda: _is(wanted, ["late"]), "it to be wanted no more")
    with pytest.raises(UsageError):
        await stop_camera(redis, "no such name!", keys=keys)
    await Queue(redis, keys).put_chore("camera_start", {"name": "?"})
    await wait_until(lambda: "a camera cannot be started" in caplog.text, "the log to say so")
    await stop_camera(redis, "late", keys=keys)
    await wait_until(lambda: _is(wanted, []), "those after it to be done all the same")


async def _is(read: Callable[[], Any], expected: list[str]) -> bool:
    return sorted(await read()) == expected


async def test_what_is_cancelled_leaves_no_task(redis: Redis, redis_url: str, keys: Keys) -> None:
    serving = Serving(redis, redis_url, keys)
    serving.hold.clear()
    await Queue(redis, keys).put("jump-1", 1)
    await wait_until(lambda: serving.runs, "it to be run")
    await cancel(serving.task)
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}
