"""One claim of one job: done to whatever end, kept meanwhile, and told.

    aborted                    its run is ended with the cause `aborted`, what is queued is cleared
    failed                     the same with the cause `job-failed`; the reason stands in the record
    silent for `LEASE_S`       another takes it up; when this one wakes, it notices and writes nothing more

Not for: who takes a job up (`service.py`), nor what is done for each kind (`analysis.py`, `outputs.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis.exceptions import OutOfMemoryError

from kinestream.errors import KinestreamError, UsageError
from kinestream.jobs.analysis import Analysis
from kinestream.jobs.ending import end_run
from kinestream.jobs.folders import SUMMARY, version_of
from kinestream.jobs.outputs import NotDrawn, make_outputs
from kinestream.jobs.request import FILES, is_url
from kinestream.jobs.store import JobRecord, JobStore, State
from kinestream.logs import about
from kinestream.redis import through_outages
from kinestream.tasks import cancel

if TYPE_CHECKING:
    from kinestream.jobs.service import Service

_KEPT_EVERY_S = 1.0
"""Between two renewals of a claim; also how soon an abort is heard, and how fresh the progress is."""

_log = logging.getLogger(__name__)


class _Aborted(Exception):
    """Somebody wants the job to end."""


class Lost(Exception):
    """The job is somebody else's by now."""


class Work:
    """One claim of one job."""

    def __init__(self, service: Service, store: JobStore, record: JobRecord, owner: str, claim: int) -> None:
        self._service = service
        self._store = store
        self._job = record
        self._owner = owner
        self._telling = asyncio.Lock()
        self._run_key = record.run_key
        self._folder = service.folders.work(record.id, record.attempt, claim)
        self._progress: Callable[[], dict[str, Any]] = dict
        self._analysis = Analysis(
            service.redis,
            service.url,
            record,
            claim,
            service.folders,
            self._tell,
            keys=service.keys,
        )

    async def do(self) -> None:
        """Do the job to whatever end, and tell it."""
        try:
            facts = await self._kept(self._video() if self._job.request.kind == "video" else self._export())
        except _Aborted:
            cleared = await self._end_run("aborted")
            await self._settle("aborted", {"error": f"aborted; {cleared} queued frames were cleared"})
        except (KinestreamError, OSError) as error:
            await self._end_run("job-failed")
            await self._settle("failed", {"error": in_words(error)})
        except (asyncio.CancelledError, Lost):
            raise
        except Exception as bug:
            _log.exception("%s: failed", self._job.id, extra=about(self._job.id))
            await self._end_run("job-failed")
            await self._settle("failed", {"error": f"{type(bug).__name__}: {in_words(bug)}"})
        else:
            await self._settle("done", facts)

    async def let_go(self) -> None:
        """Put the job back, so that whoever serves takes it up at once."""
        await through_outages(
            partial(self._store.settle, self._job.id, self._owner, "queued", self._progress()),
            what=f"letting go of {self._job.id}",
        )

    async def _video(self) -> dict[str, Any]:
        request, analysis = self._job.request, self._analysis
        self._check_host()
        self._progress = analysis.progress
        lines = await analysis.run()
        try:
            note = await self._make_outputs(lines, analysis.stamp)
        except NotDrawn as error:  # the poses are worth having
            note = str(error)
        note = "; ".join(filter(None, [analysis.found["note"], note]))
        return await self._publish(note, {"video": request.video, **analysis.found})

    async def _export(self) -> dict[str, Any]:
        await self._tell({"stage": "writing"})
        lines = self._service.folders.results(self._job.request.of) / FILES["jsonl"]
        if not lines.is_file():
            raise KinestreamError(f"the results of {self._job.request.of} are not here (any more)")
        self._folder.mkdir(parents=True, exist_ok=True)
        read = partial(self._store.read, self._job.request.of)
        of = await through_outages(read, what=f"working on {self._job.id}")
        note = await self._make_outputs(lines, of.stamp if of else "")
        return await self._publish(note, {"video": self._job.request.video, "of": self._job.request.of})

    async def _make_outputs(self, lines: Path, stamp: str) -> str:
        """Make what was asked for; `stamp` tells the video whose poses these are from others of its name."""
        name = self._job.request.video

        def video() -> Path:
            path = self._service.folders.video(name)
            if stamp and version_of(path) != stamp:
                raise UsageError(f"{name} has been changed since its poses were found")
            return path

        return await make_outputs(lines, video, self._job.request.options, self._folder)

    async def _publish(self, note: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the summary, and give the results their place, unless the job is somebody else's by now."""
        now_s = (await through_outages(self._service.redis.time, what="asking for the time"))[0]
        expires_ms = 1000 * (int(now_s) + self._service.keep_s)
        summary = {
            "job": self._job.id,
            **facts,
            "options": asdict(self._job.request.options),
            "note": note,
            "expires_ms": expires_ms,
        }
        (self._folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
        await self._tell({})
        place = await asyncio.to_thread(self._service.folders.publish, self._folder, self._job.id)
        return {"folder": str(place), "note": note}

    def _check_host(self) -> None:
        video = self._job.request.video
        host = urlsplit(video).hostname if is_url(video) else None
        if is_url(video) and host not in self._service.hosts:
            raise KinestreamError(f"videos of {host} are not read here: kinestream jobs --allow-host {host}")

    async def _kept(self, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        """Do `work` for as long as the job is ours; raises `_Aborted` or `Lost` when it is not."""
        working, keeping = asyncio.ensure_future(work), asyncio.ensure_future(self._keep())
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                keeping.result()
            return await working
        finally:
            await cancel(working, keeping)

    async def _keep(self) -> None:
        while True:
            await self._tell({})
            await asyncio.sleep(_KEPT_EVERY_S)

    async def _tell(self, fields: dict[str, Any]) -> None:
        """Renew the claim and store fields, and how it goes; raises `_Aborted` or `Lost`.

        While Redis has no memory, fields that another could not do without wait until it has: frames that
        workers take make room again. One call after another, so that what is told first is overwritten.
        """
        self._run_key = fields.get("run_key", self._run_key)
        reply = ""
        async with self._telling:
            while not reply:
                told = {**self._progress(), **fields}
                keep = partial(self._store.keep, self._job.id, self._owner, self._service.lease_s, told)
                try:
                    reply = await through_outages(keep, what=f"working on {self._job.id}")
                except OutOfMemoryError:
                    if not fields:
                        return
                    await asyncio.sleep(_KEPT_EVERY_S)
        if reply != "ok":
            raise _Aborted if reply == "abort" else Lost

    async def _end_run(self, cause: str) -> int:
        if not self._run_key:
            return 0
        return await end_run(self._service.redis, self._job.id, self._run_key, cause, keys=self._service.keys)

    async def _settle(self, state: State, fields: dict[str, Any]) -> None:
        service = self._service
        fields = {**self._progress(), "fps": 0, "stage": "", **fields}
        settle = partial(self._store.settle, self._job.id, self._owner, state, fields, service.keep_s)
        if not await through_outages(settle, what=f"settling {self._job.id}"):
            raise Lost
        if state != "done":
            await asyncio.to_thread(service.folders.forget_work, self._folder)
        word = fields.get("error") or fields.get("note") or fields.get("folder", "")
        _log.warning("%s: %s, %s", self._job.id, state, word, extra=about(self._job.id))


def in_words(error: Exception) -> str:
    """What went wrong, in one line for the record."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
