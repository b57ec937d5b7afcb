"""A file's cameras as wanted cameras in Redis, for the producer that `kinestream up` starts and for no other.

What somebody changes meanwhile with `kinestream camera` holds until the next start. Not for: serving them
(`kinestream producer`).
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from redis.asyncio import Redis

from kinestream.cameraspec import CameraSpec
from kinestream.keys import Keys
from kinestream.wanted import drop_camera, read_wanted, want_camera


def producer_name(file: Path) -> str:
    """The producer of one file on one host: the same at every start, and no other file's."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem)[:40]
    place = f"{socket.gethostname()}:{file.absolute()}"
    return f"up-{stem}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"


async def want_all(
    redis: Redis,
    specs: Sequence[CameraSpec],
    *,
    producer: str,
    say: Callable[[str], object],
    keys: Keys | None = None,
) -> None:
    """Want exactly these of `producer`'s cameras. What is wanted as it was is left alone: a recording that
    has been read to its end is not read again because the machine was restarted.
    """
    before = (await read_wanted(redis, keys=keys)).specs
    for name in before.keys() - {spec.name for spec in specs}:
        if before[name].producer == producer:
            await drop_camera(redis, name, keys=keys)
    for spec in specs:
        known = before.get(spec.name)
        if known == spec:
            continue
        if known is not None and known.producer != producer:
            say(f"{spec.name} was wanted already, of another producer: it is this file's now")
        await want_camera(redis, spec, keys=keys)


async def drop_all(
    redis: Redis, specs: Sequence[CameraSpec], *, producer: str, keys: Keys | None = None
) -> None:
    """Want these no more, but for those that are somebody else's by now."""
    now = (await read_wanted(redis, keys=keys)).specs
    for spec in specs:
        if spec.name in now and now[spec.name].producer == producer:
            await drop_camera(redis, spec.name, keys=keys)
