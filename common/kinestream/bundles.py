"""`subscribe_bundles`: several views of one scene, put together by the time of capture.

    async for bundle in subscribe_bundles(url, ["left", "right"], tolerance_ms=15):
        if bundle.complete:
            triangulate(bundle.results["left"], bundle.results["right"])

Not for: what belongs together and what has to wait (`bundling.py`), nor for reading results
(`subscriber.py`). docs/several-views.md says which times can be compared, and how well.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from numbers import Real
from typing import get_args

from redis.asyncio import Redis

from kinestream.bundle import Bundle
from kinestream.bundlecursor import BundleCursor, Place
from kinestream.bundling import Bundler, Clock
from kinestream.errors import UsageError
from kinestream.keys import Keys, check_camera
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream.resultreader import cursor_at_beginning, cursor_at_end
from kinestream.subscriber import checked_client, subscribe
from kinestream.tasks import cancel

WAIT_S = 1.0
"""Live views are worth little later. A frame whose worker died comes a lease (5 s) later, and is missing
then.
"""

RECORDING_WAIT_S = 60.0
"""Nobody watches a recording live, so a worker may die; and one film is often analysed before the other."""

MAX_HELD = 4096
"""Records: 30 s of four cameras at 30 fps, 27 MB in memory with two people each."""


def subscribe_bundles(
    redis: Redis | str,
    cameras: Sequence[str],
    *,
    tolerance_ms: float,
    offsets_ms: Mapping[str, float] | None = None,
    clock: Clock = "captured",
    wait_s: float | None = None,
    max_held: int = MAX_HELD,
    start: str = "now",
    keys: Keys | None = None,
) -> AsyncGenerator[Bundle, None]:
    """Yield bundles of the frames of `cameras` that were captured within `tolerance_ms` of one another.

    redis         a URL, or a client made by `connect`, as for `subscribe`
    tolerance_ms  the latest frame of a bundle is at most so much later than the earliest. Below half of the
                  time between two frames of one camera, each is put together with the nearest
    offsets_ms    what is added to a camera's times, for one whose clock is known to be behind (above 0) or
                  ahead
    clock         "captured" compares `captured_us`. "media" compares `media_time_s`, for recordings: each
                  camera is one run then, and the iteration ends when all have ended
    wait_s        how long frames wait for a camera of which nothing has come, and for a frame that is missing
                  between others [default: 1 s, with clock="media" 60 s]; both may come together
    max_held      how many records are held at most
    start         "now" (the first `anext`), "beginning" (all that is kept), or the `cursor` of a bundle: then
                  exactly what is in no bundle up to that one, if `cameras` and `clock` are the same. The
                  cursor of a record of `subscribe(order=True)` will do as well

    Every record of one frame is in exactly one bundle, also of a frame without poses; see `Member` for how it
    is told. Right behind a cursor, cameras that were silent are waited for again, and why one is missing may
    be told less exactly. Outages of Redis are waited out. Raises `UsageError` at once for arguments that make
    no sense, while iterating what `subscribe` raises.
    """
    names = _checked_cameras(cameras)
    offsets_ms = offsets_ms or {}
    if wait_s is None:
        wait_s = WAIT_S if clock == "captured" else RECORDING_WAIT_S
    _check("tolerance_ms", tolerance_ms)
    _check("wait_s", wait_s)
    if max_held < len(names):
        raise UsageError(f"max_held must be at least {len(names)}, one a camera, got {max_held}")
    if clock not in get_args(Clock):
        raise UsageError(f"clock must be captured or media, got {clock!r}")
    if unknown := sorted(offsets_ms.keys() - set(names)):
        raise UsageError(f"offsets_ms has {', '.join(unknown)}, of which no bundle is asked for")
    if not all(math.isfinite(offset) for offset in offsets_ms.values()):
        raise UsageError(f"offsets_ms must be milliseconds, got {dict(offsets_ms)}")
    if not isinstance(start, str):
        raise UsageError(f"a start is now, beginning or the cursor of a bundle, got {start!r}")
    at = cursor_at_end if start == "now" else cursor_at_beginning
    since = None if start in ("now", "beginning") else BundleCursor.parse(start)
    client = connect(redis) if isinstance(redis, str) else checked_client(redis)
    bundler = Bundler(
        names,
        tolerance_us=round(1000 * tolerance_ms),
        wait_ms=1000 * wait_s,
        max_held=max_held,
        clock=clock,
        offsets_us={camera: round(1000 * offset) for camera, offset in offsets_ms.items()},
        again=clock == "captured",
        ended=since.ended if since else None,
    )

    async def bundles() -> AsyncGenerator[Bundle, None]:
        try:
            here = since.records if since else await at(client, keys or Keys(), ordered=True)
            records = subscribe(client, names, start=str(here), order=True, wait_s=wait_s, keys=keys)
            async with aclosing(bundled(records, bundler, Place(here))) as found:
                async for bundle in found:
                    yield bundle
        finally:
            if client is not redis:
                await client.aclose()

    return bundles()


async def bundled(
    records: AsyncGenerator[PoseResult, None], bundler: Bundler, place: Place
) -> AsyncGenerator[Bundle, None]:
    """Yield what `bundler` makes of `records`, which are closed at the end, with the cursors of `place`.

    Its clock is Redis's at the records' commits; where nothing can be read, it goes on with this host's. So a
    taker that is slow does not count as a camera that is.
    """
    clock_ms = idle_ms = 0.0
    async with aclosing(records):
        coming = asyncio.ensure_future(anext(records))
        try:
            while not bundler.finished:
                due_ms = bundler.due_ms
                left_s = None if due_ms is None else max(0.0, due_ms - clock_ms - idle_ms) / 1000
                began = time.monotonic()
                await asyncio.wait({coming}, timeout=left_s)
                if coming.done():
                    record, coming = coming.result(), asyncio.ensure_future(anext(records))
                    clock_ms, idle_ms = max(clock_ms + idle_ms, record.committed_ms or 0), 0.0
                    place.came(record, waits=bundler.add(record, clock_ms))
                else:
                    idle_ms += 1000 * (time.monotonic() - began)
                while bundle := bundler.release(clock_ms + idle_ms):
                    place.left(one.camera for one in bundle.members.values() if one.result is not None)
                    yield replace(bundle, cursor=str(place.cursor(bundler.ended)))
        finally:
            await cancel(coming)


def _checked_cameras(cameras: Sequence[str]) -> list[str]:
    if isinstance(cameras, str) or len(set(cameras)) < 2:
        raise UsageError(f"cameras must be a list of at least two names, got {cameras!r}")
    if len(set(cameras)) != len(cameras):
        raise UsageError(f"cameras must be different ones, got {', '.join(cameras)}")
    return [check_camera(camera) for camera in cameras]


def _check(name: str, value: float) -> None:
    if not isinstance(value, Real) or not 0 <= value < math.inf:
        raise UsageError(f"{name} must be at least 0, got {value!r}")
