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

_READS_MS = 10_000
"""A worker reads every camera about once a second; after so long it is gone, frozen or very slow."""

_FOR_DEAD_LETTERS = "look at them: XREVRANGE on the key, see docs/protocol.md"


def check_streams(asked: Asked) -> Iterator[Finding]:
    """Find out about every camera that is active, its group and its workers, and about dead letters."""
    try:
        client = open_client(asked)
    except KinestreamError:
        return  # the check of the server says so
    keys = Keys()
    with client:
        cameras = sorted(client.smembers(keys.active))  # type: ignore[arg-type]
        if not cameras:
            yield Finding("ok", "cameras", "none is active")
        for camera in cameras:
            yield _camera(client, keys, camera)
        dead = int(client.xlen(keys.dead))  # type: ignore[arg-type]
        if dead:
            yield Finding("warning", "dead letters", f"{dead} frames were given up on", _FOR_DEAD_LETTERS)
        else:
            yield Finding("ok", "dead letters", "none")


def _camera(client: redis.Redis, keys: Keys, camera: str) -> Finding:
    frames, subject = keys.frames(camera), f"camera {camera}"
    in_flight = int(client.xlen(frames))  # type: ignore[arg-type]
    consumers: list[dict[str, Any]] = []
    with contextlib.suppress(ResponseError):  # no stream, or no group
        consumers = client.xinfo_consumers(frames, GROUP)  # type: ignore[assignment]
    workers = [consumer for consumer in consumers if consumer["name"] != RETURNED]
    reading = [worker for worker in workers if worker["idle"] < _READS_MS]
    held = sum(consumer["pending"] for consumer in consumers)
    says = f"{in_flight - held} frames wait, {held} are held, {len(reading)} workers read"
    stuck = [worker["name"] for worker in workers if worker["pending"] and worker["idle"] >= _READS_MS]
    if stuck:
        mend = "others take them when its lease is over; if it lives, look at what it is doing"
        return Finding("warning", subject, f"{says}; {', '.join(stuck)} holds frames and does not read", mend)
    if in_flight and not reading:
        return Finding("warning", subject, says, "start a worker")
    return Finding("ok", subject, says)
