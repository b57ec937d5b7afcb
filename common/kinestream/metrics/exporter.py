"""Every camera, worker, job and dead letter as metrics, read from Redis every two seconds by one process.

What is told are the facts of the last reading, so no scrape waits for Redis; when Redis has been away for a
while nothing is told but that, since old facts look like a camera that stands still. Not for: what only a
worker or a producer knows of itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from typing import Any

from prometheus_client.core import Metric
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from kinestream.camerastate import CameraState, camera_states, told_cameras
from kinestream.delivery import untyped
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.metrics.cameracounts import CameraCounts
from kinestream.metrics.figures import Facts, of_cameras, of_states, of_the_rest
from kinestream.metrics.jobcounts import JobCounts
from kinestream.redis import through_outages
from kinestream.waiting import oldest_waiting_s
from kinestream.wanted import read_wanted
from kinestream.workerreports import read_reports

READ_S = 2.0
"""As often as workers report; many who scrape cost Redis no more than one."""

_OLD_S = 10.0
"""Facts that are older are not told any more."""

_CLOCK_S = 2
"""A run's number is at least the second of Redis's clock at which it began, give or take a retry."""

_MOST_MISSED = 64
"""Runs of one camera between two readings that are looked for; more than a camera can begin."""

_OVER_S = 60.0
"""Cameras whose run is over are read that often, to see whether their ledgers are still there: with a camera
a video file, there are thousands of them.
"""

_SAMPLES = 100
"""Records of all cameras alternate, so a hundred of them tell the size of the stream."""


class Exporter:
    """Reads Redis while `keep` runs; `collect` is for a registry of metrics, from any thread."""

    def __init__(self, redis: Redis, *, keys: Keys | None = None) -> None:
        self._redis = redis
        self._keys = keys or Keys()
        self._jobs = JobCounts(redis, keys=self._keys)
        self._counts: dict[str, CameraCounts] = {}
        self._gone: dict[str, int] = {}  # cameras without a ledger, by the run that had it
        self._over_read_s = float("-inf")
        self._read_at_s: int | None = None
        self._metrics: list[Metric] = []
        self._made_s = float("-inf")

    async def keep(self, stop: asyncio.Event) -> None:
        """Read again and again until `stop` is set; raises `RedisUnavailable` if Redis is away then."""
        while not stop.is_set():
            await through_outages(self.read, what="reading the figures", stop=stop)
            try:
                await asyncio.wait_for(stop.wait(), READ_S)
            except TimeoutError:
                continue

    @property
    def missing(self) -> str:
        """What to say if there are no facts of late; an empty text if there are."""
        return "" if self._recent() else "nothing has been read from Redis lately"

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last reading, or none if it is long ago."""
        yield from self._metrics if self._recent() else []

    def _recent(self) -> bool:
        return time.monotonic() - self._made_s < _OLD_S

    async def read(self) -> None:
        """Read everything once; a reading that fails halfway leaves what was told before."""
        redis, keys = untyped(self._redis), self._keys
        now_s = int((await redis.time())[0])
        runs = {name.decode(): int(run) for name, run in (await redis.hgetall(keys.cameras)).items()}
        for camera in self._counts.keys() - runs.keys():
            del self._counts[camera]
        for camera, newest in self._to_read(runs):
            await self._read_camera(camera, newest)
        self._read_at_s = now_s
        memory = await _or_nothing(redis.info("memory"), {})
        ages_s = await self._ages_s()
        facts = Facts(
            workers=len(await read_reports(self._redis, keys=keys)),
            jobs=await self._jobs.read(),
            dead=await redis.xlen(keys.dead),
            results=await redis.xlen(keys.results),
            results_bytes=await redis.memory_usage(keys.results, _SAMPLES) or 0,
            memory_bytes=memory.get("used_memory", 0),
            limit_bytes=memory.get("maxmemory", 0),
        )
        states = await self._states()
        self._metrics = [*of_cameras(self._counts, ages_s), *of_states(states), *of_the_rest(facts)]
        self._made_s = time.monotonic()

    def _to_read(self, runs: dict[str, int]) -> list[tuple[str, int]]:
        """The cameras of which something may have changed, with their newest runs."""
        with_those_over = time.monotonic() - self._over_read_s >= _OVER_S
        if with_those_over:
            self._over_read_s = time.monotonic()
        found = []
        for camera, newest in runs.items():
            counts = self._counts.get(camera)
            is_over = counts is not None and counts.over and newest in counts.runs
            if self._gone.get(camera) != newest and (with_those_over or not is_over):
                found.append((camera, newest))
        return found

    async def _read_camera(self, camera: str, newest: int) -> None:
        counts = self._counts.get(camera) or CameraCounts()
        wanted = {*counts.runs, newest}
        if self._read_at_s is not None and newest not in counts.runs:  # runs between that one and the last
            first = max(counts.runs, default=0) + 1
            wanted |= {*range(max(first, self._read_at_s - _CLOCK_S, newest - _MOST_MISSED), newest)}
        for run in sorted(wanted):
            ledger = await read_ledger(self._redis, camera, run, keys=self._keys)
            if self._read_at_s is None and ledger is not None:
                counts.begin_with(ledger)
            else:
                counts.update(run, ledger)
        counts.forget_settled(newest)
        if counts.runs:
            self._counts[camera] = counts
        else:
            self._counts.pop(camera, None)  # its last ledger has expired
            self._gone[camera] = newest

    async def _states(self) -> list[CameraState]:
        """How the cameras are that have an open run, are wanted, or are told of by whoever reads them."""
        names = {camera for camera, counts in self._counts.items() if not counts.over}
        names |= {*await told_cameras(self._redis, keys=self._keys)}
        names |= (await read_wanted(self._redis, keys=self._keys)).specs.keys()
        return [*(await camera_states(self._redis, sorted(names), keys=self._keys)).values()]

    async def _ages_s(self) -> dict[str, float]:
        """Age of the oldest frame that waits, of each camera; 0 where none does."""
        open_cameras = [camera for camera, counts in self._counts.items() if not counts.over]
        ages_s = await oldest_waiting_s(self._redis, open_cameras, keys=self._keys)
        return dict.fromkeys(self._counts, 0.0) | ages_s


async def _or_nothing(call: Awaitable[Any], nothing: Any) -> Any:
    """The reply, or `nothing` from a server that does not allow this command to everybody."""
    try:
        return await call
    except NoPermissionError:
        return nothing
