"""What workers are promised about frames, one promise a test (see `kinestream/delivery.py`).

Not for: the producer's side (see `test_delivery.py`), how workers come and go (see
`test_delivery_members.py`), nor trouble with Redis (see `test_delivery_trouble.py`).
"""

from __future__ import annotations

from collections import Counter

import pytest
from redis.asyncio import Redis

from delivering import Delivery, frame, outcome, seqs
from kinestream.delivery import Limits
from kinestream.errors import UsageError
from kinestream.held import Held, Outcome
from kinestream.keys import Keys
from kinestream.messages import Frame, PoseResult
from kinestream.turns import Wishes


@pytest.fixture
def delivery(every_redis: Redis, keys: Keys) -> Delivery:
    """On a server of each version at hand."""
    return Delivery(every_redis, keys)


async def test_take_gives_exactly_the_room_in_fair_shares(delivery: Delivery) -> None:
    runs = [await delivery.begin("every-frame", camera) for camera in "abc"]
    for run, frames in zip(runs, (4, 1, 4), strict=True):
        await delivery.offer(run, *range(frames))
    worker = delivery.worker()
    held = await worker.take(["a", "b", "c"], 6)
    assert len(held) == 6
    shares = Counter(one.camera for one in held)
    assert shares["b"] == 1 and {shares["a"], shares["c"]} == {2, 3}
    assert sorted((one.camera, one.seq) for one in held) == [
        (camera, seq) for camera in "abc" for seq in range(shares[camera])
    ]
    assert len(await worker.take(["a", "b", "c"], 99)) == 3
    assert await worker.take(["a", "b", "c"], 1) == [] and await worker.take([], 1) == []


async def test_take_begins_one_camera_further_each_time(delivery: Delivery) -> None:
    for camera in "abc":
        await delivery.offer(await delivery.begin("every-frame", camera), 0, 1)
    worker = delivery.worker()
    assert [(await worker.take(["a", "b", "c"], 1))[0].camera for _ in range(6)] == ["a", "b", "c"] * 2


async def test_a_worker_learns_how_each_camera_wants_to_be_served(delivery: Delivery) -> None:
    await delivery.begin("every-frame", "film")
    await delivery.begin("live", "coach", priority=9, max_age_ms=250)
    worker = delivery.worker()
    assert await worker.cameras() == ["coach", "film"]
    assert worker.wishes == {
        "film": Wishes(lane="every-frame"),
        "coach": Wishes(priority=9, max_age_ms=250),
    }
    assert [worker.age_limit_ms(camera) for camera in ("coach", "film", "unknown")] == [250, None, None]
    await delivery.begin("live", "coach")
    await worker.cameras()
    assert worker.wishes["coach"] == Wishes(), "they are those of the newest run"
    for wrong in ({"priority": 10}, {"max_age_ms": 0}):
        with pytest.raises(UsageError):
            await delivery.begin("live", "coach", **wrong)


async def test_take_goes_by_rank_and_leaves_a_floor_to_those_behind(delivery: Delivery) -> None:
    delivery.limits = Limits(live_room=64)
    cameras = ["first", "live", "upload"]
    await delivery.offer(await delivery.begin("every-frame", "upload"), *range(40))
    await delivery.offer(await delivery.begin("live", "live"), *range(40))
    await delivery.offer(await delivery.begin("live", "first", priority=1), *range(14))
    worker = delivery.worker()
    await worker.cameras()
    shares = [Counter(one.camera for one in await worker.take(cameras, 8)) for _ in range(4)]
    assert shares == [
        {"first": 7, "live": 1},
        {"first": 7, "upload": 1},
        {"live": 7, "upload": 1},
        {"live": 7, "upload": 1},
    ]
    assert await worker.take(cameras, 1), "a room of one has no room for both, and goes to the first"


async def test_take_asks_only_cameras_that_may_have_frames(delivery: Delivery) -> None:
    cameras = [f"c{number}" for number in range(30)]
    for camera in cameras:
        run = await delivery.begin(camera=camera)
        await delivery.offer(run, 0)
    worker = delivery.worker()
    await worker.commit([outcome(one) for one in await worker.take(cameras, 99)])
    await delivery.offer(run, 1)

    async def commands() -> int:
        stats = await delivery.redis.info("commandstats")
        return sum(stats[f"cmdstat_{name}"]["calls"] for name in ("xlen", "xpending", "xreadgroup"))

    assert await worker.take(cameras[:-1], 9) == []  # sees that none of these has anything any more
    before = await commands()
    assert seqs(await worker.take(cameras, 9)) == [1]
    assert await commands() - before < 10
    assert await delivery.redis.smembers(delivery.keys.waiting) == {b"c29"}


async def test_taken_frames_carry_their_bytes_and_how_long_they_waited(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.offer(run, 0)
    [held] = await delivery.worker().take(["cam"], 1)
    assert Frame.unpack(held.packed) == frame(run, 0)
    assert (held.id, held.deliveries) == (f"{run.number}-0", 1)
    assert 0 <= held.queued_ms < 60_000


async def test_frames_handed_back_go_first_and_count_a_delivery_only_if_suspected(delivery: Delivery) -> None:
    run = await delivery.begin("every-frame")
    await delivery.offer(run, 0, 1, 2, 3)
    draining, other = delivery.worker("draining"), delivery.worker("other")
    held = await draining.take(["cam"], 2)
    assert await draining.hand_back(held[:1], counted=False) == 1
    assert await draining.hand_back(held[1:], counted=True) == 1
    assert await draining.hand_back(held, counted=True) == 0  # no longer its own
    taken = await other.take(["cam"], 2)
    assert [(one.seq, one.deliveries) for one in taken] == [(0, 1), (1, 2)]
    assert [one.packed for one in taken] == [one.packed for one in held]
    assert seqs(await other.take(["cam"], 2)) == [2, 3]


async def test_a_worker_renews_and_hands_back_only_what_is_still_its_own(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.offer(run, 0, 1)
    frozen, thief = delivery.worker("frozen"), delivery.worker("thief")
    held = await frozen.take(["cam"], 2)
    await delivery.expire_leases(held[:1], "frozen")
    assert await thief.sweep(["cam"]) == 1
    await thief.take(["cam"], 1)
    assert await frozen.renew(held) == [False, True]
    assert await frozen.hand_back(held[:1], counted=False) == 0
    assert await delivery.holders() == {0: "thief", 1: "frozen"}


async def test_sweep_moves_expired_frames_only_and_counts_a_delivery(delivery: Delivery) -> None:
    run = await delivery.begin("every-frame")
    await delivery.offer(run, 0, 1, 2)
    dead, alive = delivery.worker("dead"), delivery.worker("alive")
    held = await dead.take(["cam"], 2)
    await alive.take(["cam"], 1)
    await delivery.expire_leases(held, "dead")
    assert await dead.renew(held[1:]) == [True]
    assert await alive.sweep(["cam"]) == 1
    assert await delivery.holders() == {0: "returned", 1: "dead", 2: "alive"}
    assert (await delivery.ledger(run)).held == 2
    await delivery.redis.delete(delivery.keys.sweeper)
    await delivery.expire_leases(held[:1], "returned")
    assert await alive.sweep(["cam"]) == 0  # it is nobody's already
    await delivery.redis.delete(delivery.keys.sweeper)
    await delivery.expire_leases(held[1:], "dead")
    assert await alive.sweep(["cam"]) == 1
    assert [(one.seq, one.deliveries) for one in await alive.take(["cam"], 9)] == [(0, 2), (1, 2)]


async def test_only_one_worker_sweeps_at_a_time(delivery: Delivery) -> None:
    await delivery.offer(await delivery.begin(), 0)
    held = await delivery.worker("dead").take(["cam"], 1)
    assert await delivery.worker("first").sweep(["cam"]) == 0
    await delivery.expire_leases(held, "dead")
    assert await delivery.worker("second").sweep(["cam"]) == 0
    await delivery.redis.delete(delivery.keys.sweeper)  # as it does by itself
    assert await delivery.worker("second").sweep(["cam"]) == 1


async def test_of_two_workers_that_ran_a_frame_the_first_publishes(delivery: Delivery) -> None:
    await delivery.offer(await delivery.begin(), 0, 1)
    frozen, other = delivery.worker("frozen"), delivery.worker("other")
    held = await frozen.take(["cam"], 2)
    await delivery.expire_leases(held, "frozen")
    await other.sweep(["cam"])
    again = await other.take(["cam"], 2)
    assert await other.commit([outcome(again[0], worker="other")]) == [True]
    assert await frozen.commit([outcome(one, worker="frozen") for one in held]) == [False, True]
    assert await other.commit([outcome(one, worker="other") for one in again]) == [False, False]
    assert [(r.seq, r.worker) for r in await delivery.records()] == [(0, "other"), (1, "frozen")]


async def test_a_failed_frame_goes_to_the_dead_letters_with_its_bytes(delivery: Delivery) -> None:
    run = await delivery.begin()
    await delivery.offer(run, 0)
    worker = delivery.worker()
    [held] = await worker.take(["cam"], 1)
    result = PoseResult(camera="cam", run=run.number, seq=0, status="failed", cause="undecodable")
    assert await worker.commit([Outcome(held, result, "lone surrogate \ud800", "Traceback")]) == [True]
    [(_, dead)] = await delivery.redis.xrange(delivery.keys.dead)
    assert dead == {
        b"camera": b"cam",
        b"name": held.id.encode(),
        b"frame": held.packed,
        b"cause": b"undecodable",
        b"error": b"lone surrogate ?",
        b"traceback": b"Traceback",
        b"worker": b"w1",
        b"deliveries": b"1",
        b"record": result.pack(),
    }
    assert (await delivery.ledger(run)).causes == {"failed:undecodable": 1}


async def test_pictures_are_kept_only_while_somebody_wants_them(delivery: Delivery) -> None:
    delivery.limits = Limits(pictures=2)
    run, worker, redis = await delivery.begin(), delivery.worker(), delivery.redis
    for seq in range(5):
        await delivery.offer(run, seq)
        held = await worker.take(["cam"], 1)
        if seq == 1:
            await redis.set(delivery.keys.want("cam"), 1)
        if seq == 4:
            await redis.delete(delivery.keys.want("cam"))
        await worker.commit([outcome(one) for one in held])
    pictures = await redis.xrange(delivery.keys.pictures("cam"))
    assert [picture[b"name"].decode() for _, picture in pictures] == [f"{run.number}-{seq}" for seq in (2, 3)]
    assert Frame.unpack(pictures[0][1][b"frame"]) == frame(run, 2)
    assert await redis.ttl(delivery.keys.pictures("cam")) > 0


@pytest.mark.parametrize(("seq", "status"), [(1, "ok"), (0, "end"), (0, "missing")])
def test_an_outcome_is_of_the_held_frame_alone(seq: int, status: str) -> None:
    with pytest.raises(ValueError, match=r"outcome of a frame|names cam"):
        Outcome(Held("cam", 7, 0, b"", 1, 0.0), PoseResult(camera="cam", run=7, seq=seq, status=status))
