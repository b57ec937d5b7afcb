"""What delivery promises when replies get lost, Redis loses memory or its group, or its clock is set back.

Not for: memory that is full or bounded (see `test_delivery_memory.py`).
"""

from __future__ import annotations

from typing import Any

import pytest
from delivering import Delivery, frame, outcome, seqs
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from kinestream.delivery import Scripts
from kinestream.errors import RunLost
from kinestream.keys import GROUP, Keys


@pytest.fixture
def delivery(every_redis: Redis, keys: Keys) -> Delivery:
    """On a server of each version at hand."""
    return Delivery(every_redis, keys)


@pytest.fixture
def lose_reply(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list of scripts: the next reply of each is lost after the server did its work."""
    names: list[str] = []
    call = Scripts.call

    async def lossy(self: Scripts, name: str, keys: list[str], args: list[Any]) -> Any:
        reply = await call(self, name, keys, args)
        if name in names:
            names.remove(name)
            raise ConnectionError("the reply got lost")
        return reply

    monkeypatch.setattr(Scripts, "call", lossy)
    return names


async def test_every_script_but_take_may_be_called_twice(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Scripts.call

    async def twice(self: Scripts, name: str, keys: list[str], args: list[Any]) -> Any:
        first = await call(self, name, keys, args)
        if name == "take":
            return first
        before = await delivery.everything()
        again = await call(self, name, keys, args)
        # A renewal moves the lease, which is what it is for; nothing else may change.
        assert name == "renew" or await delivery.everything() == before, f"{name} changed something"
        assert again == first or name in ("commit", "hand_back", "sweep")  # whose reply is what this call did
        return first

    monkeypatch.setattr(Scripts, "call", twice)
    run, worker = await delivery.begin(), delivery.worker()
    await delivery.offer(run, 0, 1, 2, 3)
    await run.offer(frame(run, 6), gap_cause="encoder")
    held = await worker.take(["cam"], 3)
    await delivery.redis.set(delivery.keys.want("cam"), 1)
    assert await worker.commit([outcome(held[0]), outcome(held[1], "failed", "engine")]) == [True, True]
    assert await worker.renew(held) == [False, False, True]
    assert await worker.hand_back(held[2:], counted=True) == 1
    held = await worker.take(["cam"], 1)
    await delivery.expire_leases(held, "w1")
    assert await worker.sweep(["cam"]) == 1
    assert await worker.commit([outcome(one) for one in await worker.take(["cam"], 1)]) == [True]
    await worker.leave(["cam"])
    await run.finish(frames=9, gap_cause="stopped")
    assert (await delivery.ledger(run)).causes == {
        "dropped:no-room": 2,
        "dropped:encoder": 2,
        "dropped:stopped": 2,
        "failed:engine": 1,
    }
    assert sorted(seq for r in await delivery.records() for seq in range(r.seq, r.seq + r.frames)) == [
        *range(9)
    ]


async def test_begin_with_the_same_token_opens_one_run(delivery: Delivery, lose_reply: list[str]) -> None:
    lose_reply.append("begin")
    with pytest.raises(ConnectionError):
        await delivery.begin(token="mine")
    run = await delivery.begin(token="mine")
    assert await delivery.offer(run, 0) == ["ok"]
    assert (await delivery.begin(token="mine")).number == run.number
    assert (await delivery.begin(token="other")).number > run.number
    assert [record.status for record in await delivery.records()] == ["end"]


async def test_a_frame_given_up_on_that_was_taken_in_is_told_once(
    delivery: Delivery, lose_reply: list[str]
) -> None:
    run = await delivery.begin("every-frame")
    lose_reply.append("offer")
    with pytest.raises(ConnectionError):
        await run.offer(frame(run, 0))
    assert await run.offer(frame(run, 2), gap_cause="redis-away") == "ok"
    lose_reply.append("offer")
    with pytest.raises(ConnectionError):
        await run.offer(frame(run, 3))
    await run.finish(frames=5, gap_cause="redis-away")
    held = await delivery.worker().take(["cam"], 9)
    assert seqs(held) == [0, 2, 3]
    assert await delivery.told() == [
        ("dropped", 1, "redis-away"),
        ("dropped", 4, "redis-away"),
        ("end", 5, ""),
    ]
    assert (await delivery.ledger(run)).produced == 5


async def test_finish_counts_a_last_frame_whose_reply_got_lost(
    delivery: Delivery, lose_reply: list[str]
) -> None:
    run = await delivery.begin()
    lose_reply.append("offer")
    with pytest.raises(ConnectionError):
        await run.offer(frame(run, 0))
    await run.finish()
    assert run.produced == 1 and await delivery.told() == [("end", 1, "")]
    assert (await delivery.ledger(run)).in_flight == 1


async def test_a_finish_that_was_done_stays_done_when_the_next_run_begins(
    delivery: Delivery, lose_reply: list[str]
) -> None:
    run = await delivery.begin()
    lose_reply.append("finish")
    with pytest.raises(ConnectionError):
        await run.finish()
    await delivery.begin()
    await run.finish()
    assert await delivery.told() == [("end", 0, "")]


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


async def test_ids_of_results_grow_when_the_clock_is_set_back(delivery: Delivery) -> None:
    future = 1000 + 1000 * (await delivery.redis.time())[0]
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
