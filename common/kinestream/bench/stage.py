"""Where the trials of `kinestream bench` are run: workers are there already, cameras come and go.

Not for: what a trial's outcome means (`trial.py`), nor which one comes next (`search.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

from redis.asyncio import Redis

from kinestream.bench.trial import Seen, Trial, judge
from kinestream.errors import KinestreamError
from kinestream.processes import GRACE_S, spawn
from kinestream.subscriber import current_cursor, subscribe
from kinestream.workerreports import WorkerReport, read_reports

SETTLE_S = 2.5
"""Of each trial, from its start: a worker sees new cameras within two seconds."""

CAMERAS_A_PROCESS = 25
"""More of them at 30 frames a second would be late by themselves."""

SOURCES = 4
"""Complete sources for the test of how much is possible at all."""

PICTURES = 30
_QUALITY = 85

_LOOK_S = 0.05
_PATIENCE_S = 60.0
"""How long the last results of a trial may take; a queue of live cameras is a second long at most."""


def draw_jpegs(folder: Path, size: str) -> None:
    """Fill a folder with JPEGs of the test card. Raises `SourceError` for a size that it does not have."""
    import cv2

    from kinestream.testcard import TestCard

    card = TestCard.parse(f"testcard://?athletes=4&motion=walk&size={size}")
    for number in range(PICTURES):
        _, encoded = cv2.imencode(".jpg", card.draw(number / 15), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        (folder / f"{number:02}.jpg").write_bytes(encoded.tobytes())


class Stage:
    """Runs trials on a Redis that workers are at already."""

    def __init__(self, client: Redis, url: str, folder: Path, fps: float) -> None:
        self._client = client
        self._url = url
        self._folder = folder
        self._fps = fps

    async def workers(self, count: int) -> list[WorkerReport]:
        """Wait until so many workers have opened their engines."""
        while len(reports := await read_reports(self._client)) < count:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        return reports

    async def capacity(self, seconds: float) -> float:
        """Frames a second when there are always some to be had."""
        seen = await self._results(SOURCES, 0.0, SETTLE_S + seconds)
        from_s = min((at_s for at_s, _ in seen), default=0.0) + SETTLE_S
        until_s = max((at_s for at_s, record in seen if record.status == "ok"), default=0.0)
        done = sum(record.status == "ok" and at_s > from_s for at_s, record in seen)
        if until_s <= from_s:  # one frame takes longer than the whole test
            return sum(record.status == "ok" for _, record in seen) / (SETTLE_S + seconds)
        return done / (until_s - from_s)

    async def trial(self, cameras: int, seconds: float) -> Trial:
        """What comes of so many live cameras in so many seconds, after they have settled."""
        seen = await self._results(cameras, self._fps, SETTLE_S + seconds)
        begun_s = min(((record.captured_us or 0) / 1e6 for _, record in seen), default=time.time())
        return judge(cameras, seen, begun_s + SETTLE_S, begun_s + SETTLE_S + seconds)

    async def _results(self, cameras: int, fps: float, seconds: float) -> list[Seen]:
        """All records of the frames of new runs of so many cameras, but for their ends."""
        start = await current_cursor(self._client)
        with self._shooting(cameras, fps, seconds) as processes:
            reading = asyncio.create_task(self._read(start, cameras))
            try:
                await asyncio.to_thread(_wait_for, processes, seconds + _PATIENCE_S)
                return await asyncio.wait_for(reading, _PATIENCE_S)
            except TimeoutError:
                raise KinestreamError(f"no end of {cameras} cameras after {_PATIENCE_S:g} s") from None
            finally:
                reading.cancel()

    async def _read(self, start: str, cameras: int) -> list[Seen]:
        seen: list[Seen] = []
        ended, open_frames = 0, 0
        async with contextlib.aclosing(_records(self._client, start)) as records:
            async for at_s, record in records:
                if record.status == "end":
                    ended += 1
                    open_frames += record.seq
                else:
                    seen.append((at_s, record))
                    open_frames -= record.frames
                if ended == cameras and open_frames == 0:
                    break
        return seen

    @contextlib.contextmanager
    def _shooting(self, cameras: int, fps: float, seconds: float) -> Iterator[list[subprocess.Popen[bytes]]]:
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for first in range(0, cameras, CAMERAS_A_PROCESS):
                count = min(CAMERAS_A_PROCESS, cameras - first)
                words = [self._url, self._folder, first, count, fps, seconds]
                processes.append(
                    spawn([sys.executable, "-P", "-m", "kinestream.bench.cameras", *map(str, words)])
                )
            yield processes
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(GRACE_S)


async def _records(client: Redis, start: str) -> AsyncGenerator[Seen, None]:
    async for record in subscribe(client, start=start):
        yield time.time(), record


def _wait_for(processes: Sequence[subprocess.Popen[bytes]], timeout_s: float) -> None:
    until_s = time.monotonic() + timeout_s
    for process in processes:
        try:
            code = process.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        if code:
            raise KinestreamError(
                f"the program for cameras ended with exit code {code} (see its lines above)"
            )
