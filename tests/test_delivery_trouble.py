"""What delivery promises when Redis loses memory or its group, when its clock is set back, when hands
interfere.

Not for: lost replies (see `test_delivery_retries.py`), full memory (see `test_delivery_memory.py`).
"""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from delivering import Delivery, frame, outcome, seqs
from kinestream.errors import Fenced, RunLost
from kinestream.keys import GROUP, Keys


@pytest.fixture
def delivery(every_redis: Redis, keys: Keys) -> Delivery:
    """On a server of each version at hand."""
    return Delivery(every_redis, keys)


async def test_a_producer_learns_that_redis_forgot_its_camera(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.offer(run, 0)
    await delivery.redis.delete(delivery.keys.cameras)
    with pytest.raises(RunLost):
        await run.offer(frame(run, 1))


async def test_an_old_producer_is_fenced_even_after_its_ledger_expired(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.begin()
    await delivery.redis.delete(delivery.keys.ledger("cam", run.number))
    with pytest.raises(Fenced):
        await run.offer(frame(run, 0))


async def test_a_producer_learns_that_redis_lost_everything(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.offer(run, 0, 1, 2)
    await delivery.come_back_with({})
    with pytest.raises(RunLost) as lost:
        await run.offer(frame(run, 3))
    assert lost.value.known == 0
    with pytest.raises(RunLost):
        await run.finish()
    await run.finish_lost(lost.value.known)
    await run.finish_lost(lost.value.known)
    [end] = await delivery.records()
    assert (end.status, end.seq, end.lost_from, end.cause) == ("end", 3, 0, "redis-lost-memory")
    ledger = await delivery.ledger(run)
    assert (ledger.produced, ledger.lost, ledger.state) == (3, 3, "ended")
    new = await delivery.begin(after=run.number)
    assert new.number > run.number and await delivery.offer(new, 0) == ["ok"]


async def test_a_producer_learns_that_redis_lost_a_run_without_frames(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.come_back_with({})
    with pytest.raises(RunLost):
        await run.finish()


async def test_a_run_that_was_lost_is_not_taken_for_another_of_the_same_number(delivery: Delivery) -> None:
    clock_s = (await delivery.redis.time())[0]
    lost = await delivery.begin(after=clock_s + 1000)
    await delivery.offer(lost, 0)
    await delivery.come_back_with({})
    other = await delivery.begin(after=clock_s + 1000)
    assert other.number == lost.number
    await delivery.offer(other, 0)
    with pytest.raises(Fenced):
        await lost.offer(frame(lost, 1))
    with pytest.raises(Fenced):
        await lost.finish()
    await lost.finish_lost(0)
    assert (await delivery.ledger(other)).state == "open"


async def test_a_producer_learns_that_redis_lost_the_end_of_its_run(delivery: Delivery) -> None:
    run, worker = await delivery.begin("every-frame"), delivery.worker()
    await delivery.offer(run, 0, 1)
    held = await worker.take(["cam"], 1)
    snapshot = await delivery.snapshot()
    await delivery.offer(run, 2, 3)
    held += await worker.take(["cam"], 2)
    await delivery.come_back_with(snapshot)
    with pytest.raises(RunLost) as lost:
        await run.offer(frame(run, 4))
    assert lost.value.known == 2
    with pytest.raises(RunLost):
        await run.finish()
    await run.finish_lost(known=3)  # somebody who is mistaken is put right
    [end] = await delivery.records()
    assert (end.seq, end.lost_from) == (4, 2)
    assert await worker.commit([outcome(one) for one in held]) == [True, False, False]
    ledger = await delivery.ledger(run)
    assert (ledger.produced, ledger.ok, ledger.lost, ledger.in_flight) == (4, 1, 2, 1)
    await worker.commit([outcome(one) for one in await worker.take(["cam"], 9)])
    assert await worker.cameras() == []


@pytest.mark.parametrize("first", ["offer", "take"])
async def test_a_lost_group_is_made_anew_and_loses_nothing(delivery: Delivery, first: str) -> None:
    run, worker, other = await delivery.begin("every-frame"), delivery.worker(), delivery.worker("w2")
    await delivery.offer(run, 0, 1)
    held = await worker.take(["cam"], 1)
    await delivery.redis.xgroup_destroy(delivery.keys.frames("cam"), GROUP)
    assert await worker.commit([outcome(held[0])]) == [False]
    assert await worker.renew(held) == [False] and await worker.hand_back(held, counted=False) == 0
    assert await worker.sweep(["cam"]) == 0
    await worker.leave(["cam"])
    assert (await delivery.ledger(run)).waiting == 2
    if first == "offer":
        await delivery.offer(run, 2)
    again = await other.take(["cam"], 9)
    assert seqs(again) == [0, 1, 2][: len(again)] and len(again) >= 2
    assert await worker.commit([outcome(held[0])]) == [True]  # it is first after all
    assert await other.commit([outcome(one) for one in again]) == [False] + [True] * (len(again) - 1)
    await delivery.ledger(run)


async def test_what_take_passes_by_after_somebody_interfered_is_mended_by_the_next_sweep(
    delivery: Delivery,
) -> None:
    run, empty, worker = await delivery.begin(), await delivery.begin(camera="empty"), delivery.worker()
    await delivery.offer(run, 0)
    assert await delivery.redis.smembers(delivery.keys.waiting) == {b"cam"}
    await delivery.redis.srem(delivery.keys.waiting, "cam")
    await delivery.redis.xgroup_destroy(delivery.keys.frames("empty"), GROUP)
    assert await worker.take(["cam", "empty"], 9) == [] == await worker.wait(["cam", "empty"], 1)
    await worker.sweep(["cam", "empty"])
    assert seqs(await worker.take(["cam", "empty"], 9)) == [0]
    await delivery.offer(empty, 0)
    assert seqs(await worker.wait(["cam", "empty"], 1)) == [0]


async def test_ids_of_results_grow_when_the_clock_is_set_back(delivery: Delivery) -> None:
    future = 1000 * (60 + (await delivery.redis.time())[0])
    await delivery.redis.xadd(delivery.keys.results, {"result": b"?"}, id=f"{future}-41")
    run = await delivery.begin()
    await run.finish()
    assert [name for name, _ in await delivery.redis.xrange(delivery.keys.results)][1:] == [
        f"{future}-42".encode()
    ]


async def test_a_frame_deleted_by_hand_does_not_stop_a_worker(delivery: Delivery) -> None:
    run, worker = await delivery.begin(), delivery.worker()
    await delivery.offer(run, 0, 1)
    held = await worker.take(["cam"], 1)
    await delivery.redis.xdel(delivery.keys.frames("cam"), held[0].id)
    await worker.hand_back(held, counted=False)
    assert seqs(await worker.take(["cam"], 2)) == [1]
    assert await delivery.holders() == {1: "w1"}


async def test_an_expired_ledger_is_not_begun_anew_by_a_late_commit(delivery: Delivery) -> None:
    run, worker = await delivery.begin(), delivery.worker()
    await delivery.offer(run, 0)
    held = await worker.take(["cam"], 1)
    await run.finish()
    await delivery.redis.delete(delivery.keys.ledger("cam", run.number))
    assert await worker.commit([outcome(held[0])]) == [True]
    assert not await delivery.redis.exists(delivery.keys.ledger("cam", run.number))
    assert await worker.cameras() == []
