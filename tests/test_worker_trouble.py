"""What a worker does when its engine fails or hangs, a frame is poison, or Redis goes away.

Not for: workers that are killed or frozen (see `test_faults.py`).
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from engines import ScriptedEngine
from frames import frame, offer
from kinestream.errors import EngineError, RedisUnavailable
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.messages import Frame
from kinestream.redis import connect
from kinestream.run import Run
from kinestream_workers import decoding, preparing
from kinestream_workers.engines import Image
from kinestream_workers.settings import WorkerSettings
from kinestream_workers.worker import Worker
from servers import Server
from waiting import wait_until
from working import LIMITS, run_program


async def test_the_frame_that_breaks_a_batch_fails_alone(redis, keys, begin, work, published, engine) -> None:
    run = await begin("left")
    engine.poison = {200}
    for seq, grey in enumerate([10, 200, 30, 40]):
        await run.offer(frame(run, seq, grey=grey))
    async with work(max_batch=4, max_attempts=3):
        results = await published(4)
    assert {r.seq: (r.status, r.cause) for r in results} == {
        0: ("ok", ""),
        1: ("failed", "engine-failed"),
        2: ("ok", ""),
        3: ("ok", ""),
    }
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"deliveries"] == b"3"
    assert b"the test said so" in dead[b"traceback"]


async def test_a_broken_engine_ends_the_worker_and_condemns_no_frame(
    redis, keys, begin, work, engine
) -> None:
    run = await begin("left")
    await offer(run, 6)
    engine.broken = True
    with pytest.raises(EngineError, match="a blank one too"):
        async with work() as running:
            await asyncio.wait({running.task}, timeout=20)
    ledger = await read_ledger(redis, "left", run.number, keys=keys)
    assert (ledger.in_flight, ledger.held, ledger.failed) == (6, 0, 0)
    assert await redis.xlen(keys.dead) == 0


async def test_an_engine_that_hangs_ends_the_worker(redis, keys, begin, work, engine) -> None:
    run = await begin("left")
    await offer(run, 3)
    engine.gate.clear()
    with pytest.raises(EngineError, match="giving up"):
        async with work(max_batch=2, engine_timeout_s=0.2) as running:
            await asyncio.wait({running.task}, timeout=20)
    ledger = await read_ledger(redis, "left", run.number, keys=keys)
    assert (ledger.in_flight, ledger.held) == (3, 0)
    again = await GroupConsumer(redis, "next", keys=keys).take(["left"], 3)
    # Those in the session are under suspicion, whoever only waited is not.
    assert {held.seq: held.deliveries for held in again} == {0: 2, 1: 2, 2: 1}


async def test_a_batch_that_waits_behind_a_slow_one_does_not_count_as_hanging(
    begin, work, published, engine
) -> None:
    infer = engine.infer

    def slow(*given: Any) -> Any:
        time.sleep(0.3)
        return infer(*given)

    engine.infer = slow
    await offer(await begin("left"), 6)
    async with work(max_batch=2, engine_timeout_s=0.45):
        assert {result.status for result in await published(6)} == {"ok"}


async def test_an_engine_that_hangs_after_a_batch_failed_is_noticed(redis, keys, begin, work, engine) -> None:
    """The second batch hangs while the images of the first one wait for their turn, each alone."""
    run = await begin("left")
    await offer(run, 4)

    def infer(batch: list[int], slots: Any) -> Any:
        engine.arrived += 1
        if engine.arrived == 1:
            time.sleep(0.1)
            raise EngineError("the test said so")
        engine.gate.wait()

    engine.infer = infer
    engine.gate.clear()
    with pytest.raises(EngineError, match="giving up"):
        async with work(max_batch=2, engine_timeout_s=0.3) as running:
            await asyncio.wait({running.task}, timeout=20)
    again = await GroupConsumer(redis, "next", keys=keys).take(["left"], 4)
    assert {held.seq: held.deliveries for held in again} == {0: 1, 1: 1, 2: 2, 3: 2}


async def test_an_engine_that_hangs_while_another_stage_fails_is_noticed(
    redis, keys, begin, work, engine
) -> None:
    await offer(await begin("left"), 2)
    engine.gate.clear()
    with pytest.raises(EngineError, match="giving up"):
        async with work(max_batch=2, engine_timeout_s=0.3) as running:
            await wait_until(lambda: engine.arrived == 1, "a batch in the engine")
            running.worker._reader._read = broken
            await asyncio.wait({running.task}, timeout=20)


async def broken(*_: Any) -> Any:
    raise RedisUnavailable("the test said so")


async def test_an_engine_that_hangs_when_it_is_given_a_frame_ends_the_worker(
    redis, keys, begin, work, engine
) -> None:
    run = await begin("left")
    await offer(run, 3, grey=200)

    def fill(batch: list[int], slot: int, image: Image) -> None:
        if round(float(image.mean())) == 200:
            engine.gate.wait()

    engine.fill = fill
    engine.gate.clear()
    with pytest.raises(EngineError, match=r"the engine is at taking in 2 frames .* giving up"):
        async with work(max_batch=2, engine_timeout_s=0.2) as running:
            await asyncio.wait({running.task}, timeout=20)
    ledger = await read_ledger(redis, "left", run.number, keys=keys)
    assert (ledger.in_flight, ledger.held) == (3, 0)
    again = await GroupConsumer(redis, "next", keys=keys).take(["left"], 3)
    assert {held.seq: held.deliveries for held in again} == {0: 2, 1: 2, 2: 1}


@pytest.mark.parametrize("method", ["infer", "fill"])
async def test_a_worker_that_is_cancelled_waits_for_its_engine(begin, work, engine, method) -> None:
    """Whoever runs it closes the engine next, and no engine must stand that while it is at work."""
    run = await begin("left")
    await offer(run, 1, grey=200)
    real, story = getattr(engine, method), []
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*arguments: Any) -> Any:
        if method == "infer" or arguments[2].mean() > 150:
            loop.call_soon_threadsafe(entered.set)
            engine.gate.wait()
            story.append("returned")
        return real(*arguments)

    setattr(engine, method, slow)
    engine.gate.clear()
    with pytest.raises(asyncio.CancelledError):
        async with work() as running:
            await entered.wait()
            running.task.cancel()
            running.task.add_done_callback(lambda _: story.append("ended"))
            loop.call_later(2, engine.gate.set)  # a worker that does not wait has ended long before
            await asyncio.wait({running.task})
    assert story == ["returned", "ended"]


async def test_a_frame_that_ends_worker_after_worker_is_given_up(
    redis, keys, begin, work, published, engine
) -> None:
    run = await begin("left")
    await offer(run, 1)
    for _ in range(2):
        taker = GroupConsumer(redis, "dies", keys=keys)
        await taker.hand_back(await taker.take(["left"], 1), counted=True)
    async with work(max_deliveries=2):
        (result,) = await published(1)
    assert (result.status, result.cause, engine.batches) == ("failed", "given-up", [])


async def test_a_camera_of_poison_ends_no_worker(begin, work, published, engine) -> None:
    run = await begin("left")
    engine.poison = {200}
    await offer(run, 6, grey=200)
    async with work(max_batch=4, max_attempts=2):
        results = await published(6)
    assert {(result.status, result.cause) for result in results} == {("failed", "engine-failed")}


async def test_an_unexpected_error_of_the_decoder_is_tried_again_and_ends_no_worker(
    redis, keys, begin, work, published, monkeypatch
) -> None:
    run = await begin("left")
    await offer(run, 3)
    tried = []

    def decode(frame: Frame) -> Image:
        if frame.seq == 1 or (frame.seq == 2 and 2 not in tried):
            tried.append(frame.seq)
            raise MemoryError("the test said so")
        return decoding.decode(frame)

    monkeypatch.setattr(preparing, "decode", decode)
    async with work(max_batch=4, max_attempts=3):
        results = await published(3)
    assert {r.seq: (r.status, r.cause) for r in results} == {
        0: ("ok", ""),
        1: ("failed", "unprepared"),
        2: ("ok", ""),
    }
    assert sorted(tried) == [1, 1, 1, 2]
    ((_, dead),) = await redis.xrange(keys.dead)
    assert b"MemoryError" in dead[b"traceback"]


async def test_a_long_inference_keeps_its_leases(redis, keys, begin, work, published, engine) -> None:
    run = await begin("left")
    await offer(run, 2)
    engine.gate.clear()
    other = GroupConsumer(redis, "other", keys=keys, limits=LIMITS)
    async with work():
        await wait_until(lambda: engine.arrived == 1, "the batch in the session")
        for _ in range(
            3 * LIMITS.lease_ms // 100
        ):  # well beyond a lease, someone else sweeping all the while
            await asyncio.sleep(0.1)
            await other.sweep(["left"])
        assert await other.take(["left"], 2) == []
        engine.gate.set()
        await published(2)


async def test_a_worker_told_to_stop_while_redis_is_away_ends(
    keys: Keys, own_server: Callable[..., Server], engine: ScriptedEngine
) -> None:
    server = own_server(durable=True)
    async with connect(server.url) as redis:
        run = await Run.begin(redis, "left", lane="every-frame", keys=keys)
        await offer(run, 9)
        settings = WorkerSettings(max_batch=2)
        worker = Worker(GroupConsumer(redis, settings.name, keys=keys, limits=LIMITS), engine, settings)
        stop = asyncio.Event()
        engine.gate.clear()
        task = asyncio.create_task(worker.run(stop))
        await wait_until(lambda: engine.arrived == 1 and worker.held == 8, "four batches")
        server.kill()
        engine.gate.set()
        stop.set()
        with pytest.raises(RedisUnavailable, match="stopped while Redis was away"):
            await asyncio.wait_for(task, 20)
        server.start()
        ledger = await read_ledger(redis, "left", run.number, keys=keys)
        assert (ledger.ok, ledger.in_flight) == (0, 9)


async def test_two_stages_that_fail_at_once_leave_no_traceback_behind(
    redis: Redis, keys: Keys, engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(GroupConsumer(redis, "both", keys=keys, limits=LIMITS), engine, WorkerSettings())
    stop = asyncio.Event()

    async def fail(_: asyncio.Event) -> None:
        await stop.wait()
        raise RedisUnavailable("the test said so")

    worker._reader.run = worker._commit = fail  # type: ignore[method-assign]
    task = asyncio.create_task(worker.run(asyncio.Event()))
    await asyncio.sleep(0)
    stop.set()
    with pytest.raises(RedisUnavailable, match="the test said so"):
        await asyncio.wait_for(task, 20)
    del worker, task
    gc.collect()
    assert "never retrieved" not in caplog.text


_HANGS = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from kinestream import cli
from kinestream_workers import engines
from engines import ScriptedEngine

class Hangs(ScriptedEngine):
    def infer(self, batch, slots):
        ThreadPoolExecutor(1).submit(time.sleep, 1000).result()  # the interpreter waits for such a thread

engines.engine_class = lambda path, engine: Hangs
engines.warm_up = lambda *given: {}
cli.main(["worker", "--redis", sys.argv[1], "--engine-timeout-s", "1"])
"""


async def test_the_process_ends_although_its_engine_hangs(own_server: Callable[..., Server]) -> None:
    server = own_server()
    async with connect(server.url) as redis:
        run = await Run.begin(redis, "left", lane="every-frame")
        await offer(run, 2)
        code, said = await run_program(_HANGS, server.url)
        assert code == 1
        assert said.splitlines()[-1].startswith("kinestream worker: the engine is at a batch")
        ledger = await read_ledger(redis, "left", run.number)
        assert (ledger.in_flight, ledger.held) == (2, 0)


async def test_it_goes_on_after_a_restart_of_redis(
    keys: Keys, own_server: Callable[..., Server], engine: ScriptedEngine
) -> None:
    server = own_server(durable=True)
    async with connect(server.url) as redis:
        run = await Run.begin(redis, "left", lane="every-frame", keys=keys)
        settings = WorkerSettings(max_batch=2)
        worker = Worker(GroupConsumer(redis, settings.name, keys=keys, limits=LIMITS), engine, settings)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        await offer(run, 5)
        await wait_until(lambda: worker.committed == 5, "the first frames")
        server.restart()
        await offer(run, 5)
        await wait_until(lambda: worker.committed == 10, "the frames after the restart")
        stop.set()
        await task
        ledger = await read_ledger(redis, "left", run.number, keys=keys)
        assert (ledger.produced, ledger.ok, ledger.in_flight) == (10, 10, 0)
