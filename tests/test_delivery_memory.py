"""What delivery promises about memory: every stream is bounded, and a full Redis loses nothing and recovers.

Not for: lost memory (see `test_delivery_trouble.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

import servers
from delivering import Delivery, frame, outcome, seqs
from kinestream.delivery import Limits
from kinestream.keys import GROUP, Keys
from kinestream.redis import connect

ROWS = 20_000  # a frame of 60 KB


@pytest.fixture
def delivery(every_redis: Redis, keys: Keys) -> Delivery:
    """On a server of each version at hand."""
    return Delivery(every_redis, keys)


@pytest.fixture(params=[*servers.BINARIES])
async def fillable(
    request: pytest.FixtureRequest, own_server: Callable[..., servers.Server], keys: Keys
) -> AsyncIterator[Delivery]:
    """On a server of this test alone, of each version at hand."""
    async with connect(own_server(request.param).url) as redis:
        yield Delivery(redis, keys)


async def is_full(delivery: Delivery, full: bool) -> None:
    """From now on there is no byte left, or again no limit."""
    await delivery.redis.config_set("maxmemory", 1 if full else 0)


async def test_bytes_bound_a_live_stream(delivery: Delivery) -> None:
    delivery.limits = Limits(live_room=99, stream_bytes=250_000)
    run = await delivery.begin()
    await delivery.offer(
        run, *range(6), rows=1
    )  # small ones first: they tell nothing about those that follow
    await delivery.offer(run, *range(6, 20), rows=ROWS)
    assert await delivery.redis.memory_usage(delivery.keys.frames("cam"), samples=0) <= 250_000
    assert [*(await delivery.ledger(run)).causes] == ["dropped:no-room"]
    assert seqs(await delivery.worker().take(["cam"], 99)) in ([17, 18, 19], [16, 17, 18, 19])


async def test_bytes_bound_an_every_frame_stream(delivery: Delivery) -> None:
    delivery.limits = Limits(every_frame_room=99, stream_bytes=150_000)
    run = await delivery.begin("every-frame")
    assert await delivery.offer(run, 0, 1, 2, rows=ROWS) == ["ok", "ok", "full"]
    worker = delivery.worker()
    held = await worker.take(["cam"], 2)
    assert await delivery.offer(run, 2, rows=ROWS) == ["full"]  # held frames need memory too
    await worker.commit([outcome(one) for one in held])
    assert await delivery.offer(run, 2, rows=ROWS) == ["ok"]


@pytest.mark.parametrize("lane", ["live", "every-frame"])
async def test_a_frame_larger_than_the_bound_is_let_in_alone(delivery: Delivery, lane: str) -> None:
    delivery.limits = Limits(stream_bytes=1000)
    run = await delivery.begin(lane)
    assert await delivery.offer(run, 0, rows=ROWS) == ["ok"]
    assert await delivery.offer(run, 1, rows=ROWS) == ["ok" if lane == "live" else "full"]


async def test_a_live_frame_is_dropped_when_held_frames_leave_it_no_bytes(delivery: Delivery) -> None:
    delivery.limits = Limits(stream_bytes=100_000)
    run = await delivery.begin()
    await delivery.offer(run, 0, rows=ROWS)
    await delivery.worker().take(["cam"], 1)
    assert await delivery.offer(run, 1, rows=ROWS) == ["dropped"]
    assert await delivery.told() == [("dropped", 1, "no-room")]
    ledger = await delivery.ledger(run)
    assert (ledger.produced, ledger.dropped, ledger.held) == (2, 1, 1)


async def test_results_are_bounded_in_bytes_and_numbered_without_holes(delivery: Delivery) -> None:
    delivery.limits = Limits(live_room=1, result_bytes=20_000)
    run = await delivery.begin()
    await delivery.offer(run, *range(400))  # nobody works: offers alone must keep the bound
    assert await delivery.redis.memory_usage(delivery.keys.results, samples=0) <= 20_000
    names = [name for name, _ in await delivery.redis.xrange(delivery.keys.results)]
    assert 20 < len(names) < 399
    assert [int(name.split(b"-")[1]) for name in names] == [*range(399 - len(names), 399)]


@pytest.mark.parametrize("who", ["commit", "offer", "sweep"])
async def test_results_are_trimmed_by_age(delivery: Delivery, who: str) -> None:
    delivery.limits = Limits(live_room=1)
    run, worker = await delivery.begin(), delivery.worker()
    await delivery.offer(run, 0)
    old = (await delivery.redis.time())[0] * 1000 - delivery.limits.result_ms - 60_000
    for number in range(200):  # more than one node of the stream, since whole nodes go
        await delivery.redis.xadd(delivery.keys.results, {"result": b"old"}, id=f"{old}-{number}")
    if who == "commit":
        await worker.commit([outcome(one) for one in await worker.take(["cam"], 1)])
    elif who == "offer":
        await delivery.offer(run, 1)
    else:
        await worker.sweep(["cam"])
    names = [name for name, _ in await delivery.redis.xrange(delivery.keys.results)]
    assert len(names) <= 101
    assert who == "sweep" or names[-1].endswith(b"-200")


async def test_dead_letters_are_bounded_in_bytes(delivery: Delivery) -> None:
    delivery.limits = Limits(dead_bytes=400_000)
    run, worker = await delivery.begin(), delivery.worker()
    for seq in range(18):
        await delivery.offer(run, seq, rows=2000 if seq < 10 else ROWS)  # the first tell little
        await worker.commit([outcome(one, "failed", "engine") for one in await worker.take(["cam"], 1)])
    assert await delivery.redis.memory_usage(delivery.keys.dead, samples=0) <= 400_000
    left = [entry[b"name"] for _, entry in await delivery.redis.xrange(delivery.keys.dead)]
    assert left == [f"{run.number}-{seq}".encode() for seq in range(18 - len(left), 18)] and len(left) >= 4


async def test_full_memory_refuses_what_adds_to_it_without_any_change(fillable: Delivery) -> None:
    complete, live = await fillable.begin("every-frame", "complete"), await fillable.begin("live", "live")
    await fillable.offer(complete, 0)
    await fillable.offer(live, 0, 1)
    await fillable.redis.xgroup_destroy(fillable.keys.frames("complete"), GROUP)
    before = await fillable.everything()
    await is_full(fillable, True)
    for run in (complete, live):
        with pytest.raises(OutOfMemoryError):
            await run.offer(frame(run, run.produced))
        with pytest.raises(OutOfMemoryError):
            await run.offer(frame(run, 9), gap_cause="encoder")
        with pytest.raises(OutOfMemoryError):
            await fillable.begin(run.lane, run.camera)
        assert await run.offer(frame(run, 0)) == "ok"  # which it knows already
    assert await fillable.everything() == before
    await is_full(fillable, False)
    assert await fillable.offer(complete, 1) == ["ok"] and await fillable.offer(live, 2) == ["ok"]


async def test_full_memory_still_lets_a_live_frame_replace_another(fillable: Delivery) -> None:
    run = await fillable.begin()
    await fillable.offer(run, 0, 1, 2)
    await is_full(fillable, True)
    assert await fillable.offer(run, 3) == ["ok"]
    assert await fillable.told() == [("dropped", 0, "no-room")]
    assert seqs(await fillable.worker().take(["cam"], 9)) == [1, 2, 3]


async def test_everything_that_drains_goes_on_when_memory_is_full(fillable: Delivery) -> None:
    run, worker, dead = await fillable.begin("every-frame"), fillable.worker(), fillable.worker("dead")
    await fillable.offer(run, 0, 1, 2, 3)
    await fillable.redis.set(fillable.keys.want("cam"), 1)
    await fillable.redis.xgroup_destroy(fillable.keys.frames("cam"), GROUP)
    await is_full(fillable, True)
    left_behind, held = await dead.take(["cam"], 1), await worker.take(["cam"], 3)
    await fillable.expire_leases(left_behind, "dead")
    assert await worker.sweep(["cam"]) == 1
    assert await worker.renew(held) == [True] * 3
    assert await worker.hand_back(held[:1], counted=False) == 1
    await run.finish(frames=6, gap_cause="memory")
    again = await worker.take(["cam"], 9)
    assert seqs(again) == [0, 1]
    assert await worker.commit([outcome(one) for one in again]) == [True, True]
    assert await worker.commit([outcome(held[1], "failed", "engine"), outcome(held[2])]) == [True, True]
    assert await worker.cameras() == []
    await worker.leave(["cam"])
    await dead.leave(["cam"])
    ledger = await fillable.ledger(run)
    assert (ledger.produced, ledger.ok, ledger.failed, ledger.dropped, ledger.state) == (6, 3, 1, 2, "ended")
    members = await fillable.redis.xinfo_consumers(fillable.keys.frames("cam"), GROUP)
    assert {member["name"] for member in members} <= {b"returned"}


async def test_a_run_that_lost_frames_can_end_when_memory_is_full(fillable: Delivery) -> None:
    run = await fillable.begin()
    await fillable.offer(run, 0)
    await fillable.come_back_with({})
    await is_full(fillable, True)
    await run.finish_lost(0)
    assert (await fillable.ledger(run)).lost == 1


async def test_a_server_that_fills_up_for_real_recovers(fillable: Delivery) -> None:
    fillable.limits = Limits(every_frame_room=10_000, dead_bytes=1_000_000)
    run, worker = await fillable.begin("every-frame"), fillable.worker()
    used = (await fillable.redis.info("memory"))["used_memory"]
    await fillable.redis.config_set("maxmemory", used + 2_000_000)
    refused, seq = 0, 0
    while seq < 100:
        try:
            assert await fillable.offer(run, seq, rows=ROWS) == ["ok"]
            seq += 1
        except OutOfMemoryError:
            refused += 1
            assert (await fillable.ledger(run)).produced == seq
            held = await worker.take(["cam"], 8)
            statuses = ("ok", "stale", "failed")
            assert all(await worker.commit([outcome(one, statuses[one.seq % 3]) for one in held]))
    assert refused >= 3
    await run.finish()
    while held := await worker.take(["cam"], 8):
        await worker.commit([outcome(one) for one in held])
    ledger = await fillable.ledger(run)
    assert (ledger.produced, ledger.in_flight, ledger.dropped) == (100, 0, 0)
    assert sorted(r.seq for r in await fillable.records() if r.status != "end") == [*range(100)]
