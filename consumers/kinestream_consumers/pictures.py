"""Pairs results with the very frames they were inferred from, while somebody wants the pictures.

A worker copies a frame into its camera's pictures stream, at commit, as long as the key `want:<camera>`
lives. The pairing is by the frame's name, never "the latest of both". Not for: decoding or drawing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.redis import BLOCK_MS, through_outages

_WANT_S = 5
"""Life of a wish for pictures: whoever wished and died stops costing Redis memory this soon."""

_MAX_UNPAIRED = 256
"""Results or pictures that wait for their other half; a picture is trimmed long before that."""


class Pictures:
    """Packed frames of `cameras` by name, kept until their result asks for them."""

    def __init__(self, redis: Redis, cameras: Sequence[str], *, keys: Keys | None = None) -> None:
        self._redis: Any = redis
        self._cameras = cameras
        self._keys = keys or Keys()
        self._last: dict[str, bytes] = {self._keys.pictures(camera): b"0" for camera in cameras}
        self._camera_of = {self._keys.pictures(camera).encode(): camera for camera in cameras}
        self._unpaired: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def want(self) -> None:
        """Ask workers for pictures from now on, and go on asking until cancelled."""
        while True:
            await through_outages(self._wish, what="asking for pictures")
            await asyncio.sleep(_WANT_S / 3)

    async def _wish(self) -> None:
        for camera in self._cameras:
            await self._redis.set(self._keys.want(camera), b"1", ex=_WANT_S)

    async def collect(self) -> None:
        """Read pictures as they come, until cancelled."""
        while True:
            reply = await through_outages(self._read, what="reading pictures")
            for stream, entries in reply:
                camera = self._camera_of[stream]
                for entry_id, fields in entries:
                    self._last[stream.decode()] = entry_id
                    self._unpaired[camera, fields[b"name"].decode()] = fields[b"frame"]
            while len(self._unpaired) > _MAX_UNPAIRED * len(self._cameras):
                self._unpaired.popitem(last=False)

    async def _read(self) -> list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
        reply: list[Any] = await self._redis.xread(self._last, count=8, block=BLOCK_MS)
        return reply

    def pop(self, result: PoseResult) -> bytes | None:
        """The packed frame that `result` was inferred from; None if it has not come (yet)."""
        return self._unpaired.pop((result.camera, f"{result.run}-{result.seq}"), None)
