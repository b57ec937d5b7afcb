"""Which videos of a watched folder are done: remembered in Redis, so that a restart does none of them again.

A video is done when its run has ended by itself, or when it cannot be read; then only another one in its
place is read, with another size or time. One that was cut off, since its producer ended or died, is read
again from its start, as a new run.

Not for: which video is next (see `sources/folder.py`), nor for reading it (`served.py`).
"""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from kinestream.delivery import untyped
from kinestream.keys import Keys
from kinestream.placeholders import fill_secrets
from kinestream.redis import through_outages
from kinestream_ingest.sources.folder import SCHEME, Folder, Video

LOOK_S = 1.0
"""Between two looks into a folder in which there is nothing new."""


def is_folder(source: str) -> bool:
    """Whether a source is a watched folder."""
    return source.startswith(f"{SCHEME}://")


class WatchedFolder:
    """The folder that `source` names, watched for one camera."""

    def __init__(self, redis: Redis, keys: Keys, camera: str, source: str) -> None:
        """Raises `UsageError` for a source that cannot be used."""
        self._redis = redis
        self._key = keys.watched(camera)
        self._camera = camera
        self._folder = Folder(fill_secrets(source).source)

    async def next(self, stop: asyncio.Event) -> Video | None:
        """The next video to read, if there is one by now."""
        stored = await through_outages(
            lambda: untyped(self._redis).hgetall(self._key), what=f"looking after {self._camera}", stop=stop
        )
        done = {
            name.decode(errors="surrogateescape"): mark.decode(errors="replace")
            for name, mark in stored.items()
        }
        return await asyncio.to_thread(self._folder.next, done, time.monotonic())

    async def note_done(self, video: Video, stop: asyncio.Event) -> None:
        """Never read this video again."""
        name = self._folder.name_of(video.path).encode(errors="surrogateescape")
        await through_outages(
            lambda: untyped(self._redis).hset(self._key, name, video.mark),
            what=f"remembering a video of {self._camera}",
            stop=stop,
        )
