"""The video of a recording: pictures asked for and fetched on the event loop, drawn on a thread.

Not for: the order of the pictures (`timeline.py`), what they look like (`film.py`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from kinestream.cursor import Cursor
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.tasks import cancel
from kinestream_consumers.film import Film
from kinestream_consumers.pictures import Pictures
from kinestream_consumers.timeline import Timeline

_COMMITTED = ("ok", "stale", "failed")
"""What workers commit, and so has a picture; it is taken even where it is not shown, so as not to be kept."""


class Filming:
    """Films `cameras` from `here` on into `path`. `drawing` is the task that draws; it ends by an error, or
    in `finish`.

    Make it in a running event loop, and `close` it.
    """

    def __init__(
        self, redis: Redis, cameras: Sequence[str], path: Path, here: Cursor, *, keys: Keys | None = None
    ) -> None:
        self._cameras = frozenset(cameras)
        self._film = Film(path, cameras)
        self._timeline = Timeline(cameras, here, _now_ms())
        self._pictures = Pictures(redis, cameras, keys=keys)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="film")
        self._news = asyncio.Event()
        self._draw_until_s: float | None = None  # None as long as it goes on
        self._wanting = asyncio.ensure_future(self._pictures.keep_wanting())
        self.drawing = asyncio.ensure_future(self._draw())

    @property
    def drawn(self) -> int:
        """How many pictures the video shows."""
        return self._film.drawn

    @property
    def left_out(self) -> int:
        """How many it does not show, since drawing is slower than the cameras."""
        return self._timeline.left_out

    async def add(self, result: PoseResult) -> None:
        """Take in the next record, in the order of commit."""
        if result.camera not in self._cameras:
            return
        packed = await self._pictures.of(result) if result.status in _COMMITTED else None
        self._timeline.add(result, packed if result.status == "ok" else None, _now_ms())
        self._news.set()

    def look(self) -> None:
        """Time has passed, though there may be no record."""
        self._timeline.pass_time(_now_ms())
        self._news.set()

    async def finish(self, *, within_s: float = math.inf) -> None:
        """Draw what is held, as much of it as that time allows; nothing is added any more."""
        self._timeline.wait_no_longer(_now_ms())
        self._draw_until_s = time.monotonic() + within_s
        self._news.set()
        await self.drawing

    async def close(self) -> None:
        """Stop drawing and finish the file.

        Raises `KinestreamError` if it cannot be written, unless drawing failed by that already.
        """
        failed = self.drawing.done() and not self.drawing.cancelled() and self.drawing.exception()
        await cancel(self._wanting, self.drawing)
        end: Any = self._film.discard if failed else self._film.close
        # A picture may still be on the thread: this comes after it.
        await asyncio.get_running_loop().run_in_executor(self._thread, end)
        self._thread.shutdown()

    async def _draw(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            finishing = self._draw_until_s is not None
            moment = self._timeline.pop(_now_ms(), patient=not finishing)
            if moment is None:
                if finishing:
                    return
                await self._news.wait()
                self._news.clear()
            elif self._draw_until_s is not None and time.monotonic() > self._draw_until_s:
                self._timeline.left_out += 1
            else:
                await loop.run_in_executor(self._thread, self._film.show, *moment)


def _now_ms() -> float:
    return time.monotonic() * 1000
