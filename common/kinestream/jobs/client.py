"""Jobs from outside: hand in a video, look at how it goes, wait for its results, abort, try again.

    job = await submit("redis://localhost:6379", "jump.mp4", outputs=["jsonl", "video"])
    print((await job.progress()).done)
    print((await job.result()).folder)

Whatever takes a Redis takes a URL, for a client of its own, or a client made by `connect`. Not for: doing
jobs (`kinestream jobs`).
"""

from __future__ import annotations

import asyncio
import datetime
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from kinestream.cameraspec import CameraSpec
from kinestream.errors import RedisUnavailable, UsageError
from kinestream.jobs.folders import version_of
from kinestream.jobs.queue import Queue
from kinestream.jobs.request import JobOptions, JobRequest, Output, is_url
from kinestream.jobs.store import JobRecord, JobStore
from kinestream.keys import Keys, check_camera
from kinestream.redis import connect, through_outages
from kinestream.workerreports import read_reports

VIDEOS_VARIABLE = "KINESTREAM_VIDEOS"
"""Environment variable: the folder of videos that `kinestream jobs` reads, where this process sees it."""

_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was handed in; `is_new` is false if the same one had been before."""

    id: str
    redis: Redis | str
    keys: Keys
    is_new: bool = True

    async def progress(self) -> JobRecord:
        """How it goes, or how it went; raises `UsageError` if it is not known (any more)."""
        async with _client(self.redis) as redis:
            return await _read(JobStore(redis, self.keys), self.id)

    async def result(self) -> JobRecord:
        """Wait until it is over; its files are in `folder`. Raises `JobFailed` if it has none."""
        async with _client(self.redis) as redis:
            store = JobStore(redis, self.keys)
            while True:
                record = await through_outages(lambda: _read(store, self.id), what=f"waiting for {self.id}")
                if record.over:
                    record.raise_unless_done()
                    return record
                await asyncio.sleep(_POLL_S)

    async def abort(self) -> str:
        """Want it to end; return `aborted`, or `asked`: whoever works on it ends it within seconds.

        Raises `UsageError` if it is over, or not known.
        """
        async with _client(self.redis) as redis:
            reply = await JobStore(redis, self.keys).abort(self.id)
        if reply == "gone":
            raise _unknown(self.id)
        if reply not in ("aborted", "asked"):
            raise UsageError(f"{self.id} is over already: {reply}")
        return reply

    async def retry(self) -> str:
        """Put it back to the queue; return `again`: from the first frame, or `goes-on`: where it stands.

        A job that is over has ended its run, so a new one is made. Raises `UsageError` if somebody works on
        it, if it is done, or not known.
        """
        async with _client(self.redis) as redis:
            reply, attempt = await JobStore(redis, self.keys).retry(self.id)
            if reply in ("again", "goes-on"):
                with suppress(OutOfMemoryError):  # housekeeping puts it there later
                    await Queue(redis, self.keys).put(self.id, attempt)
                return reply
        if reply == "gone":
            raise _unknown(self.id)
        why = "somebody works on it now" if reply == "runs" else "it is done: hand the video in with force"
        raise UsageError(f"{self.id} cannot be tried again: {why}")


async def submit(
    redis: Redis | str,
    video: str | Path,
    *,
    every: int = 1,
    max_side: int | None = None,
    outputs: Sequence[Output] = ("jsonl",),
    min_score: float = 0.0,
    force: bool = False,
    keys: Keys | None = None,
) -> Job:
    """Hand in a video for `kinestream jobs` to analyse in full; see `JobOptions` for what can be asked.

    `video` is a file in the folder that those who serve share (where `KINESTREAM_VIDEOS` names it here, a
    path in it will do), or a URL of a host that they allow. The same file with the same options is one job,
    until that has expired, unless you `force` another. Raises `UsageError` for what cannot be done,
    `RedisUnavailable` if Redis has no memory left.
    """
    wanted: tuple[Output, ...] = ("jsonl", *outputs)
    options = JobOptions.from_dict(
        {"every": every, "max_side": max_side, "outputs": wanted, "min_score": min_score}
    )
    name, version = await asyncio.to_thread(_named, str(video))
    request = JobRequest(kind="video", video=name, version=version, options=options)
    return await _hand_in(redis, request, force=force, keys=keys)


async def export(
    redis: Redis | str,
    job_id: str,
    *,
    outputs: Sequence[Output],
    min_score: float = 0.0,
    force: bool = False,
    keys: Keys | None = None,
) -> Job:
    """Make other outputs of a job that is done, as a job of its own; raises `UsageError` if it is not."""
    keys = keys or Keys()
    options = JobOptions.from_dict({"outputs": tuple(outputs), "min_score": min_score})
    async with _client(redis) as client:
        of = await _read(JobStore(client, keys), job_id)
    if of.state != "done" or of.request.kind != "video":
        raise UsageError(f"{job_id} has no poses to export: it is {of.state}, of kind {of.request.kind}")
    # A job that was forced or tried again has results of its own.
    version = f"{of.submitted_ms}-{of.attempt}"
    request = JobRequest(kind="export", video=of.request.video, of=job_id, version=version, options=options)
    return await _hand_in(redis, request, force=force, keys=keys)


async def list_jobs(redis: Redis | str, *, keys: Keys | None = None) -> list[JobRecord]:
    """All jobs that are known, oldest first."""
    async with _client(redis) as client:
        return await JobStore(client, keys).read_all()


async def missing(redis: Redis | str, *, keys: Keys | None = None) -> str:
    """What must run for jobs to be done, and does not, in words; empty if nothing is missing."""
    async with _client(redis) as client:
        if not await Queue(client, keys).is_served():
            return "no `kinestream jobs` runs"
        return "" if await read_reports(client, keys=keys) else "no `kinestream worker` runs"


async def find_job(redis: Redis | str, job_id: str, *, keys: Keys | None = None) -> Job:
    """A job that was handed in before; raises `UsageError` if it is not known (any more)."""
    async with _client(redis) as client:
        await _read(JobStore(client, keys), check_camera(job_id))
    return Job(job_id, redis, keys or Keys(), is_new=False)


async def start_camera(
    redis: Redis | str,
    spec: CameraSpec,
    *,
    at: datetime.datetime | None = None,
    keys: Keys | None = None,
) -> None:
    """Let a camera be wanted, now or `at` a time: producers obey, no job films. Needs `kinestream jobs`."""
    async with _client(redis) as client:
        await Queue(client, keys).put_chore("camera_start", spec.to_plain(), at)


async def stop_camera(
    redis: Redis | str, name: str, *, at: datetime.datetime | None = None, keys: Keys | None = None
) -> None:
    """Let a camera be wanted no more, now or `at` a time. Raises `UsageError` for a name that cannot be."""
    check_camera(name)
    async with _client(redis) as client:
        await Queue(client, keys).put_chore("camera_stop", name, at)


async def _hand_in(redis: Redis | str, request: JobRequest, *, force: bool, keys: Keys | None) -> Job:
    keys = keys or Keys()
    job_id = request.job_id(salt=secrets.token_hex(8) if force else "")
    async with _client(redis) as client:
        try:
            is_new, state, attempt = await JobStore(client, keys).submit(job_id, request)
        except OutOfMemoryError as error:
            raise RedisUnavailable(f"the job was not taken: Redis has no memory left ({error})") from error
        if state == "queued":  # as a rule it is in the queue, if it is not new
            with suppress(OutOfMemoryError):  # handed in it is: housekeeping puts it there later
                await Queue(client, keys).put(job_id, attempt)
    return Job(job_id, redis, keys, is_new=is_new)


def _named(video: str) -> tuple[str, str]:
    """How those who serve call this file, and which state of it is meant. Raises `UsageError`."""
    if is_url(video):
        return video, ""
    root = os.environ.get(VIDEOS_VARIABLE)
    path = Path(video).absolute()
    try:
        if root and not path.is_file():
            path = Path(root, video).absolute()
        is_there, resolved = path.is_file(), path.resolve()
    except OSError as error:
        raise UsageError(f"cannot read {video[:200]}: {error.strerror}") from error
    if not is_there:
        raise UsageError(f"there is no video file {video[:200]}" + (f", nor in {root}" if root else ""))
    if root and not resolved.is_relative_to(Path(root).resolve()):
        raise UsageError(
            f"{video} is not in the folder of videos ({root}), where those who serve look for it"
        )
    name = resolved.relative_to(Path(root).resolve()) if root else resolved
    return str(name), version_of(resolved)


async def _read(store: JobStore, job_id: str) -> JobRecord:
    record = await store.read(job_id)
    if record is None:
        raise _unknown(job_id)
    return record


def _unknown(job_id: str) -> UsageError:
    return UsageError(f"there is no job {job_id[:80]!r}: kinestream job list shows those that are known")


@asynccontextmanager
async def _client(redis: Redis | str) -> AsyncIterator[Redis]:
    if isinstance(redis, str):
        async with connect(redis) as client:
            yield client
    else:
        yield redis
