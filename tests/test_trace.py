"""`kinestream trace`: a frame that waits, is held, was handed back, is done, was dropped, or never was."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from engines import ScriptedEngine
from frames import frame, offer
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import Keys
from kinestream.redis import connect
from kinestream.run import Run
from kinestream.trace import InFlight, Trace, trace
from servers import Server
from working import wait_for_records, working


@pytest.fixture
def look(redis: Redis, keys: Keys) -> Callable[..., object]:
    def look(run: Run, seq: int) -> object:
        return trace(redis, run.camera, run.number, seq, keys=keys)

    return look


async def test_from_waiting_to_done(redis: Redis, keys: Keys, look) -> None:  # type: ignore[no-untyped-def]
    run = await Run.begin(redis, "left", lane="every-frame", keys=keys)
    await offer(run, 2)
    found = await look(run, 1)
    assert (found.in_flight, found.records, found.letters) == (InFlight(), (), ())
    consumer = GroupConsumer(redis, "worker-a", keys=keys)
    held = await consumer.take(["left"], 2)
    found = await look(run, 1)
    assert (found.in_flight.holder, found.in_flight.deliveries) == ("worker-a", 1)
    assert 0 <= found.in_flight.idle_ms < 60_000
    await consumer.hand_back(held, counted=True)
    assert (await look(run, 1)).in_flight.holder == ""
    async with working(redis, keys, ScriptedEngine()):
        await wait_for_records(redis, keys, 2)
    found = await look(run, 1)
    (record,) = found.records
    assert found.in_flight is None and found.ledger.ok == 2
    assert (record.seq, record.status, record.deliveries) == (1, "ok", 2)
    assert record.committed_ms is not None


async def test_a_range_and_a_dead_letter(redis: Redis, keys: Keys, look) -> None:  # type: ignore[no-untyped-def]
    run = await Run.begin(redis, "left", lane="every-frame", keys=keys)
    other = await Run.begin(redis, "left-2", lane="every-frame", keys=keys)
    await offer(other, 6)
    await run.offer(frame(run, 5, grey=200), gap_cause="redis-away")
    engine = ScriptedEngine()
    engine.poison = {200}
    async with working(redis, keys, engine, max_attempts=1):
        await wait_for_records(redis, keys, 8)
    (dropped,) = (await look(run, 3)).records
    assert (dropped.status, dropped.seq, dropped.seq_to) == ("dropped", 0, 4)
    found = await look(run, 5)
    assert found.records[0].status == "failed"
    assert [letter.error for letter in found.letters] == ["EngineError: the test said so"]


async def test_nothing_is_known(redis: Redis, keys: Keys, look) -> None:  # type: ignore[no-untyped-def]
    assert await trace(redis, "left", 7, 0, keys=keys) == Trace(
        ledger=None, in_flight=None, records=(), letters=()
    )
    run = await Run.begin(redis, "left", lane="every-frame", keys=keys)
    await run.finish()
    found = await look(run, 0)
    assert found.records == () and found.ledger.produced == 0, "the end of a run is no frame's record"


async def test_what_is_said(own_server: Callable[..., Server]) -> None:
    url, keys = own_server().url, Keys()

    async def said(*arguments: object, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "kinestream", "trace", *map(str, arguments)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "KINESTREAM_REDIS_URL": url},
        )
        out, _ = await process.communicate()
        assert process.returncode == code, out
        return out.decode()

    async with connect(url) as redis:
        run = await Run.begin(redis, "left", lane="every-frame")
        await offer(run, 1)
        told = await said("left", run.number, 0)
        assert told == f"left {run.number}-0: in flight, waiting; delivered 0 times so far\n"
        async with working(redis, keys, ScriptedEngine()):
            await wait_for_records(redis, keys, 1)
        told = await said("left", run.number, 0)
        assert told.startswith(f"left {run.number}-0: ok, 1 people\n  worker     ")
        assert "in a batch of 1, model scripted; delivered 1 times\n" in told
        for stage in ("captured", "encoded", "queued", "decoded", "waited", "inferred", "committed"):
            assert f"\n  {stage}" in told
        assert re.search(r"\n  captured   [0-9:.]+ UTC, clock: camera\n", told)
        facts = json.loads(await said("left", run.number, 0, "--json"))
        assert facts["records"][0]["status"] == "ok" and facts["ledger"]["ok"] == 1
        assert "not produced; its run has 1 frames and is open" in await said("left", run.number, 1, code=1)
        assert "there is no such run" in await said("left", 5, 0, code=1)
        await said("left", 10**20, 0, code=2)
        await redis.delete(keys.results)
        told = await said("left", run.number, 0, code=1)
        assert "its record is no longer kept; of its run 1 of 1 are ok" in told
