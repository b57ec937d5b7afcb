"""Live pictures stay fresh: what grew too old is told as stale and never inferred, wherever it grew old.

Not for: frames that no worker takes in time, which give way in the stream (see `test_delivery.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from engines import ScriptedEngine
from frames import frame
from kinestream.embedded import find_redis_url
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import Keys
from kinestream.ledger import read_ledgers
from kinestream.messages import PoseResult
from kinestream.redis import connect
from pipeline import TIMEOUT_S, Command, redis_and_workers
from waiting import wait_until
from working import begin_run, wait_for_records, working

FROZEN_S = 5.0
MAX_AGE_MS = 1000
"""What workers are given unless they are told otherwise."""

CARD = "testcard://?athletes=1&fps=15&size=320x180&loop=1"


async def records_since(redis: Redis, since_ms: float) -> list[tuple[int, PoseResult]]:
    """Records of frames that were committed since then, with the time of commit on Redis's clock."""
    entries = await redis.xrange(Keys().results, min=int(since_ms))
    found = [(int(name.split(b"-")[0]), PoseResult.unpack(fields[b"result"])) for name, fields in entries]
    return [(at_ms, record) for at_ms, record in found if record.status != "end"]


async def test_a_worker_that_was_frozen_works_on_fresh_frames_at_once(place: Path, tmp_path: Path) -> None:
    model = tmp_path / "quick.timed"
    model.write_text("base_ms = 5\nper_image_ms = 1\n")
    names = {"left", "middle", "right"}
    with (
        redis_and_workers(tmp_path, workers=1, options=["--model", str(model)]) as [worker],
        contextlib.ExitStack() as stack,
    ):
        for name in names:
            stack.enter_context(Command(tmp_path / f"{name}.txt", "ingest", CARD, "--camera", name))
        async with connect(find_redis_url(None)) as redis:

            async def inferred(since_ms: float) -> bool:
                found = await records_since(redis, since_ms)
                return {
                    r.camera for _, r in found if r.status == "ok" and r.captured_us > since_ms * 1000
                } == names

            await wait_until(lambda: inferred(0), "every camera to be inferred", timeout=TIMEOUT_S)
            worker.signal(signal.SIGSTOP)
            await asyncio.sleep(FROZEN_S)
            woken_ms = time.time() * 1000  # one machine, one clock
            worker.signal(signal.SIGCONT)
            began_s = time.monotonic()
            await wait_until(lambda: inferred(woken_ms), "fresh frames of every camera")
            print(f"fresh frames of all cameras {time.monotonic() - began_s:.2f} s after waking")  # noqa: T201
            ok = [(at_ms, r) for at_ms, r in await records_since(redis, woken_ms) if r.status == "ok"]
            ages_ms = [at_ms - r.timings["inferred"] - r.captured_us / 1000 for at_ms, r in ok]
            # Of one batch, the results may have been on their way into Redis when the worker was frozen.
            assert len([age_ms for age_ms in ages_ms if age_ms > MAX_AGE_MS + 200]) <= 4, ages_ms
            assert all(ledger.balanced for ledger in await read_ledgers(redis))


async def test_a_frame_ages_while_its_reader_is_frozen_in_a_blocked_read(
    redis: Redis, redis_url: str, keys: Keys
) -> None:
    run = await begin_run(redis, keys, "left", "live")
    async with connect(redis_url) as other:
        reader = GroupConsumer(other, "reader", keys=keys)
        await reader.wait(["left"], 1)  # it has a connection now
        reading = asyncio.create_task(reader.wait(["left"], 800))

        async def blocked() -> bool:
            return bool((await redis.info("clients"))["blocked_clients"])

        await wait_until(blocked, "the reader to block")
        await run.offer(frame(run, 0))
        time.sleep(1.2)  # noqa: ASYNC251  # all of this process, as if it were frozen
        [held] = await reading
    assert held.age_ms() >= 350, "it came within the 800 ms that the read blocked, or it would not have come"


async def test_a_frame_ages_while_the_reply_that_brings_it_is_not_read(redis: Redis, keys: Keys) -> None:
    run = await begin_run(redis, keys, "left", "live")
    await run.offer(frame(run, 0))
    reader = GroupConsumer(redis, "reader", keys=keys)
    call = reader._scripts.call

    async def frozen(*words: Any) -> Any:
        reply = await call(*words)
        await asyncio.sleep(0.3)
        return reply

    reader._scripts.call = frozen  # type: ignore[method-assign]
    [held] = await reader.take(["left"], 1)
    assert held.age_ms() >= 290


async def test_a_frame_that_grew_old_behind_a_slow_batch_is_not_inferred(redis: Redis, keys: Keys) -> None:
    engine = ScriptedEngine()
    engine.gate.clear()
    run = await begin_run(redis, keys, "left", "live")
    async with working(redis, keys, engine, max_batch=1, max_age_ms=400) as running:
        await run.offer(frame(run, 0, grey=10))
        await wait_until(lambda: engine.arrived == 1, "the first frame in the session")
        await run.offer(frame(run, 1, grey=20))
        await wait_until(lambda: running.worker.held == 2, "the second one to be taken")
        await asyncio.sleep(0.5)
        engine.gate.set()
        results = await wait_for_records(redis, keys, 2)
    assert [(result.seq, result.status) for result in results] == [(0, "ok"), (1, "stale")]
    assert {result.clock for result in results} == {"camera"}
    assert engine.batches == [[10]]


async def test_a_camera_may_wish_for_an_age_limit_of_its_own(redis: Redis, keys: Keys) -> None:
    """Two frames of the same age: the coach's camera is of no use after 1 ms, the other one for a minute."""
    for camera, wishes in (("coach", {"max_age_ms": 1}), ("hall", {"max_age_ms": 60_000})):
        run = await begin_run(redis, keys, camera, "live", **wishes)
        await run.offer(frame(run, 0))
    await asyncio.sleep(0.01)
    async with working(redis, keys, ScriptedEngine(), max_age_ms=5000):
        results = await wait_for_records(redis, keys, 2)
    assert {result.camera: result.status for result in results} == {"coach": "stale", "hall": "ok"}
