"""Redis comes and goes under load: nobody exits or spins, work resumes, and every frame is accounted for.

One pipeline of processes a server version goes through it all, fault after fault; `pytest -s` shows how long
each took. Not for: one process and its outage (see `test_outages.py`, `test_producer_trouble.py`,
`test_worker_trouble.py`).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

import servers
from kinestream.keys import GROUP, Keys
from kinestream.redis import connect
from pipeline import TIMEOUT_S, seqs
from underload import LANES, UnderLoad, now_ms, under_load
from waiting import wait_until

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

OUTAGE_S = 2.0
"""Long enough to see whether somebody spins."""

HANGS_S = {"6.2": 2.0, "7.0": 7.0}
"""A server that does not answer is waited for; after six seconds it counts as away (`kinestream.redis`)."""

SPINNING = 0.7
"""Of one core: who polls without a pause has all of it. Ours took less than 0.05 when it was measured."""


@pytest.fixture(scope="module", params=["6.2", "7.0"])
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnderLoad]:
    if request.param not in servers.BINARIES:
        pytest.skip(f"needs a redis-server {request.param}, at hand: {', '.join(servers.BINARIES) or 'none'}")
    with under_load(tmp_path_factory.mktemp("load"), request.param) as running:
        yield running


class Fault:
    """What is measured around a fault: enter it, do harm, leave it when the server is well again.

    `lost` says whether Redis loses frames by it; None: it may.
    """

    def __init__(self, pipeline: UnderLoad, *, lost: bool | None) -> None:
        self.pipeline = pipeline
        self._lost = lost

    async def __aenter__(self) -> Fault:
        await self.pipeline.flows(await now_ms(self.pipeline.server))
        self.before = {camera: self.pipeline.runs(camera) for camera in LANES}
        self._cpu_s, self._began_s = self.pipeline.cpu_s(), time.monotonic()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        lasted_s = time.monotonic() - self._began_s
        spent = {name: spent_s - self._cpu_s[name] for name, spent_s in self.pipeline.cpu_s().items()}
        resumed_s = await self.pipeline.flows(await now_ms(self.pipeline.server))
        busiest = max(spent, key=lambda name: spent[name])
        print(  # noqa: T201
            f"resumed after {resumed_s:.2f} s; {lasted_s:.1f} s away, {busiest} {spent[busiest]:.2f} s of CPU"
        )
        assert lasted_s < 1 or spent[busiest] / lasted_s < SPINNING, spent
        for camera in LANES:
            await self._check(camera)

    async def _check(self, camera: str) -> None:
        old = self.before[camera][-1]
        if self._lost:
            await wait_until(lambda: self.pipeline.runs(camera)[-1] > old, f"{camera} to go on in a new run")
        ledgers = {ledger.run: ledger for ledger in await self.pipeline.ledgers(camera)}
        assert all(ledger.balanced for ledger in ledgers.values()), ledgers
        goes_on = self.pipeline.runs(camera)[-1] == old
        assert self._lost is None or goes_on is not self._lost
        if goes_on:
            assert not ledgers[old].lost
            return
        assert (ledgers[old].state, ledgers[old].in_flight) == ("ended", 0)
        records = await self.pipeline.records()
        [end] = [
            record for record in records if (record.camera, record.run, record.status) == (camera, old, "end")
        ]
        assert (end.cause, end.lost_from) == ("redis-lost-memory", end.seq - ledgers[old].lost)


async def persistence(redis: Redis, fsync: str | None) -> None:
    """Switch the log of commands on or off, and wait until it is complete."""
    if fsync is None:
        await redis.config_set("appendonly", "no")
        return
    await redis.config_set("appendfsync", fsync)
    await redis.config_set("appendonly", "yes")

    async def written() -> bool:
        facts = await redis.info("persistence")
        return not facts["aof_rewrite_in_progress"] and not facts["aof_rewrite_scheduled"]

    await wait_until(written, "the log of commands to be complete")


@pytest.mark.parametrize(("fsync", "how"), [("always", "kill"), ("everysec", "stop"), ("everysec", "kill")])
async def test_a_restart_with_a_log_of_commands(pipeline: UnderLoad, fsync: str, how: str) -> None:
    server = pipeline.server
    async with connect(server.url) as redis:
        await persistence(redis, fsync)
    # A log that is written each second may end a second before the server does.
    async with Fault(pipeline, lost=None if (fsync, how) == ("everysec", "kill") else False):
        getattr(server, how)()
        await asyncio.sleep(0.3)
        server.start("--appendonly", "yes", "--appendfsync", fsync)
    async with connect(server.url) as redis:
        await persistence(redis, None)


async def test_a_restart_without_persistence(pipeline: UnderLoad) -> None:
    async with Fault(pipeline, lost=True):
        pipeline.server.kill()
        await asyncio.sleep(OUTAGE_S)
        pipeline.server.start()


async def test_an_unreachable_server(pipeline: UnderLoad) -> None:
    async with Fault(pipeline, lost=False):
        pipeline.proxy.cut()
        await asyncio.sleep(HANGS_S[pipeline.version])
        pipeline.proxy.mend()


async def test_a_frozen_server(pipeline: UnderLoad) -> None:
    async with Fault(pipeline, lost=False):
        pipeline.server.freeze()
        await asyncio.sleep(HANGS_S[pipeline.version])
        pipeline.server.thaw()


async def test_no_memory_left(pipeline: UnderLoad) -> None:
    async with connect(pipeline.server.url) as redis, Fault(pipeline, lost=False):
        await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] // 2)
        await asyncio.sleep(OUTAGE_S)
        await redis.config_set("maxmemory", 0)


async def test_everything_is_flushed(pipeline: UnderLoad) -> None:
    async with connect(pipeline.server.url) as redis, Fault(pipeline, lost=True):
        await redis.flushall()


async def test_the_groups_are_destroyed(pipeline: UnderLoad) -> None:
    async with connect(pipeline.server.url) as redis, Fault(pipeline, lost=False):
        for camera in LANES:
            await redis.xgroup_destroy(Keys().frames(camera), GROUP)


async def test_at_the_end_every_frame_is_told_once(pipeline: UnderLoad) -> None:
    await pipeline.flows(await now_ms(pipeline.server))
    for camera in pipeline.cameras.values():
        camera.signal(signal.SIGTERM)
        assert await asyncio.to_thread(camera.wait) == 0, camera.said
        assert "NOT BALANCED" not in camera.said

    async def all_done() -> bool:
        ledgers = [await pipeline.ledgers(camera) for camera in LANES]
        return not any(ledger.in_flight for runs in ledgers for ledger in runs)

    await wait_until(all_done, "the last frames to be inferred")
    for worker in pipeline.workers:
        worker.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == 0, worker.said
        assert "Traceback" not in worker.said
    for reader in pipeline.readers:
        reader.signal(signal.SIGTERM)
        assert await asyncio.to_thread(reader.wait) == 128 + signal.SIGTERM, reader.lines[-40:]
        assert "Traceback" not in reader.said
    records = await pipeline.records()
    for camera in LANES:
        newest = (await pipeline.ledgers(camera))[-1]
        told = Counter(seqs(r for r in records if (r.camera, r.run) == (camera, newest.run)))
        assert told == Counter(range(newest.produced)) and newest.balanced
        assert not newest.failed and (camera != "gate" or newest.ok == newest.produced)
