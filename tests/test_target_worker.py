"""A real worker with a latency target: what it drops, and says of it. How fast it is, `bench/target.py`
measures.

Not for: the controller (see `test_target.py`), nor delivery (see `test_delivery_workers.py`).
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from delivering import Delivery, frame
from engines import ScriptedEngine
from kinestream.durations import parse_ms
from kinestream.errors import UsageError
from kinestream.keys import Keys
from kinestream.ledger import read_ledger, read_ledgers
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream.run import Run
from kinestream.workerreports import WorkerReport, read_reports
from kinestream_workers import outcomes
from kinestream_workers.engines import warm_up_within
from kinestream_workers.engines.engine import EngineOptions
from kinestream_workers.engines.timed import TimedEngine
from pipeline import TIMEOUT_S, Command
from servers import Server
from waiting import wait_until
from working import begin_run, wait_for_records, working


async def test_late_frames_come_on_top_of_the_room_and_without_their_bytes(
    every_redis: Redis, keys: Keys
) -> None:
    delivery = Delivery(every_redis, keys)
    live, film = await delivery.begin("live", "live"), await delivery.begin("every-frame", "film")
    await delivery.offer(live, 0, 1, 2)
    await delivery.offer(film, 0, 1, 2)
    worker = delivery.worker()
    await worker.cameras()
    held = await worker.take(["film", "live"], 2, 0)
    assert [(one.camera, one.seq, one.late) for one in held] == [
        *(("live", seq, True) for seq in range(3)),
        *(("film", seq, False) for seq in range(2)),
    ]
    assert PoseResult.unpack(held[0].packed).status == "dropped"
    rest = await delivery.worker("w2").take(["film", "live"], 9, 60_000)
    assert [(one.camera, one.late) for one in rest] == [("film", False)]


async def test_frames_of_a_complete_run_are_never_late_though_a_live_one_follows(
    redis: Redis, keys: Keys
) -> None:
    delivery = Delivery(redis, keys)
    await delivery.offer(await delivery.begin("every-frame", "cam"), 0)
    await delivery.offer(await delivery.begin("live", "cam"), 0)
    held = await delivery.worker().take(["cam"], 2, 0)
    assert [one.late for one in held] == [False, True]


async def test_late_frames_are_dropped_with_their_facts_and_the_others_served(
    redis: Redis, keys: Keys
) -> None:
    live, film = await begin_run(redis, keys, "live", "live"), await begin_run(redis, keys, "film")
    for seq in range(3):
        await live.offer(frame(live, seq))
        await film.offer(frame(film, seq))
    await asyncio.sleep(0.1)  # so that they are older than the target
    engine = ScriptedEngine()
    async with working(redis, keys, engine, {1: 1.0}, target_p95_ms=20.0, name="w1") as running:
        results = await wait_for_records(redis, keys, 6)
        await live.offer(frame(live, 3))  # it meets an idle engine, or a batch of nobody
        (*_, newest) = await wait_for_records(redis, keys, 7)
        (report,) = await wait_for_reports(redis, keys)
        assert running.worker.totals.frames == {("ok", ""): 4, ("dropped", "load"): 3}
    assert (newest.camera, newest.seq, newest.status) == ("live", 3, "ok")
    assert {one.seq: one.status for one in results if one.camera == "film"} == dict.fromkeys(range(3), "ok")
    dropped = [one for one in results if one.camera == "live"]
    assert [(one.seq, one.status, one.cause) for one in dropped] == [
        (seq, "dropped", outcomes.LOAD) for seq in range(3)
    ]
    assert {(one.captured_us, one.width, one.worker) for one in dropped} == {
        (1_000_000 + seq, 1, "w1") for seq in range(3)
    }
    ledger = await read_ledger(redis, "live", live.number, keys=keys)
    assert ledger is not None and ledger.balanced and ledger.causes == {"dropped:load": 3}
    assert (report.target_ms, report.batch_limit, report.window_ms) == (20, 2, 0)


async def wait_for_reports(redis: Redis, keys: Keys) -> list[WorkerReport]:
    """The first reports of workers."""
    found: list[WorkerReport] = []

    async def told() -> bool:
        found[:] = await read_reports(redis, keys=keys)
        return bool(found)

    await wait_until(told, "a report")
    return found


def test_warm_up_stops_where_larger_batches_are_too_slow_or_gain_nothing(tmp_path: Path) -> None:
    def sizes(base_ms: float, per_image_ms: float) -> list[int]:
        model = tmp_path / "a.timed"
        model.write_text(f"base_ms = {base_ms}\nper_image_ms = {per_image_ms}\n")
        return [*warm_up_within(TimedEngine(model, EngineOptions()), 8, 1000)]

    assert sizes(20, 0) == [1, 2, 4, 8]
    assert sizes(0, 100) == [1], "as on a CPU"
    model = tmp_path / "slow.timed"
    model.write_text("base_ms = 50\nper_image_ms = 0\n")
    assert [*warm_up_within(TimedEngine(model, EngineOptions()), 8, 40)] == [1]


@pytest.mark.parametrize(("text", "ms"), [("80ms", 80), ("0.5s", 500), (" 1.5 ms", 1.5)])
def test_times_as_people_type_them(text: str, ms: float) -> None:
    assert parse_ms(text, "target-p95") == ms


@pytest.mark.parametrize("text", ["", "80", "0ms", "-1ms", "1e3ms", "inf ms", "80 m", "ms", "9" * 400 + "s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"target-p95 must be a time such as 80ms or 0\.5s"):
        parse_ms(text, "target-p95")


async def test_a_frame_that_is_late_keeps_what_its_producer_knew_of_it(redis: Redis, keys: Keys) -> None:
    delivery = Delivery(redis, keys)
    await delivery.offer(await delivery.begin("live"), 0)
    consumer = delivery.worker()
    assert await consumer.commit(
        [outcomes.late(held, worker="w1") for held in await consumer.take(["cam"], 1, 0)]
    ) == [True]
    [record] = await delivery.records()
    assert (record.status, record.captured_us, record.clock) == ("dropped", 1_000_000, "arrival")


async def test_a_record_of_another_maker_that_is_none_does_not_matter(redis: Redis, keys: Keys) -> None:
    delivery = Delivery(redis, keys)
    await delivery.offer(await delivery.begin("live"), 0)
    consumer = delivery.worker()
    [held] = await consumer.take(["cam"], 1, 0)
    object.__setattr__(held, "packed", b"garbage")
    assert await consumer.commit([outcomes.late(held, worker="w1")]) == [True]
    assert await delivery.told() == [("dropped", 0, "load")]


@pytest.mark.timeout(2 * TIMEOUT_S)
async def test_the_command_with_a_target_under_more_than_it_can_do(tmp_path: Path, own_server: Any) -> None:
    """Two live cameras offer all they can, beside a film; the engine does a hundred frames a second at
    most.
    """
    server: Server = own_server()
    model = tmp_path / "slow.timed"
    model.write_text("base_ms = 8\nper_image_ms = 8\n")
    words = ["worker", "--redis", server.url, "--model", model, "--target-p95", "60ms", "--name", "steered"]
    async with connect(server.url) as redis:
        with Command(tmp_path / "worker.txt", *words) as worker:
            await asyncio.to_thread(worker.wait_to_say, "ms a batch")
            film = await Run.begin(redis, "film", lane="every-frame")
            live = [await Run.begin(redis, camera, lane="live") for camera in ("left", "right")]
            for seq in range(60):
                await film.offer(frame(film, seq))
                for run in live * 4:
                    await run.offer(frame(run, run.produced))
                    await asyncio.sleep(0.002)

            async def all_done() -> bool:
                return not any(ledger.in_flight for ledger in await read_ledgers(redis))

            await wait_until(all_done, "every frame to be dealt with")
            (report,) = await wait_for_reports(redis, Keys())
            with Command(tmp_path / "status.txt", "status", "--redis", server.url) as status:
                assert await asyncio.to_thread(status.wait) == 0
            worker.signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait) == 0, worker.said
        ledgers = {ledger.camera: ledger for ledger in await read_ledgers(redis)}
    assert report.target_ms == 60 and 1 <= report.batch_limit <= 4 and report.window_ms == 0
    assert "target ms" in status.said and "load drops" in status.said
    assert (ledgers["film"].ok, ledgers["film"].produced) == (60, 60)
    for camera in ("left", "right"):
        ledger = ledgers[camera]
        assert ledger.balanced and ledger.produced == 240 and ledger.ok > 0
        assert {*ledger.causes} <= {"dropped:load", "dropped:no-room"} and ledger.dropped > 0
