"""What is asked of `kinestream jobs` beside videos: that a camera be wanted from a time on, or no more.

Not for: obeying such a wish (producers do), nor for saying it at once (`kinestream.wanted` does).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from kinestream.cameraspec import CameraSpec
from kinestream.errors import KinestreamError
from kinestream.jobs.queue import Chore
from kinestream.keys import Keys
from kinestream.wanted import drop_camera, want_camera

_log = logging.getLogger(__name__)


def camera_chores(redis: Redis, keys: Keys) -> Mapping[str, Chore]:
    """The chores by name; one that cannot be done says so in the log, since nobody waits for it."""

    async def camera_start(plain: Any) -> None:
        try:
            await want_camera(redis, CameraSpec.from_plain(plain), keys=keys)
        except KinestreamError as error:
            _log.error("a camera cannot be started: %s", error)

    async def camera_stop(name: Any) -> None:
        try:
            await drop_camera(redis, name, keys=keys)
        except KinestreamError as error:
            _log.error("a camera cannot be stopped: %s", error)

    return {"camera_start": camera_start, "camera_stop": camera_stop}
