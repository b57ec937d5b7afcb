"""Records cameras while they run: every record as a JSON line, and the annotated pictures as one video.

The video shows what was analysed: a frame that was dropped has no picture, and its tile darkens. Not for:
files, of which every frame can be read again (see `render.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from kinestream.subscriber import subscribe
from redis.asyncio import Redis

from kinestream.keys import Keys, check_camera
from kinestream.messages import Frame, PoseResult
from kinestream.video import VideoWriter
from kinestream_consumers.drawing import draw_people, write_line
from kinestream_consumers.mosaic import Mosaic
from kinestream_consumers.pictures import Pictures

VIDEO_FPS = 30

_PATIENCE = 90
"""Results that may wait for a picture, which comes in the same step and so is at most one read behind."""

_log = logging.getLogger(__name__)


class Recorder:
    """Writes `folder`/results.jsonl and, if `video`, `folder`/annotated.mp4 with a tile for each of
    `cameras`.
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
        self.cameras = [check_camera(camera) for camera in cameras]
        self.drawn = 0
        self.records = 0
        self._redis = redis
        self._start = start
        self._keys = keys or Keys()
        self._folder = folder
        self._film = _Film(folder / "annotated.mp4", self.cameras) if video else None
        self._pictures = Pictures(redis, self.cameras, keys=keys)
        self._waiting: deque[PoseResult] = deque()

    async def run(self, stop: asyncio.Event, *, until_end: bool) -> None:
        """Record until `stop` is set or, if `until_end`, until the run of every camera has ended."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tasks: list[asyncio.Task[None]] = []
        if self._film:
            tasks = [
                asyncio.create_task(self._pictures.want()),
                asyncio.create_task(self._pictures.collect()),
            ]
        tasks.append(asyncio.create_task(self._record(until_end=until_end)))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            stopping.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._film:
                await asyncio.to_thread(self._film.close)

    async def _record(self, *, until_end: bool) -> None:
        running = set(self.cameras)
        with (self._folder / "results.jsonl").open("w", encoding="utf-8") as lines:
            async for result in subscribe(self._redis, self.cameras, start=self._start, keys=self._keys):
                self._write(lines, result)
                await self._draw_what_is_there()
                if result.status == "end":
                    running.discard(result.camera)
                if until_end and not running and not await self._in_flight():
                    break
            await self._draw_what_is_there()

    async def _in_flight(self) -> bool:
        """Whether frames are left: an `end` may overtake the last results, since workers never see it."""
        lengths = [await self._redis.xlen(self._keys.frames(camera)) for camera in self.cameras]
        return any(lengths)

    def _write(self, lines: IO[str], result: PoseResult) -> None:
        self.records += 1
        lines.write(json.dumps(result.as_dict()) + "\n")
        if self._film and result.status == "ok":
            self._waiting.append(result)

    async def _draw_what_is_there(self) -> None:
        while self._film and self._waiting:
            packed = self._pictures.pop(self._waiting[0])
            if packed is None and len(self._waiting) < _PATIENCE:
                return
            result = self._waiting.popleft()
            if packed is not None:
                self.drawn += 1
                await asyncio.to_thread(self._film.show, result, packed)


class _Film:
    """The mosaic over time, at a constant rate of captured time; blocks, so it is called on a thread."""

    def __init__(self, path: Path, cameras: Sequence[str]) -> None:
        self._path = path
        self._mosaic = Mosaic(cameras)
        self._writer: VideoWriter | None = None
        self._begun_us = 0
        self._written = 0

    def show(self, result: PoseResult, packed: bytes) -> None:
        frame = Frame.unpack(packed)
        encoded_width = frame.encoded_size()[0]
        # Decoding at half size costs a third, and a tile needs no more.
        half = cv2.IMREAD_REDUCED_COLOR_2 if encoded_width >= 1280 else cv2.IMREAD_COLOR
        image: Any = cv2.imdecode(np.frombuffer(frame.data, np.uint8), half | cv2.IMREAD_IGNORE_ORIENTATION)
        fit = self._mosaic.fit(image.shape[1], image.shape[0])
        size = (round(image.shape[1] * fit), round(image.shape[0] * fit))
        tile: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        draw_people(tile, result.people, result.skeleton, scale=size[0] / frame.width)
        write_line(tile, f"{result.camera}  {result.seq}")
        self._mosaic.put(result.camera, tile)
        self._advance(frame.captured_us)

    def _advance(self, captured_us: int) -> None:
        """Write the canvas for every tick of the clock up to this capture; a pause becomes a still
        picture.
        """
        if self._writer is None:
            height, width = self._mosaic.canvas.shape[:2]
            self._writer = VideoWriter(self._path, width, height)
            self._begun_us = captured_us
        while self._written <= (captured_us - self._begun_us) * VIDEO_FPS // 1_000_000:
            self._writer.write(self._mosaic.canvas, self._written / VIDEO_FPS)
            self._written += 1

    def close(self) -> None:
        if self._writer is None:
            _log.warning("no picture came, so there is no %s", self._path.name)
        else:
            self._writer.close()
