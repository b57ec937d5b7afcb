"""Records cameras while they run: every record as a JSON line, and the annotated pictures as one video.

The lines come in the order of commit, so that none has to wait and none is left out. The video shows the
pictures that poses were inferred from, each with its own, in the order of capture, and side by side what was
captured at the same time. A tile darkens when its camera has had no poses for a second, since its frames were
dropped, or has ended. Not for: files, of which every frame can be read again (see `render.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from kinestream.cursor import Cursor, EntryId
from kinestream.errors import KinestreamError, UsageError
from kinestream.keys import Keys, check_camera
from kinestream.ledger import read_ledger
from kinestream.messages import PoseResult
from kinestream.orders import in_order_of_commit
from kinestream.partfile import open_part, part_of
from kinestream.redis import through_outages
from kinestream.reorder import REDIS_LOST_MEMORY
from kinestream.resultreader import ResultReader, cursor_at_beginning, cursor_at_end
from kinestream.tasks import cancel
from kinestream_consumers.filming import Filming
from kinestream_consumers.jsonlines import to_line
from kinestream_consumers.pictures import Pictures

_LOOK_S = 0.25
"""How often is looked at what no record tells: that time has passed, and that all has been read."""

_FINISH_S = 3.0
"""For the record at hand, and again for drawing what is held, once told to stop: who asks a process to end
kills it after ten seconds.
"""

_GOES_ON = ("next-run", REDIS_LOST_MEMORY)
"""Causes of an `end` after which the same camera is in its next run."""


class Recorder:
    """Writes `folder`/results.jsonl and, if `video`, `folder`/annotated.mp4 with a tile for each camera.

    The lines are in results.jsonl.part until `run` ends. `start` is now, beginning, or a cursor in the order
    of commit. Raises `UsageError` for a camera, start or folder that cannot be used.
    """

    def __init__(
        self,
        redis: Redis,
        cameras: Sequence[str],
        folder: Path,
        *,
        video: bool,
        start: str = "now",
        keys: Keys | None = None,
    ) -> None:
        self.cameras = list(dict.fromkeys(map(check_camera, cameras)))
        self.records = self.pictures = self.left_out = 0
        self._redis = redis
        self._keys = keys or Keys()
        self._video = folder / "annotated.mp4" if video else None
        self._start = start
        self._cursor = None if start in ("now", "beginning") else Cursor.parse(start)
        if self._cursor and self._cursor.ordered:
            raise UsageError("recording goes on only from a cursor that was made without --order")
        self._running = set(self.cameras)
        self._last_runs: dict[str, int] = {}  # the newest of each camera whose `end` was read
        self._draining: set[tuple[str, int]] = set()  # runs whose `end` was read, not yet seen to be empty
        self._target: EntryId | None = None
        self._filming: Filming | None = None
        self._stopped = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = _Lines(folder / "results.jsonl")
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}") from error

    def counts(self) -> tuple[int, int, int]:
        """Records written, pictures drawn, and pictures left out, so far."""
        filming = self._filming
        return self.records, filming.drawn if filming else 0, filming.left_out if filming else 0

    async def run(self, stop: asyncio.Event, *, until_end: bool) -> None:
        """Record until `stop` is set or, if `until_end`, until the run of every camera is over.

        It is over when its `end` was read, none of its frames is in flight, and all records were read.
        However this ends, the files are whole: every line, and every picture up to a point. Raises
        `KinestreamError` if they cannot be written.
        """
        stopping = asyncio.ensure_future(stop.wait())
        reading = asyncio.ensure_future(self._read(until_end))
        try:
            await asyncio.wait({stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
            self._stopped = stop.is_set()  # and the record at hand gets its picture, unless Redis is away
            await asyncio.wait({reading}, timeout=_FINISH_S)
            if reading.done():
                reading.result()
            if self._filming:
                await self._filming.finish(within_s=_FINISH_S if self._stopped else math.inf)
        finally:
            await cancel(stopping, reading)
            try:
                await self._close_video()
            finally:
                self._lines.close()

    async def _close_video(self) -> None:
        if self._filming:
            await self._filming.close()
            self.pictures, self.left_out = self._filming.drawn, self._filming.left_out

    async def _read(self, until_end: bool) -> None:
        """Read and hand on records, until everything is over if `until_end`; fails if drawing does."""
        if self._video:
            # Before the first record is read, so that the first frames have pictures.
            await Pictures(self._redis, self.cameras, keys=self._keys).want()
        at = cursor_at_end if self._start == "now" else cursor_at_beginning
        here = self._cursor or await at(self._redis, self._keys, ordered=True)
        if self._video:
            self._filming = Filming(self._redis, self.cameras, self._video, here, keys=self._keys)
        reader = ResultReader(self._redis, self._keys, here.following)
        coming: asyncio.Task[PoseResult] | None = None
        async with aclosing(in_order_of_commit(reader, frozenset(self.cameras))) as records:
            try:
                while not self._stopped:
                    coming = coming or asyncio.ensure_future(anext(records))
                    if await self._comes(coming):
                        result, coming = coming.result(), None
                        await self._take(result)
                    elif until_end and not self._running:
                        is_over = await self._is_over(reader)
                        # Unless a record has come meanwhile, all up to the reader's position was taken.
                        if is_over and not coming.done():
                            return
            finally:
                if coming:
                    await cancel(coming)
                await reader.close()

    async def _comes(self, coming: asyncio.Task[PoseResult]) -> bool:
        """Wait a little for the next record; return whether it is there."""
        drawing = {self._filming.drawing} if self._filming else set()
        await asyncio.wait({coming, *drawing}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        if self._filming:
            self._filming.look()
        for failed in drawing:
            if failed.done():
                failed.result()
        return coming.done()

    async def _take(self, result: PoseResult) -> None:
        self.records += 1
        self._lines.write(result)
        if result.status == "end":
            self._last_runs[result.camera] = result.run
            self._draining.add((result.camera, result.run))
            if result.cause not in _GOES_ON:
                self._running.discard(result.camera)
        elif result.camera in self._last_runs and result.run > self._last_runs[result.camera]:
            self._running.add(result.camera)  # it broke, and has come back while others went on
            self._target = None
        if self._filming:
            await self._filming.add(result)

    async def _is_over(self, reader: ResultReader) -> bool:
        """Whether every frame is accounted for, and the record of the last one was read.

        An `end` may come before the last results, since workers never see it.
        """
        for camera, run in sorted(self._draining):
            if await through_outages(partial(self._in_flight, camera, run), what="reading the ledger"):
                return False
            self._draining.discard((camera, run))
        following = (await cursor_at_end(self._redis, self._keys, ordered=False)).following
        # Other cameras go on, so the first look counts, unless Redis lost its memory since then.
        self._target = min(self._target or following, following)
        return reader.following >= self._target

    async def _in_flight(self, camera: str, run: int) -> int:
        ledger = await read_ledger(self._redis, camera, run, keys=self._keys)
        return ledger.in_flight if ledger else 0


class _Lines:
    """A file of JSON lines that has its name once it is closed; until then each line is flushed, for `tail`.

    What was written before an error stays in the file without the name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = part_of(path)
        self._file = open_part(path)
        self._failed = False

    def write(self, result: PoseResult) -> None:
        try:
            self._file.write(to_line(result))
        except OSError as error:
            self._failed = True
            raise KinestreamError(f"cannot write {self._part}: {error.strerror}") from error

    def close(self) -> None:
        """Give the file its name; one that could not be written keeps the other."""
        with contextlib.suppress(OSError):  # whoever failed to write a line has said so
            self._file.close()
        if self._failed:
            return
        try:
            self._part.replace(self._path)
        except OSError as error:
            raise KinestreamError(f"cannot write {self._path}: {error.strerror}") from error
