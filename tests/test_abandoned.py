"""Runs of producers that are gone are ended, once, and those that are not gone lose nothing by it."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from delivering import Delivery
from kinestream.abandoned import GONE_S, PRODUCER_GONE, end_abandoned_runs
from kinestream.camerastate import CameraState, redis_now_ms, tell_states
from kinestream.errors import Fenced
from kinestream.keys import Keys
from kinestream.run import Run


@pytest.fixture
def delivery(redis: Redis, keys: Keys) -> Delivery:
    return Delivery(redis, keys)


async def _told_long_ago(delivery: Delivery, run: Run, ago_s: float = GONE_S + 1) -> None:
    state = CameraState(camera=run.camera, state="live", producer="p", run=run.number)
    told_ms = await redis_now_ms(delivery.redis) - int(1000 * ago_s)
    await delivery.redis.set(delivery.keys.camera_state(run.camera), state.pack(told_ms))


async def _house(delivery: Delivery) -> list[tuple[str, int]]:
    return await end_abandoned_runs(
        delivery.redis, keys=delivery.keys, limits=delivery.limits, confirm_s=0.01
    )


async def test_a_run_whose_producer_is_gone_is_ended(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.offer(run, 0, 1)
    await _told_long_ago(delivery, run)
    assert await _house(delivery) == [("cam", run.number)]
    assert await delivery.told() == [("end", 2, PRODUCER_GONE)]
    ledger = await delivery.ledger(run)
    assert (ledger.state, ledger.produced, ledger.in_flight) == ("ended", 2, 2)
    assert await _house(delivery) == []
    worker = delivery.worker()
    assert len(await worker.take(["cam"], 5)) == 2  # frames that wait are not lost by it


async def test_those_who_keep_house_at_once_end_it_once(delivery: Delivery) -> None:
    run = await delivery.begin()
    await _told_long_ago(delivery, run)
    await asyncio.gather(*(_house(delivery) for _ in range(4)))
    assert await delivery.told() == [("end", 0, PRODUCER_GONE)]


async def test_a_frozen_producer_is_told_so_and_may_begin_again(delivery: Delivery) -> None:
    frozen = await delivery.begin()
    await delivery.offer(frozen, 0)
    await _told_long_ago(delivery, frozen)
    await _house(delivery)
    with pytest.raises(Fenced):
        await delivery.offer(frozen, 1)
    with pytest.raises(Fenced):
        await frozen.finish()
    after = await delivery.begin()
    assert after.number > frozen.number
    await delivery.offer(after, 0)
    assert await delivery.told() == [("end", 1, PRODUCER_GONE)]


async def test_who_is_heard_of_again_in_time_goes_on(delivery: Delivery) -> None:
    """As after an outage of Redis, in which nobody could tell anything."""
    run = await delivery.begin()
    await _told_long_ago(delivery, run)
    looking = asyncio.create_task(
        end_abandoned_runs(delivery.redis, keys=delivery.keys, limits=delivery.limits, confirm_s=0.3)
    )
    await asyncio.sleep(0)
    state = CameraState(camera="cam", state="live", producer="p", run=run.number)
    await tell_states(delivery.redis, [state], keys=delivery.keys)
    assert await looking == []
    await delivery.offer(run, 0)


async def test_others_are_left_alone(delivery: Delivery) -> None:
    lately, ended = await delivery.begin(camera="lately"), await delivery.begin(camera="ended")
    await _told_long_ago(delivery, lately, ago_s=GONE_S / 2)
    await ended.finish()
    await _told_long_ago(delivery, ended)
    await delivery.begin(camera="other-maker")  # tells no state
    before = await delivery.begin(camera="newer")
    await _told_long_ago(delivery, before)
    newer = await delivery.begin(camera="newer")  # by another maker's producer
    assert await _house(delivery) == []
    for run in (lately, newer):
        await delivery.offer(run, 0)
