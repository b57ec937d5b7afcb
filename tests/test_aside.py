"""Pictures that take long to decode hold up nobody but their own camera. Not for: decoding itself."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any

import cv2
import numpy as np
import pytest
from redis.asyncio import Redis

from engines import ScriptedEngine
from frames import frame, offer
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.messages import Frame
from kinestream.run import Run
from kinestream_workers import aside, decoding, preparing
from waiting import wait_until
from working import begin_run, wait_for_records, working

SIZE = (160, 120)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Pictures of more than 10,000 pixels are large, and decoded when this is set."""
    opened = threading.Event()

    def decode(frame: Frame) -> Any:
        assert opened.wait(20)
        return decoding.decode(frame)

    monkeypatch.setattr(preparing, "LARGE_PIXELS", 10_000)
    monkeypatch.setattr(aside, "decode", decode)
    return opened


def large(run: Run, seq: int, *, grey: int = 200, cut: bool = False) -> Frame:
    data = cv2.imencode(".jpg", np.full((SIZE[1], SIZE[0], 3), grey, np.uint8))[1].tobytes()
    return Frame(
        camera=run.camera,
        run=run.number,
        seq=seq,
        captured_us=1,
        width=2 * SIZE[0],
        height=2 * SIZE[1],
        view=(0, 0, 2 * SIZE[0], 2 * SIZE[1]),
        codec="jpeg",
        data=data[: len(data) // 2] if cut else data,
        lane=run.lane,
    )


async def test_others_go_on_while_a_large_picture_is_decoded(redis: Redis, keys: Keys, gate: Any) -> None:
    engine = ScriptedEngine()
    slow, quick = await begin_run(redis, keys, "a-large"), await begin_run(redis, keys, "b-small")
    await slow.offer(large(slow, 0, grey=100))
    async with working(redis, keys, engine, max_batch=2) as running:
        await wait_until(lambda: len(running.worker._aside) == 1, "the large picture to be aside")
        for seq in range(1, 4):
            await slow.offer(large(slow, seq, grey=100 + 30 * seq))
        await offer(quick, 20)
        results = await wait_for_records(redis, keys, 20)
        assert {result.camera for result in results} == {"b-small"}
        ledger = await read_ledger(redis, "a-large", slow.number, keys=keys)
        # One more may come by a read that was under way when the first one turned out to be large.
        assert ledger.held <= 2 and ledger.held + ledger.waiting == 4
        gate.set()
        results = await wait_for_records(redis, keys, 24)
        await wait_until(lambda: len(running.worker._aside) == 0, "nothing to be aside")
    by_name = {(result.camera, result.seq): result for result in results}
    for seq, grey in enumerate([100, 130, 160, 190]):
        result = by_name["a-large", seq]
        # In pixels of the source, which has twice as many across as the picture that was sent.
        assert result.people[0].box[0] == pytest.approx(2 * grey, abs=2)
        assert result.timings["decoded"] > 0


async def test_many_large_pictures_at_once_take_nobodys_room(redis: Redis, keys: Keys, gate: Any) -> None:
    slow, quick = await begin_run(redis, keys, "a-large"), await begin_run(redis, keys, "b-small")
    for seq in range(6):
        await slow.offer(large(slow, seq))
    async with working(redis, keys, ScriptedEngine(), max_batch=2) as running:
        await wait_until(lambda: len(running.worker._aside) >= 4, "all that were taken at once to be aside")
        await offer(quick, 20)
        await wait_for_records(redis, keys, 20)
        gate.set()
        await wait_for_records(redis, keys, 26)


async def test_a_large_picture_that_is_cut_short_is_a_dead_letter(
    redis: Redis, keys: Keys, gate: Any
) -> None:
    gate.set()
    run = await begin_run(redis, keys, "large")
    await run.offer(large(run, 0, cut=True))
    await run.offer(large(run, 1))
    async with working(redis, keys, ScriptedEngine()):
        results = await wait_for_records(redis, keys, 2)
    found = {result.seq: (result.status, result.cause) for result in results}
    assert found == {0: ("failed", "undecodable"), 1: ("ok", "")}
    assert await redis.xlen(keys.dead) == 1


async def test_a_large_picture_that_grew_old_is_not_decoded(redis: Redis, keys: Keys, gate: Any) -> None:
    run = await begin_run(redis, keys, "large", "live")
    for seq in range(2):
        await run.offer(large(run, seq))
    async with working(redis, keys, ScriptedEngine(), max_age_ms=300) as running:
        await wait_until(lambda: len(running.worker._aside) == 2, "both to be aside")
        old = running.worker._leases.held()[-1]
        await wait_until(lambda: old.age_ms() > 300, "the second one to grow old")
        gate.set()
        results = await wait_for_records(redis, keys, 2)
    assert {(result.status, result.cause) for result in results} == {("stale", "too-old")}


async def test_a_worker_that_ends_hands_back_what_is_aside(redis: Redis, keys: Keys, gate: Any) -> None:
    run = await begin_run(redis, keys, "large")
    await run.offer(large(run, 0))
    await run.offer(frame(run, 1))
    async with working(redis, keys, ScriptedEngine(), max_batch=2) as running:
        await wait_for_records(redis, keys, 1)
        assert len(running.worker._aside) == 1
    gate.set()
    (again,) = await GroupConsumer(redis, "next", keys=keys).take(["large"], 3)
    assert (again.seq, again.deliveries) == (0, 1)


class Picture(np.ndarray[Any, Any]):
    """One that can be watched."""


async def test_of_decoded_large_pictures_one_is_there_at_a_time(
    redis: Redis, keys: Keys, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the engine's memory is gone; nobody else keeps it, at work or at rest."""
    decoded: list[weakref.ref[Picture]] = []

    def decode(frame: Frame) -> Any:
        picture = decoding.decode(frame).view(Picture)
        decoded.append(weakref.ref(picture))
        return picture

    def there() -> int:
        return sum(picture() is not None for picture in decoded)

    monkeypatch.setattr(aside, "decode", decode)
    engine = ScriptedEngine()
    engine.gate.clear()
    runs = [await begin_run(redis, keys, f"large-{number}") for number in range(5)]
    async with working(redis, keys, engine, max_batch=1):
        for run in runs:
            await run.offer(large(run, 0))
        # One is in the engine, and another one at least is on its way there.
        await wait_until(lambda: len(decoded) >= 2, "two to be decoded")
        await asyncio.sleep(0.5)
        waiting = there()
        engine.gate.set()
        await wait_for_records(redis, keys, 5)
        await wait_until(lambda: there() == 0, "none to be there")
    assert waiting <= 1
