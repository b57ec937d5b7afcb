"""`subscribe`: the results as an async iterator, in the order of commit or of frames, from now or a cursor.

    async for result in subscribe("redis://localhost:6379", ["court-1"], order=True):
        print(result.camera, result.seq, result.status, len(result.people))

A subscriber only reads, so it never slows the pipeline; what it is too slow for is trimmed behind its back.
Records of status `missing` tell it so; they are made here, never sent:

    of camera `*`    `frames` records, of whatever cameras, were trimmed before they were read (`trimmed`),
                     or one cannot be read (`unreadable: …`); `run` says nothing
    of a camera      with order=True: these frames did not come in time; should they come, they are left out

Not for: reading Redis (`resultreader.py`), the orders themselves (`orders.py`), holding records
(`reorder.py`).
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from redis.asyncio import Redis

from kinestream.cursor import Cursor
from kinestream.delivery import Limits
from kinestream.errors import UsageError
from kinestream.keys import Keys, check_camera
from kinestream.messages import PoseResult
from kinestream.orders import in_order_of_commit, in_order_of_frames, latest
from kinestream.redis import BLOCK_MS, connect
from kinestream.reorder import Reorderer
from kinestream.resultreader import ResultReader, cursor_at_beginning, cursor_at_end

WAIT_S = 3 * Limits().lease_ms / 1000
"""A frame whose worker died comes a lease later, after a second death two; the third is for inferring it."""

MAX_HELD_BYTES = 64 * 2**20
"""A hundred cameras at 30 fps for the lease that a dead worker's frames take, at 3 KB a record: 45 MB."""


def subscribe(
    redis: Redis | str,
    cameras: Sequence[str] | None = None,
    *,
    start: str = "now",
    order: bool = False,
    latest_only: bool = False,
    wait_s: float = WAIT_S,
    max_held_bytes: int = MAX_HELD_BYTES,
    keys: Keys | None = None,
) -> AsyncGenerator[PoseResult, None]:
    """Yield the records of `cameras` (default: all), for ever; each has its `cursor` and `committed_ms`.

    redis           a URL, for a client of its own, or a client made by `connect`, which is left open
    start           "now" (the first `anext`), "beginning" (all that is kept), or the `cursor` of a record:
                    then exactly what came after that record, if `cameras` and `order` are the same
    order           each camera in the order of its frames, none of them twice; else all in the order of
                    commit
    latest_only     for live pictures: of each camera only the newest pose (or `end`) that is there when
                    asked, and never an older one after it; if there is no pose, what became of the newest
                    frame
    wait_s          with `order`: how long a record is held for those before it
    max_held_bytes  with `order`: how many packed bytes are held; unpacked they take about five times as much

    In the order of commit a record comes twice only if Redis lost a part of its memory in a crash. Outages of
    Redis are waited out. Cancelling `anext` ends the iteration, as in every generator; the last cursor goes
    on from there.

    Raises `UsageError` at once for arguments that make no sense. While iterating: `UnsupportedVersion` if a
    newer Kinestream sent a record, `RedisUnavailable` if Redis refuses the credentials.
    """
    if order and latest_only:
        raise UsageError("order and latest_only exclude each other")
    if isinstance(cameras, str) or (cameras is not None and not cameras):
        raise UsageError(f"cameras must be a list of at least one name, or None for all, got {cameras!r}")
    wanted = None if cameras is None else frozenset(map(check_camera, cameras))
    if math.isnan(wait_s) or wait_s < 0:
        raise UsageError(f"wait_s must be at least 0, got {wait_s}")
    if max_held_bytes < 0:
        raise UsageError(f"max_held_bytes must be at least 0, got {max_held_bytes}")
    if not isinstance(start, str):
        raise UsageError(f"a start is now, beginning or the cursor of a record, got {start!r}")
    cursor = None if start in ("now", "beginning") else Cursor.parse(start)
    if cursor and cursor.ordered != order:
        raise UsageError(f"this cursor was made with order={cursor.ordered}, and goes on only with that")
    client = connect(redis) if isinstance(redis, str) else checked_client(redis)
    keys = keys or Keys()
    at = cursor_at_end if start == "now" else cursor_at_beginning

    async def records() -> AsyncGenerator[PoseResult, None]:
        reader = None
        try:
            here = cursor or await at(client, keys, ordered=order)
            reader = ResultReader(client, keys, here.following)
            if order:
                reorderer = Reorderer(
                    wait_ms=wait_s * 1000,
                    max_bytes=max_held_bytes,
                    since_ms=here.since_ms,
                    positions=here.positions,
                )
                chosen = in_order_of_frames(reader, wanted, reorderer, held=here.held, untold=here.untold)
            else:
                chosen = (latest if latest_only else in_order_of_commit)(reader, wanted)
            async with aclosing(chosen):
                async for record in chosen:
                    yield record
        finally:
            if reader is not None:
                await reader.close()
            if client is not redis:
                await client.aclose()

    return records()


async def current_cursor(redis: Redis, *, order: bool = False, keys: Keys | None = None) -> str:
    """Return the cursor of this moment: whoever starts there misses nothing that is committed afterwards.

    `start="now"` takes it when the first record is asked for, which may be later than the caller thinks.
    """
    return str(await cursor_at_end(checked_client(redis), keys or Keys(), ordered=order))


def checked_client(redis: Redis) -> Redis:
    """Refuse what is no client, whose replies have another shape, or that gives up before a read is over."""
    if not isinstance(redis, Redis):
        raise UsageError(f"subscribe needs a URL, or a client made by kinestream.connect, got {redis!r}")
    settings = redis.connection_pool.connection_kwargs
    timeout_s = settings.get("socket_timeout")
    gives_up = timeout_s is not None and timeout_s * 1000 <= BLOCK_MS
    if settings.get("decode_responses") or settings.get("protocol") in (3, "3") or gives_up:
        raise UsageError("subscribe needs a URL, or a client made by kinestream.connect")
    return redis
