"""For how long frames have been waiting: the age of each camera's oldest frame that no worker holds.

Not for: how many wait (see `ledger.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from kinestream.delivery import script_source
from kinestream.keys import Keys


async def oldest_waiting_s(
    redis: Redis, cameras: Sequence[str], *, keys: Keys | None = None
) -> dict[str, float]:
    """Seconds since each camera's oldest waiting frame was offered, on Redis's clock; 0 where none waits."""
    if not cameras:
        return {}
    keys = keys or Keys()
    oldest = redis.register_script(script_source("oldest"))
    now_us, *offered_us = await oldest(keys=[keys.frames(camera) for camera in cameras])
    return {
        camera: max(0, int(now_us) - int(us)) / 1e6 if us else 0.0
        for camera, us in zip(cameras, offered_us, strict=True)
    }
