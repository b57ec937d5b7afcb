"""Frames for tests: small pictures whose grey value says which frame it is. Not for: pictures of people."""

from __future__ import annotations

import cv2
import numpy as np

from kinestream.messages import Frame
from kinestream.run import Run

SIZE = (64, 48)


def jpeg(grey: int) -> bytes:
    """A JPEG of one grey value, 64×48."""
    return cv2.imencode(".jpg", np.full((SIZE[1], SIZE[0], 3), grey, np.uint8))[1].tobytes()


def frame(run: Run, seq: int, *, grey: int = 128, data: bytes | None = None) -> Frame:
    """A frame of `run` that shows one grey value, or whatever `data` holds."""
    return Frame(
        camera=run.camera,
        run=run.number,
        seq=seq,
        captured_us=1_700_000_000_000_000 + seq,
        width=SIZE[0],
        height=SIZE[1],
        view=(0, 0, *SIZE),
        codec="jpeg",
        data=data or jpeg(grey),
        lane=run.lane,
        media_time_s=seq / 30,
        clock="camera",
    )


async def offer(run: Run, count: int, *, grey: int = 128) -> None:
    """Offer the next `count` frames; fails if one of them is not taken in."""
    for seq in range(run.produced, run.produced + count):
        assert await run.offer(frame(run, seq, grey=grey)) == "ok"
