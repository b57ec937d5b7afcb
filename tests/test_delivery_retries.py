"""What delivery promises when replies get lost, and what was done is asked for again.

Not for: what Redis itself forgets (see `test_delivery_trouble.py`).
"""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from delivering import Delivery, frame, outcome, seqs
from kinestream.delivery import Scripts
from kinestream.keys import Keys


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
