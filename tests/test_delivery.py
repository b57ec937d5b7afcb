"""What producers and readers of the ledger are promised, one promise a test (see `kinestream/delivery.py`).

Not for: the workers' side (see `test_delivery_workers.py`), trouble with Redis (see
`test_delivery_trouble.py`), nor what only chance finds (see `test_delivery_property.py`).
"""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from delivering import Delivery, frame, outcome, seqs
from kinestream.delivery import Limits
from kinestream.errors import Fenced, UsageError
from kinestream.keys import Keys
from kinestream.ledger import read_ledgers


@pytest.fixture
def delivery(every_redis: Redis, keys: Keys) -> Delivery:
    """On a server of each version at hand."""
    return Delivery(every_redis, keys)


async def test_begin_ends_the_run_before_it_and_fences_its_producer(delivery: Delivery) -> None:
    old = await delivery.begin()
    await delivery.offer(old, 0, 1)
    new = await delivery.begin()
    assert new.number > old.number
    with pytest.raises(Fenced):
        await old.offer(frame(old, 2))
    with pytest.raises(Fenced):
        await old.finish()
    end = (await delivery.records())[0]
    assert (end.run, end.status, end.seq, end.cause) == (old.number, "end", 2, "next-run")
    assert await delivery.offer(new, 0) == ["ok"]
    assert (await delivery.ledger(old)).state == "ended" and (await delivery.ledger(new)).state == "open"


async def test_begin_overtakes_a_producer_that_never_pauses(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await delivery.begin()
    read_facts = delivery.redis.time

    async def time_with_an_offer() -> tuple[int, int]:
        if not fenced:
            try:
                await old.offer(frame(old, old.produced + 1), gap_cause="hurry")
            except Fenced:
                fenced.append(old.produced)
        return await read_facts()

    fenced: list[int] = []
    # Before begin reads how many frames there are, and again between that and the script.
    monkeypatch.setattr(delivery.redis, "time", time_with_an_offer)
    hmget = delivery.redis.hmget

    async def hmget_with_an_offer(*arguments: object) -> list[bytes | None]:
        found = await hmget(*arguments)
        await time_with_an_offer()
        return found

    monkeypatch.setattr(delivery.redis, "hmget", hmget_with_an_offer)
    new = await delivery.begin()
    assert new.number > old.number and fenced
    assert (await delivery.records())[-1].seq == (await delivery.ledger(old)).produced


async def test_begin_refuses_a_camera_name_that_could_leave_its_key(delivery: Delivery) -> None:
    with pytest.raises(UsageError):
        await delivery.begin(camera="a:b")
    assert await delivery.everything() == {}


async def test_a_full_live_camera_drops_its_oldest_waiting_frame_and_says_so(delivery: Delivery) -> None:
    run = await delivery.begin()
    assert await delivery.offer(run, 0) == ["ok"]
    held = await delivery.worker().take(["cam"], 1)
    assert await delivery.offer(run, 1, 2, 3, 4, 5) == ["ok"] * 5
    assert await delivery.told() == [("dropped", 1, "no-room"), ("dropped", 2, "no-room")]
    assert {(one.captured_us - one.seq, one.clock) for one in await delivery.records()} == {
        (1_000_000, "arrival")
    }
    dropped = (await delivery.records())[0]
    assert (dropped.captured_us, dropped.width, dropped.height) == (1_000_001, 1, 1)
    ledger = await delivery.ledger(run)
    assert (ledger.produced, ledger.dropped, ledger.held, ledger.waiting) == (6, 2, 1, 3)
    assert ledger.causes == {"dropped:no-room": 2}
    assert seqs(held) == [0] and seqs(await delivery.worker().take(["cam"], 9)) == [3, 4, 5]


async def test_a_full_every_frame_camera_makes_its_producer_wait(delivery: Delivery) -> None:
    run = await delivery.begin("every-frame")
    await delivery.offer(run, 0, 1, 2, 3)
    before = await delivery.everything()
    assert await delivery.offer(run, 4) == ["full"]
    assert await delivery.everything() == before
    await delivery.worker().take(["cam"], 1)
    assert await delivery.offer(run, 4) == ["ok"]
    assert await delivery.told() == []


async def test_a_live_run_does_not_drop_what_an_every_frame_run_left_waiting(delivery: Delivery) -> None:
    complete = await delivery.begin("every-frame")
    await delivery.offer(complete, 0, 1, 2, 3)
    live = await delivery.begin("live")
    assert await delivery.offer(live, 0) == ["dropped"]
    held = await delivery.worker().take(["cam"], 4)
    assert [(one.run, one.seq) for one in held] == [(complete.number, seq) for seq in range(4)]
    assert await delivery.offer(live, 1, 2, 3, 4) == ["ok"] * 4
    assert (await delivery.ledger(live)).dropped == 2 and (await delivery.ledger(complete)).dropped == 0


async def test_a_frame_that_gives_way_counts_in_the_run_it_came_from(delivery: Delivery) -> None:
    old = await delivery.begin()
    await delivery.offer(old, 0, 1)
    new = await delivery.begin()
    await delivery.offer(new, 0, 1)
    assert (await delivery.ledger(old)).dropped == 1 and (await delivery.ledger(new)).dropped == 0


async def test_a_jump_in_seq_needs_its_cause_and_becomes_one_record(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.offer(run, 0)
    with pytest.raises(ValueError, match="gap_cause is needed"):
        await run.offer(frame(run, 4))
    assert await run.offer(frame(run, 4), gap_cause="encoder") == "ok"
    gap = (await delivery.records())[0]
    assert (gap.status, gap.cause, gap.seq, gap.seq_to, gap.frames) == ("dropped", "encoder", 1, 3, 3)
    await run.finish(frames=7, gap_cause="redis-away", cause="stopped")
    assert [(r.status, r.seq, r.last, r.cause) for r in (await delivery.records())[1:]] == [
        ("dropped", 5, 6, "redis-away"),
        ("end", 7, 7, "stopped"),
    ]
    assert (await delivery.ledger(run)).causes == {"dropped:encoder": 3, "dropped:redis-away": 2}


async def test_why_a_run_ended_explains_its_last_frames_too(delivery: Delivery) -> None:
    run = await delivery.begin()
    with pytest.raises(ValueError, match="gap_cause is needed"):
        await run.finish(frames=2)
    await run.finish(frames=2, cause="source-failed")
    assert await delivery.told() == [("dropped", 0, "source-failed"), ("end", 2, "source-failed")]


async def test_an_offer_of_another_runs_frame_is_a_mistake(delivery: Delivery) -> None:
    run, other = await delivery.begin(), await delivery.begin(camera="other")
    with pytest.raises(ValueError, match="of other"):
        await run.offer(frame(other, 0))


async def test_a_camera_leaves_the_workers_list_when_it_has_ended_and_is_empty(delivery: Delivery) -> None:
    worker, run = delivery.worker(), await delivery.begin()
    assert await worker.cameras() == ["cam"]
    await delivery.offer(run, 0)
    held = await worker.take(["cam"], 1)
    await run.finish()
    assert await worker.cameras() == ["cam"]  # a frame is left
    await worker.commit([outcome(one) for one in held])
    assert await worker.cameras() == []
    assert await delivery.redis.ttl(delivery.keys.frames("cam")) > 0
    run = await delivery.begin()
    await delivery.offer(run, 0)
    await worker.commit([outcome(one) for one in await worker.take(["cam"], 1)])
    assert await worker.cameras() == ["cam"]  # empty, but not ended
    assert await delivery.redis.ttl(delivery.keys.frames("cam")) == -1
    await run.finish()
    assert await worker.cameras() == []


async def test_an_earlier_runs_last_frame_leaves_an_open_camera_on_the_list(delivery: Delivery) -> None:
    worker, old = delivery.worker(), await delivery.begin()
    await delivery.offer(old, 0)
    await delivery.begin()
    await worker.commit([outcome(one) for one in await worker.take(["cam"], 1)])
    assert await worker.cameras() == ["cam"]


async def test_a_camera_leaves_the_list_even_if_the_last_frame_is_of_an_earlier_run(
    delivery: Delivery,
) -> None:
    worker, old = delivery.worker(), await delivery.begin()
    await delivery.offer(old, 0)
    held = await worker.take(["cam"], 1)
    new = await delivery.begin()
    await delivery.offer(new, 0)
    await worker.commit([outcome(one) for one in await worker.take(["cam"], 1)])
    await new.finish()
    assert await worker.cameras() == ["cam"]
    await worker.commit([outcome(one) for one in held])
    assert await worker.cameras() == []


async def test_the_ledger_balances_at_every_stage(delivery: Delivery) -> None:
    run, worker = await delivery.begin("every-frame", source="a film"), delivery.worker()
    await delivery.offer(run, 0, 1, 2, 3)
    held = await worker.take(["cam"], 3)
    await run.offer(frame(run, 6), gap_cause="x:y")
    await worker.commit([outcome(held[0]), outcome(held[1], "stale"), outcome(held[2], "failed", "engine")])
    [ledger] = await read_ledgers(delivery.redis, keys=delivery.keys)
    assert ledger == await delivery.ledger(run)
    assert (ledger.state, ledger.lane, ledger.source) == ("open", "every-frame", "a film")
    assert (ledger.produced, ledger.ok, ledger.stale, ledger.failed, ledger.dropped) == (7, 1, 1, 1, 2)
    assert (ledger.in_flight, ledger.held, ledger.waiting) == (2, 0, 2)
    assert ledger.causes == {"dropped:x:y": 2, "failed:engine": 1}


async def test_frames_in_flight_are_counted_by_run(delivery: Delivery) -> None:
    delivery.limits = Limits(every_frame_room=50)
    old = await delivery.begin("every-frame")
    await delivery.offer(old, *range(40))  # more than one page of the count
    await delivery.worker().take(["cam"], 3)
    assert (await delivery.ledger(old)).in_flight == 40
    new = await delivery.begin("every-frame")
    assert (await delivery.ledger(new)).in_flight == 0
    await delivery.offer(new, 0)
    ledger = await delivery.ledger(old)
    assert (ledger.in_flight, ledger.held, ledger.waiting) == (40, 3, 37)
    assert (await delivery.ledger(new)).in_flight == 1


async def test_the_ledger_of_a_run_expires_once_it_has_ended(delivery: Delivery) -> None:
    first, keys = await delivery.begin(), delivery.keys
    assert await delivery.redis.ttl(keys.ledger("cam", first.number)) == -1
    second = await delivery.begin()
    await second.finish()
    for run in (first, second):
        assert 0 < await delivery.redis.ttl(keys.ledger("cam", run.number)) <= delivery.limits.ledger_s
