"""How workers come and go: blocked reads, leaving the group, names, and streams that vanish meanwhile.

Not for: what they do with frames (see `test_delivery_workers.py`).
"""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from delivering import Delivery, outcome, seqs
from kinestream.delivery import Limits
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import GROUP, Keys
from waiting import wait_until


@pytest.fixture
def delivery(every_redis: Redis, keys: Keys) -> Delivery:
    """On a server of each version at hand."""
    return Delivery(every_redis, keys)


async def test_wait_brings_what_arrives_while_it_blocks(delivery: Delivery) -> None:
    run, worker = await delivery.begin(), delivery.worker()
    assert await worker.wait(["cam"], 1) == []
    await delivery.offer(run, 0)
    assert [(one.seq, one.deliveries) for one in await worker.wait(["cam"], 1000)] == [(0, 1)]
    assert await delivery.holders() == {0: "w1"}


async def test_dead_letters_grow_too_old(delivery: Delivery) -> None:
    week_ms = Limits().dead_ms
    now_ms = 1000 * (await delivery.redis.time())[0]
    for died_ms in (now_ms - week_ms - 60_000, now_ms - week_ms + 60_000):
        await delivery.redis.xadd(delivery.keys.dead, {"camera": "cam"}, id=f"{died_ms}-0")
    await delivery.worker("sweeper").sweep(["cam"])
    assert await delivery.redis.xlen(delivery.keys.dead) == 1


async def test_a_worker_leaves_only_where_nothing_is_listed_under_its_name(delivery: Delivery) -> None:
    worker = delivery.worker()
    for camera in "ab":
        await delivery.offer(await delivery.begin(camera=camera), 0)
    [held] = await worker.take(["a"], 1)
    await worker.commit([outcome(one) for one in await worker.take(["b"], 1)])
    await worker.leave(["a", "b", "unknown"])
    members = [await delivery.redis.xinfo_consumers(delivery.keys.frames(camera), GROUP) for camera in "ab"]
    assert [[member["name"] for member in group] for group in members] == [[b"w1"], []]
    assert await worker.renew([held]) == [True]


@pytest.mark.parametrize("how", ["delete", "xgroup_destroy", "never"])
async def test_a_blocked_worker_survives_a_stream_that_vanishes(delivery: Delivery, how: str) -> None:
    worker, frames = delivery.worker(), delivery.keys.frames("cam")
    if how != "never":
        await delivery.begin()
        blocked = asyncio.create_task(worker.wait(["cam"], 1000))
        await wait_until(lambda: _blocked(delivery.redis), "the worker to block")
        await getattr(delivery.redis, how)(frames, *([GROUP] if how == "xgroup_destroy" else []))
        assert await blocked == []
    assert await worker.wait(["cam"], 1) == []
    assert await worker.take(["cam"], 1) == []
    assert await worker.wait(["cam"], 1) == []
    run = await delivery.begin()
    await delivery.offer(run, 0)
    assert seqs(await worker.wait(["cam"], 1)) == [0]


async def test_a_worker_that_leaves_while_it_reads_still_gets_its_frame(delivery: Delivery) -> None:
    run, worker = await delivery.begin(), delivery.worker()
    blocked = asyncio.create_task(worker.wait(["cam"], 5000))
    await wait_until(lambda: _blocked(delivery.redis), "the worker to block")
    await worker.leave(["cam"])
    await delivery.offer(run, 0)
    held = await blocked
    assert seqs(held) == [0] and await worker.commit([outcome(held[0])]) == [True]


async def test_a_worker_that_is_only_idle_stays_in_the_group(delivery: Delivery) -> None:
    await delivery.offer(await delivery.begin(), 0)
    idle = delivery.worker("idle")
    await idle.commit([outcome(one) for one in await idle.take(["cam"], 1)])
    await delivery.worker("sweeper").sweep(["cam"])
    members = await delivery.redis.xinfo_consumers(delivery.keys.frames("cam"), GROUP)
    assert [member["name"] for member in members] == [b"idle"]


async def test_workers_that_are_long_gone_leave_the_group(delivery: Delivery) -> None:
    delivery.limits = Limits(lease_ms=1)
    await delivery.offer(await delivery.begin(), 0)
    await delivery.worker("gone").take(["cam"], 1)
    sweeper = delivery.worker("sweeper")

    async def members() -> dict[str, int]:
        group = await delivery.redis.xinfo_consumers(delivery.keys.frames("cam"), GROUP)
        return {member["name"].decode(): member["idle"] for member in group}

    async def only_the_holder_is_left() -> bool:
        await sweeper.sweep(["cam"])
        left = await members()
        return [*left] == ["returned"] and left["returned"] > 150

    await wait_until(only_the_holder_is_left, "the worker that is gone to leave")
    assert await delivery.holders() == {0: "returned"}


@pytest.mark.parametrize("name", ["", "returned"])
def test_a_worker_may_not_have_the_name_of_nobody(redis: Redis, name: str) -> None:
    with pytest.raises(ValueError, match="must not be"):
        GroupConsumer(redis, name)


async def _blocked(redis: Redis) -> bool:
    return bool((await redis.info("clients"))["blocked_clients"])
