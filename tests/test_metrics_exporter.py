"""`kinestream metrics`, what it counts by camera: run after run, and on servers that forget.

Not for: serving it (`test_metrics.py`, `test_metrics_health.py`).
"""

from __future__ import annotations

from typing import Any, get_args

import pytest
from redis.asyncio import Redis

import kinestream.metrics.exporter
import kinestream.metrics.jobcounts
from delivering import Delivery, outcome
from kinestream.cameraspec import CameraSpec
from kinestream.camerastate import STATES, CameraState, tell_states
from kinestream.jobs.request import JobOptions, JobRequest
from kinestream.jobs.store import JobStore, State
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.metrics.cameracounts import CameraCounts
from kinestream.metrics.exporter import Exporter
from kinestream.metrics.jobcounts import JobCounts
from kinestream.wanted import want_camera
from scraping import told
from waiting import wait_until


@pytest.fixture
def delivery(every_redis: Redis, keys: Keys) -> Delivery:
    return Delivery(every_redis, keys)


@pytest.fixture
def exporter(delivery: Delivery) -> Exporter:
    return Exporter(delivery.redis, keys=delivery.keys)


def frames_of(exporter: Exporter, **labels: str) -> float:
    return told(exporter).sum("kinestream_camera_frames_total", **labels)


async def work(delivery: Delivery, count: int, status: Any = "ok", cause: str = "") -> None:
    worker = delivery.worker()
    held = await worker.take(["cam"], count)
    assert all(await worker.commit([outcome(one, status, cause) for one in held]))


async def test_counters_go_on_from_run_to_run(delivery: Delivery, exporter: Exporter) -> None:
    await exporter.read()
    first = await delivery.begin("every-frame")
    await delivery.offer(first, 0, 1, 2)
    await exporter.read()
    assert told(exporter).sum("kinestream_camera_in_flight_frames", camera="cam") == 3

    await first.finish()
    second = await delivery.begin("every-frame")  # while frames of the first run still wait
    await delivery.offer(second, 0)
    await exporter.read()
    assert told(exporter).sum("kinestream_camera_in_flight_frames", camera="cam") == 4
    await work(delivery, 3)
    await work(delivery, 1, "failed", "undecodable")
    await second.finish()
    await exporter.read()

    scrape = told(exporter)
    assert scrape.sum("kinestream_camera_produced_frames_total", camera="cam") == 4
    assert frames_of(exporter, status="ok") == 3
    assert frames_of(exporter, status="failed", cause="undecodable") == 1
    assert frames_of(exporter) == 4
    for gauge in ("in_flight_frames", "held_frames", "waiting_frames", "unaccounted_frames", "run_open"):
        assert scrape.sum(f"kinestream_camera_{gauge}", camera="cam") == 0


async def test_runs_that_come_and_go_between_two_readings_are_counted(
    delivery: Delivery, exporter: Exporter
) -> None:
    await exporter.read()
    for _ in range(3):
        run = await delivery.begin("every-frame")
        await delivery.offer(run, 0, 1)
        await work(delivery, 2)
        await run.finish()
    await exporter.read()
    await delivery.begin("every-frame")
    for _ in range(3):
        run = await delivery.begin("every-frame")
        await delivery.offer(run, 0)
        await work(delivery, 1)
        await run.finish()
    await exporter.read()
    await exporter.read()
    assert frames_of(exporter, status="ok") == 3 * 2 + 3
    assert told(exporter).sum("kinestream_camera_produced_frames_total", camera="cam") == 9


async def test_what_was_before_the_first_look_is_not_counted(delivery: Delivery, exporter: Exporter) -> None:
    run = await delivery.begin("every-frame")
    await delivery.offer(run, 0, 1)
    await work(delivery, 1)
    await exporter.read()
    assert (
        frames_of(exporter)
        == told(exporter).sum("kinestream_camera_produced_frames_total", camera="cam")
        == 0
    )
    assert told(exporter).sum("kinestream_camera_in_flight_frames", camera="cam") == 1
    await work(delivery, 1)
    await delivery.offer(run, 2)
    await exporter.read()
    assert (
        frames_of(exporter)
        == told(exporter).sum("kinestream_camera_produced_frames_total", camera="cam")
        == 1
    )


async def test_a_redis_that_forgets_makes_no_counter_smaller(delivery: Delivery, exporter: Exporter) -> None:
    await exporter.read()
    run = await delivery.begin("every-frame")
    early = await delivery.snapshot()
    await delivery.offer(run, 0, 1, 2)
    await work(delivery, 3)
    await exporter.read()
    await delivery.come_back_with(early)
    await exporter.read()
    assert frames_of(exporter, status="ok") == 3
    await run.finish_lost(0)
    await exporter.read()
    assert frames_of(exporter, status="lost", cause="redis") == 3
    await delivery.come_back_with({})
    await exporter.read()
    assert "kinestream_camera_frames_total" not in told(exporter).names
    assert told(exporter).sum("kinestream_workers") == 0


async def test_the_oldest_frame_that_waits(delivery: Delivery, exporter: Exporter) -> None:
    async def age_s() -> float:
        await exporter.read()
        return told(exporter).sum("kinestream_camera_oldest_waiting_seconds", camera="cam")

    run = await delivery.begin("every-frame")
    assert await age_s() == 0
    await delivery.offer(run, 0)
    await wait_until(lambda: age_is_over(age_s, 0.3), "the frame has waited")
    await delivery.offer(run, 1)
    worker = delivery.worker()
    held = await worker.take(["cam"], 1)
    assert 0 < await age_s() < 0.3  # of the second one
    await worker.take(["cam"], 1)
    assert await age_s() == 0
    await worker.hand_back(held, counted=False)
    assert await age_s() > 0.3  # the first one again
    await delivery.redis.xgroup_destroy(delivery.keys.frames("cam"), "workers")
    assert await age_s() > 0.3


async def age_is_over(age_s: Any, limit_s: float) -> bool:
    return bool(await age_s() > limit_s)


async def test_what_is_over_is_asked_for_rarely_and_what_is_gone_never(
    delivery: Delivery, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def count(redis: Redis, camera: str, run: int, **given: Any) -> Any:
        asked.append(run)
        return await read_ledger(redis, camera, run, **given)

    monkeypatch.setattr(kinestream.metrics.exporter, "read_ledger", count)

    async def asked_for() -> set[int]:
        asked.clear()
        await exporter.read()
        return {*asked}

    run = await delivery.begin("every-frame")
    await delivery.offer(run, 0)
    assert await asked_for() == await asked_for() == {run.number}
    await run.finish()
    assert await asked_for() == {run.number}  # a frame is left
    await work(delivery, 1)
    assert await asked_for() == {run.number}
    assert await asked_for() == set()
    assert frames_of(exporter, status="ok") == 1  # but it is told
    await delivery.redis.delete(delivery.keys.ledger("cam", run.number))
    monkeypatch.setattr(kinestream.metrics.exporter, "_OVER_S", 0.0)
    assert await asked_for() == {run.number}
    assert "kinestream_camera_frames_total" not in told(exporter).names
    assert await asked_for() == set()
    again = await delivery.begin("every-frame")
    assert again.number in await asked_for()


async def test_old_figures_are_not_told(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exporter.missing and told(exporter).names == set()
    await exporter.read()
    assert not exporter.missing and told(exporter).names
    monkeypatch.setattr(kinestream.metrics.exporter, "_OLD_S", 0.0)
    assert exporter.missing and told(exporter).names == set()


async def test_causes_of_other_makers_are_bounded(delivery: Delivery) -> None:
    run = await delivery.begin("every-frame")
    ledger = await read_ledger(delivery.redis, "cam", run.number, keys=delivery.keys)
    assert ledger is not None
    counts = CameraCounts()
    for number in range(1, 101):
        ledger.causes[f"dropped:cause-{number}"] = 1
    for _ in range(2):
        counts.update(run.number, ledger)
    dropped = {cause: frames for (status, cause), frames in counts.totals.items() if status == "dropped"}
    assert len(dropped) < 25 and dropped["other"] > 70 and sum(dropped.values()) == 100


async def test_how_cameras_are(delivery: Delivery, exporter: Exporter) -> None:
    run = await delivery.begin()
    live = CameraState(
        camera="cam", state="live", run=run.number, fps=25.0, jitter_ms=4.0, frame_ago_s=0.5, producer="p"
    )
    away = CameraState(camera="door", state="offline", error="no route to host")
    await tell_states(delivery.redis, [live, away], keys=delivery.keys)
    await want_camera(delivery.redis, CameraSpec(name="door", source="0"), keys=delivery.keys)
    await exporter.read()
    scrape = told(exporter)
    for state in STATES:
        assert scrape.sum("kinestream_camera_state", camera="cam", state=state) == (state == "live")
        assert scrape.sum("kinestream_camera_state", camera="door", state=state) == (state == "offline")
    assert scrape.sum("kinestream_camera_fps") == 25
    assert scrape.sum("kinestream_camera_jitter_seconds") == 0.004
    assert scrape.sum("kinestream_camera_last_frame_seconds", camera="cam") >= 0.5


async def test_jobs_are_counted_by_state(
    delivery: Delivery, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = JobStore(delivery.redis, delivery.keys)

    async def counts() -> dict[str, float]:
        await exporter.read()
        scrape = told(exporter)
        found = {state: scrape.sum("kinestream_jobs", state=state) for state in get_args(State)}
        assert scrape.sum("kinestream_jobs") == sum(found.values())
        return {state: count for state, count in found.items() if count}

    assert await counts() == {}
    for job_id in ("a", "b", "c"):
        await jobs.submit(job_id, JobRequest(kind="video", video=f"{job_id}.mp4", options=JobOptions()))
    assert await counts() == {"queued": 3}
    for job_id in ("a", "b"):
        await jobs.claim(job_id, "somebody", 10)
    assert await counts() == {"queued": 1, "running": 2}
    await jobs.settle("a", "somebody", "failed", {})
    await jobs.settle("b", "somebody", "done", {})
    assert await counts() == {"queued": 1, "failed": 1, "done": 1}
    await delivery.redis.delete(delivery.keys.job("c"))  # as if it had expired
    assert await counts() == {"failed": 1, "done": 1}
    await jobs.retry("a")
    monkeypatch.setattr(kinestream.metrics.jobcounts, "_OVER_S", 0.0)
    assert await counts() == {"queued": 1, "done": 1}


async def test_jobs_that_are_over_are_read_rarely(delivery: Delivery) -> None:
    jobs = JobStore(delivery.redis, delivery.keys)
    counts = JobCounts(delivery.redis, keys=delivery.keys)
    await jobs.submit("a", JobRequest(kind="video", video="a.mp4", options=JobOptions()))
    await jobs.abort("a")
    assert (await counts.read())["aborted"] == 1
    await delivery.redis.hset(delivery.keys.job("a"), "state", "queued")  # type: ignore[misc]
    assert (await counts.read())["aborted"] == 1


async def test_keys_of_somebody_else_spoil_no_counts(delivery: Delivery) -> None:
    redis, keys = delivery.redis, delivery.keys
    await redis.zadd(keys.jobs, {b"\xff": 1, "x": 2})
    await redis.set(keys.job("x"), 1)
    await JobStore(redis, keys).submit("a", JobRequest(kind="video", video="a.mp4", options=JobOptions()))
    assert sum((await JobCounts(redis, keys=keys).read()).values()) == 1


async def test_a_camera_that_is_away_is_told_though_it_has_no_run(
    delivery: Delivery, exporter: Exporter
) -> None:
    """As `kinestream ingest` tells it: its run has ended, or none was ever begun."""

    async def states() -> dict[str, str]:
        await exporter.read()
        families = {family.name: family for family in exporter.collect()}
        samples = families["kinestream_camera_state"].samples
        return {one.labels["camera"]: one.labels["state"] for one in samples if one.value}

    run = await delivery.begin()
    await tell_states(delivery.redis, [CameraState(camera="cam", state="live")], keys=delivery.keys)
    assert await states() == {"cam": "live"}
    await run.finish(cause="source-failed: unplugged")
    away = [CameraState(camera=name, state="offline") for name in ("cam", "never-reached")]
    await tell_states(delivery.redis, away, keys=delivery.keys)
    assert await states() == {"cam": "offline", "never-reached": "offline"}
