"""Cameras that misbehave, for load tests: each offers frames until it is cancelled.

Not for: cameras that die or hang.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from redis.asyncio import Redis

from kinestream.messages import Frame
from kinestream.run import Run

LARGE = (8656, 5768)
"""Just below the 50 million pixels that a frame may have."""


def _jpeg(width: int, height: int) -> bytes:
    """A picture with some detail everywhere, as photographs have."""
    grain = np.random.default_rng(1).integers(90, 150, (256, 256, 3), dtype=np.uint8)
    picture = np.tile(grain, (height // 256 + 1, width // 256 + 1, 1))[:height, :width]
    smooth = cv2.blur(picture, (7, 7))
    return cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


async def _frames(
    redis: Redis, camera: str, size: tuple[int, int], fps: float
) -> AsyncGenerator[tuple[Run, Frame], None]:
    """Frames that are due, without an end; `fps` 0 is as fast as they are taken."""
    jpeg = await asyncio.to_thread(_jpeg, *size)
    run = await Run.begin(redis, camera, lane="live", source="trouble")
    shown = Frame(
        camera=camera,
        run=run.number,
        seq=0,
        captured_us=1,
        width=size[0],
        height=size[1],
        view=(0, 0, *size),
        codec="jpeg",
        data=jpeg,
        lane="live",
    )
    began_s = time.monotonic()
    try:
        while True:
            await asyncio.sleep(max(0.0, began_s + run.produced / fps - time.monotonic()) if fps else 0.0)
            yield run, replace(shown, seq=run.produced, captured_us=time.time_ns() // 1000)
    finally:
        await run.finish()


class _Garbage:
    """Stands for a frame whose message is no message."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frame, name)

    def pack(self) -> bytes:
        return b"\xc1 this is no frame " * 100


async def flood(redis: Redis, camera: str) -> None:
    """Small frames, as fast as Redis takes them."""
    async with aclosing(_frames(redis, camera, (320, 180), fps=0)) as frames:
        async for run, frame in frames:
            await run.offer(frame)


async def garbage(redis: Redis, camera: str) -> None:
    """Sixty messages a second that cannot be read."""
    async with aclosing(_frames(redis, camera, (320, 180), fps=60)) as frames:
        async for run, frame in frames:
            await run.offer(_Garbage(frame))  # type: ignore[arg-type]


async def large(redis: Redis, camera: str) -> None:
    """Ten pictures of 50 megapixels a second."""
    async with aclosing(_frames(redis, camera, LARGE, fps=10)) as frames:
        async for run, frame in frames:
            await run.offer(frame)


TROUBLES = {"flood": flood, "garbage": garbage, "large": large}
