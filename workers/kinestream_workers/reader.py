"""Takes frames from Redis, never more than there is room for. Not for: what is inside them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence, Set
from functools import partial

from kinestream.groupconsumer import GroupConsumer, Held
from kinestream.redis import BLOCK_MS, through_outages

_CAMERAS_MAX_AGE_S = 1.0
"""How old the list of cameras may be; with a blocking read of one second, a new camera is served within
two.
"""

_NO_CAMERA_PAUSE_S = 0.25
"""Between two looks for a camera to take from, when there is nothing to block on."""


class Reader:
    """Reads until told to stop; each `Held` goes to `receive` on the event loop.

    `room()` says how many more frames the worker can take now, `room_changed` is set whenever that number
    grows. Nothing is taken of the cameras that are `passed_over` just now.
    """

    def __init__(
        self,
        consumer: GroupConsumer,
        room: Callable[[], int],
        room_changed: asyncio.Event,
        receive: Callable[[Sequence[Held]], None],
        passed_over: Callable[[], Set[str]] = frozenset,
    ) -> None:
        self._consumer = consumer
        self._room = room
        self._room_changed = room_changed
        self._receive = receive
        self._passed_over = passed_over
        self._cameras: list[str] = []
        self._cameras_read_s = float("-inf")

    @property
    def cameras(self) -> list[str]:
        """Cameras that were running, or had frames left, at the last look."""
        return self._cameras

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set; the last blocking read is waited for, since cancelling it would strand a
        frame.
        """
        while not stop.is_set():
            room = self._room()
            if room < 1:
                self._room_changed.clear()
                await _first_of(self._room_changed, stop)
                continue
            held = await through_outages(partial(self._read, room), what="reading frames", stop=stop)
            self._receive(held)

    async def _read(self, room: int) -> Sequence[Held]:
        await self._look_for_cameras()
        passed_over = self._passed_over()
        cameras = [camera for camera in self._cameras if camera not in passed_over]
        if not cameras:
            await asyncio.sleep(_NO_CAMERA_PAUSE_S)
            return []
        # A plain take first: it alone is fair among the cameras, and the only one that sees returned frames.
        held = await self._consumer.take(cameras, room)
        return held or await self._consumer.wait(cameras, BLOCK_MS)

    async def _look_for_cameras(self) -> None:
        if self._cameras and time.monotonic() - self._cameras_read_s < _CAMERAS_MAX_AGE_S:
            return
        cameras = await self._consumer.cameras()
        ended = sorted({*self._cameras} - {*cameras})
        if ended:  # nobody sweeps their groups any more, so whoever joined late would stay there
            await self._consumer.leave_groups(ended)
        self._cameras = cameras
        self._cameras_read_s = time.monotonic()


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
