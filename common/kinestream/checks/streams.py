"""Checks of what is in Redis: cameras, workers, frames that wait or are held, dead letters, results.

Not for: the server itself (see `server.py`), nor for whether the sums balance (`kinestream status`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import ResponseError

from kinestream.checks.server import open_client
from kinestream.doctor import Asked, Finding
from kinestream.errors import KinestreamError
from kinestream.keys import GROUP, RETURNED, Keys
from kinestream.workerreports import ALIVE_S

_OVERDUE_MS = 10_000
"""A worker renews its leases every second or two; whoever has not for so long is gone or frozen."""

_FOR_DEAD_LETTERS = "kinestream dead list, then kinestream dead show ID"


def check_streams(asked: Asked) -> Iterator[Finding]:
    """Find out about workers, every camera that is active and its group, and about dead letters."""
    try:
        client = open_client(asked)
    except KinestreamError:
        return  # the check of the server says so
    keys = Keys()
    with client:
        workers = _workers(client, keys)
        cameras = sorted(client.smembers(keys.active))  # type: ignore[arg-type]
        if workers or not cameras:
            yield Finding("ok", "workers", f"{workers} at work")
        else:
            yield Finding("warning", "workers", "none is at work", "start one: kinestream worker")
        if not cameras:
            yield Finding("ok", "cameras", "none is active")
        for camera in cameras:
            yield _camera(client, keys, camera)
        dead = int(client.xlen(keys.dead))  # type: ignore[arg-type]
        if dead:
            yield Finding("warning", "dead letters", f"{dead} frames were given up on", _FOR_DEAD_LETTERS)
        else:
            yield Finding("ok", "dead letters", "none")


def _workers(client: redis.Redis, keys: Keys) -> int:
    """Workers that have reported lately."""
    seconds, _ = client.time()  # type: ignore[misc]
    since_ms = 1000 * (seconds - ALIVE_S)
    return int(client.zcount(keys.workers, since_ms, "+inf"))  # type: ignore[arg-type]


def _camera(client: redis.Redis, keys: Keys, camera: str) -> Finding:
    frames, subject = keys.frames(camera), f"camera {camera}"
    in_flight = int(client.xlen(frames))  # type: ignore[arg-type]
    held, overdue = 0, []
    with contextlib.suppress(ResponseError):  # no stream, or no group
        held = client.xpending(frames, GROUP)["pending"]  # type: ignore[index]
        entries: Any = client.xpending_range(frames, GROUP, "-", "+", 10, idle=_OVERDUE_MS)
        overdue = sorted({entry["consumer"] for entry in entries} - {RETURNED})
    says = f"{in_flight - held} frames wait, {held} are held"
    if overdue:
        mend = "others take them when the lease is over; if it lives, look at what it is doing"
        return Finding(
            "warning", subject, f"{says}, some by {', '.join(overdue)}, which does not renew", mend
        )
    return Finding("ok", subject, says)
