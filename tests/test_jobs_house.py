"""Housekeeping: what is over and expired goes, also where no worker runs, and nothing that anybody needs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import frames
from kinestream.delivery import Limits
from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Outcome
from kinestream.jobs.folders import Folders
from kinestream.jobs.housekeeping import forget_camera, keep_house, put_lost_jobs
from kinestream.jobs.queue import Queue
from kinestream.jobs.request import JobOptions, JobRequest
from kinestream.jobs.store import JobStore
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.run import Run

REQUEST = JobRequest(kind="video", video="jump.mp4", options=JobOptions(), version="1-2")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path, tmp_path / "outputs")
    made.prepare()
    return made


async def begin(redis: Redis, keys: Keys, camera: str, *, offered: int = 0) -> Run:
    run = await Run.begin(redis, camera, lane="every-frame", keys=keys)
    for seq in range(offered):
        await run.offer(frames.frame(run, seq))
    return run


async def let_expire(redis: Redis, keys: Keys, run: Run) -> None:
    """A ledger, as a day after the end of its run."""
    await redis.delete(keys.ledger(run.camera, run.number))


async def test_only_cameras_that_are_over_and_expired_are_forgotten(
    every_redis: Redis, keys: Keys, folders: Folders
) -> None:
    redis = every_redis
    over = await begin(redis, keys, "over")
    await over.finish()
    await let_expire(redis, keys, over)
    kept = await begin(redis, keys, "kept")
    await kept.finish()
    await begin(redis, keys, "open", offered=1)
    queued = await begin(redis, keys, "queued", offered=1)
    await queued.finish()
    await let_expire(redis, keys, queued)
    await keep_house(redis, folders, keys=keys)
    names: set[bytes] = set(await redis.hkeys(keys.cameras))  # type: ignore[misc]
    assert names == {b"kept", b"open", b"queued"}
    assert not await redis.exists(keys.frames("over")) and await redis.exists(keys.frames("queued"))
    again = await begin(redis, keys, "over")
    assert again.number >= over.number, "a run begins after it was forgotten"
    assert not await forget_camera(redis, "over", keys=keys)


async def test_a_camera_that_begins_meanwhile_is_not_forgotten(
    every_redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways round: a run that begins after the look, and a look that comes after the run's first step."""
    redis = every_redis
    over = await begin(redis, keys, "hall")
    await over.finish()
    await let_expire(redis, keys, over)
    asked = redis.hget

    async def and_then_it_begins(name: str, key: str) -> bytes:
        run: bytes = await asked(name, key)  # type: ignore[misc, assignment]
        monkeypatch.setattr(redis, "hget", asked)
        await begin(redis, keys, "hall")
        return run

    monkeypatch.setattr(redis, "hget", and_then_it_begins)
    assert not await forget_camera(redis, "hall", keys=keys)
    assert await redis.hexists(keys.cameras, "hall")  # type: ignore[misc]
    assert await redis.sismember(keys.active, "hall")  # type: ignore[misc]

    over = await Run.begin(redis, "yard", lane="live", keys=keys)
    await over.finish()
    await let_expire(redis, keys, over)
    clock = redis.time

    async def and_then_it_is_forgotten() -> tuple[int, int]:
        monkeypatch.setattr(redis, "time", clock)
        assert await forget_camera(redis, "yard", keys=keys)
        return await clock()  # type: ignore[no-any-return, misc]

    monkeypatch.setattr(redis, "time", and_then_it_is_forgotten)
    run = await begin(redis, keys, "yard", offered=1)
    assert run.number >= over.number and await redis.xlen(keys.frames("yard")) == 1


async def test_frames_of_dead_workers_where_no_worker_runs(
    redis: Redis, keys: Keys, folders: Folders
) -> None:
    await begin(redis, keys, "hall", offered=3)
    held = await GroupConsumer(redis, "dead", keys=keys).take(["hall"], 2)
    ids: list[Any] = [frame.id for frame in held]
    silent_ms = Limits().lease_ms + 1
    await redis.xclaim(keys.frames("hall"), "workers", "dead", 0, ids, idle=silent_ms, justid=True)
    await keep_house(redis, folders, keys=keys)
    pending = await redis.xpending_range(keys.frames("hall"), "workers", "-", "+", 10)
    assert [entry["consumer"] for entry in pending] == [b"returned", b"returned"]
    assert len(await GroupConsumer(redis, "next", keys=keys).take(["hall"], 5)) == 3


async def test_dead_letters_past_their_age(redis: Redis, keys: Keys, folders: Folders) -> None:
    run = await begin(redis, keys, "hall", offered=2)
    worker = GroupConsumer(redis, "worker", keys=keys)
    for held in await worker.take(["hall"], 2):
        failed = PoseResult(
            camera="hall", run=run.number, seq=held.seq, status="failed", cause="infer-failed"
        )
        await worker.commit([Outcome(held, failed, "why")])
    (old, letter), (new, _) = await redis.xrange(keys.dead)
    await redis.xtrim(keys.dead, maxlen=0, approximate=False)
    week_ago_ms = int(time.time() * 1000) - 8 * 24 * 3600 * 1000
    await redis.delete(keys.dead)
    await redis.xadd(keys.dead, letter, id=f"{week_ago_ms}-0")
    await redis.xadd(keys.dead, letter, id=new)
    await keep_house(redis, folders, keys=keys)
    assert [entry for entry, _ in await redis.xrange(keys.dead)] == [new] != [old]


async def test_outputs_that_have_expired(redis: Redis, keys: Keys, folders: Folders) -> None:
    for name, expires_ms in (("old-1", 1), ("new-1", 1e15)):
        folders.results(name).mkdir()
        (folders.results(name) / "job.json").write_text(json.dumps({"job": name, "expires_ms": expires_ms}))
    await keep_house(redis, folders, keys=keys)
    assert not folders.results("old-1").exists() and folders.results("new-1").exists()


async def test_jobs_that_nobody_was_told_of_are_queued_again(
    redis: Redis, keys: Keys, folders: Folders
) -> None:
    store, queue = JobStore(redis, keys), Queue(redis, keys)
    for name in ("lost", "known", "claimed", "over"):
        await store.submit(f"{name}-1", REQUEST)
    await queue.put("known-1", 1)
    await store.claim("claimed-1", "me", 60)
    await store.claim("over-1", "me", 60)
    await store.settle("over-1", "me", "failed", {})
    assert await put_lost_jobs(redis, await store.read_all(), keys=keys) == ["lost-1"]
    assert await queue.has("lost-1", 1) and not await queue.has("claimed-1", 1)
    await redis.delete(keys.job_claim("claimed-1"))
    await keep_house(redis, folders, keys=keys)
    assert await queue.has("claimed-1", 1), "whoever had it is gone, and arq believes it done"
    assert not await queue.has("over-1", 1)


async def test_work_of_a_job_that_waits_is_kept(redis: Redis, keys: Keys, folders: Folders) -> None:
    store = JobStore(redis, keys)
    await store.submit("waits-1", REQUEST)
    for name in ("waits-1", "gone-1"):
        work = folders.work(name, 1, 1)
        work.mkdir(parents=True)
        for path in (work, work.parent):
            os.utime(path, (1, 1))
    await keep_house(redis, folders, keys=keys)
    assert folders.work("waits-1", 1, 1).is_dir() and not folders.work("gone-1", 1, 1).exists()
