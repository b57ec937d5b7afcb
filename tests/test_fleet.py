"""A fleet of workers that comes and goes leaves nobody behind, and a rolling restart costs no frame anything.

Not for: single steps of joining and leaving (see `test_delivery_members.py`).
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from delivering import Delivery, frame, outcome
from engines import ScriptedEngine
from kinestream.delivery import Limits
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import GROUP, RETURNED, Keys
from kinestream.ledger import read_ledgers
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream.run import Run
from pipeline import TIMEOUT_S, Command, seqs
from servers import Server
from underload import FPS
from waiting import wait_until
from working import begin_run, wait_for_records, working


async def members(redis: Redis, keys: Keys) -> dict[str, set[str]]:
    """The workers in the group of every stream of frames that there is."""
    found = {}
    async for name in redis.scan_iter(match=f"{keys.prefix}:*frames:*"):
        consumers = await redis.xinfo_consumers(name, GROUP)
        found[name.decode()] = {consumer["name"].decode() for consumer in consumers} - {RETURNED}
    return found


async def test_a_week_of_scaling_up_and_down_leaves_nobody_behind(every_redis: Redis, keys: Keys) -> None:
    """Each round stands for an hour: workers come, leave and die; a camera ends, another one begins."""
    chance = random.Random(7)
    limits = Limits(lease_ms=1, live_room=8)  # workers are gone after 100 leases, so 0.1 s
    delivery = Delivery(every_redis, keys, limits)
    steady = delivery.worker("steady")
    runs: dict[str, Run] = {}
    fleet: list[GroupConsumer] = []
    for hour in range(7 * 24):
        camera = f"camera-{hour}"
        runs[camera] = await delivery.begin(camera=camera)
        for run in runs.values():
            for seq in range(run.produced, run.produced + 4):
                await run.offer(frame(run, seq))
        fleet.append(delivery.worker(f"worker-{hour}"))
        for worker in fleet:
            held = await worker.take(sorted(runs), 3)
            if chance.random() < 0.3:
                fleet.remove(worker)  # killed with frames in its hands
            else:
                await worker.commit([outcome(one) for one in held])
                if chance.random() < 0.2:
                    fleet.remove(worker)
                    await worker.leave(sorted(runs))
        if len(runs) > 2:
            ends = chance.choice(sorted(runs))
            await runs.pop(ends).finish()
        await all_settled(steady, await steady.cameras(), keep=set(runs))
    for run in runs.values():
        await run.finish()
    await all_settled(steady, await steady.cameras(), keep=set())
    assert await steady.cameras() == []
    left = await members(every_redis, keys)
    assert len(left) == 7 * 24
    assert set().union(*left.values()) == set(), left


async def all_settled(steady: GroupConsumer, cameras: Sequence[str], keep: set[str]) -> None:
    """One living worker sweeps up and works off what is left, but for what waits in the cameras to `keep`."""
    ended = [camera for camera in cameras if camera not in keep]

    async def over() -> bool:
        await steady.sweep(cameras)
        held = await steady.take(ended, 100)
        await steady.commit([outcome(one) for one in held])
        return not {*await steady.cameras()} & {*ended}

    await wait_until(over, "the frames of cameras that have ended to be settled")


async def test_a_worker_leaves_the_groups_of_cameras_that_have_ended(redis: Redis, keys: Keys) -> None:
    run, other = await begin_run(redis, keys, "ends"), await begin_run(redis, keys, "stays")
    frames = keys.frames("ends")
    async with working(redis, keys, ScriptedEngine(), name="w1") as running:
        for seq in range(3):
            await run.offer(frame(run, seq))
            await other.offer(frame(other, seq))
        await wait_for_records(redis, keys, 6)
        assert {member["name"] for member in await redis.xinfo_consumers(frames, GROUP)} == {b"w1"}
        await run.finish()
        # So does a worker that looked at its list of cameras just before, on newer servers.
        await redis.xgroup_createconsumer(frames, GROUP, "w1")

        async def has_left() -> bool:
            return not await redis.xinfo_consumers(frames, GROUP)

        await wait_until(has_left, "the worker to leave")
        assert running.worker._reader.cameras == ["stays"]


@pytest.mark.timeout(3 * TIMEOUT_S)
async def test_a_rolling_restart_under_load_counts_no_attempt(tmp_path: Path, own_server: object) -> None:
    """Leases of a minute: a frame that waited for one would come after the test's end."""
    server: Server = own_server()  # type: ignore[operator]
    model = tmp_path / "slow.timed"
    model.write_text("base_ms = 30\nper_image_ms = 5\n")
    words = ["worker", "--redis", server.url, "--model", model, "--lease-ms", "60000", "--max-batch", "4"]

    def worker(number: int) -> Command:
        return Command(tmp_path / f"worker-{number}.txt", *words, "--name", f"worker-{number}")

    async with connect(server.url) as redis:
        stop = asyncio.Event()
        offering = [asyncio.create_task(offer_until(stop, redis, name)) for name in ("one", "two")]
        current = [worker(0), worker(1)]
        try:
            for first in current:
                await asyncio.to_thread(first.wait_to_say, "ms a batch")
            for number in range(2, 5):
                new = worker(number)
                await asyncio.to_thread(new.wait_to_say, "ms a batch")
                old = current.pop(0)
                current.append(new)
                old.signal(signal.SIGTERM)
                assert await asyncio.to_thread(old.wait) == 0, old.said
            stop.set()
            await asyncio.gather(*offering)

            async def all_done() -> bool:
                return not any(ledger.in_flight for ledger in await read_ledgers(redis))

            await wait_until(all_done, "every frame to be inferred")
            for last in current:
                last.signal(signal.SIGTERM)
                assert await asyncio.to_thread(last.wait) == 0, last.said
            records = [
                PoseResult.unpack(fields[b"result"]) for _, fields in await redis.xrange(Keys().results)
            ]
            ledgers = await read_ledgers(redis)
            assert set().union(*(await members(redis, Keys())).values()) == set()
        finally:
            stop.set()
            for process in current:
                with process:
                    pass
    for ledger in ledgers:
        own = [record for record in records if record.camera == ledger.camera]
        assert Counter(seqs(own)) == Counter(range(ledger.produced)) and ledger.produced > 100
        assert ledger.ok == ledger.produced
    frames = [record for record in records if record.status == "ok"]
    assert {record.deliveries for record in frames} == {1}
    assert len({record.worker for record in frames}) >= 4


async def offer_until(stop: asyncio.Event, redis: Redis, camera: str) -> None:
    """Offer frames of an every-frame camera as fast as there is room for them, and a little more."""
    run = await Run.begin(redis, camera, lane="every-frame")
    while not stop.is_set():
        if await run.offer(frame(run, run.produced)) == "full":
            await asyncio.sleep(1 / FPS)
    await run.finish()
