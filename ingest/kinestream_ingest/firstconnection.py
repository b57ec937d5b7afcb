"""The first connection of a camera that is away when somebody begins to read it: it is waited for.

It may boot just now, or share a power cut with this host. So it is tried as one that was there before: at the
same intervals, for ever, with its state told meanwhile. What no waiting mends (an address that cannot be, a
login that is refused, a file that is not there) is an error of the first try: see `Away`.

Not for: connecting again (see `feed.py`), nor cameras that a producer serves (`served.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext

from redis.asyncio import Redis

from kinestream.camerastate import CameraState, camera_states
from kinestream.embedded import find_redis_url
from kinestream.errors import Fenced, RedisUnavailable
from kinestream.keys import Keys
from kinestream.logs import about
from kinestream.redis import connect, through_outages
from kinestream.run import newest_run
from kinestream_ingest.opening import Opener
from kinestream_ingest.retrying import Backoff, open_until
from kinestream_ingest.sources import Away, Source, usual_camera
from kinestream_ingest.telling import process_name, told

_log = logging.getLogger(__name__)


async def first_connection(
    open_it: Callable[[], Source],
    text: str,
    stop: asyncio.Event,
    *,
    again: bool = True,
    camera: str | None = None,
    redis_url: str | None = None,
) -> Source | None:
    """Open the source `text`, again if need be and `again` says so; None when told to stop.

    `camera` is what somebody calls it. Raises what opening raises, and what `waited_for` raises.
    """
    opener = Opener(open_it)
    try:
        return await opener.opened(stop)
    except Away as away:
        if not again:
            raise
        why = str(away)
    name, producer = camera or usual_camera(text), process_name()
    async with connect(find_redis_url(redis_url)) as redis:
        return await waited_for(opener, why, redis, camera=name, producer=producer, stop=stop)


async def waited_for(
    opener: Opener,
    why: str,
    redis: Redis,
    *,
    camera: str,
    producer: str,
    stop: asyncio.Event,
    keys: Keys | None = None,
) -> Source | None:
    """Try until the camera is there, which was away at the first try, and `why`; None when told to stop.

    Raises `Fenced` if somebody else begins a run of it meanwhile.
    """
    since = time.monotonic()
    _log.warning(
        "%s: %s; trying again until it is there, or Ctrl-C (--no-reconnect: end at once)",
        camera,
        why,
        extra=about(camera),
    )

    def failed(error: str) -> None:
        nonlocal why
        if error != why:
            _log.warning("%s: still away: %s", camera, error, extra=about(camera))
        why = error

    def state() -> CameraState:
        return CameraState(camera=camera, state="offline", producer=producer, error=why)

    async def newest() -> int:
        what = f"looking after {camera}"
        return await through_outages(lambda: newest_run(redis, camera, keys=keys), what=what, stop=stop)

    async def check_not_fenced() -> None:
        if await newest() > before:
            raise Fenced(f"{camera}: a run of this camera has begun elsewhere while it was waited for")

    async def is_served() -> bool:
        about_it = (await camera_states(redis, [camera], keys=keys)).get(camera)
        return about_it is not None and about_it.is_told and about_it.producer != producer

    try:
        served = await through_outages(is_served, what=f"looking after {camera}", stop=stop)
        # Somebody's word of a camera that he does read is better than that of somebody who does not.
        async with nullcontext() if served else told(state, redis, keys=keys):
            before = await newest()
            source = await open_until(opener, Backoff(), stop, before_try=check_not_fenced, failed=failed)
    except RedisUnavailable:
        if stop.is_set():  # nothing has begun, so nothing is left undone
            return None
        raise
    if source is not None:
        _log.warning("%s: there after %.1f s", camera, time.monotonic() - since, extra=about(camera))
    return source
