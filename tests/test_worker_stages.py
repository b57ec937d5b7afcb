"""What a worker's decoders and engine owe one another when one of them is slow, fails or hangs, or all end.

Not for: the engine alone (see `test_worker_trouble.py`).
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

import pytest

from frames import frame, offer
from kinestream.errors import EngineError
from kinestream.groupconsumer import GroupConsumer
from kinestream_workers.engines import Image
from waiting import wait_until


async def test_all_frames_that_a_device_hangs_with_are_suspects(redis, keys, begin, work, engine) -> None:
    """It hangs in a batch and in taking in the next one; whichever is noticed last, both may be why."""
    run = await begin("left")
    await offer(run, 4)
    hangs, fill = threading.Event(), engine.fill

    def hang(*_: Any) -> Any:
        engine.arrived += 1
        hangs.set()
        engine.gate.wait()

    def fill_or_hang(batch: list[int], slot: int, image: Image) -> None:
        if hangs.is_set():
            engine.gate.wait()
        fill(batch, slot, image)

    engine.infer, engine.fill = hang, fill_or_hang
    engine.gate.clear()
    with pytest.raises(EngineError, match="giving up"):
        async with work(max_batch=2, decode_threads=1, engine_timeout_s=0.5) as running:
            await wait_until(lambda: engine.arrived == 1, "a batch in the engine")
            await offer(run, 2)
            await asyncio.wait({running.task}, timeout=20)
    again = await GroupConsumer(redis, "next", keys=keys).take(["left"], 6)
    deliveries = {held.seq: held.deliveries for held in again}
    assert deliveries[0] == deliveries[1] == 2, deliveries
    assert 2 in {deliveries[2], deliveries[4]}, deliveries


class Panic(BaseException):
    """What no `except Exception` sees, as an extension module may raise it."""


async def test_whatever_an_engine_raises_when_it_is_given_a_frame_ends_the_worker(
    begin, work, engine
) -> None:
    def panic(*_: Any) -> None:
        raise Panic

    await offer(await begin("left"), 3)
    began_s = time.monotonic()
    with pytest.raises(Panic):
        async with work(max_batch=2, engine_timeout_s=10) as running:
            engine.fill = panic
            await asyncio.wait({running.task}, timeout=20)
    assert time.monotonic() - began_s < 5


async def test_told_to_stop_it_does_not_take_in_what_it_will_not_infer(begin, work, engine) -> None:
    filled, fill = [], engine.fill

    def slowly(batch: list[int], slot: int, image: Image) -> None:
        time.sleep(0.1)
        filled.append(slot)
        fill(batch, slot, image)

    engine.fill = slowly
    await offer(await begin("left"), 40)
    async with work(max_batch=8, decode_threads=1) as running:
        await wait_until(lambda: running.worker.held >= 24, "three batches")
        running.stop.set()
        before = len(filled)
        await running.task
        assert len(filled) - before <= 9


async def test_frames_that_are_tried_alone_wait_for_no_decoder(
    redis, keys, begin, work, published, engine
) -> None:
    decoding, fill = threading.Event(), engine.fill

    def fill_or_wait(batch: list[int], slot: int, image: Image) -> None:
        if round(float(image.mean())) == 50:
            decoding.wait()
        fill(batch, slot, image)

    engine.fill, engine.poison = fill_or_wait, {200}
    run = await begin("left")
    for seq, grey in enumerate([10, 200, 50, 50]):
        await run.offer(frame(run, seq, grey=grey))
    async with work(max_batch=2, max_attempts=1):
        try:
            results = await published(2)
        finally:
            decoding.set()
        assert {result.seq: result.status for result in results} == {0: "ok", 1: "failed"}
        await published(4)


async def test_a_hang_is_told_once_however_many_batches_are_under_way(begin, work, engine, caplog) -> None:
    await offer(await begin("left"), 6)
    engine.gate.clear()
    with pytest.raises(EngineError, match="giving up"):
        async with work(max_batch=2, engine_timeout_s=0.2) as running:
            await asyncio.wait({running.task}, timeout=20)
    del running
    gc.collect()
    assert "never retrieved" not in caplog.text
