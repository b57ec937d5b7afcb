"""Which cameras are wanted, and how: the desired state, in Redis, that producers obey within two seconds.

Whoever wants a camera says so here, whether a producer runs or not: `kinestream camera add`, a job,
`kinestream up`. Nothing here starts or stops anything. What `kinestream ingest` reads needs no entry.

Not for: who serves a camera (see `claims.py`), nor how it is (see `camerastate.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import WatchError

from kinestream.cameraspec import CameraSpec
from kinestream.delivery import untyped
from kinestream.errors import MessageError, SpecError, UsageError
from kinestream.keys import Keys, check_camera
from kinestream.packing import pack_map, unpack_map

VERSION = 1

_MAX_BYTES = 16 * 2**10
"""A spec's longest fields are its source and its region's corners."""

_MAX_LISTS = 128

_MARK = b"#"
"""A field that no camera can have: it stays when the last camera is dropped, so that an empty list of wanted
cameras can be told from one that Redis has forgotten."""


async def want_camera(redis: Redis, spec: CameraSpec, *, keys: Keys | None = None) -> None:
    """Want a camera as `spec` says, in place of what was said of it before.

    A recording that has been read to its end is read again: somebody asked for it.
    """
    keys = keys or Keys()
    async with untyped(redis).pipeline(transaction=True) as pipeline:
        pipeline.hset(keys.wanted, mapping={_MARK: "1", spec.name: pack_spec(spec)})
        pipeline.hdel(keys.finished, spec.name)
        await pipeline.execute()


async def remember_wanted(redis: Redis, specs: Iterable[CameraSpec], *, keys: Keys | None = None) -> None:
    """Tell a Redis that has lost its memory what was wanted; what somebody wants by now stands."""
    keys = keys or Keys()
    async with untyped(redis).pipeline(transaction=True) as pipeline:
        for spec in specs:
            pipeline.hsetnx(keys.wanted, spec.name, pack_spec(spec))
        pipeline.hsetnx(keys.wanted, _MARK, "1")
        await pipeline.execute()


async def drop_camera(redis: Redis, name: str, *, keys: Keys | None = None) -> bool:
    """Want a camera no more; returns whether it was wanted. Its producer ends its run."""
    keys = keys or Keys()
    async with untyped(redis).pipeline(transaction=True) as pipeline:
        pipeline.hdel(keys.wanted, check_camera(name))
        pipeline.hdel(keys.finished, name)
        pipeline.delete(keys.camera_state(name))
        removed, *_ = await pipeline.execute()
    return bool(removed)


async def pause_camera(redis: Redis, name: str, paused: bool, *, keys: Keys | None = None) -> None:
    """Pause a camera, or let it go on as a new run. Raises `UsageError` if it is not wanted."""
    keys = keys or Keys()
    check_camera(name)

    async def change() -> bool:
        async with untyped(redis).pipeline(transaction=True) as pipeline:
            await pipeline.watch(keys.wanted)
            packed = await pipeline.hget(keys.wanted, name)
            if packed is None:
                raise UsageError(f"no camera {name} is wanted; see: kinestream camera list")
            spec = replace(unpack_spec(packed), paused=paused)
            pipeline.multi()
            pipeline.hset(keys.wanted, name, pack_spec(spec))
            try:
                await pipeline.execute()
            except WatchError:  # somebody else changed something meanwhile
                return False
            return True

    await _until_done(change)


async def wanted_cameras(redis: Redis, *, keys: Keys | None = None) -> list[CameraSpec]:
    """All wanted cameras, by name; what cannot be read is left out (see `read_wanted`)."""
    return [*(await read_wanted(redis, keys=keys)).specs.values()]


@dataclass(frozen=True, slots=True)
class Wanted:
    """All wanted cameras, by name, and of those that cannot be read, why not.

    `known` is false if nobody has ever said what is wanted, or Redis has forgotten it.
    """

    specs: dict[str, CameraSpec]
    broken: dict[str, str]
    known: bool


async def read_wanted(redis: Redis, *, keys: Keys | None = None) -> Wanted:
    """Read what is wanted, what is broken included: another Kinestream, or another maker, wrote it."""
    keys = keys or Keys()
    found = await untyped(redis).hgetall(keys.wanted)
    wanted = Wanted({}, {}, found.pop(_MARK, None) is not None)
    for raw_name, packed in sorted(found.items()):
        name = raw_name.decode(errors="replace")
        try:
            spec = unpack_spec(packed)
            if spec.name != name:
                raise MessageError(f"it is called {spec.name}")
            wanted.specs[name] = spec
        except (MessageError, SpecError) as error:
            wanted.broken[name] = str(error)
    return wanted


def pack_spec(spec: CameraSpec) -> bytes:
    """The bytes that stand in Redis: a msgpack map of what is not as by default, and a version."""
    return pack_map({"version": VERSION} | spec.to_plain())


def unpack_spec(packed: bytes) -> CameraSpec:
    """Read what `pack_spec` gave. Raises `MessageError`, or `SpecError` for what cannot be."""
    plain: dict[str, Any] = dict(unpack_map(packed, max_bytes=_MAX_BYTES, max_lists=_MAX_LISTS))
    version = plain.pop("version", None)
    if version != VERSION:
        raise MessageError(f"a wanted camera has version {VERSION}, got {str(version)[:20]}")
    return CameraSpec.from_plain(plain)


def digest(spec: CameraSpec) -> str:
    """A short text that differs between two specs, to tell whether anything has changed."""
    return hashlib.sha256(pack_spec(spec)).hexdigest()[:16]


async def _until_done(change: Callable[[], Awaitable[bool]]) -> None:
    while not await change():
        pass
