"""One video, analysed in full: its frames go through the pipeline as a run of a camera with the job's name.

`kinestream ingest` reads it (`reading.py`), and the results are collected. Whoever takes the job up after
another died goes on where that one stood: the run by its key (frames that Redis has are not offered again),
the lines by their place, which the record tells. Where that cannot be, the run is made again from the first
frame, as a new one. Not for: who works on the job (`work.py`), nor what is made of the lines
(`outputs.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from kinestream.cursor import Cursor
from kinestream.errors import KinestreamError, UsageError
from kinestream.jobs.collecting import Incomplete, Lines, Place, Rate, collect, take_over
from kinestream.jobs.folders import Folders, version_of
from kinestream.jobs.reading import Reading
from kinestream.jobs.request import is_url
from kinestream.jobs.store import JobRecord
from kinestream.keys import Keys
from kinestream.ledger import COUNTS, Ledger, read_ledger
from kinestream.logs import about
from kinestream.redis import through_outages
from kinestream.subscriber import current_cursor
from kinestream.tasks import cancel
from kinestream.video import probe_video

LINES = "poses.jsonl"

_RUNS = 3
"""Runs that one attempt may take: Redis may lose its memory, or results be trimmed while nobody collected."""

_LOOK_S = 0.2

_log = logging.getLogger(__name__)

Tell = Callable[[dict[str, Any]], Awaitable[None]]
"""Stores fields of the job's record; raises if the job is somebody else's by now."""


class Analysis:
    """The analysis of one job's video into `work`/poses.jsonl.

    `tell` stores facts of the job at once, and with them `progress`, which changes all the time. `found` is
    what became of the frames, once all are there.
    """

    def __init__(
        self,
        redis: Redis,
        url: str,
        record: JobRecord,
        claim: int,
        folders: Folders,
        tell: Tell,
        *,
        keys: Keys,
    ) -> None:
        self.found: dict[str, Any] = {}
        self._notes: dict[str, str] = {}
        self._ledger: Ledger | None = None
        self._models: set[str] = set()
        self._redis = redis
        self._job = record
        self._folders = folders
        self._tell = tell
        self._keys = keys
        self._claim = claim
        self._work = folders.work(record.id, record.attempt, claim)
        self._video = record.request.video
        self.stamp = ""
        self._key = record.run_key
        self._run = record.run
        self._lines: Lines | None = None
        self._rate = Rate()
        self._reading = Reading(redis, url, record, keys=keys)

    @property
    def note(self) -> str:
        """What a user should know of a result that is not as it might be."""
        return "; ".join(self._notes.values())

    def progress(self) -> dict[str, Any]:
        """How it goes, with the place from which another can go on."""
        if self._lines is None:
            return {}
        place, ledger = self._lines.place, self._ledger
        return {
            # The ledger is read once a second, so lines may be ahead of it.
            **({"offered": max(ledger.produced, place.frames)} if ledger else {}),
            "done": place.frames,
            "people": place.people,
            "fps": round(self._rate.at(time.monotonic(), self._lines.frames), 2),
            "cursor": place.cursor,
            "offset": place.offset,
            "lines_of": self._claim,
        }

    async def run(self) -> Path:
        """Analyse the video; return the file of lines.

        Raises `KinestreamError`, with the reason, if it cannot be, and `OSError` if lines cannot be written.
        """
        await self._look_at_video()
        place = await self._place_to_go_on()
        if place is not None and self._job.found:
            self.found = json.loads(self._job.found)  # all was there, only outputs were not made
            return self._work / LINES
        for run in range(1, _RUNS + 1):
            try:
                return await self._one_run(place or await self._begin_anew())
            except Incomplete as error:
                if run == _RUNS:
                    raise KinestreamError(f"{error}, {_RUNS} times; given up") from error
                self._notes["way"] = f"analysed again from its first frame, since {error}"
                _log.warning("%s: %s", self._job.id, self.note, extra=about(self._job.id))
                place = None
        raise AssertionError("the last run returns or raises")

    async def _look_at_video(self) -> None:
        if is_url(self._video):
            return
        path = await asyncio.to_thread(self._folders.video, self._video)
        self.stamp = version_of(path)
        if self.stamp != self._job.request.version:
            self._notes["video"] = "the video was changed after it was handed in"
        info = await asyncio.to_thread(probe_video, path)
        self._video = str(path)
        every = self._job.request.options.every
        await self._tell({"total": -(-info.frames // every) if info.frames else 0})

    async def _place_to_go_on(self) -> Place | None:
        """Where whoever worked on this attempt before stood, if one can go on from there."""
        job = self._job
        if not job.run_key:
            return None
        # Not that of the claim before this one, which may have ended before it had copied anything.
        before = self._folders.work(job.id, job.attempt, job.lines_of) / LINES
        self._work.mkdir(parents=True, exist_ok=True)
        why = "the video has changed"
        if job.stamp == self.stamp:
            why = "what was written before is not here"
            models = await asyncio.to_thread(take_over, before, self._work / LINES, job.offset)
            if models is not None:
                self._models = models
                self._notes["way"] = f"taken over after {job.done} frames"
                return Place(job.cursor, job.offset, job.done, job.people)
        self._notes["way"] = f"analysed again from its first frame, since {why}"
        return None

    async def _begin_anew(self) -> Place:
        """A new run is to begin: its key, and the cursor after which its results will come."""
        self._key, self._run = secrets.token_hex(8), 0
        self._lines, self._ledger, self._models, self._rate = None, None, set(), Rate()
        cursor = Cursor.parse(await current_cursor(self._redis, order=True, keys=self._keys))
        # A run's number is a second: without this, one that begins in the cursor's second could be older.
        place = Place(str(replace(cursor, since_ms=0)))
        self._work.mkdir(parents=True, exist_ok=True)
        (self._work / LINES).write_bytes(b"")
        await self._tell(
            {"run_key": self._key, "run": 0, "stamp": self.stamp, "cursor": place.cursor, "offset": 0}
            | {
                "lines_of": self._claim,
                "done": 0,
                "people": 0,
                "offered": 0,
                "found": "",
                "stage": "analysing",
            }
        )
        return place

    async def _one_run(self, place: Place) -> Path:
        path = self._work / LINES
        with path.open("r+b") as file:
            file.seek(place.offset)
            self._lines = Lines(file, place, self._models)
            reading = asyncio.create_task(self._reading.run(self._video, self._key))
            collecting = asyncio.create_task(self._collect(self._lines))
            watching = asyncio.create_task(self._watch())
            try:
                await asyncio.wait({reading, collecting}, return_when=asyncio.FIRST_EXCEPTION)
                for task in (reading, collecting):
                    if task.done():
                        task.result()
                cause = collecting.result()
            finally:
                await cancel(reading, collecting, watching)
        await self._check(cause, self._lines)
        return path

    async def _collect(self, lines: Lines) -> str:
        while not self._run:
            self._run, _ = await self._reading.run_of(self._key)
            await asyncio.sleep(_LOOK_S)
        await self._tell({"run": self._run})
        return await collect(self._redis, self._job.id, self._run, lines, keys=self._keys)

    async def _watch(self) -> None:
        """Read the ledger once in a while."""
        while True:
            if self._run:
                self._ledger = await self._read_ledger()
            await asyncio.sleep(1.0)

    async def _read_ledger(self) -> Ledger | None:
        return await through_outages(
            lambda: read_ledger(self._redis, self._job.id, self._run, keys=self._keys),
            what=f"reading the ledger of {self._job.id}",
        )

    async def _check(self, cause: str, lines: Lines) -> None:
        """Tell what was found; raise unless the lines are those of every frame that could be read."""
        ledger = self._ledger = await self._read_ledger()
        frames = lines.frames
        if ledger is None or ledger.lost or ledger.produced != frames:
            raise Incomplete(
                f"run {self._run} is incomplete: {frames} frames, {cause or 'no cause is known'}"
            )
        if self.stamp and version_of(Path(self._video)) != self.stamp:
            raise UsageError(f"{self._job.request.video} was changed while it was read: hand it in again")
        broke = cause.removeprefix("source-failed: ")
        if cause and broke == cause:
            raise Incomplete(f"run {self._run} was ended: {cause}")
        if not frames:
            raise KinestreamError(
                f"no frame of {self._job.request.video} could be read: {broke or 'it has none'}"
            )
        if broke:
            self._notes["end"] = f"the video could not be read to its end ({broke})"
        if ledger.failed:
            self._notes["failed"] = (
                f"{ledger.failed} frames failed: kinestream dead list --camera {self._job.id}"
            )
        self.found = {
            "run": ledger.run,
            "frames": ledger.produced,
            "people": lines.people,
            "ledger": {name: getattr(ledger, name) for name in COUNTS},
            "causes": ledger.causes,
            "models": sorted(lines.models),
            "note": self.note,
        }
        await self._tell({"stage": "writing", "found": json.dumps(self.found)})
