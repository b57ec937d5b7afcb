"""The program that stands for cameras: their pictures were drawn and encoded before any clock runs.

    python -m kinestream.bench.cameras URL FOLDER FIRST COUNT FPS SECONDS

Offers the JPEGs of a folder as `COUNT` live cameras from number `FIRST` on, each `FPS` a second, spread
evenly; with FPS 0 as complete sources, as fast as they are taken. Not for: real cameras (see `kinestream
ingest`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from redis.asyncio import Redis

from kinestream.delivery import Limits
from kinestream.imageheader import encoded_size
from kinestream.messages import Frame, Lane
from kinestream.processes import capture_signals
from kinestream.redis import connect
from kinestream.run import Run

ROOM = 8
"""Waiting frames of a complete source: enough to keep workers busy, few enough to be drained in no time."""

_FULL_S = 0.002


class _Camera:
    def __init__(self, run: Run, jpegs: Sequence[bytes], size: tuple[int, int]) -> None:
        self._run = run
        self._jpegs = jpegs
        self._size = size

    async def offer(self, captured_s: float) -> None:
        """Offer the next frame, and again while there is no room for it."""
        run, (width, height) = self._run, self._size
        frame = Frame(
            camera=run.camera,
            run=run.number,
            seq=run.produced,
            captured_us=round(captured_s * 1e6),
            width=width,
            height=height,
            view=(0, 0, width, height),
            codec="jpeg",
            data=self._jpegs[run.produced % len(self._jpegs)],
            lane=run.lane,
            clock="made",
        )
        while await run.offer(frame) == "full":  # noqa: ASYNC110
            await asyncio.sleep(_FULL_S)

    async def shoot(self, begun_s: float, fps: float, seconds: float) -> None:
        """Offer frames when they are due, or without a pause."""
        number = 0
        while (now_s := time.time()) < begun_s + seconds:
            due_s = begun_s + number / fps if fps else now_s
            if due_s >= begun_s + seconds:
                break
            await asyncio.sleep(max(0.0, due_s - now_s))
            await self.offer(due_s)
            number += 1


async def shoot(
    redis: Redis, jpegs: Sequence[bytes], names: Sequence[str], fps: float, seconds: float
) -> None:
    """Be these cameras for so many seconds."""
    lane: Lane = "live" if fps else "every-frame"
    limits = Limits(every_frame_room=ROOM)
    runs = [await Run.begin(redis, name, lane=lane, source="bench", limits=limits) for name in names]
    cameras = [_Camera(run, jpegs, encoded_size("jpeg", jpegs[0])) for run in runs]
    begun_s = time.time()
    try:
        async with asyncio.TaskGroup() as all_of_them:
            for number, camera in enumerate(cameras):
                phase_s = number / len(cameras) / fps if fps else 0.0
                all_of_them.create_task(camera.shoot(begun_s + phase_s, fps, seconds))
    finally:
        for run in runs:
            await run.finish()


async def _main(url: str, jpegs: Sequence[bytes], first: int, count: int, fps: float, seconds: float) -> None:
    names = [f"bench-{number:04}" for number in range(first, first + count)]
    with capture_signals() as stop:
        async with connect(url) as redis:
            shooting = asyncio.create_task(shoot(redis, jpegs, names, fps, seconds))
            told = asyncio.create_task(stop.wait())
            await asyncio.wait({shooting, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            if not shooting.done():
                shooting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await shooting


if __name__ == "__main__":
    url, folder, first, count, fps, seconds = sys.argv[1:]
    jpegs = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
    asyncio.run(_main(url, jpegs, int(first), int(count), float(fps), float(seconds)))
