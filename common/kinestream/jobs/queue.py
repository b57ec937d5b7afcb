"""arq, and the only file that imports it: which job is to be worked on, again if its worker died, and when to
keep house.

arq is handed names of jobs, never frames nor results, and what it believes of a job is a hint: what counts
stands in `store.py`. It is in maintenance; to replace it, write `Queue` and `serve` anew (docs/jobs.md).

What arq does by itself, and what is done about it here:

- It pickles. Both ends are given msgpack (`packed.py`).
- It runs the job of a killed worker again only when the longest timeout of all functions is over. A job here
  may take a week, so its mark `in-progress` is a short one that is renewed.
- It keeps results, and refuses a new job of an old name while it does. None are kept.
- It forgets a job that has waited for a day. Here it may wait for a month.
- It is done with a job whose function returns, also where that only found somebody else at work. Here that
  is looked at again after a while.
- Its loop ends when Redis is away for longer than a few tries, or full. It is begun anew when Redis is back.
- A job that it was about to start when Redis went away takes one of its places for ever: see `_Worker`.
- Jobs that keep house wait behind videos that take hours. They have a queue and a loop of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from arq.connections import ArqRedis
from arq.constants import health_check_key_suffix, in_progress_key_prefix, job_key_prefix
from arq.cron import cron
from arq.worker import Function, Retry, Worker, func
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from kinestream.jobs.packed import pack, unpack
from kinestream.jobs.store import LEASE_S
from kinestream.keys import Keys
from kinestream.redis import connect, is_away, reason, through_outages
from kinestream.tasks import cancel

_POLL_S = 0.2
"""A job is picked up within this time."""

_EXPIRES_MS = 30 * 24 * 3600 * 1000
_LONGEST_S = 7 * 24 * 3600.0
_RENEW_S = LEASE_S / 5
"""Also how long a job that is somebody else's is left alone: by then that one has renewed its mark."""

_FULL_S = 1.0
"""How long Redis is left alone once it had no memory for arq."""

_TRIES = 100_000
"""Being run again is what makes a job survive its workers; how often is `store.py`'s business."""

_HOUSE_S = 10
"""Between two rounds of housekeeping; a divisor of 60."""

_log = logging.getLogger(__name__)

RunJob = Callable[[str], Awaitable[bool]]
"""Does a job; false if somebody else does it."""

Chore = Callable[[Any], Awaitable[None]]
KeepHouse = Callable[[], Awaitable[None]]


class Queue:
    """Where jobs are put for whichever `kinestream jobs` comes first; `redis` stays the caller's."""

    def __init__(self, redis: Redis, keys: Keys | None = None) -> None:
        self._keys = keys or Keys()
        self._arq = _arq(redis, _videos(self._keys))

    async def put(self, job_id: str, attempt: int) -> bool:
        """Let somebody work on a job; false if its attempt is in the queue, or being worked on, already."""
        arq_id = self._arq_id(job_id, attempt)
        return await self._arq.enqueue_job("run_job", job_id, _job_id=arq_id) is not None

    async def has(self, job_id: str, attempt: int) -> bool:
        """Whether arq knows of the attempt."""
        return bool(await self._arq.exists(job_key_prefix + self._arq_id(job_id, attempt)))

    async def is_served(self) -> bool:
        """Whether somebody does jobs, as far as arq has been told within its last beats."""
        return bool(await self._arq.exists(_videos(self._keys) + health_check_key_suffix))

    async def put_chore(self, name: str, argument: Any, at: datetime.datetime | None = None) -> None:
        """Let a chore be done, now or at a time."""
        await self._arq.enqueue_job(name, argument, _queue_name=_house(self._keys), _defer_until=at)

    def _arq_id(self, job_id: str, attempt: int) -> str:
        return f"{self._keys.prefix}:{job_id}:{attempt}"


async def serve(
    url: str,
    *,
    keys: Keys,
    run_job: RunJob,
    chores: Mapping[str, Chore],
    keep_house: KeepHouse,
    max_jobs: int,
    stop: asyncio.Event,
) -> None:
    """Work on jobs until `stop` is set, `max_jobs` at a time, do `chores` that are asked for, and keep house.

    Jobs that are not over then are cancelled, and go on at whoever else serves. Raises what is a bug; Redis
    being away is waited out.
    """

    async def job(context: dict[str, Any], job_id: str) -> None:
        mark = in_progress_key_prefix + context["job_id"]
        renewing = asyncio.create_task(_renew(context["redis"], mark))
        try:
            is_ours = await run_job(job_id)
        finally:
            await cancel(renewing)
        if not is_ours:
            raise Retry(defer=_RENEW_S)

    async def house(context: dict[str, Any]) -> None:
        try:
            await keep_house()
        except Exception as error:
            if not _may_pass(error):
                raise
            _log.info("keeping house has to wait: %s", reason(error))

    async with connect(url) as jobs, connect(url) as control:
        run = func(job, name="run_job", timeout=_LONGEST_S, keep_result=0, max_tries=_TRIES)  # type: ignore[arg-type]
        videos = _worker(jobs, _videos(keys), [run], max_jobs=max_jobs)
        videos.in_progress_timeout_s = LEASE_S
        asked = [func(_chore(do), name=name, timeout=60, keep_result=0) for name, do in chores.items()]
        # The name is a key of arq's, for all who share this Redis.
        rounds = cron(
            house,  # type: ignore[arg-type]
            name=f"cron:{keys.prefix}:house",
            second=set(range(0, 60, _HOUSE_S)),
            timeout=60,
            keep_result=0,
            run_at_startup=True,
        )
        house_keeper = _worker(control, _house(keys), asked, cron_jobs=[rounds])
        serving = [asyncio.create_task(_loop(worker, stop)) for worker in (videos, house_keeper)]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({*serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for loop in serving:
                if loop.done():
                    loop.result()
        finally:
            await cancel(stopping, *serving)
            for worker in (videos, house_keeper):
                await _close(worker)


def _chore(do: Chore) -> Any:
    async def chore(context: dict[str, Any], argument: Any) -> None:
        await do(argument)

    return chore


async def _loop(worker: Worker, stop: asyncio.Event) -> None:
    """Let arq poll; its tasks go on while its loop is begun anew."""
    while not stop.is_set():
        try:
            await worker.async_run()
        except Exception as error:
            if not _may_pass(error):
                raise
            if not is_away(error):
                _log.warning("Redis has no memory left for the queue of jobs: %s", reason(error))
                await asyncio.sleep(_FULL_S)
            await through_outages(worker.pool.ping, what="looking for jobs", stop=stop)
        for rounds in worker.cron_jobs:
            rounds.next_run = None  # else those that were missed are made up for, one by one


async def _renew(redis: Redis, mark: str) -> None:
    """Keep arq from running the job elsewhere."""
    while True:
        await asyncio.sleep(_RENEW_S)
        with contextlib.suppress(OutOfMemoryError):  # whoever takes it up meanwhile finds that it is ours
            await through_outages(
                lambda: redis.set(mark, b"1", px=round(1000 * LEASE_S)), what="renewing the mark of a job"
            )


def _may_pass(error: Exception) -> bool:
    """Whether it is Redis's trouble, and waiting may mend it."""
    return is_away(error) or isinstance(error, OutOfMemoryError)


class _Worker(Worker):
    """arq's, less its way of counting: a place taken for a job, and then an outage, were never given back."""

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Not what this process is at: while it was frozen, its marks ran out."""
        await super().start_jobs([job_id for job_id in job_ids if job_id.decode() not in self.tasks])

    @property
    def job_counter(self) -> int:
        return sum(not task.done() for task in self.tasks.values())

    @job_counter.setter
    def job_counter(self, count: int) -> None:
        """Counted anew each time."""

    @property  # type: ignore[override]
    def sem(self) -> asyncio.Semaphore:
        """A new one each time: arq looks at `job_counter`, too, and starts one job after another."""
        return asyncio.Semaphore(1)

    @sem.setter
    def sem(self, count: object) -> None:
        """Not kept."""


async def _close(worker: Worker) -> None:
    """Cancel what it works on, and wait until arq knows. If Redis is away, marks run out.

    arq's own `close` does the same without a limit, and closes connections, which are not its own here.
    """
    tasks = [*worker.tasks.values()]
    for task in tasks:
        task.cancel()
    if tasks:
        _, left = await asyncio.wait(tasks, timeout=LEASE_S / 3)
        await cancel(*left)
    worker.tasks.clear()


def _worker(redis: Redis, queue: str, functions: list[Function], **options: Any) -> Worker:
    return _Worker(
        functions,
        queue_name=queue,
        redis_pool=_arq(redis, queue),
        handle_signals=False,
        poll_delay=_POLL_S,
        keep_result=0,
        health_check_interval=LEASE_S,
        job_serializer=pack,
        job_deserializer=unpack,
        log_results=False,
        **options,
    )


def _arq(redis: Redis, queue: str) -> ArqRedis:
    """arq's client on the connections of ours."""
    return ArqRedis(
        pool_or_conn=redis.connection_pool,
        job_serializer=pack,
        job_deserializer=unpack,
        default_queue_name=queue,
        expires_extra_ms=_EXPIRES_MS,
    )


def _videos(keys: Keys) -> str:
    return f"{keys.job_queue}:videos"


def _house(keys: Keys) -> str:
    return f"{keys.job_queue}:house"
