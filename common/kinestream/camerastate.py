"""How each camera is, as its producer tells every second: connecting, live, stalled, offline, and why.

A state that is not told any more is no state: who reads it gets `offline`, with that cause. Times are of
Redis's clock. States are hints: nothing in the delivery of frames depends on them, and when memory is full
they are left out.

Not for: what became of frames (see `ledger.py`), nor for ending the run of a producer that is gone (see
`abandoned.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from redis.asyncio import Redis

from kinestream.delivery import untyped
from kinestream.errors import MessageError
from kinestream.fields import clip_text
from kinestream.keys import Keys
from kinestream.packing import pack_map, unpack_map

STATES = ("connecting", "live", "stalled", "offline", "waiting", "paused", "finished")
"""`connecting`: being opened, no failure to tell. `live`: pictures come. `stalled`: it is open, and no
picture has come for longer than is usual for it. `offline`: away, and tried again. `waiting`: a watched
folder with nothing new in it. `paused`: wanted, but not now. `finished`: a recording that has been read to
its end."""

BEAT_S = 1.0
"""Between two reports of a camera."""

ALIVE_S = 5.0
"""A camera of which nothing was told for so long has lost its producer: five reports, and longer than a
restart of Redis takes as a rule."""

_KEPT_S = 24 * 3600
"""As long as the ledger of an ended run."""

_LASTING = ("paused", "finished")
"""Nobody needs to tell these again and again."""

_MAX_BYTES = 16 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraState:
    """One camera at one moment; what is not known is None, 0 or empty.

    `fps` and `jitter_ms` (mean distance of an interval from the mean) are measured on the last seconds;
    `frame_ago_s` is since the last picture, `run` the newest run that this producer has begun. `clock` says
    what `captured_us` is by: `arrival`, `camera` (its own clock), `file` or `made` (by a test card).
    """

    camera: str
    state: str
    producer: str = ""
    run: int | None = None
    error: str = ""
    source: str = ""
    clock: str = ""
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    jitter_ms: float | None = None
    frame_ago_s: float | None = None
    connections: int = 0
    """How often it has been connected since its producer serves it."""
    told_ago_s: float = 0.0
    """How old this is; set by who reads it."""

    def pack(self, now_ms: int) -> bytes:
        """The bytes that stand in Redis, told at `now_ms` on its clock."""
        plain = {name: getattr(self, name) for name in _FIELDS}
        plain["error"], plain["source"] = clip_text(self.error), clip_text(self.source)
        return pack_map({"version": 1, "told_ms": now_ms} | plain)

    @classmethod
    def unpack(cls, packed: bytes, now_ms: int) -> Self | None:
        """Read what `pack` gave; None for what cannot be read, of another version perhaps."""
        try:
            plain = unpack_map(packed, max_bytes=_MAX_BYTES, max_lists=4)
            told_ms = plain["told_ms"]
            given: dict[str, Any] = {name: kind(plain.get(name)) for name, kind in _FIELDS.items()}
            told_ago_s = max(0.0, (now_ms - int(told_ms)) / 1000)
        except (MessageError, KeyError, TypeError, ValueError, OverflowError):
            return None
        state = cls(**given, told_ago_s=told_ago_s)
        if state.state in _LASTING:
            return state
        if state.frame_ago_s is not None:
            state = replace(state, frame_ago_s=state.frame_ago_s + told_ago_s)
        if told_ago_s <= ALIVE_S:
            return state
        why = f"its producer {state.producer} has not been heard of for {told_ago_s:.0f} s"
        return replace(state, state="offline", error=why, fps=None, jitter_ms=None)

    @property
    def is_told(self) -> bool:
        """Whether its producer has been heard of lately."""
        return self.told_ago_s <= ALIVE_S


def _optional(kind: Any) -> Any:
    return lambda value: None if value is None else kind(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


_FIELDS: dict[str, Any] = {
    "camera": _text,
    "state": _text,
    "producer": _text,
    "run": _optional(int),
    "error": _text,
    "source": _text,
    "clock": _text,
    "width": _optional(int),
    "height": _optional(int),
    "fps": _optional(float),
    "jitter_ms": _optional(float),
    "frame_ago_s": _optional(float),
    "connections": lambda value: int(value or 0),
}


async def tell_states(redis: Redis, states: Iterable[CameraState], *, keys: Keys | None = None) -> None:
    """Put states where `camera_states` finds them, and the names where `told_cameras` does."""
    keys = keys or Keys()
    told = [*states]
    if not told:
        return
    now_ms = await redis_now_ms(redis)
    async with untyped(redis).pipeline(transaction=False) as pipeline:
        for state in told:
            pipeline.set(keys.camera_state(state.camera), state.pack(now_ms), ex=_KEPT_S)
        pipeline.zadd(keys.told, {state.camera: now_ms for state in told})
        pipeline.zremrangebyscore(keys.told, "-inf", now_ms - 1000 * _KEPT_S)
        await pipeline.execute()


async def forget_state(redis: Redis, camera: str, producer: str, *, keys: Keys | None = None) -> None:
    """Take back what a producer has told of a camera, unless somebody else tells of it by now."""
    keys = keys or Keys()
    state = (await camera_states(redis, [camera], keys=keys)).get(camera)
    if state is not None and state.producer == producer:
        await untyped(redis).delete(keys.camera_state(camera))


async def told_cameras(redis: Redis, *, keys: Keys | None = None) -> list[str]:
    """The cameras of which something was told just now; one that has never been reached has no run yet."""
    since_ms = await redis_now_ms(redis) - round(1000 * ALIVE_S)
    found = await untyped(redis).zrangebyscore((keys or Keys()).told, since_ms, "+inf")
    return sorted(camera.decode(errors="replace") for camera in found)


async def camera_states(
    redis: Redis, cameras: Sequence[str], *, keys: Keys | None = None
) -> dict[str, CameraState]:
    """The states of these cameras, as far as they are known; a state that is not told any more is offline."""
    keys = keys or Keys()
    if not cameras:
        return {}
    packed = await untyped(redis).mget([keys.camera_state(camera) for camera in cameras])
    now_ms = await redis_now_ms(redis)
    states = {
        camera: CameraState.unpack(state, now_ms)
        for camera, state in zip(cameras, packed, strict=True)
        if state is not None
    }
    return {camera: state for camera, state in states.items() if state is not None}


async def redis_now_ms(redis: Redis) -> int:
    """Redis's clock in milliseconds."""
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000
