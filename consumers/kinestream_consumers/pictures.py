"""The very frames that results were inferred from, while somebody wants to see them.

A worker copies a frame into its camera's pictures stream as long as the key `want:<camera>` lives, in the
step that publishes the frame's result. So whoever has read a result finds its picture there by name, or never
will. Not for: decoding or drawing; nor what became of a frame.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from kinestream.delivery import untyped
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.redis import through_outages

_WANT_S = 6
"""Life of a wish for pictures, renewed three times within it: who wished and died soon costs nothing more."""

_COUNT = 64
"""Pictures a read, of all cameras together: some megabytes."""

_MAX_AHEAD_BYTES = 64 * 2**20
"""Pictures that were read before their results. There are few, unless results are read from long ago."""


class Pictures:
    """Packed frames of `cameras` by the name of the frame."""

    def __init__(self, redis: Redis, cameras: Sequence[str], *, keys: Keys | None = None) -> None:
        self._redis: Any = untyped(redis)
        self._cameras = cameras
        self._keys = keys or Keys()
        self._last: dict[str, bytes] = {self._keys.pictures(camera): b"0" for camera in cameras}
        self._camera_of = {self._keys.pictures(camera).encode(): camera for camera in cameras}
        self._ahead: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._ahead_bytes = 0

    async def want(self) -> None:
        """Ask workers for pictures, which holds for a few seconds."""

        async def wish() -> None:
            for camera in self._cameras:
                await self._redis.set(self._keys.want(camera), b"1", ex=_WANT_S)

        await through_outages(wish, what="asking for pictures")

    async def keep_wanting(self) -> None:
        """Ask for them again and again, until cancelled."""
        while True:
            await asyncio.sleep(_WANT_S / 3)
            await self.want()

    async def of(self, result: PoseResult) -> bytes | None:
        """Take the packed frame that `result` tells of; None if there is no picture of it, nor will be."""
        name = result.camera, f"{result.run}-{result.seq}"
        while name not in self._ahead:
            if not await self._read():
                return None
        packed = self._ahead.pop(name)
        self._ahead_bytes -= len(packed)
        return packed

    async def _read(self) -> bool:
        """Read what has come since; return whether there was anything."""

        async def xread() -> Any:
            return await self._redis.xread(self._last, count=max(1, _COUNT // len(self._last)))

        reply = await through_outages(xread, what="reading pictures")
        for stream, entries in reply:
            for entry_id, fields in entries:
                self._last[stream.decode()] = entry_id
                self._keep(self._camera_of[stream], fields[b"name"].decode(), fields[b"frame"])
        return bool(reply)

    def _keep(self, camera: str, name: str, packed: bytes) -> None:
        self._ahead_bytes += len(packed) - len(self._ahead.pop((camera, name), b""))
        self._ahead[camera, name] = packed
        while self._ahead_bytes > _MAX_AHEAD_BYTES:
            _, forgotten = self._ahead.popitem(last=False)
            self._ahead_bytes -= len(forgotten)
