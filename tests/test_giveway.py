"""Uploads give way to live cameras at work: who does when, what is owed, and what the engine then gets.

Not for: ranks and shares (see `test_turns.py`), nor for how many milliseconds it is worth (docs/latency.md).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError

from deliverymodel import Model
from engines import ScriptedEngine
from frames import frame, offer
from kinestream.delivery import Limits
from kinestream.held import Held
from kinestream.run import Run
from kinestream.turns import FLOOR_OF, Turns, Wishes
from kinestream_workers.giveway import AT_WORK_S, GiveWay
from waiting import wait_until

LIVE, UPLOAD = Wishes(lane="live"), Wishes(lane="every-frame")
WISHES = {"live": LIVE, "upload": UPLOAD}
LIVE_GREY, UPLOAD_GREY = 50, 200


def of(*cameras: str) -> list[Held]:
    """A frame of each."""
    return [Held(camera, 1, 0, b"", 1, 0.0) for camera in cameras]


def at_work() -> GiveWay:
    """The upload has just begun to give way to the live camera."""
    giveway = GiveWay()
    giveway.took(of("live"), WISHES, 0.0)
    giveway.split([*WISHES], WISHES, 0.0)
    return giveway


def kinds(batches: Sequence[Sequence[int]]) -> list[list[str]]:
    """Whose frames were in each batch, by their grey."""
    return [["live" if grey < 100 else "upload" for grey in batch] for batch in batches]


async def an_upload_in_the_engine(
    live: Run, upload: Run, engine: ScriptedEngine, published: Callable[[int], Awaitable[object]]
) -> None:
    """The live camera is at work, and the engine on an upload of twelve frames, until its gate is opened."""
    await live.offer(frame(live, 0, grey=LIVE_GREY))
    await published(1)
    engine.gate.clear()
    for seq in range(12):
        await upload.offer(frame(upload, seq, grey=UPLOAD_GREY))
    await wait_until(lambda: engine.arrived == 2, "a frame of the upload to be in the engine")


def test_nobody_gives_way_while_no_live_camera_is_at_work() -> None:
    giveway = GiveWay()
    assert giveway.split([*WISHES], WISHES, 0.0) == (["live", "upload"], [])
    giveway.took(of("upload", "upload"), WISHES, 0.0)
    assert giveway.split([*WISHES], WISHES, 0.0) == (["live", "upload"], [])


def test_an_upload_gives_way_from_a_live_frame_on_for_a_while() -> None:
    giveway = GiveWay()
    giveway.took(of("live"), WISHES, 10.0)
    assert giveway.split([*WISHES], WISHES, 10.0 + 0.9 * AT_WORK_S) == (["live"], ["upload"])
    assert giveway.split([*WISHES], WISHES, 10.1 + AT_WORK_S) == (["live", "upload"], [])


def test_who_has_a_higher_priority_than_some_live_camera_at_work_does_not() -> None:
    wishes = {
        "urgent": Wishes(lane="live", priority=5),
        "live": LIVE,
        "upload": UPLOAD,
        "urgent-upload": Wishes(lane="every-frame", priority=3),
    }
    giveway = GiveWay()
    giveway.took(of("urgent"), wishes, 0.0)
    assert giveway.split([*wishes], wishes, 1.0) == (["urgent", "live"], ["upload", "urgent-upload"])
    giveway.took(of("live"), wishes, 1.0)
    assert giveway.split([*wishes], wishes, 1.0) == (["urgent", "live", "urgent-upload"], ["upload"])


def test_a_live_camera_that_is_gone_keeps_nobody_waiting() -> None:
    giveway = GiveWay()
    giveway.took(of("live"), WISHES, 0.0)
    assert giveway.split(["upload"], {"upload": UPLOAD}, 0.1) == (["upload"], [])


@given(takes=st.lists(st.integers(1, 6), min_size=40, max_size=40))
def test_something_is_owed_after_every_few_frames(takes: list[int]) -> None:
    giveway, turns, taken = at_work(), 0, 0
    for frames in takes:
        if giveway.owed():
            turns += 1
            giveway.took(of("upload"), WISHES, 0.0)
            taken += 1
        giveway.took(of(*["live"] * frames), WISHES, 0.0)
        taken += frames
        assert abs(turns - taken / FLOOR_OF) <= 2


def test_what_an_upload_took_while_it_was_alone_is_no_debt_of_live_cameras() -> None:
    """Or else whoever begins after an hour of it would wait for minutes."""
    giveway = GiveWay()
    for _ in range(100):
        giveway.split(["upload"], WISHES, 0.0)
        giveway.took(of("upload"), WISHES, 0.0)
    giveway.took(of("live"), WISHES, 0.0)
    assert giveway.split([*WISHES], WISHES, 0.1) == (["live"], ["upload"])
    assert not giveway.owed()


def test_live_cameras_that_were_alone_owe_nothing_to_an_upload_that_begins() -> None:
    giveway = GiveWay()
    for _ in range(100):
        giveway.split(["live"], WISHES, 0.0)
        giveway.took(of("live"), WISHES, 0.0)
    giveway.split([*WISHES], WISHES, 0.1)
    assert not giveway.owed()


def test_nothing_is_owed_to_an_upload_that_gets_more_than_its_floor_anyway() -> None:
    giveway = at_work()
    for _ in range(100):
        giveway.took(of("live", "live"), WISHES, 0.0)
        giveway.took(of("upload"), WISHES, 0.0)
        assert not giveway.owed()


def test_an_upload_that_had_nothing_when_it_was_owed_a_frame_does_not_save_it_up() -> None:
    giveway = at_work()
    giveway.took(of(*["live"] * 3 * FLOOR_OF), WISHES, 0.0)
    assert giveway.owed()
    giveway.had_nothing()
    assert not giveway.owed()


def test_frames_that_went_along_are_not_saved_up() -> None:
    giveway = at_work()
    giveway.took(of("live", *["upload"] * 9), WISHES, 0.0)
    giveway.took(of(*["live"] * (FLOOR_OF - 2)), WISHES, 0.0)
    assert not giveway.owed()
    giveway.took(of("live"), WISHES, 0.0)
    assert giveway.owed(), "as if none had gone along before"


async def test_an_upload_never_fills_up_the_batch_of_a_live_frame(begin, work, published, engine) -> None:
    """While a slow engine is busy, only live frames are taken; the upload waits where they can overtake."""
    live, upload = await begin("live", lane="live"), await begin("upload")
    async with work({1: 500.0}, max_batch=4) as running:
        await an_upload_in_the_engine(live, upload, engine, published)
        await live.offer(frame(live, 1, grey=LIVE_GREY))
        await live.offer(frame(live, 2, grey=LIVE_GREY))
        await wait_until(lambda: running.worker.held == 3, "the live frames to be taken")
        engine.gate.set()
        await published(15)
    had = kinds(engine.batches)
    assert had[:2] == [["live"], ["upload"]]
    assert all(len({*kind}) == 1 for kind in had), had
    assert Counter(had[2]) == {"live": 2} or (had[2], had[3]) == (["live"], ["live"]), had


async def test_a_quick_engine_has_one_frame_of_an_upload_ahead(begin, work, published, engine) -> None:
    live, upload = await begin("live", lane="live"), await begin("upload")
    async with work({1: 0.0}, max_batch=4) as running:
        await an_upload_in_the_engine(live, upload, engine, published)
        await wait_until(lambda: running.worker.held == 2, "one ahead")
        await asyncio.sleep(0.1)
        assert running.worker.held == 2, "and no more, however long the engine takes"
        await live.offer(frame(live, 1, grey=LIVE_GREY))
        await wait_until(lambda: running.worker.held == 3, "the live frame to be taken")
        engine.gate.set()
        await published(14)
    assert kinds(engine.batches[:4]) == [["live"], ["upload"], ["upload"], ["live"]]


async def test_it_goes_along_with_live_frames_where_the_target_has_room(
    begin, work, published, engine
) -> None:
    live, upload = await begin("live", lane="live"), await begin("upload")
    async with work({1: 500.0, 4: 600.0}, max_batch=4, target_p95_ms=10_000.0, max_age_ms=60_000) as running:
        await an_upload_in_the_engine(live, upload, engine, published)
        before = running.worker.held
        await live.offer(frame(live, 1, grey=LIVE_GREY))
        await wait_until(lambda: running.worker.held == before + 4, "the live frame and others to be taken")
        engine.gate.set()
        await published(14)
    with_live = next(batch for batch in kinds(engine.batches[1:]) if "live" in batch)
    assert sorted(with_live) == ["live"] + 3 * ["upload"]


async def test_live_frames_do_not_wait_for_what_would_have_gone_along(begin, work, published, engine) -> None:
    """Nor for the end of a lease, as if the worker did not know that it holds them."""
    live, upload = await begin("live", lane="live"), await begin("upload")
    async with work({1: 1.0, 4: 1.0}, max_batch=4, target_p95_ms=10_000.0) as running:
        await an_upload_in_the_engine(live, upload, engine, published)
        consumer, real, taken = running.worker._consumer, running.worker._consumer.take, []

        async def take(cameras: Sequence[str], *given: Any, **more: Any) -> Any:
            if "upload" in cameras and taken[-1:] == ["live"]:
                taken.append("failed")
                raise RedisConnectionError("it went away")
            held = await real(cameras, *given, **more)
            taken.extend(frame.camera for frame in held)
            return held

        consumer.take = take
        await live.offer(frame(live, 1))
        await wait_until(lambda: "failed" in taken, "the second call to fail")
        engine.gate.set()
        results = await published(14)
    assert {(result.camera, result.seq, result.deliveries) for result in results} >= {("live", 1, 1)}


async def test_it_has_full_batches_again_when_the_live_camera_is_silent(
    begin, work, published, engine
) -> None:
    live, upload = await begin("live", lane="live"), await begin("upload")
    async with work(max_batch=4):
        await live.offer(frame(live, 0))
        await published(1)
        silent_s = time.monotonic()
        await offer(upload, 4)
        await published(5)
        assert [len(batch) for batch in engine.batches] == [1] * 5
        await asyncio.sleep(silent_s + AT_WORK_S - time.monotonic())
        engine.gate.clear()
        await offer(upload, 12)
        await wait_until(lambda: engine.arrived == 6, "a batch to be in the engine")
        engine.gate.set()
        await published(17)
    assert max(len(batch) for batch in engine.batches) == 4


async def test_an_upload_gets_its_floor_from_live_cameras_that_want_everything(
    begin, work, published, engine
) -> None:
    live, upload = await begin("live", lane="live", limits=Limits(live_room=99)), await begin("upload")
    await offer(upload, 10)
    await offer(live, 40)
    async with work(max_batch=1, max_age_ms=60_000):
        results = await published(50)
    order = [result.camera for result in results]
    before_the_last = order[: len(order) - order[::-1].index("live")]
    assert 40 // FLOOR_OF - 1 <= before_the_last.count("upload") <= 40 // FLOOR_OF + 2


@pytest.mark.parametrize(("live", "uploads", "room"), [(10, 1, 4), (4, 2, 1), (1, 3, 2), (3, 4, 4)])
def test_among_those_who_give_way_and_among_the_others_all_get_the_same(
    live: int, uploads: int, room: int
) -> None:
    """All cameras have more than the worker can take; it takes as the reader does."""
    wishes = {f"live-{n}": LIVE for n in range(live)} | {f"upload-{n}": UPLOAD for n in range(uploads)}
    turns, giveway, had = Turns(), GiveWay(), Counter[str]()

    def take(turns: Turns, cameras: list[str], room: int) -> None:
        plan = turns.plan(cameras, wishes, room)
        model = Model([*wishes], Limits())
        for camera in cameras:
            model.cameras[camera].frames = [(1, seq) for seq in range(room)]
        taken = [one for one, _, _ in model.take("w", plan.cameras, room, plan.ranks, plan.owed)]
        turns.took(plan, taken)
        giveway.took(of(*taken), wishes, 0.0)
        had.update(taken)

    for _ in range(400):
        first, behind = giveway.split([*wishes], wishes, 0.0)
        if giveway.owed():
            take(giveway.turns, behind, 1)
        else:
            take(turns, first, room)
    for kind, count in (("live", live), ("upload", uploads)):
        shares = [had[f"{kind}-{n}"] for n in range(count)]
        assert min(shares) > 0 and max(shares) - min(shares) <= room + 1, had
    assert sum(had[f"upload-{n}"] for n in range(uploads)) >= had.total() // FLOOR_OF - 2
