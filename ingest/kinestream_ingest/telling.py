"""What is told of a camera while it is read: its state, from what its feed knows.

Not for: where the state is put (see `kinestream.camerastate`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kinestream.camerastate import BEAT_S, CameraState, forget_state, tell_states
from kinestream.keys import Keys
from kinestream.tasks import cancel
from kinestream_ingest.feed import Feed

_STALLED_S = 2.0
"""Without a picture a camera counts as stalled, not as live: two blinks of an eye of who looks at it."""

_USUAL_INTERVALS = 3
"""A camera of few pictures is stalled after so many of its intervals."""


def process_name() -> str:
    """What a process that reads cameras is called unless somebody says otherwise."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip("-_.")[:40] or "host"
    return f"{host}-{os.getpid()}"


def state_of(feed: Feed, producer: str) -> CameraState:
    """The state of a camera that has been connected at least once."""
    state, error = _condition(feed)
    rhythm, source = feed.rhythm, feed.source
    return CameraState(
        camera=feed.offering.camera,
        state=state,
        producer=producer,
        run=feed.runs[-1] if feed.runs else None,
        error=error,
        source=source.description,
        clock=source.clock,
        width=source.width,
        height=source.height,
        fps=rhythm.fps,
        jitter_ms=rhythm.jitter_ms,
        frame_ago_s=rhythm.ago_s,
        connections=feed.connections,
    )


def _condition(feed: Feed) -> tuple[str, str]:
    if feed.away_s:
        return "offline", feed.error.removeprefix(f"{feed.offering.camera}: ")
    if not feed.offering.open:
        return "connecting", ""
    ago_s = feed.rhythm.ago_s
    # A complete source that sends nothing is waiting for room as a rule: that is no fault of its.
    longest_s = max(_STALLED_S, _USUAL_INTERVALS * feed.rhythm.usual_s)
    if feed.offering.lane == "live" and ago_s is not None and ago_s > longest_s:
        return "stalled", f"no picture for {ago_s:.0f} s"
    return "live", ""


@contextlib.asynccontextmanager
async def told(
    state: Callable[[], CameraState], redis: Redis, *, keys: Keys | None = None
) -> AsyncIterator[None]:
    """Tell the state of one camera every second while the block runs, and take it back at its end."""
    telling = asyncio.create_task(_keep_telling(state, redis, keys), name="telling")
    try:
        yield
    finally:
        await cancel(telling)
        with contextlib.suppress(RedisError, TimeoutError):  # states are hints, and grow old by themselves
            last = state()
            await asyncio.wait_for(forget_state(redis, last.camera, last.producer, keys=keys), BEAT_S)


async def _keep_telling(state: Callable[[], CameraState], redis: Redis, keys: Keys | None) -> None:
    while True:
        with contextlib.suppress(RedisError):  # it is away, as a warning of the offering says, or full
            await tell_states(redis, [state()], keys=keys)
        await asyncio.sleep(BEAT_S)
