"""What nobody else clears away: cameras that are long over, members of groups that are dead, results that
have expired, jobs that nobody is told to work on.

One `kinestream jobs` does it every ten seconds, whoever is told to (`queue.py`). Workers look after the
cameras that run by themselves; this also helps where none runs. Not for: what a reader may still want.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from redis.asyncio import Redis

from kinestream.abandoned import end_abandoned_runs
from kinestream.delivery import memory_errors, untyped
from kinestream.groupconsumer import GroupConsumer
from kinestream.jobs.folders import Folders
from kinestream.jobs.queue import Queue
from kinestream.jobs.store import JobRecord, JobStore
from kinestream.keys import Keys
from kinestream.logs import about

_log = logging.getLogger(__name__)


async def keep_house(redis: Redis, folders: Folders, *, keys: Keys) -> None:
    """One round; every step may be done by several at once."""
    cameras = [name.decode() for name in await untyped(redis).hkeys(keys.cameras)]
    # Leases that ran out, dead members of groups, dead letters and results past their age.
    await GroupConsumer(redis, "housekeeping", keys=keys).sweep(cameras)
    await end_abandoned_runs(redis, keys=keys)
    for camera in cameras:
        if await forget_camera(redis, camera, keys=keys):
            _log.info("%s is forgotten: its last run ended long ago", camera, extra=about(camera))
    records = await JobStore(redis, keys).read_all()
    await put_lost_jobs(redis, records, keys=keys)
    in_work = {record.id for record in records if not record.over}
    for job_id in await asyncio.to_thread(folders.clear, in_work):
        _log.info("the results of %s have expired", job_id, extra=about(job_id))


async def forget_camera(redis: Redis, camera: str, *, keys: Keys | None = None) -> bool:
    """Forget a camera whose newest run is over and has expired, with no frame left; return whether it was so.

    Nothing is lost: its next run will have a larger number all the same, Redis's clock at least.
    """
    keys = keys or Keys()
    run = await untyped(redis).hget(keys.cameras, camera)
    if run is None:
        return False
    names = [keys.cameras, keys.active, keys.frames(camera), keys.ledger(camera, int(run))]
    with memory_errors():
        return bool(await redis.register_script(_forget())(keys=names, args=[camera, int(run)]))


async def put_lost_jobs(redis: Redis, records: Sequence[JobRecord], *, keys: Keys) -> list[str]:
    """Queue those that are not over, nobody works on, and arq does not know of; return their names.

    So it is when whoever handed it in died halfway, when arq believed a worker that was frozen, and when
    Redis lost a part of its memory.
    """
    store, queue = JobStore(redis, keys), Queue(redis, keys)
    lost = []
    for record in records:
        if record.over or await store.is_claimed(record.id) or await queue.has(record.id, record.attempt):
            continue
        if await queue.put(record.id, record.attempt):
            _log.warning("%s was in no queue, and is queued again", record.id, extra=about(record.id))
            lost.append(record.id)
    return lost


@cache
def _forget() -> str:
    return (files("kinestream.jobs") / "lua" / "forget_camera.lua").read_text()
