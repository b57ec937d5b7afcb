"""Frames that cannot be inferred, offered among good ones through the same door as all others.

Not for: pictures that a producer cannot encode (see `camera.py`); those never become frames.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from redis.asyncio import Redis

from kinestream.chaos.camera import without_picture
from kinestream.messages import Frame
from kinestream.redis import through_outages
from kinestream.run import Run

CAMERA = "poison"

_FULL_PAUSE_S = 0.05


class _Spoiled(Frame):
    """A frame that packs into something else."""

    def pack(self) -> bytes:
        return _SPOILED[self.seq % len(_SPOILED)](_whole(self))


_SPOILED: tuple[Callable[[Frame], bytes], ...] = (
    lambda frame: b"this is no message",
    lambda frame: frame.pack()[:-100],
    lambda frame: replace(frame, data=without_picture(frame.data)).pack(),
    lambda frame: replace(frame, seq=frame.seq + 1).pack(),
    lambda frame: b"",
)
"""No message, one that was cut short, a JPEG without a picture, another frame's name, nothing at all."""

FRAMES = 2 * len(_SPOILED)
"""Good and spoiled ones in turn."""


@dataclass(slots=True)
class Poison:
    """Offers poison as camera `CAMERA`; `offered` are the frames of each run that must fail."""

    redis: Redis
    picture: bytes
    width: int
    height: int
    offered: dict[tuple[str, int], set[int]]

    async def offer(self) -> None:
        """Begin a run, offer good and spoiled frames in turn, and end it; outages of Redis are waited out."""
        begin = partial(
            Run.begin, self.redis, CAMERA, lane="every-frame", source="chaos", token=uuid.uuid4().hex
        )
        run = await through_outages(begin, what="beginning a run of poison")
        self.offered[CAMERA, run.number] = {seq for seq in range(FRAMES) if seq % 2}
        for seq in range(FRAMES):
            frame = self._frame(run, seq)
            offer = partial(run.offer, frame)
            outcome = await through_outages(offer, what="offering poison")
            while outcome == "full":
                await asyncio.sleep(_FULL_PAUSE_S)
                outcome = await through_outages(offer, what="offering poison")
        await through_outages(run.finish, what="ending a run of poison")

    def _frame(self, run: Run, seq: int) -> Frame:
        return (_Spoiled if seq % 2 else Frame)(
            camera=CAMERA,
            run=run.number,
            seq=seq,
            captured_us=time.time_ns() // 1000,
            width=self.width,
            height=self.height,
            view=(0, 0, self.width, self.height),
            codec="jpeg",
            data=self.picture,
            lane="every-frame",
            clock="made",
        )


def _whole(frame: Frame) -> Frame:
    """The same frame, in a form that packs as it should."""
    return Frame(
        camera=frame.camera,
        run=frame.run,
        seq=frame.seq,
        captured_us=frame.captured_us,
        width=frame.width,
        height=frame.height,
        view=frame.view,
        codec=frame.codec,
        data=frame.data,
        lane=frame.lane,
        clock=frame.clock,
    )
